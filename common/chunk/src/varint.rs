use crate::ChunkError;

/// Seven bits a byte, low bits first, the top bit set where more follow.
pub fn push_unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Zigzag: 0, -1, 1, -2, … become 0, 1, 2, 3, …
pub fn push_signed(out: &mut Vec<u8>, value: i64) {
    push_unsigned(out, zigzag(value));
}

/// Takes what [`push_unsigned`] wrote off the front of `bytes`.
pub fn take_unsigned(bytes: &mut &[u8]) -> Result<u64, ChunkError> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = take_byte(bytes)?;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return Err(ChunkError::Damaged("number is too long"));
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(ChunkError::Damaged("number is too long"))
}

/// Takes what [`push_signed`] wrote off the front of `bytes`.
pub fn take_signed(bytes: &mut &[u8]) -> Result<i64, ChunkError> {
    let value = take_unsigned(bytes)?;
    Ok((value >> 1) as i64 ^ -((value & 1) as i64))
}

pub(crate) fn take_byte(bytes: &mut &[u8]) -> Result<u8, ChunkError> {
    let (&byte, rest) = bytes.split_first().ok_or(ChunkError::Truncated)?;
    *bytes = rest;
    Ok(byte)
}

pub(crate) fn take_slice<'a>(bytes: &mut &'a [u8], len: usize) -> Result<&'a [u8], ChunkError> {
    let (slice, rest) = bytes.split_at_checked(len).ok_or(ChunkError::Truncated)?;
    *bytes = rest;
    Ok(slice)
}

pub(crate) fn take_bits64(bytes: &mut &[u8]) -> Result<u64, ChunkError> {
    let (head, rest) = bytes.split_first_chunk::<8>().ok_or(ChunkError::Truncated)?;
    *bytes = rest;
    Ok(u64::from_le_bytes(*head))
}

pub(crate) fn take_count(bytes: &mut &[u8], count_max: usize) -> Result<usize, ChunkError> {
    let count = take_unsigned(bytes)?;
    match usize::try_from(count) {
        Ok(fits) if fits <= count_max => Ok(fits),
        _ => Err(ChunkError::TooMany { count, count_max }),
    }
}

pub(crate) fn unsigned_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}
