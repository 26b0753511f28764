/// The value that ends a series: a NaN with its own payload, as Prometheus writes it
/// (`model/value/value.go`, `StaleNaN`).
///
/// It differs from the ordinary NaN (`0x7ff8000000000001`) in its bits alone, so it must never
/// pass through arithmetic: compare with [`is_stale`].
pub const STALE_NAN: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// Whether `value` is the staleness marker, by its bits.
#[inline]
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN.to_bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_nan_is_not_stale() {
        assert!(is_stale(STALE_NAN));
        assert!(!is_stale(f64::NAN));
        assert!(!is_stale(f64::from_bits(0x7ff8_0000_0000_0001)));
        assert!(!is_stale(0.0));
    }
}
