/// The NaN that every NaN becomes, as in Prometheus: its payload differs from the staleness marker's.
const NORMAL_NAN: f64 = f64::from_bits(0x7ff8_0000_0000_0001);
/// Integers up to here are exact in an `f64`.
const EXACT_MAX: u64 = 1 << 53;
/// Powers of ten up to 10^22 are exact in an `f64`.
const POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// Reads a number as Prometheus does. `None` when it is not one.
///
/// That is Go's `strconv.ParseFloat` without `_`, `p` and `P`, so without hexadecimal numbers too: decimal
/// notation, and `Inf`, `Infinity` (signed or not) and `NaN` (unsigned) in any case. What is too large is refused.
pub fn parse_float(text: &[u8]) -> Option<f64> {
    match short_decimal(text) {
        Some(value) => Some(value),
        None => any_float(text),
    }
}

/// Clinger's fast path: where digits and power of ten are both exact, one multiplication or division rounds once.
fn short_decimal(text: &[u8]) -> Option<f64> {
    let (negative, start) = match text.first()? {
        b'-' => (true, 1),
        b'+' => (false, 1),
        _ => (false, 0),
    };
    let mut at = start;
    let mut mantissa = 0u64;
    let mut point = None;
    while let Some(&byte) = text.get(at) {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            // 19 digits cannot overflow; more than that are left to the general reader.
            mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
        } else if byte == b'.' && point.is_none() {
            point = Some(at);
        } else {
            break;
        }
        at += 1;
    }
    let digits = at - start - usize::from(point.is_some());
    if digits == 0 || digits > 19 || mantissa > EXACT_MAX {
        return None;
    }
    let fraction = point.map_or(0, |point| at - point - 1) as i32;
    let exponent = if at == text.len() { 0 } else { short_exponent(&text[at..])? };
    let magnitude = match exponent - fraction {
        power @ 0..=22 => mantissa as f64 * POWERS_OF_TEN[power as usize],
        power @ -22..0 => mantissa as f64 / POWERS_OF_TEN[-power as usize],
        _ => return None,
    };
    Some(if negative { -magnitude } else { magnitude })
}

/// `e+09` and the like, up to three digits.
fn short_exponent(text: &[u8]) -> Option<i32> {
    let [b'e' | b'E', rest @ ..] = text else { return None };
    let (negative, digits) = match rest {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > 3 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let exponent = digits.iter().fold(0, |sum, digit| sum * 10 + i32::from(digit - b'0'));
    Some(if negative { -exponent } else { exponent })
}

fn any_float(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if unsigned.eq_ignore_ascii_case("inf") || unsigned.eq_ignore_ascii_case("infinity") {
        return Some(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    if text.eq_ignore_ascii_case("nan") {
        return Some(NORMAL_NAN);
    }
    // Rust reads a signed NaN where Go does not; letters other than the exponent's have been dealt with.
    if !text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E')) {
        return None;
    }
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

/// As OpenMetrics writes the values of `le` and `quantile`: like `%g`, but an integer has `.0`.
pub(crate) fn format_bound(value: f64) -> String {
    if value == 0.0 {
        return "0.0".to_owned();
    }
    let mut text = vedette_model::number::format_exposition(value);
    if value.is_finite() && !text.contains(['.', 'e']) {
        text.push_str(".0");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expected: Option<f64>) {
        let read = parse_float(text.as_bytes());
        assert_eq!(read.map(f64::to_bits), expected.map(f64::to_bits), "{text}: {read:?}");
    }

    #[test]
    fn reads_what_prometheus_reads() {
        for (text, value) in [
            ("0", 0.0),
            ("-0", -0.0),
            ("+1", 1.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e3", 1000.0),
            ("1.E-2", 0.01),
            ("1.1e+09", 1.1e9),
            ("9007199254740993", 9007199254740992.0),
            ("1.7976931348623157e308", f64::MAX),
            ("4.9e-324", 5e-324),
            ("1e-400", 0.0),
            ("00000000000000000000001", 1.0),
            ("iNf", f64::INFINITY),
            ("+Infinity", f64::INFINITY),
            ("-inf", f64::NEG_INFINITY),
            ("nAN", NORMAL_NAN),
        ] {
            check(text, Some(value));
        }
    }

    #[test]
    fn refuses_what_prometheus_refuses() {
        for text in [
            "", "+", "-", ".", "e5", "1e", "1e+", "1e999", "-1e999", "+nan", "-NaN", "0x1p4", "0x10",
            "1_000", "1p3", "1 ", " 1", "1\r", "1..2", "1.2.3", "--1", "infin", "nana", "1f", "½",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn bounds_as_openmetrics_writes_them() {
        for (value, text) in [
            (1.0, "1.0"),
            (-0.0, "0.0"),
            (0.25, "0.25"),
            (1e6, "1e+06"),
            (f64::INFINITY, "+Inf"),
            (-3.0, "-3.0"),
        ] {
            assert_eq!(format_bound(value), text);
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_standard_library(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            check(&format!("{value}"), Some(value));
            check(&format!("{value:e}"), Some(value));
        }

        #[test]
        fn short_decimals_agree(text in "[+-]?[0-9]{0,18}(\\.[0-9]{0,5})?([eE][+-]?[0-9]{1,2})?") {
            let expected = text.parse::<f64>().ok();
            check(&text, expected);
        }
    }
}
