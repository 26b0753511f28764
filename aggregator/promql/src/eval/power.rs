//! Powers as Go's library computes them: by squaring, so that what is printed of them, and what a remainder leaves of
//! large ones, is the same to the last bit where the exponent is whole.

use crate::eval::exponential::ln;

/// Beyond these exponents of two there is nothing but zero and infinity, whatever follows.
const EXPONENT_MAX: i64 = 1 << 12;
/// From here on a whole number is even, and its powers are zero, one or infinite.
const WHOLE_MAX: f64 = 9_223_372_036_854_775_808.0;

/// `x ^ y`
pub(crate) fn pow(x: f64, y: f64) -> f64 {
    // What C's rules settle, Go settles in the same way.
    let is_settled = y == 0.0 || x == 0.0 || x == 1.0 || !x.is_finite() || !y.is_finite();
    let (mut whole, mut part) = (y.abs().trunc(), y.abs().fract());
    if is_settled || whole >= WHOLE_MAX || (x < 0.0 && part != 0.0) {
        return x.powf(y);
    }
    if part == 0.5 && whole == 0.0 {
        return if y > 0.0 { x.sqrt() } else { 1.0 / x.sqrt() };
    }
    let mut result = 1.0;
    if part != 0.0 {
        if part > 0.5 {
            part -= 1.0;
            whole += 1.0;
        }
        result = (part * ln(x)).exp();
    }
    let (mut square, mut square_exponent) = split(x);
    let mut exponent = 0;
    let mut rest = whole as i64;
    while rest != 0 {
        if square_exponent.abs() > EXPONENT_MAX {
            exponent += square_exponent;
            break;
        }
        if rest & 1 == 1 {
            result *= square;
            exponent += square_exponent;
        }
        square *= square;
        square_exponent *= 2;
        if square < 0.5 {
            square += square;
            square_exponent -= 1;
        }
        rest >>= 1;
    }
    // Inverted first, so that what is too small for a float is not lost on the way.
    if y < 0.0 { join(1.0 / result, -exponent) } else { join(result, exponent) }
}

/// A number from a half to one, and the power of two by which it is multiplied.
fn split(value: f64) -> (f64, i64) {
    const EXPONENT_BITS: u64 = 0x7FF << 52;
    const TWO_TO_52: f64 = 4_503_599_627_370_496.0;
    if value == 0.0 || !value.is_finite() {
        return (value, 0);
    }
    let (normal, shift) = if value.is_subnormal() { (value * TWO_TO_52, 52) } else { (value, 0) };
    let exponent = (normal.to_bits() >> 52 & 0x7FF) as i64 - 1022 - shift;
    (f64::from_bits(normal.to_bits() & !EXPONENT_BITS | 1022 << 52), exponent)
}

/// The reverse, rounded once.
fn join(value: f64, exponent: i64) -> f64 {
    let (part, own) = split(value);
    let exponent = exponent + own - 1;
    let power = |exponent: i64| f64::from_bits(((exponent + 1023) as u64) << 52);
    if part == 0.0 || !part.is_finite() {
        part
    } else if exponent < -1075 {
        0.0f64.copysign(part)
    } else if exponent > 1023 {
        f64::INFINITY.copysign(part)
    } else if exponent >= -1022 {
        part * 2.0 * power(exponent)
    } else {
        part * 2.0 * power(exponent + 53) * power(-53)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values that Prometheus 3.5.3 gives.
    #[test]
    fn powers_are_those_of_go() {
        for (x, y, wanted) in [
            (2.0, 10.0, 1024.0),
            (2.0, -1074.0, 5e-324),
            (2.0, -1075.0, 0.0),
            (2.0, 1024.0, f64::INFINITY),
            (-3.0, 3.0, -27.0),
            (-2.0, -3.0, -0.125),
            (10.0, -3.0, 0.001),
            (2.0, 0.5, std::f64::consts::SQRT_2),
            (0.9999999, 1e9, 3.720_057_523_521_416e-44),
            (1.0000001, 1e9, 2.688_103_843_211_962e43),
            (5e-324, 2.0, 0.0),
            (5e-324, -1.0, f64::INFINITY),
            (-0.0, -3.0, f64::NEG_INFINITY),
            (-1.0, f64::INFINITY, 1.0),
            (-1.5, 1e300, f64::INFINITY),
            (1e-310, 0.001, 0.492_094_217_643_093_3),
        ] {
            assert_eq!(pow(x, y), wanted, "{x} ^ {y}");
        }
        assert!(pow(-8.0, 1.0 / 3.0).is_nan() && pow(f64::NAN, 2.0).is_nan() && pow(-4.0, 0.5).is_nan());
    }

    #[test]
    fn powers_are_those_of_everybody() {
        for x in [1e-300f64, 0.3, 0.99, 1.7, 12.5, 1e10, 1e300] {
            for y in [-7.0, -2.5, -0.3, 0.1, 0.75, 1.0, 3.0, 20.25] {
                let (ours, theirs) = (pow(x, y), x.powf(y));
                let near = (ours - theirs).abs() <= 1e-12 * theirs.abs() + 1e-320;
                assert!(ours == theirs || near, "{x} ^ {y}: {ours} {theirs}");
            }
        }
    }
}
