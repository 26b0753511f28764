//! Floats that are nothing else: each XORed with the one before, without the zero bytes at both ends.

use crate::ChunkError;
use crate::varint::{take_byte, take_slice};

/// Per value: one byte (high half: zero bytes at the top, low half: bytes that follow), then those bytes.
pub(crate) fn encode(values: &[f64], out: &mut Vec<u8>) {
    let mut last = 0u64;
    for value in values {
        let bits = value.to_bits();
        let changed = bits ^ last;
        last = bits;
        if changed == 0 {
            out.push(0);
            continue;
        }
        let top = changed.leading_zeros() as usize / 8;
        let bottom = changed.trailing_zeros() as usize / 8;
        let kept = 8 - top - bottom;
        out.push((top as u8) << 4 | kept as u8);
        out.extend_from_slice(&changed.to_be_bytes()[top..top + kept]);
    }
}

/// Appends `count` values to `out`.
pub(crate) fn decode(bytes: &mut &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), ChunkError> {
    let mut last = 0u64;
    for _ in 0..count {
        let tag = take_byte(bytes)?;
        let (top, kept) = (usize::from(tag >> 4), usize::from(tag & 0xf));
        if top + kept > 8 {
            return Err(ChunkError::Damaged("length of a changed value"));
        }
        let mut changed = [0; 8];
        changed[top..top + kept].copy_from_slice(take_slice(bytes, kept)?);
        last ^= u64::from_be_bytes(changed);
        out.push(f64::from_bits(last));
    }
    Ok(())
}
