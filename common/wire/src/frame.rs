use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::ids::{BatchSeq, GapReason};
use crate::varint;

/// The version of frames that this crate writes, and the newest that it reads.
pub const FRAME_VERSION: u8 = 1;
/// No frame is longer than this, header included.
pub const FRAME_BYTES_MAX: usize = 4 << 20;
/// Version, kind and checksum come first and have a fixed size.
const FIXED_BYTES: usize = 10;
const CHECKSUM_AT: usize = 2;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// The first batch of a segment: it needs nothing that came before.
    Key,
    /// A batch that continues a segment.
    Delta,
    /// Batches that the writer no longer has.
    Gap,
}

/// What can be known of a frame without decoding its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// The format's version.
    pub version: u8,
    /// What the frame is.
    pub kind: FrameKind,
    /// The batch's number; of a gap, its first.
    pub seq: BatchSeq,
    /// The number of the key batch that the frame's segment starts with; of a gap, `seq`.
    pub key_seq: BatchSeq,
    /// `seq`; of a gap, its last number.
    pub last_seq: BatchSeq,
    /// The length of the whole frame in bytes.
    pub frame_len: usize,
}

/// Why bytes are not a frame. All are corruption or a foreign version: the stream cannot go on behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Written by a newer release.
    #[error("frame version {version}, this release reads up to {FRAME_VERSION}: upgrade the reader first")]
    Version {
        /// The version found.
        version: u8,
    },
    /// Not a kind of this version.
    #[error("unknown frame kind {kind}")]
    Kind {
        /// The kind found.
        kind: u8,
    },
    /// A number that no writer gives.
    #[error("frame header with impossible batch numbers")]
    Numbers,
    /// Longer than allowed.
    #[error("frame of {bytes} bytes, at most {FRAME_BYTES_MAX} are allowed")]
    TooLong {
        /// The length announced.
        bytes: u64,
    },
    /// The bytes are not those that were written.
    #[error("frame checksum mismatch at batch {seq}")]
    Checksum {
        /// The number in its header.
        seq: BatchSeq,
    },
    /// Not exactly one frame.
    #[error("{found} bytes given for a frame of {expected}")]
    Length {
        /// Bytes given.
        found: usize,
        /// Bytes announced.
        expected: usize,
    },
}

impl FrameHeader {
    /// Reads the header of the frame that `bytes` starts with, without checking the checksum. `None`: it
    /// takes more bytes to tell.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, FrameError> {
        Ok(Parsed::read(bytes)?.map(|parsed| parsed.header))
    }
}

/// Checks that `bytes` are exactly one frame, as it was written: its checksum is right. What is in it is not decoded.
pub fn check_frame(bytes: &[u8]) -> Result<FrameHeader, FrameError> {
    read_frame(bytes).map(|(header, _)| header)
}

/// A gap's frame: the writer no longer has the batches `from..=to`.
pub fn encode_gap(from: BatchSeq, to: BatchSeq, reason: GapReason) -> Vec<u8> {
    let to = to.max(from);
    write_frame(FrameKind::Gap, from, to.0 - from.0, &[reason.code()])
}

/// Writes the checksum that the frame's bytes ask for, so that tests and fuzzers can change what is behind it.
/// Bytes too short for a header are left alone.
pub fn seal_frame(frame: &mut [u8]) {
    if frame.len() > FIXED_BYTES {
        let checksum = checksum(frame);
        frame[CHECKSUM_AT..FIXED_BYTES].copy_from_slice(&checksum.to_le_bytes());
    }
}

/// Puts a frame together. `distance`: from the key batch of the segment, or to the end of a gap.
pub(crate) fn write_frame(kind: FrameKind, seq: BatchSeq, distance: u64, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(FIXED_BYTES + 3 * varint::BYTES_MAX + body.len());
    frame.extend([FRAME_VERSION, kind.code()]);
    frame.extend([0; 8]);
    varint::write(&mut frame, seq.0);
    if kind != FrameKind::Key {
        varint::write(&mut frame, distance);
    }
    varint::write(&mut frame, body.len() as u64);
    frame.extend_from_slice(body);
    seal_frame(&mut frame);
    frame
}

/// Checks that `bytes` are exactly one frame with the right checksum; gives its header and body.
pub(crate) fn read_frame(bytes: &[u8]) -> Result<(FrameHeader, &[u8]), FrameError> {
    let short = FrameError::Length { found: bytes.len(), expected: bytes.len() + 1 };
    let Parsed { header, body_at } = Parsed::read(bytes)?.ok_or(short)?;
    if bytes.len() != header.frame_len {
        return Err(FrameError::Length { found: bytes.len(), expected: header.frame_len });
    }
    if bytes[CHECKSUM_AT..FIXED_BYTES] != checksum(bytes).to_le_bytes() {
        return Err(FrameError::Checksum { seq: header.seq });
    }
    Ok((header, &bytes[body_at..]))
}

struct Parsed {
    header: FrameHeader,
    body_at: usize,
}

impl Parsed {
    fn read(bytes: &[u8]) -> Result<Option<Self>, FrameError> {
        match bytes.first() {
            None => return Ok(None),
            Some(&FRAME_VERSION) => {}
            Some(&version) => return Err(FrameError::Version { version }),
        }
        let Some(&code) = bytes.get(1) else { return Ok(None) };
        let kind = FrameKind::from_code(code).ok_or(FrameError::Kind { kind: code })?;
        let Some(mut rest) = bytes.get(FIXED_BYTES..) else { return Ok(None) };
        let mut number = || match varint::read(&mut rest) {
            Ok(value) => Ok(Some(value)),
            Err(varint::VarintError::Short) => Ok(None),
            Err(varint::VarintError::Overlong) => Err(FrameError::Numbers),
        };
        let Some(seq) = number()? else { return Ok(None) };
        let distance = if kind == FrameKind::Key { Some(0) } else { number()? };
        let Some(distance) = distance else { return Ok(None) };
        let Some(body_len) = number()? else { return Ok(None) };
        let body_at = bytes.len() - rest.len();
        if body_len > (FRAME_BYTES_MAX - body_at) as u64 {
            return Err(FrameError::TooLong { bytes: body_len.saturating_add(body_at as u64) });
        }
        let (key_seq, last_seq) = match kind {
            FrameKind::Key => (Some(seq), Some(seq)),
            // A delta batch is never its own key batch, and numbers start at 1.
            FrameKind::Delta if distance == 0 => (None, None),
            FrameKind::Delta => (seq.checked_sub(distance).filter(|key| *key > 0), Some(seq)),
            FrameKind::Gap => (Some(seq), seq.checked_add(distance)),
        };
        let (Some(key_seq), Some(last_seq), 1..) = (key_seq, last_seq, seq) else {
            return Err(FrameError::Numbers);
        };
        let header = FrameHeader {
            version: FRAME_VERSION,
            kind,
            seq: BatchSeq(seq),
            key_seq: BatchSeq(key_seq),
            last_seq: BatchSeq(last_seq),
            frame_len: body_at + body_len as usize,
        };
        Ok(Some(Self { header, body_at }))
    }
}

impl FrameKind {
    const fn code(self) -> u8 {
        match self {
            Self::Key => 1,
            Self::Delta => 2,
            Self::Gap => 3,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [Self::Key, Self::Delta, Self::Gap].into_iter().find(|kind| kind.code() == code)
    }
}

/// Over all bytes of the frame but the checksum's own.
fn checksum(frame: &[u8]) -> u64 {
    let mut hasher = Xxh3::with_seed(xxh3_64(&frame[..CHECKSUM_AT]));
    hasher.update(&frame[FIXED_BYTES..]);
    hasher.digest()
}
