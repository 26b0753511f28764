//! The exponential and the logarithms as Go's library has them on amd64, which is what nearly every Prometheus answers
//! with: the machine code there differs from everybody's at the ends of the range. Vedette answers so on every processor.

use std::f64::consts::{LN_2, LN_10, LOG2_E};

/// From here on the exponent of two is rounded to one that no float has, though `e^x` would still be one up to 709.78.
const EXPONENT_MAX: f64 = 1023.5;
/// The lowest bit of a float's exponent.
const EXPONENT_BIT: u64 = 1 << 52;

/// Infinite from 709.44 on.
pub(crate) fn exp(x: f64) -> f64 {
    if x * LOG2_E >= EXPONENT_MAX { f64::INFINITY } else { x.exp() }
}

/// Takes a denormal for the half of the normal number with the same fraction.
pub(crate) fn ln(x: f64) -> f64 {
    if x.is_subnormal() && x > 0.0 { f64::from_bits(x.to_bits() | EXPONENT_BIT).ln() - LN_2 } else { x.ln() }
}

/// The same.
pub(crate) fn log10(x: f64) -> f64 {
    if x.is_subnormal() { ln(x) / LN_10 } else { x.log10() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(ours: f64, theirs: f64) -> bool {
        (ours - theirs).abs() <= 1e-15 * theirs.abs()
    }

    /// Values that Prometheus 3.5.3 gives.
    #[test]
    fn the_ends_of_the_range_are_those_of_go() {
        assert_eq!(
            (exp(709.5), exp(709.7), exp(f64::INFINITY)),
            (f64::INFINITY, f64::INFINITY, f64::INFINITY)
        );
        assert!(close(exp(709.43), 1.263_380_870_186_008_3e308));
        assert_eq!((exp(-745.1), exp(-746.0), exp(f64::NEG_INFINITY)), (5e-324, 0.0, 0.0));
        assert!(close(ln(5e-324), -709.089_565_712_824_1) && close(ln(1e-310), -709.085_081_548_894_5));
        assert!(close(log10(5e-324), -307.953_685_564_252_8) && close(log10(1e-310), -307.951_738_116_602_2));
    }

    #[test]
    fn the_middle_of_the_range_is_that_of_everybody() {
        for x in [f64::MIN_POSITIVE, 1e-300, 0.3, 1.0, 1.5, 700.0] {
            assert!(exp(x) == x.exp() && ln(x) == x.ln() && log10(x) == x.log10(), "{x}");
        }
        assert_eq!((ln(0.0), log10(-0.0)), (f64::NEG_INFINITY, f64::NEG_INFINITY));
        for x in [-5e-324, -1.0, f64::NAN] {
            assert!(ln(x).is_nan() && log10(x).is_nan(), "{x}");
        }
    }
}
