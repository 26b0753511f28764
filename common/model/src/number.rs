//! Numbers as Prometheus prints them (Go's `strconv.FormatFloat` with the shortest precision).

/// Without an exponent, as in the HTTP API: Go's format `f`. `NaN`, `+Inf`, `-Inf` are spelled so.
pub fn format_plain(value: f64) -> String {
    match special(value) {
        Some(word) => word.to_owned(),
        None => format!("{value}"),
    }
}

/// With an exponent where it is below -4 or above 5: Go's format `g`, as in the text exposition format and in
/// PromQL's messages.
pub fn format_exposition(value: f64) -> String {
    if let Some(word) = special(value) {
        return word.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
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
            (f64::NAN, "NaN", "NaN"),
            (f64::NEG_INFINITY, "-Inf", "-Inf"),
        ] {
            assert_eq!(format_plain(value), plain);
            assert_eq!(format_exposition(value), exposition);
        }
    }
}
