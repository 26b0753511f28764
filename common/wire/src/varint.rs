//! LEB128: seven bits a byte, low bits first, high bit set = more follows.

/// The longest encoding of a `u64`.
pub(crate) const BYTES_MAX: usize = 10;

/// Why a number could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VarintError {
    /// The bytes end within it.
    Short,
    /// It does not fit, or has needless bytes.
    Overlong,
}

pub(crate) fn write(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a number off the front of `bytes`.
pub(crate) fn read(bytes: &mut &[u8]) -> Result<u64, VarintError> {
    let mut value = 0u64;
    for (used, &byte) in bytes.iter().enumerate() {
        let bits = u64::from(byte & 0x7f);
        let needless = byte == 0 && used > 0;
        if needless || used >= BYTES_MAX || (used == BYTES_MAX - 1 && bits > 1) {
            return Err(VarintError::Overlong);
        }
        value |= bits << (7 * used);
        if byte < 0x80 {
            *bytes = &bytes[used + 1..];
            return Ok(value);
        }
    }
    Err(VarintError::Short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_refuses_other_forms() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            write(&mut bytes, value);
            assert_eq!(read(&mut &bytes[..bytes.len() - 1]), Err(VarintError::Short));
            let mut rest = bytes.as_slice();
            assert_eq!((read(&mut rest), rest), (Ok(value), &[][..]));
        }
        assert_eq!(read(&mut &[0x80, 0][..]), Err(VarintError::Overlong));
        assert_eq!(read(&mut &[0xff; 11][..]), Err(VarintError::Overlong));
    }
}
