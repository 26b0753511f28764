//! Times and durations as Prometheus' API takes them.

use jiff::fmt::temporal::DateTimeParser;
use vedette_model::Timestamp;

use crate::params::quoted;

/// The ends of time in Prometheus' API, and how it spells them.
const FORMATTED_TIME_MIN: &str = "-292273086-05-16T16:47:06Z";
const FORMATTED_TIME_MAX: &str = "292277025-08-18T07:12:54.999999999Z";
/// What people write when they mean "for ever".
const LAST_OF_CALENDAR: &str = "9999-12-31T23:59:59Z";
const LAST_OF_CALENDAR_MS: i64 = 253_402_300_799_000;
/// Half of what 64 bits hold, so that adding offsets to it stays in range.
const TIME_MIN: Timestamp = Timestamp::from_millis(i64::MIN / 2);
const TIME_MAX: Timestamp = Timestamp::from_millis(i64::MAX / 2);

/// What Prometheus' engine makes of a time that is no number, or infinite: its clock's overflow.
const NO_TIME: Timestamp = Timestamp::from_millis(-9_223_372_036_854);

/// Seconds since the epoch or RFC 3339.
pub(crate) fn parse_time(text: &str) -> Result<Timestamp, String> {
    if let Some(seconds) = parse_number(text) {
        if !seconds.is_finite() {
            return Ok(NO_TIME);
        }
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
    match strict_rfc3339(text).and_then(|text| PARSER.parse_timestamp(&text).ok()) {
        Some(time) => Ok(Timestamp::from_millis(floor_millis(time))),
        None => Err(format!("cannot parse {} to a valid timestamp", quoted(text))),
    }
}

/// The text as Jiff wants it, when Go would read it: Jiff takes more forms than RFC 3339 has (a time zone in brackets, a
/// space for the `T`, small letters, a second 60), and Go takes hours of one digit and a comma for the point.
fn strict_rfc3339(text: &str) -> Option<String> {
    let (date, time) = text.split_once('T')?;
    let is_date = date.len() == 10 && date.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let is_time = time.bytes().all(|byte| byte.is_ascii_digit() || b":.,+-Z".contains(&byte));
    let padding = if time.find(':')? == 1 { "0" } else { "" };
    let time = format!("{padding}{}", time.replace(',', "."));
    // `Z`, or an offset of hours and minutes with a colon.
    let zone = &time[time.find(['Z', '+', '-'])?..];
    let is_zone = zone == "Z" || (zone.len() == 6 && zone.as_bytes()[3] == b':');
    let seconds = time.get(6..8)?;
    (is_date && is_time && is_zone && seconds != "60").then(|| format!("{date}T{time}"))
}

fn floor_millis(time: jiff::Timestamp) -> i64 {
    let millis = time.as_nanosecond().div_euclid(i128::from(NANOS_PER_MILLI));
    i64::try_from(millis).unwrap_or(i64::MAX)
}

pub(crate) const NANOS_PER_MILLI: i64 = 1_000_000;

/// Seconds, or Prometheus' form: `1h30m`, `500ms`. Nanoseconds.
pub(crate) fn parse_duration(text: &str) -> Result<i64, String> {
    if let Some(seconds) = parse_number(text) {
        let nanos = seconds * 1e9;
        if nanos.is_nan() {
            return Ok(i64::MIN);
        }
        // 2^63 is exact as a float, and one more than what fits.
        if nanos >= i64::MAX as f64 || nanos < i64::MIN as f64 {
            return Err(format!("cannot parse {} to a valid duration. It overflows int64", quoted(text)));
        }
        return Ok(nanos as i64);
    }
    parse_unit_duration(text).ok_or_else(|| format!("cannot parse {} to a valid duration", quoted(text)))
}

/// A number as Go's `strconv.ParseFloat` reads it.
fn parse_number(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if let Some(hexadecimal) = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X")) {
        let value = parse_hexadecimal(hexadecimal)?;
        return Some(if text.starts_with('-') { -value } else { value });
    }
    if !text.contains('_') {
        return vedette_exposition::parse_float(text.as_bytes());
    }
    // Underscores stand between digits.
    let bytes = text.as_bytes();
    let between = |at: usize| {
        at > 0 && bytes[at - 1].is_ascii_digit() && bytes.get(at + 1).is_some_and(u8::is_ascii_digit)
    };
    let well_placed = bytes.iter().enumerate().all(|(at, byte)| *byte != b'_' || between(at));
    well_placed.then(|| vedette_exposition::parse_float(text.replace('_', "").as_bytes()))?
}

/// What stands behind `0x`: digits, perhaps with a point, and the exponent of 2 behind a `p`.
fn parse_hexadecimal(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['p', 'P'])?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    // More digits than these are not exact, and nobody writes them.
    if digits.is_empty() || digits.len() > 13 {
        return None;
    }
    let mantissa = u64::from_str_radix(&digits, 16).ok()?;
    let exponent: i32 = exponent.parse().ok()?;
    let value = mantissa as f64 * f64::from(exponent.saturating_sub(4 * fraction.len() as i32)).exp2();
    value.is_finite().then_some(value)
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
            ("inf", -9_223_372_036_854),
            ("NaN", -9_223_372_036_854),
            ("1_000", 1_000_000),
            ("0x1p4", 16_000),
            ("-0x1.8p1", -3_000),
            ("2030-01-01T00:00:00,5Z", 1_893_456_000_500),
            ("2030-01-01T1:00:00Z", 1_893_459_600_000),
        ] {
            assert_eq!(parse_time(text), Ok(Timestamp::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "x",
            "2030-01-01",
            "2030-01-01T00:00:00",
            "2030-01-01 00:00:00Z",
            "+nan",
            "1e400",
            "1__0",
            "_1",
            "0x10",
            "2030-01-01t00:00:00z",
            "2030-01-01T00:00:00+0100",
            "2030-01-01T23:59:60Z",
        ] {
            assert!(parse_time(text).is_err(), "{text}");
        }
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
}
