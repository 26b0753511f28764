//! Sizes as Prometheus writes them: `10MB`, `1GiB`, `512KB`; every unit is a power of 1024.

/// Not a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// Not of the form.
    #[error("not a valid size: {text:?} (a number with one of the units B KB MB GB TB PB EB)")]
    Malformed {
        /// What was given.
        text: String,
    },
    /// A unit without meaning, or `KB` and `KiB` mixed.
    #[error("unknown unit {unit:?} in size {text:?}")]
    Unit {
        /// What was given.
        text: String,
        /// The unit.
        unit: String,
    },
    /// More than 2^63 bytes.
    #[error("size out of range")]
    OutOfRange,
}

/// Reads a size in bytes; exactly what Prometheus accepts: fractions, signs and sums (`1GB500MB`) too, but no bare
/// number other than 0.
pub fn parse(text: &str) -> Result<i64, SizeError> {
    parse_with(text, "iB").or_else(|_| parse_with(text, "B"))
}

fn parse_with(text: &str, suffix: &str) -> Result<i64, SizeError> {
    let malformed = || SizeError::Malformed { text: text.to_owned() };
    let (is_negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(malformed());
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_end);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let count = decimal(number).ok_or_else(malformed)?;
        let scale = scale(unit, suffix)
            .ok_or_else(|| SizeError::Unit { text: text.to_owned(), unit: unit.to_owned() })?;
        total += count * scale;
        rest = after;
    }
    const BYTES_MAX: f64 = (1u64 << 63) as f64;
    if total > BYTES_MAX {
        return Err(SizeError::OutOfRange);
    }
    Ok(if is_negative { -total as i64 } else { total as i64 })
}

/// `12`, `1.5`, `.5`, `1.`; each part of at most 18 digits, as Go's reader has it.
fn decimal(text: &str) -> Option<f64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.len() + fraction.len() == 0 || fraction.contains('.') || whole.len() > 18 || fraction.len() > 18
    {
        return None;
    }
    text.parse().ok()
}

fn scale(unit: &str, suffix: &str) -> Option<f64> {
    if unit == "B" {
        return Some(1.0);
    }
    let exponent = ["K", "M", "G", "T", "P", "E"]
        .iter()
        .position(|letter| unit.strip_prefix(*letter) == Some(suffix))?;
    Some(1024f64.powi(exponent as i32 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each was given to promtool 3.5.3.
    #[test]
    fn accepts_and_refuses_as_prometheus() {
        for (text, bytes) in [
            ("0", 0),
            ("0B", 0),
            ("1B", 1),
            ("10MB", 10 << 20),
            ("10MiB", 10 << 20),
            ("1.5GB", 3 << 29),
            ("-1MB", -(1 << 20)),
            ("+1MB", 1 << 20),
            ("1GB500MB", (1 << 30) + (500 << 20)),
            (".5MB", 1 << 19),
            ("1.MB", 1 << 20),
            ("7EB", 7 << 60),
            ("8EB", i64::MAX),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "1",
            "MB",
            "1kB",
            "1K",
            "10mb",
            "10 MB",
            "16EiB",
            "1e3B",
            ".MB",
            "1GiB5MB",
            "9223372036854775807B",
            "1..5MB",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
