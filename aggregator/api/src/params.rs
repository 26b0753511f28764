//! Parameters of a request: parsed once, in Prometheus' formats and with its messages.

use std::num::{IntErrorKind, ParseIntError};
use std::time::Duration;

use vedette_model::Timestamp;

use crate::error::ApiError;
use crate::times::{NANOS_PER_MILLI, parse_duration, parse_time};

/// The parameters of the form body, then those of the address.
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
    /// Where those of the address begin.
    address: usize,
    malformed: Option<String>,
}

impl Params {
    pub(crate) fn parse(query: Option<&str>, form: &[u8]) -> Self {
        let mut params = Self { pairs: Vec::new(), address: 0, malformed: None };
        params.read(form);
        params.address = params.pairs.len();
        params.read(query.unwrap_or_default().as_bytes());
        params
    }

    /// As in Go, a pair with a semicolon or half an escape is no pair at all.
    fn read(&mut self, text: &[u8]) {
        for pair in text.split(|byte| *byte == b'&') {
            match malformation(pair) {
                None => {
                    let decoded = form_urlencoded::parse(pair);
                    self.pairs.extend(decoded.map(|(name, value)| (name.into_owned(), value.into_owned())));
                }
                Some(reason) => self.malformed = self.malformed.take().or(Some(reason)),
            }
        }
    }

    /// Refuses what has a malformed pair. Most of Prometheus' endpoints pass over such a pair instead.
    pub(crate) fn well_formed(&self) -> Result<(), ApiError> {
        match &self.malformed {
            None => Ok(()),
            Some(reason) => Err(ApiError::BadData(format!("error parsing form values: {reason}"))),
        }
    }

    /// The first value of a parameter that only counts in the address.
    pub(crate) fn address_text(&self, name: &str) -> &str {
        let mut pairs = self.pairs[self.address..].iter();
        pairs.find(|(found, _)| found == name).map(|(_, value)| value.as_str()).unwrap_or_default()
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

    /// `step` in nanoseconds, at least one.
    pub(crate) fn step_nanos(&self) -> Result<i64, ApiError> {
        let nanos =
            parse_duration(self.text("step")).map_err(|reason| ApiError::parameter("step", reason))?;
        if nanos <= 0 {
            return Err(ApiError::parameter(
                "step",
                "zero or negative query resolution step widths are not accepted. Try a positive integer",
            ));
        }
        Ok(nanos)
    }

    /// `timeout`. Of one that has passed already Prometheus tells in one of three ways, by chance; this is the most
    /// frequent.
    pub(crate) fn timeout(&self) -> Result<Option<Duration>, ApiError> {
        let text = self.text("timeout");
        if text.is_empty() {
            return Ok(None);
        }
        let nanos = parse_duration(text).map_err(|reason| ApiError::parameter("timeout", reason))?;
        if nanos <= 0 {
            return Err(ApiError::parameter("query", "context deadline exceeded"));
        }
        Ok(Some(Duration::from_nanos(nanos.unsigned_abs())))
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
            Err(error) => Err(ApiError::parameter("limit", not_a_number("Atoi", text, &error))),
        }
    }

    /// A limit of the metadata endpoints, where what is negative is no limit.
    pub(crate) fn metadata_limit(&self, name: &str) -> Result<usize, ApiError> {
        let text = self.text(name);
        if text.is_empty() {
            return Ok(usize::MAX);
        }
        let limit: i64 = text.parse().map_err(|_| ApiError::BadData(format!("{name} must be a number")))?;
        Ok(usize::try_from(limit).unwrap_or(usize::MAX))
    }
}

/// What Go says of a whole number that is none.
pub(crate) fn not_a_number(function: &str, text: &str, error: &ParseIntError) -> String {
    let reason = match error.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
        _ => "invalid syntax",
    };
    format!("strconv.{function}: parsing {}: {reason}", quoted(text))
}

/// A yes or no as Go's `strconv.ParseBool` reads it.
pub(crate) fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {}: invalid syntax", quoted(text))),
    }
}

/// Why a pair is none, in Go's words.
fn malformation(pair: &[u8]) -> Option<String> {
    if pair.contains(&b';') {
        return Some("invalid semicolon separator in query".to_owned());
    }
    let mut rest = pair;
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        let escape = &rest[at..rest.len().min(at + 3)];
        if escape.len() < 3 || !escape[1..].iter().all(u8::is_ascii_hexdigit) {
            return Some(format!("invalid URL escape {}", quoted(&String::from_utf8_lossy(escape))));
        }
        rest = &rest[at + 3..];
    }
    None
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
    fn malformed_pairs_are_no_pairs() {
        let params = Params::parse(Some("a=%zz&b=1;2&c=%4&d=%41%&e=%41+x&f"), b"a=1&=x&g=%2B");
        let text = ["a", "b", "c", "d", "e", "f", "g"].map(|name| params.text(name));
        assert_eq!(text, ["1", "", "", "", "A x", "", "+"]);
        assert_eq!((params.address_text("a"), params.address_text("e")), ("", "A x"));
        let refused = params.well_formed().expect_err("there are malformed pairs").to_string();
        assert_eq!(refused, r#"error parsing form values: invalid URL escape "%zz""#);
        assert!(Params::parse(Some("a=1"), b"").well_formed().is_ok());
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
