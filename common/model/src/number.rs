//! Numbers as Prometheus prints them (Go's `strconv.FormatFloat` with the shortest precision).

/// Without an exponent, as in the HTTP API: Go's format `f`. `NaN`, `+Inf`, `-Inf` are spelled so.
pub fn format_plain(value: f64) -> String {
    match special(value) {
        Some(word) => word.to_owned(),
        None if takes_even_digit(value) => to_even(format!("{value}")),
        None => format!("{value}"),
    }
}

/// With an exponent: Go's format `e`. Of a finite value.
pub fn format_scientific(value: f64) -> String {
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    let even = takes_even_digit(value).then(|| to_even(mantissa.to_owned()));
    format!("{}e{sign}{digits:0>2}", even.as_deref().unwrap_or(mantissa))
}

/// With an exponent where it is below -4 or above 5: Go's format `g`, as in the text exposition format and in
/// PromQL's messages.
pub fn format_exposition(value: f64) -> String {
    let size = value.abs();
    let is_plain = size == 0.0 || !size.is_finite() || (1e-4..1e6).contains(&size);
    if is_plain { format_plain(value) } else { format_scientific(value) }
}

/// Whether the shortest text of a value lies in the middle between two, of which Go takes the even one and Rust, unlike it,
/// the greater. It is seldom so: the exact text has 17 or 18 digits, the last of which is a 5.
pub fn takes_even_digit(value: f64) -> bool {
    /// Bits of a mantissa behind the first.
    const FRACTION_BITS: u64 = 52;
    let bits = value.to_bits();
    let fraction = bits & ((1 << FRACTION_BITS) - 1) | 1 << FRACTION_BITS;
    let exponent = (bits >> FRACTION_BITS & 0x7FF) as i32 - 1023;
    // So many decimals has what is a multiple of that power of two; and so many digits it has before them.
    let decimals = 52 - exponent - fraction.trailing_zeros() as i32;
    let whole_digits = ((exponent * 1233) >> 12) + 1;
    if !(2..=60).contains(&decimals) || !(16..=19).contains(&(decimals + whole_digits)) {
        return false;
    }
    let shortest = format!("{value}");
    let printed = shortest.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let exact = format!("{value:.*}", decimals as usize);
    let lower = &exact[..exact.len() - 1];
    let is_even = lower.as_bytes().last().is_some_and(|digit| digit % 2 == 0);
    printed + 1 == decimals as usize && is_even && lower.parse() == Ok(value)
}

/// Rust's text of such a value as Go has it.
fn to_even(text: String) -> String {
    let mut bytes = text.into_bytes();
    if let Some(last) = bytes.last_mut() {
        *last -= *last % 2;
    }
    String::from_utf8(bytes).unwrap_or_default()
}

fn special(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        Some("NaN")
    } else if value == f64::INFINITY {
        Some("+Inf")
    } else if value == f64::NEG_INFINITY {
        Some("-Inf")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_go_does() {
        for (value, plain, exposition) in [
            (0.0, "0", "0"),
            (-0.0, "-0", "-0"),
            (1e6, "1000000", "1e+06"),
            (123456.0, "123456", "123456"),
            (123456789.0, "123456789", "1.23456789e+08"),
            (0.0001, "0.0001", "0.0001"),
            (0.00001, "0.00001", "1e-05"),
            (1e21, "1000000000000000000000", "1e+21"),
            (1_351_079_888_211_149.0 + 0.25, "1351079888211149.2", "1.3510798882111492e+15"),
            (-1_801_439_850_948_199.0 - 0.25, "-1801439850948199.2", "-1.8014398509481992e+15"),
            (1_351_079_888_211_149.0 + 0.75, "1351079888211149.8", "1.3510798882111498e+15"),
            (2_304_571_067.0 + 57.0 / 256.0, "2304571067.2226562", "2.3045710672226562e+09"),
            (190_027_521_189.0 + 17.0 / 64.0, "190027521189.26562", "1.9002752118926562e+11"),
            (1.0 / 16_777_216.0, "0.00000005960464477539063", "5.960464477539063e-08"),
            (0.25, "0.25", "0.25"),
            (f64::NAN, "NaN", "NaN"),
            (f64::NEG_INFINITY, "-Inf", "-Inf"),
        ] {
            assert_eq!(format_plain(value), plain);
            assert_eq!(format_exposition(value), exposition);
        }
    }
}
