//! Small files that are written whole: `magic, version, body, checksum`. Also a segment's header.
//!
//! ```text
//! 0      4  magic
//! 4      1  version
//! 5      n  body, integers little-endian
//! 5 + n  8  xxh3-64 of everything before
//! ```

use xxhash_rust::xxh3::xxh3_64;

/// Bytes around the body.
pub(crate) const RECORD_OVERHEAD: usize = 4 + 1 + 8;

/// Why a record can not be read. The spool goes on without it, and what it said is taken as unknown.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordError {
    /// Shorter or longer than its content, or another kind of file.
    #[error("not a {expected} record")]
    Malformed {
        /// What was expected.
        expected: &'static str,
    },
    /// The checksum does not fit the bytes.
    #[error("checksum does not match")]
    Checksum,
    /// Written by a newer release.
    #[error("version {found} is newer than {supported}, the newest that this release reads")]
    Version {
        /// The version in the file.
        found: u8,
        /// The newest known.
        supported: u8,
    },
}

/// Writes a record's body.
pub(crate) struct RecordWriter {
    bytes: Vec<u8>,
}

impl RecordWriter {
    pub(crate) fn new(magic: [u8; 4], version: u8) -> Self {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(&magic);
        bytes.push(version);
        Self { bytes }
    }

    pub(crate) fn put_u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub(crate) fn put_u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn put_u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn put_u128(&mut self, value: u128) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Length as `u32`, then the bytes.
    pub(crate) fn put_text(&mut self, text: &str) {
        self.put_u32(text.len() as u32);
        self.bytes.extend_from_slice(text.as_bytes());
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        let checksum = xxh3_64(&self.bytes);
        self.put_u64(checksum);
        self.bytes
    }
}

/// Writes the checksum that a record's bytes ask for, so that a fuzzer can change what is behind it.
pub(crate) fn seal(record: &mut [u8]) {
    if let Some((content, checksum)) = record.split_last_chunk_mut::<8>() {
        *checksum = xxh3_64(content).to_le_bytes();
    }
}

/// Reads a record's body; every step is checked against what is there.
pub(crate) struct RecordReader<'a> {
    rest: &'a [u8],
    expected: &'static str,
}

impl<'a> RecordReader<'a> {
    /// Checks magic, version and checksum of `bytes`, which must be the whole record.
    pub(crate) fn open(
        bytes: &'a [u8],
        magic: [u8; 4],
        version: u8,
        expected: &'static str,
    ) -> Result<Self, RecordError> {
        let malformed = RecordError::Malformed { expected };
        let Some((content, checksum)) = bytes.split_last_chunk::<8>() else { return Err(malformed) };
        let Some((head, body)) = content.split_first_chunk::<5>() else { return Err(malformed) };
        if head[..4] != magic {
            return Err(malformed);
        }
        // Before the checksum: a newer release may place it elsewhere.
        if head[4] > version {
            return Err(RecordError::Version { found: head[4], supported: version });
        }
        if xxh3_64(content) != u64::from_le_bytes(*checksum) {
            return Err(RecordError::Checksum);
        }
        // Versions count from 1.
        if head[4] == 0 {
            return Err(malformed);
        }
        Ok(Self { rest: body, expected })
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.malformed())?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn malformed(&self) -> RecordError {
        RecordError::Malformed { expected: self.expected }
    }

    pub(crate) fn u8(&mut self) -> Result<u8, RecordError> {
        Ok(u8::from_le_bytes(self.take()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, RecordError> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, RecordError> {
        Ok(u64::from_le_bytes(self.take()?))
    }

    pub(crate) fn u128(&mut self) -> Result<u128, RecordError> {
        Ok(u128::from_le_bytes(self.take()?))
    }

    /// A count of things of at least `bytes_each` bytes, so that it can not ask for more memory than was read.
    pub(crate) fn count(&mut self, bytes_each: usize) -> Result<usize, RecordError> {
        let count = self.u32()? as usize;
        if count.saturating_mul(bytes_each) > self.rest.len() { Err(self.malformed()) } else { Ok(count) }
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, RecordError> {
        let length = self.count(1)?;
        let (text, rest) = self.rest.split_at(length);
        self.rest = rest;
        std::str::from_utf8(text).map_err(|_| RecordError::Malformed { expected: self.expected })
    }

    pub(crate) fn finish(self) -> Result<(), RecordError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.malformed()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut writer = RecordWriter::new(*b"TEST", 1);
        writer.put_u8(7);
        writer.put_text("hello");
        writer.finish()
    }

    #[test]
    fn round_trips_and_notices_every_flipped_bit() {
        let bytes = sample();
        let mut reader = RecordReader::open(&bytes, *b"TEST", 1, "test").expect("opens");
        assert_eq!(reader.u8(), Ok(7));
        assert_eq!(reader.text(), Ok("hello"));
        assert_eq!(reader.finish(), Ok(()));
        for bit in 0..bytes.len() * 8 {
            let mut broken = bytes.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(RecordReader::open(&broken, *b"TEST", 1, "test").is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_version_is_named() {
        let bytes = RecordWriter::new(*b"TEST", 2).finish();
        let found = RecordReader::open(&bytes, *b"TEST", 1, "test").err();
        assert_eq!(found, Some(RecordError::Version { found: 2, supported: 1 }));
    }
}
