//! Chunks of a part, behind the answer that announces them.
//!
//! ```text
//! 0        4              12
//! | length | checksum     | bytes …
//!   u32 LE   u64 LE
//! ```

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Bytes in front of each chunk.
pub const CHUNK_HEADER_BYTES: usize = 12;
/// Bytes of one chunk.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;

/// Why bytes are not the next chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// Longer than any chunk may be. The stream is beyond repair.
    #[error("chunk of {length} bytes: at most {CHUNK_BYTES_MAX} are allowed")]
    TooLong {
        /// Bytes announced.
        length: usize,
    },
    /// Changed on the way, or not the one that comes next.
    #[error("chunk {number} does not have its checksum")]
    Checksum {
        /// Its number, from 0.
        number: u64,
    },
}

/// What stands in front of the chunk with this number; the empty chunk ends the stream.
pub fn chunk_header(number: u64, bytes: &[u8]) -> [u8; CHUNK_HEADER_BYTES] {
    let mut header = [0; CHUNK_HEADER_BYTES];
    header[..4].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
    header[4..].copy_from_slice(&xxh3_64_with_seed(bytes, number).to_le_bytes());
    header
}

/// How many bytes a header announces, checked before anybody allocates for them.
pub fn chunk_len(header: &[u8; CHUNK_HEADER_BYTES]) -> Result<usize, ChunkError> {
    let [a, b, c, d, ..] = *header;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    if length > CHUNK_BYTES_MAX { Err(ChunkError::TooLong { length }) } else { Ok(length) }
}

/// Whether `bytes` are the chunk with this number that the header announces.
pub fn check_chunk(header: &[u8; CHUNK_HEADER_BYTES], number: u64, bytes: &[u8]) -> Result<(), ChunkError> {
    if *header == chunk_header(number, bytes) { Ok(()) } else { Err(ChunkError::Checksum { number }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_known_by_its_number_and_its_bytes() {
        let header = chunk_header(3, b"some bytes");
        assert_eq!(chunk_len(&header), Ok(10));
        assert_eq!(check_chunk(&header, 3, b"some bytes"), Ok(()));
        assert_eq!(check_chunk(&header, 4, b"some bytes"), Err(ChunkError::Checksum { number: 4 }));
        assert_eq!(check_chunk(&header, 3, b"same bytes"), Err(ChunkError::Checksum { number: 3 }));
        assert_ne!(chunk_header(0, b""), chunk_header(1, b""));
        let long = (CHUNK_BYTES_MAX as u32 + 1).to_le_bytes();
        let mut header = [0; CHUNK_HEADER_BYTES];
        header[..4].copy_from_slice(&long);
        assert_eq!(chunk_len(&header), Err(ChunkError::TooLong { length: CHUNK_BYTES_MAX + 1 }));
    }
}
