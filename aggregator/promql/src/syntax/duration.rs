use std::fmt::Write;

/// Units as in Prometheus' `model.Duration`, largest first, with their milliseconds.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// The longest duration that Go's `time.Duration` holds, in milliseconds.
const MILLIS_MAX: i64 = i64::MAX / 1_000_000;

/// Reads `1h30m`: units from large to small, each at most once. Milliseconds.
pub(crate) fn parse_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("not a valid duration string: {}", crate::syntax::printer::quote(text));
    let out_of_range = || "duration out of range".to_owned();
    if text == "0" {
        return Ok(0);
    }
    if text.is_empty() {
        return Err("empty duration string".to_owned());
    }
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut total = 0i64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let unit_length = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = &rest[digits..digits + unit_length];
        let (_, millis) = units.find(|(name, _)| *name == unit).ok_or_else(invalid)?;
        if digits == 0 {
            return Err(invalid());
        }
        let count: i64 = rest[..digits].parse().map_err(|_| out_of_range())?;
        total = count
            .checked_mul(*millis)
            .and_then(|part| total.checked_add(part))
            .filter(|total| *total <= MILLIS_MAX)
            .ok_or_else(out_of_range)?;
        rest = &rest[digits + unit_length..];
    }
    Ok(total)
}

/// Prints as Prometheus does: `5m`, `1h30m`, `1d`. Years and weeks only where they come out even.
pub(crate) fn format_duration(millis: i64) -> String {
    if millis == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    if millis < 0 {
        out.push('-');
    }
    let mut rest = millis.unsigned_abs();
    for (name, unit) in UNITS {
        let unit = unit.unsigned_abs();
        let only_exact = matches!(name, "y" | "w");
        if rest < unit || (only_exact && !rest.is_multiple_of(unit)) {
            continue;
        }
        // Writing to a `String` can not fail.
        let _ = write!(out, "{}{name}", rest / unit);
        rest %= unit;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints() {
        for (text, millis) in [("5m", 300_000), ("1h30m", 5_400_000), ("1w", 604_800_000), ("1ms", 1)] {
            assert_eq!(parse_duration(text), Ok(millis));
            assert_eq!(format_duration(millis), text);
        }
        assert_eq!(format_duration(8 * 24 * 3_600_000), "8d");
        for text in ["", "1", "5m1h", "1m1m", "m", "1.5h", "1hs", "99999999999y"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
