//! Durations as Prometheus writes them: `1h30m`, `15s`, `500ms`, `0`.

use std::time::Duration;

/// Not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing there.
    #[error("empty duration string")]
    Empty,
    /// Not of the form, or the units are not in order.
    #[error("not a valid duration string: {text:?} (numbers with the units y w d h m s ms, in this order)")]
    Malformed {
        /// What was given.
        text: String,
    },
    /// A unit without meaning.
    #[error("unknown unit {unit:?} in duration {text:?}")]
    Unit {
        /// What was given.
        text: String,
        /// The unit.
        unit: String,
    },
    /// More than 292 years.
    #[error("duration out of range")]
    OutOfRange,
}

/// Largest first, in milliseconds: years have 365 days.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];
/// What fits Go's `time.Duration`, which counts nanoseconds in 63 bits.
const MILLIS_MAX: u64 = i64::MAX as u64 / 1_000_000;

/// Reads a duration; exactly what Prometheus accepts.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.is_empty() {
        return Err(DurationError::Empty);
    }
    let malformed = || DurationError::Malformed { text: text.to_owned() };
    let (mut rest, mut units_left, mut total) = (text, &UNITS[..], 0u64);
    while !rest.is_empty() {
        let (digits, after) = split_where(rest, |c| !c.is_ascii_digit());
        let (unit, after) = split_where(after, |c| c.is_ascii_digit());
        if digits.is_empty() || unit.is_empty() {
            return Err(malformed());
        }
        let count: u64 = digits.parse().map_err(|_| malformed())?;
        if !UNITS.iter().any(|(name, _)| *name == unit) {
            return Err(DurationError::Unit { text: text.to_owned(), unit: unit.to_owned() });
        }
        let place = units_left.iter().position(|(name, _)| *name == unit).ok_or_else(malformed)?;
        total = count
            .checked_mul(units_left[place].1)
            .and_then(|millis| millis.checked_add(total))
            .filter(|total| *total <= MILLIS_MAX)
            .ok_or(DurationError::OutOfRange)?;
        units_left = &units_left[place + 1..];
        rest = after;
    }
    Ok(Duration::from_millis(total))
}

fn split_where(text: &str, is_end: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(is_end).unwrap_or(text.len()))
}

/// Writes a duration as Prometheus does: largest unit first, weeks and years only when nothing is left over; below a
/// millisecond it is `0s`.
pub fn format(duration: Duration) -> String {
    let mut millis = duration.as_millis() as u64;
    if millis == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, size) in UNITS {
        let is_exact_only = matches!(unit, "y" | "w");
        if millis < size || (is_exact_only && !millis.is_multiple_of(size)) {
            continue;
        }
        text.push_str(&(millis / size).to_string());
        text.push_str(unit);
        millis %= size;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, millis: Option<u64>) {
        assert_eq!(parse(text).ok(), millis.map(Duration::from_millis), "{text:?}");
    }

    /// Each was given to promtool 3.5.3.
    #[test]
    fn accepts_and_refuses_as_prometheus() {
        check("0", Some(0));
        check("0s", Some(0));
        check("1m30s", Some(90_000));
        check("01s", Some(1_000));
        check("1h0s", Some(3_600_000));
        check("1d12h", Some(129_600_000));
        check("1y2w3d4h5m6s7ms", Some(33_019_506_007));
        check("292y", Some(292 * 365 * 86_400_000));
        check("9223372036s", Some(9_223_372_036_000));
        check("9223372036854ms", Some(9_223_372_036_854));
        for text in [
            "",
            "''",
            "1",
            "15",
            "30s1m",
            "1s1s",
            "-5s",
            "+5s",
            "1.5s",
            "5 s",
            " 5s",
            "5s ",
            "1m 30s",
            "ms",
            "5x",
            "5M",
            "293y",
            "9223372037s",
            "9223372036855ms",
            "99999999999y",
            "1e3s",
            "99999999999999999999s",
            "5µs",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn formats_as_prometheus() {
        for (millis, text) in [
            (0, "0s"),
            (15_000, "15s"),
            (90_000, "1m30s"),
            (7 * 86_400_000, "1w"),
            (8 * 86_400_000, "8d"),
            (365 * 86_400_000, "1y"),
            (1_500, "1s500ms"),
        ] {
            assert_eq!(format(Duration::from_millis(millis)), text);
            check(text, Some(millis));
        }
    }
}
