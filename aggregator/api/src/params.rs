//! Parameters of a request: parsed once, in Prometheus' formats and with its messages.

use std::time::Duration;

use jiff::fmt::temporal::DateTimeParser;
use vedette_model::Timestamp;

use crate::error::ApiError;

/// The parameters of the form body, then those of the address.
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
}

impl Params {
    pub(crate) fn parse(query: Option<&str>, form: &[u8]) -> Self {
        let pairs = [form, query.unwrap_or_default().as_bytes()]
            .into_iter()
            .flat_map(|text| text.split(|byte| *byte == b'&'))
            .filter(|pair| is_well_formed(pair))
            .flat_map(form_urlencoded::parse)
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        Self { pairs }
    }

    /// The first value of a parameter; empty when it is not given.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or_default()
    }

    /// All values of a parameter.
    pub(crate) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// A time that must be given.
    pub(crate) fn time(&self, name: &str) -> Result<Timestamp, ApiError> {
        parse_time(self.text(name)).map_err(|reason| ApiError::parameter(name, reason))
    }

    /// A time that may be left out.
    pub(crate) fn time_or(&self, name: &str, default: Timestamp) -> Result<Timestamp, ApiError> {
        match self.text(name) {
            "" => Ok(default),
            text => parse_time(text).map_err(|reason| {
                ApiError::parameter(name, format!("invalid time value for '{name}': {reason}"))
            }),
        }
    }

    /// `step` in milliseconds, at least one.
    pub(crate) fn step_millis(&self) -> Result<i64, ApiError> {
        let nanos =
            parse_duration(self.text("step")).map_err(|reason| ApiError::parameter("step", reason))?;
        if nanos <= 0 {
            return Err(ApiError::parameter(
                "step",
                "zero or negative query resolution step widths are not accepted. Try a positive integer",
            ));
        }
        Ok((nanos / NANOS_PER_MILLI).max(1))
    }

    /// `timeout`; one that is not positive has passed already.
    pub(crate) fn timeout(&self) -> Result<Option<Duration>, ApiError> {
        match self.text("timeout") {
            "" => Ok(None),
            text => {
                let nanos = parse_duration(text).map_err(|reason| ApiError::parameter("timeout", reason))?;
                Ok(Some(Duration::from_nanos(nanos.max(0).unsigned_abs())))
            }
        }
    }

    /// `lookback_delta` in milliseconds; what is not positive means the default.
    pub(crate) fn lookback_millis(&self) -> Result<Option<i64>, ApiError> {
        match self.text("lookback_delta") {
            "" => Ok(None),
            text => match parse_duration(text) {
                Ok(nanos) => Ok(Some(nanos / NANOS_PER_MILLI).filter(|millis| *millis > 0)),
                Err(reason) => {
                    Err(ApiError::BadData(format!("error parsing lookback delta duration: {reason}")))
                }
            },
        }
    }

    /// `limit`: how many results at most; none or 0 is no limit.
    pub(crate) fn limit(&self) -> Result<usize, ApiError> {
        let text = self.text("limit");
        if text.is_empty() {
            return Ok(usize::MAX);
        }
        match text.parse::<i64>() {
            Ok(limit) if limit < 0 => Err(ApiError::parameter("limit", "limit must be non-negative")),
            Ok(0) => Ok(usize::MAX),
            Ok(limit) => Ok(usize::try_from(limit).unwrap_or(usize::MAX)),
            Err(_) => Err(ApiError::parameter(
                "limit",
                format!("strconv.Atoi: parsing {}: invalid syntax", quoted(text)),
            )),
        }
    }

    /// A limit of the metadata endpoint, where anything below 1 is no limit.
    pub(crate) fn metadata_limit(&self, name: &str) -> Result<usize, ApiError> {
        let text = self.text(name);
        if text.is_empty() {
            return Ok(usize::MAX);
        }
        let limit: i64 = text.parse().map_err(|_| ApiError::BadData(format!("{name} must be a number")))?;
        Ok(if limit <= 0 { usize::MAX } else { usize::try_from(limit).unwrap_or(usize::MAX) })
    }
}

/// As in Go, a pair with a semicolon or half an escape is no pair at all.
fn is_well_formed(pair: &[u8]) -> bool {
    let mut escapes = pair.split(|byte| *byte == b'%').skip(1);
    let is_escape = |rest: &[u8]| rest.len() >= 2 && rest[..2].iter().all(u8::is_ascii_hexdigit);
    !pair.contains(&b';') && escapes.all(is_escape)
}

/// The ends of time in Prometheus' API, and how it spells them.
const FORMATTED_TIME_MIN: &str = "-292273086-05-16T16:47:06Z";
const FORMATTED_TIME_MAX: &str = "292277025-08-18T07:12:54.999999999Z";
/// What people write when they mean "for ever".
const LAST_OF_CALENDAR: &str = "9999-12-31T23:59:59Z";
const LAST_OF_CALENDAR_MS: i64 = 253_402_300_799_000;
/// Half of what 64 bits hold, so that adding offsets to it stays in range.
const TIME_MIN: Timestamp = Timestamp::from_millis(i64::MIN / 2);
const TIME_MAX: Timestamp = Timestamp::from_millis(i64::MAX / 2);

/// Seconds since the epoch or RFC 3339.
fn parse_time(text: &str) -> Result<Timestamp, String> {
    if let Ok(seconds) = text.parse::<f64>()
        && seconds.is_finite()
    {
        let millis = (seconds * 1000.0).round();
        let held = millis.clamp(TIME_MIN.as_millis() as f64, TIME_MAX.as_millis() as f64);
        return Ok(Timestamp::from_millis(held as i64));
    }
    match text {
        FORMATTED_TIME_MIN => return Ok(TIME_MIN),
        FORMATTED_TIME_MAX => return Ok(TIME_MAX),
        // Jiff's time ends a day earlier.
        LAST_OF_CALENDAR => return Ok(Timestamp::from_millis(LAST_OF_CALENDAR_MS)),
        _ => {}
    }
    static PARSER: DateTimeParser = DateTimeParser::new();
    // Jiff takes more forms than RFC 3339 has: a time zone in brackets, a space for the `T`.
    // It also takes a second 60.
    let strict =
        text.as_bytes().get(10) == Some(&b'T') && text.get(17..19) != Some("60") && !text.contains('[');
    match PARSER.parse_timestamp(text) {
        Ok(time) if strict => Ok(Timestamp::from_millis(floor_millis(time))),
        _ => Err(format!("cannot parse {} to a valid timestamp", quoted(text))),
    }
}

fn floor_millis(time: jiff::Timestamp) -> i64 {
    let millis = time.as_nanosecond().div_euclid(i128::from(NANOS_PER_MILLI));
    i64::try_from(millis).unwrap_or(i64::MAX)
}

const NANOS_PER_MILLI: i64 = 1_000_000;

/// Seconds, or Prometheus' form: `1h30m`, `500ms`. Nanoseconds.
fn parse_duration(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        let nanos = seconds * 1e9;
        // 2^63 is exact as a float, and one more than what fits.
        if nanos >= i64::MAX as f64 || nanos < i64::MIN as f64 {
            return Err(format!("cannot parse {} to a valid duration. It overflows int64", quoted(text)));
        }
        return Ok(nanos as i64);
    }
    parse_unit_duration(text).ok_or_else(|| format!("cannot parse {} to a valid duration", quoted(text)))
}

/// Nanoseconds of a duration in Prometheus' form.
fn parse_unit_duration(text: &str) -> Option<i64> {
    parse_duration_millis(text)?.checked_mul(NANOS_PER_MILLI)
}

/// Milliseconds of a duration in Prometheus' form: `1h30m`, `500ms`, `0`.
pub fn parse_duration_millis(text: &str) -> Option<i64> {
    const UNITS: [(&str, i64); 7] = [
        ("y", 365 * 24 * 3600 * 1000),
        ("w", 7 * 24 * 3600 * 1000),
        ("d", 24 * 3600 * 1000),
        ("h", 3600 * 1000),
        ("m", 60 * 1000),
        ("s", 1000),
        ("ms", 1),
    ];
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut total_ms = 0i64;
    // Units come from great to small, each once.
    let mut unit_next = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let count: i64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_lowercase).count();
        let unit = &rest[..letters];
        rest = &rest[letters..];
        let position = UNITS[unit_next..].iter().position(|(name, _)| *name == unit)?;
        total_ms = total_ms.checked_add(count.checked_mul(UNITS[unit_next + position].1)?)?;
        unit_next += position + 1;
    }
    (!text.is_empty()).then_some(total_ms)
}

/// As Go's `%q` quotes ordinary text.
pub(crate) fn quoted(text: &str) -> String {
    format!("{text:?}")
}

/// Undoes the escaping that turns any UTF-8 label name into a word (`U__a_2e_b` is `a.b`); a name that was not
/// escaped, or wrongly, stays as it is.
pub(crate) fn unescape_name(name: &str) -> String {
    name.strip_prefix("U__").and_then(unescape).unwrap_or_else(|| name.to_owned())
}

fn unescape(escaped: &str) -> Option<String> {
    /// The most hexadecimal digits that a character takes.
    const DIGITS_MAX: usize = 6;
    let mut name = String::with_capacity(escaped.len());
    let mut parts = escaped.split('_');
    name.push_str(parts.next()?);
    // After an underscore comes another one, or hexadecimal digits and an underscore.
    while let Some(code) = parts.next() {
        if code.is_empty() {
            name.push('_');
        } else {
            let digits = code.len() < DIGITS_MAX && code.bytes().all(|byte| byte.is_ascii_hexdigit());
            let value = u32::from_str_radix(code, 16).ok().filter(|_| digits)?;
            name.push(char::from_u32(value)?);
        }
        name.push_str(parts.next()?);
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, millis) in [
            ("1.5", 1_500),
            ("-1.005", -1_005),
            ("1e3", 1_000_000),
            ("1700000000.123", 1_700_000_000_123),
            ("2030-01-01T00:00:00.123456789+01:00", 1_893_452_400_123),
            ("1969-12-31T23:59:59.9995Z", -1),
            (FORMATTED_TIME_MIN, i64::MIN / 2),
            (FORMATTED_TIME_MAX, i64::MAX / 2),
            (LAST_OF_CALENDAR, LAST_OF_CALENDAR_MS),
        ] {
            assert_eq!(parse_time(text), Ok(Timestamp::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "x",
            "2030-01-01",
            "2030-01-01T00:00:00",
            "2030-01-01 00:00:00Z",
            "nan",
            "inf",
            "2030-01-01T23:59:60Z",
        ] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn malformed_pairs_are_no_pairs() {
        let params = Params::parse(Some("a=%zz&b=1;2&c=%4&d=%41%&e=%41+x&f"), b"a=1&=x&g=%2B");
        let text = ["a", "b", "c", "d", "e", "f", "g"].map(|name| params.text(name));
        assert_eq!(text, ["1", "", "", "", "A x", "", "+"]);
    }

    #[test]
    fn durations() {
        for (text, millis) in [
            ("15", 15_000),
            ("0.5", 500),
            ("-5", -5_000),
            ("1m1s", 61_000),
            ("1h30m", 5_400_000),
            ("1y", 31_536_000_000),
        ] {
            assert_eq!(parse_duration(text), Ok(millis * NANOS_PER_MILLI), "{text}");
        }
        for text in ["", "x", "1ns", "5", "1s1m", "1m1m", "m", "1e300", "400y", "1 m"] {
            assert_eq!(parse_duration(text).is_err(), text != "5", "{text}");
        }
    }

    #[test]
    fn escaped_names() {
        for (escaped, name) in [
            ("U__a_2e_b", "a.b"),
            ("U__job", "job"),
            ("U__a__b", "a_b"),
            ("U___1f600_", "😀"),
            ("job", "job"),
            ("U__a_", "U__a_"),
            ("U__a_2e", "U__a_2e"),
            ("U__a_zz_", "U__a_zz_"),
            ("U__a_d800_", "U__a_d800_"),
            ("U__", ""),
        ] {
            assert_eq!(unescape_name(escaped), name, "{escaped}");
        }
    }
}
