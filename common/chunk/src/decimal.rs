//! Floats that are short decimals, as integers with one power of ten for the whole column.

/// The largest power of ten that a float holds exactly is 10^22; printed decimals have at most 17 digits.
const EXPONENT_MAX: u8 = 17;
/// Integers up to here are exact as floats.
const INTEGER_MAX: f64 = 9_007_199_254_740_992.0;
/// Values looked at before a column is given up.
const PROBE: usize = 32;

const POWERS: [f64; EXPONENT_MAX as usize + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17];

/// A column as integers.
pub(crate) struct Decimals {
    /// Power of ten that the integers are divided by.
    pub(crate) exponent: u8,
    /// One a value; where the value is an exception, the integer before it again.
    pub(crate) integers: Vec<i64>,
    /// Place and bits of what is not exact as a decimal: NaN, infinities, -0, long fractions.
    pub(crate) exceptions: Vec<(usize, u64)>,
}

/// The column as decimals, unless too much of it would be exceptions.
pub(crate) fn split(values: &[f64]) -> Option<Decimals> {
    let exponent = find_exponent(values)?;
    let exceptions_max = 1 + values.len() / 8;
    let mut integers = Vec::with_capacity(values.len());
    let mut exceptions = Vec::new();
    let mut last = None;
    for (place, &value) in values.iter().enumerate() {
        match exact(value, exponent) {
            Some(integer) => {
                // What stands before the first integer repeats it.
                if last.is_none() {
                    integers.fill(integer);
                }
                last = Some(integer);
            }
            None if exceptions.len() == exceptions_max => return None,
            None => exceptions.push((place, value.to_bits())),
        }
        integers.push(last.unwrap_or(0));
    }
    Some(Decimals { exponent, integers, exceptions })
}

/// Back to a float: the same division that [`exact`] has checked.
pub(crate) fn join(integer: i64, exponent: u8) -> Option<f64> {
    POWERS.get(usize::from(exponent)).map(|power| integer as f64 / power)
}

/// All at once.
pub(crate) fn join_all(integers: &[i64], exponent: u8, out: &mut Vec<f64>) -> Option<()> {
    let power = POWERS.get(usize::from(exponent))?;
    if exponent == 0 {
        out.extend(integers.iter().map(|&integer| integer as f64));
    } else {
        out.extend(integers.iter().map(|&integer| integer as f64 / power));
    }
    Some(())
}

/// The least power of ten under which all values are integers, but for those for which there is none.
fn find_exponent(values: &[f64]) -> Option<u8> {
    let mut exponent = 0;
    let mut failed = 0;
    for (seen, &value) in values.iter().enumerate() {
        if exact(value, exponent).is_some() {
            continue;
        }
        match (exponent + 1..=EXPONENT_MAX).find(|&more| exact(value, more).is_some()) {
            Some(more) => exponent = more,
            None => failed += 1,
        }
        if seen == PROBE && failed > PROBE / 4 {
            return None;
        }
    }
    Some(exponent)
}

/// The integer, where dividing it gives back the same bits.
fn exact(value: f64, exponent: u8) -> Option<i64> {
    let scaled = (value * POWERS[usize::from(exponent)]).round();
    // Not a number is not in the range either.
    if !(-INTEGER_MAX..=INTEGER_MAX).contains(&scaled) {
        return None;
    }
    let integer = scaled as i64;
    (join(integer, exponent)?.to_bits() == value.to_bits()).then_some(integer)
}
