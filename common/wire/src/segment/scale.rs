//! Which integers stand for a series' values.

/// How a value is written as an integer. Only ways that give the same bits back are ever used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scale(u8);

/// Exact powers of ten: a quotient by them is correctly rounded, as a parsed decimal is.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];
/// Integers up to here are exact in an `f64`.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

impl Scale {
    /// Whole numbers, up to the range of an `i64`.
    pub(super) const WHOLE: Self = Self(0);
    /// The bits themselves.
    pub(super) const BITS: Self = Self(31);

    /// In the order in which they are tried. Codes 0 to 22 divide by that power of ten. Exporters also multiply
    /// by a thousandth or divide twice by a thousand, which rounds differently.
    const TRIED: [u8; 27] =
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 23, 24, 25, 26, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22];

    pub(super) fn from_code(code: u32) -> Self {
        Self(code as u8 & 31)
    }

    pub(super) fn code(self) -> u32 {
        u32::from(self.0)
    }

    /// The first way that writes both values.
    pub(super) fn of(value: f64, other: f64) -> Self {
        let both = |scale: &Self| scale.integer(value).is_some() && scale.integer(other).is_some();
        let scales = || Self::TRIED.into_iter().map(Self);
        let found = scales().find(both);
        found.or_else(|| scales().find(|scale| scale.integer(value).is_some())).unwrap_or(Self::BITS)
    }

    /// The integer that stands for `value`, if it gives the same bits back.
    #[inline]
    pub(super) fn integer(self, value: f64) -> Option<i64> {
        let scaled = match self.0 {
            0 => {
                // The cast saturates; of the ends of the range only the lower is a float.
                let integer = value as i64;
                let exact = integer != i64::MAX && (integer as f64).to_bits() == value.to_bits();
                return exact.then_some(integer);
            }
            code @ 1..=22 => value * POWERS[usize::from(code)],
            23 => value * 1e3,
            24 | 26 => value * 1e6,
            25 => value * 1e9,
            _ => return Some(value.to_bits() as i64),
        };
        // Neither infinities nor NaNs are below.
        let in_range = scaled.abs() < EXACT_MAX;
        if !in_range {
            return None;
        }
        let integer = round(scaled);
        (self.value(integer).to_bits() == value.to_bits()).then_some(integer)
    }

    /// The value that `integer` stands for.
    #[inline]
    pub(super) fn value(self, integer: i64) -> f64 {
        let exact = integer as f64;
        match self.0 {
            0 => exact,
            code @ 1..=22 => exact / POWERS[usize::from(code)],
            23 => exact * 1e-3,
            24 => exact / 1e3 / 1e3,
            25 => exact * 1e-9,
            26 => exact * 1e-6,
            _ => f64::from_bits(integer as u64),
        }
    }
}

/// To the nearest integer; a tie's direction does not matter, as the result is checked.
#[inline]
fn round(value: f64) -> i64 {
    (value + 0.5f64.copysign(value)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn finds_the_shortest_decimal() {
        let code = |value: f64| Scale::of(value, value).code();
        assert_eq!(code(0.0), 0);
        assert_eq!(code(-9_223_372_036_854_775_808.0), 0);
        assert_eq!(code(9_223_372_036_854_775_808.0), Scale::BITS.code());
        assert_eq!(code(-0.0), Scale::BITS.code());
        assert_eq!(code(12.5), 1);
        assert_eq!(code(0.000_123_517), 9);
        assert_eq!(code(22432.0 * 0.001), 23);
        assert_eq!(code(756_025_310.0 / 1e3 / 1e3), 24);
        assert_eq!(code(f64::NAN), Scale::BITS.code());
        assert_eq!(code(f64::INFINITY), Scale::BITS.code());
        assert_eq!(code(std::f64::consts::PI), 15);
        assert_eq!(code(1e-300), Scale::BITS.code());
    }

    proptest! {
        #[test]
        fn what_it_accepts_comes_back(bits: u64, code in 0u32..32, decimal in -1_000_000i64..1_000_000) {
            for value in [f64::from_bits(bits), decimal as f64 / 1000.0, decimal as f64 * 0.001] {
                let scale = Scale::from_code(code);
                if let Some(integer) = scale.integer(value) {
                    prop_assert_eq!(scale.value(integer).to_bits(), value.to_bits());
                }
                let best = Scale::of(value, value);
                let integer = best.integer(value).expect("it was chosen for this value");
                prop_assert_eq!(best.value(integer).to_bits(), value.to_bits());
            }
        }
    }
}
