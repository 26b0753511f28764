//! Hyperbolic functions and their inverses as Go's library has them, which at the ends of their range are neither Rust's
//! nor C's.

use std::f64::consts::LN_2;

use crate::eval::exponential::exp;

/// From here on `x * x + 1` is `x * x`: 2^28.
const LARGE: f64 = 268_435_456.0;
/// Below, what is added to `x` is less than a float holds.
const SMALL: f64 = 1.0 / LARGE;
/// From here on `e^-x` is nothing beside `e^x`.
const ONE_SIDED: f64 = 21.0;

/// Infinite as soon as `e^x` is, a little before its half would be.
pub(crate) fn sinh(x: f64) -> f64 {
    if x.abs() > ONE_SIDED { (exp(x.abs()) * 0.5).copysign(x) } else { x.sinh() }
}

/// Infinite as soon as `e^x` is.
pub(crate) fn cosh(x: f64) -> f64 {
    if x.abs() > ONE_SIDED { exp(x.abs()) * 0.5 } else { x.cosh() }
}

pub(crate) fn asinh(x: f64) -> f64 {
    let size = x.abs();
    let result = if !size.is_finite() || size < SMALL {
        size
    } else if size > LARGE {
        size.ln() + LN_2
    } else if size > 2.0 {
        (2.0 * size + 1.0 / ((size * size + 1.0).sqrt() + size)).ln()
    } else {
        (size + size * size / (1.0 + (1.0 + size * size).sqrt())).ln_1p()
    };
    result.copysign(x)
}

pub(crate) fn acosh(x: f64) -> f64 {
    if x.is_nan() || x < 1.0 {
        f64::NAN
    } else if x >= LARGE {
        x.ln() + LN_2
    } else if x > 2.0 {
        (2.0 * x - 1.0 / (x + (x * x - 1.0).sqrt())).ln()
    } else {
        let above = x - 1.0;
        (above + (2.0 * above + above * above).sqrt()).ln_1p()
    }
}

pub(crate) fn atanh(x: f64) -> f64 {
    let size = x.abs();
    let result = if size.is_nan() || size > 1.0 {
        f64::NAN
    } else if size < SMALL {
        size
    } else if size < 0.5 {
        let twice = size + size;
        0.5 * (twice + twice * size / (1.0 - size)).ln_1p()
    } else {
        0.5 * ((size + size) / (1.0 - size)).ln_1p()
    };
    result.copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values that Prometheus 3.5.3 gives.
    #[test]
    fn the_ends_of_the_range_are_those_of_go() {
        assert_eq!(acosh(1e300), 691.468_675_078_773_6);
        assert_eq!(acosh(f64::MAX), 710.475_860_073_943_9);
        assert_eq!(asinh(-f64::MAX), -710.475_860_073_943_9);
        assert_eq!((acosh(1.0), acosh(f64::INFINITY)), (0.0, f64::INFINITY));
        assert!(acosh(0.999).is_nan() && atanh(1.001).is_nan() && asinh(f64::NAN).is_nan());
        assert_eq!((atanh(1.0), atanh(-1.0)), (f64::INFINITY, f64::NEG_INFINITY));
        assert_eq!((sinh(-710.0), cosh(710.0)), (f64::NEG_INFINITY, f64::INFINITY));
        assert!(sinh(709.0).is_finite() && cosh(-709.0).is_finite());
        for function in [sinh, asinh, atanh] {
            assert!(function(-0.0).to_bits() == (-0.0f64).to_bits() && function(5e-324) == 5e-324);
        }
    }

    #[test]
    fn the_middle_of_the_range_is_that_of_everybody() {
        for x in [1e-9, 1e-5, 0.1, 0.4, 0.6, 0.99, 1.5, 2.5, 19.0, 30.0, 1e7, 1e12] {
            let close =
                |ours: f64, theirs: f64| ours == theirs || (ours - theirs).abs() <= 1e-14 * theirs.abs();
            assert!(
                close(sinh(x), x.sinh()) && close(cosh(x), x.cosh()) && close(asinh(x), x.asinh()),
                "{x}"
            );
            assert!(x >= 1.0 || close(atanh(x), x.atanh()), "{x}");
            assert!(x < 1.0 || close(acosh(x), x.acosh()), "{x}");
        }
    }
}
