//! Numbers as Go reads them.

/// A literal: as `ParseInt` with base 0 reads it, else as `ParseFloat` does.
pub(crate) fn parse_number(text: &str) -> Option<f64> {
    if !underscores_separate(text) {
        return None;
    }
    let lower = text.replace('_', "").to_ascii_lowercase();
    if let Some(hexadecimal) = lower.strip_prefix("0x") {
        return i64::from_str_radix(hexadecimal, 16).ok().map(|value| value as f64);
    }
    let is_octal = lower.len() > 1 && lower.starts_with('0');
    let integer = if is_octal { i64::from_str_radix(&lower, 8) } else { lower.parse() };
    integer.ok().map(|value| value as f64).or_else(|| parse_float(text))
}

/// As `ParseFloat` reads a text, but for hexadecimal floats, which nobody writes.
pub(crate) fn parse_float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    match unsigned.to_ascii_lowercase().as_str() {
        "inf" | "infinity" if text.starts_with('-') => return Some(f64::NEG_INFINITY),
        "inf" | "infinity" => return Some(f64::INFINITY),
        "nan" if unsigned.len() == text.len() => return Some(f64::NAN),
        _ => {}
    }
    let is_decimal = unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.');
    if !is_decimal || !underscores_separate(unsigned) {
        return None;
    }
    // Go refuses what is too large, Rust gives infinity.
    text.replace('_', "").parse::<f64>().ok().filter(|value| value.is_finite())
}

/// Whether each underscore stands between two digits, of which the mark of a base counts as one.
fn underscores_separate(text: &str) -> bool {
    let is_hexadecimal = text.starts_with("0x") || text.starts_with("0X");
    let bytes = text.as_bytes();
    let is_digit = |at: usize| {
        bytes.get(at).is_some_and(|byte| match is_hexadecimal {
            true => byte.is_ascii_hexdigit() || at == 1,
            false => byte.is_ascii_digit(),
        })
    };
    let mut underscores = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'_');
    underscores.all(|(at, _)| at > 0 && is_digit(at - 1) && is_digit(at + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_integers_first() {
        for (text, value) in [
            ("017", 15.0),
            ("08", 8.0),
            ("0_7", 7.0),
            ("0_8", 8.0),
            ("0x_1f", 31.0),
            ("1_000.5", 1000.5),
            (".5", 0.5),
            ("5.", 5.0),
            ("iNF", f64::INFINITY),
        ] {
            assert_eq!(parse_number(text), Some(value), "{text}");
        }
        for text in ["1_", "1__0", "1_e3", "1e_3", "0xffffffffffffffff", "0xg", "1e400", "", "x"] {
            assert_eq!(parse_number(text), None, "{text}");
        }
    }

    #[test]
    fn bounds_are_floats() {
        for (text, value) in [("017", 17.0), ("+Inf", f64::INFINITY), ("-1e3", -1000.0), ("1_0", 10.0)] {
            assert_eq!(parse_float(text), Some(value), "{text}");
        }
        assert!(parse_float("nan").is_some_and(f64::is_nan));
        for text in ["", "+nan", "--inf", "0x10", " 1", "1e400", "1__0", "odd"] {
            assert_eq!(parse_float(text), None, "{text}");
        }
    }
}
