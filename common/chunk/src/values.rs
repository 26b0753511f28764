use crate::varint::{push_unsigned, take_bits64, take_byte, take_count, take_unsigned};
use crate::{ChunkError, decimal, integers, xor};

const VERSION: u8 = 1;

const CONSTANT: u8 = 0;
const DECIMAL: u8 = 1;
const XOR: u8 = 2;

/// Appends `values` to `out`.
pub fn encode_values(values: &[f64], out: &mut Vec<u8>) {
    out.push(VERSION);
    push_unsigned(out, values.len() as u64);
    let first = values.first().map_or(0, |first| first.to_bits());
    if values.iter().all(|value| value.to_bits() == first) {
        out.push(CONSTANT);
        out.extend_from_slice(&first.to_le_bytes());
        return;
    }
    let mut best = Vec::new();
    if let Some(decimals) = decimal::split(values) {
        encode_decimals(&decimals, &mut best);
    }
    // Decimals that need most of a float's bits are no gain.
    if best.is_empty() || best.len() > values.len() * 4 {
        let mut other = vec![XOR];
        xor::encode(values, &mut other);
        if best.is_empty() || other.len() < best.len() {
            best = other;
        }
    }
    out.extend_from_slice(&best);
}

fn encode_decimals(decimals: &decimal::Decimals, out: &mut Vec<u8>) {
    out.push(DECIMAL);
    out.push(decimals.exponent);
    push_unsigned(out, decimals.exceptions.len() as u64);
    let mut next = 0;
    for &(place, bits) in &decimals.exceptions {
        push_unsigned(out, (place - next) as u64);
        out.extend_from_slice(&bits.to_le_bytes());
        next = place + 1;
    }
    integers::encode(&decimals.integers, 0..=2, out);
}

/// Replaces `out` by the values that `bytes` holds, at most `count_max` of them.
pub fn decode_values(bytes: &[u8], count_max: usize, out: &mut Vec<f64>) -> Result<(), ChunkError> {
    let mut rest = bytes;
    out.clear();
    let version = take_byte(&mut rest)?;
    if version != VERSION {
        return Err(ChunkError::Newer { found: version, known: VERSION });
    }
    let count = take_count(&mut rest, count_max)?;
    match take_byte(&mut rest)? {
        CONSTANT => out.resize(count, f64::from_bits(take_bits64(&mut rest)?)),
        DECIMAL => decode_decimals(&mut rest, count, out)?,
        XOR => xor::decode(&mut rest, count, out)?,
        _ => return Err(ChunkError::Damaged("kind of a column of values")),
    }
    if rest.is_empty() { Ok(()) } else { Err(ChunkError::Damaged("bytes after the last value")) }
}

fn decode_decimals(bytes: &mut &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), ChunkError> {
    let exponent = take_byte(bytes)?;
    let exceptions = take_count(bytes, count)?;
    // Read twice: where they stand is known before the integers that they overwrite.
    let listed = *bytes;
    for _ in 0..exceptions {
        take_unsigned(bytes)?;
        take_bits64(bytes)?;
    }
    let mut numbers = Vec::new();
    integers::decode(bytes, count, &mut numbers)?;
    decimal::join_all(&numbers, exponent, out).ok_or(ChunkError::Damaged("power of ten"))?;
    let mut listed = listed;
    let mut next = 0u64;
    for _ in 0..exceptions {
        let place = next.saturating_add(take_unsigned(&mut listed)?);
        let bits = take_bits64(&mut listed)?;
        let value = usize::try_from(place).ok().and_then(|place| out.get_mut(place));
        *value.ok_or(ChunkError::Damaged("place of an exception"))? = f64::from_bits(bits);
        next = place.saturating_add(1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

    fn check(values: &[f64]) -> usize {
        let mut bytes = Vec::new();
        encode_values(values, &mut bytes);
        let mut decoded = vec![1.0];
        assert_eq!(decode_values(&bytes, values.len(), &mut decoded), Ok(()));
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&decoded), bits(values));
        assert!(decode_values(&bytes[..bytes.len() - 1], values.len(), &mut decoded).is_err());
        bytes.len()
    }

    #[test]
    fn sizes_are_as_expected() {
        assert!(check(&[42.5; 5000]) < 16);
        let counter: Vec<f64> = (0..1280).map(|index| 1e9 + f64::from(index * 100 + index % 7)).collect();
        assert!(check(&counter) < 1280 * 5 / 8, "{}", check(&counter));
        let mut ends: Vec<f64> = (0..1280).map(|index| f64::from(index % 50) / 100.0).collect();
        ends.push(STALE);
        assert!(check(&ends) < 1300, "{}", check(&ends));
        let noise: Vec<f64> = (0..1280).map(|index| f64::from(index).sin()).collect();
        assert!(check(&noise) < 1280 * 9, "{}", check(&noise));
    }

    #[test]
    fn extremes_survive() {
        check(&[]);
        check(&[-0.0, 0.0]);
        check(&[STALE, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, 5e-324, f64::MAX]);
        check(&[STALE, STALE, 3.5, 3.25, 1e300]);
        check(&[9_007_199_254_740_992.0, -9_007_199_254_740_992.0, 9_007_199_254_740_993.0, 0.1]);
        check(&[1e17, 1.0 / 3.0, 0.1 + 0.2]);
    }

    proptest! {
        #[test]
        fn any_bits_round_trip(bits in proptest::collection::vec(any::<u64>(), 0..300)) {
            check(&bits.into_iter().map(f64::from_bits).collect::<Vec<_>>());
        }

        #[test]
        fn decimals_with_strangers_round_trip(
            numbers in proptest::collection::vec((any::<i32>(), 0u8..40), 0..300), exponent in 0i32..9) {
            let values: Vec<f64> = numbers
                .into_iter()
                .map(|(number, kind)| match kind {
                    0 => STALE,
                    1 => -0.0,
                    2 => f64::from(number) / 3.0,
                    _ => f64::from(number) / 10f64.powi(exponent),
                })
                .collect();
            check(&values);
        }

        #[test]
        fn any_bytes_are_safe(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0u8..3) {
            crate::check_any_bytes(&bytes);
            bytes.splice(0..0, [VERSION, 100, kind]);
            crate::check_any_bytes(&bytes);
        }
    }
}
