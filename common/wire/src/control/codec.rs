//! Bytes of a control message.
//!
//! ```text
//! 0       4       5      6
//! | length | version | kind | body ...          |
//!   u32 LE    u8        u8    bincode, standard
//! ```
//!
//! `length` counts everything after itself. Bytes of the body behind the fields that this release knows
//! are optional fields of a later release and are skipped. A message whose kind is unknown is skipped
//! when the kind is 128 or more, and an error otherwise.

use crate::{BatchSeq, LogId, ReplicaId};
use bincode::de::{BorrowDecoder, Decode, Decoder};
use bincode::enc::{Encode, Encoder};
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, config};

/// Layout of control messages written by this release, and the only one that it reads.
pub const CONTROL_VERSION: u8 = 1;
/// Bytes of the length in front of a message.
pub const LENGTH_PREFIX_BYTES: usize = 4;
/// Longest message, its length prefix not counted.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// From this kind on a receiver that does not know a message skips it.
pub(super) const KIND_OPTIONAL_MIN: u8 = 128;

const HEADER_BYTES: usize = 2;

/// Why bytes are not a control message.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The peer announces more than any message may have. The stream is beyond repair.
    #[error("control message of {length} bytes: at most {MESSAGE_BYTES_MAX} are allowed")]
    TooLong {
        /// Bytes announced.
        length: usize,
    },
    /// Too short to carry a version and a kind.
    #[error("control message of {length} bytes has no header")]
    TooShort {
        /// Bytes announced.
        length: usize,
    },
    /// Written by a release that lays out messages differently.
    #[error("control message has layout version {found}, this release reads {CONTROL_VERSION}")]
    UnsupportedVersion {
        /// What the message says.
        found: u8,
    },
    /// A kind that does not belong here and may not be skipped.
    #[error("control message of unknown kind {kind}")]
    UnknownKind {
        /// What the message says.
        kind: u8,
    },
    /// The body does not decode.
    #[error("control message of kind {kind} is malformed: {reason}")]
    Malformed {
        /// Which message.
        kind: u8,
        /// What the decoder says.
        reason: String,
    },
    /// A list or text exceeds its bound.
    #[error("control message has {count} {what}, at most {max} are allowed")]
    TooMany {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many are allowed.
        max: usize,
    },
}

/// A set of messages that can come on one stream. Sealed by what it needs: only this module encodes.
pub trait ControlMessage: Sized {
    /// Number of the message's kind on the wire.
    fn kind(&self) -> u8;
    /// Appends the body's bytes.
    fn encode_body(&self, out: &mut Vec<u8>) -> Result<(), ControlError>;
    /// Reads a body; `None` when the kind is not one of this set.
    fn decode_body(kind: u8, body: &[u8]) -> Result<Option<Self>, ControlError>;
    /// Whether every list and text is within its bound.
    fn check(&self) -> Result<(), ControlError>;
}

/// What was found at the start of a buffer.
#[derive(Debug, PartialEq)]
pub enum Decoded<M> {
    /// A message and the bytes that it takes, prefix included.
    Message(M, usize),
    /// A message that this release may skip, and its bytes.
    Skipped(usize),
    /// Not all of the message is there yet.
    Incomplete,
}

/// Bytes of a whole message, its length in front.
pub fn encode<M: ControlMessage>(message: &M) -> Result<Vec<u8>, ControlError> {
    message.check()?;
    let mut out = vec![0; LENGTH_PREFIX_BYTES];
    out.extend([CONTROL_VERSION, message.kind()]);
    message.encode_body(&mut out)?;
    let length = out.len() - LENGTH_PREFIX_BYTES;
    if length > MESSAGE_BYTES_MAX {
        return Err(ControlError::TooLong { length });
    }
    out[..LENGTH_PREFIX_BYTES].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(out)
}

/// Length that a prefix announces, checked against the bounds before anybody allocates.
pub fn message_len(prefix: [u8; LENGTH_PREFIX_BYTES]) -> Result<usize, ControlError> {
    let length = u32::from_le_bytes(prefix) as usize;
    match length {
        _ if length > MESSAGE_BYTES_MAX => Err(ControlError::TooLong { length }),
        _ if length < HEADER_BYTES => Err(ControlError::TooShort { length }),
        _ => Ok(length),
    }
}

/// The message at the start of `bytes`.
pub fn decode<M: ControlMessage>(bytes: &[u8]) -> Result<Decoded<M>, ControlError> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<LENGTH_PREFIX_BYTES>() else {
        return Ok(Decoded::Incomplete);
    };
    let length = message_len(*prefix)?;
    let Some(message) = rest.get(..length) else {
        return Ok(Decoded::Incomplete);
    };
    let (version, kind, body) = (message[0], message[1], &message[HEADER_BYTES..]);
    if version != CONTROL_VERSION {
        return Err(ControlError::UnsupportedVersion { found: version });
    }
    let taken = LENGTH_PREFIX_BYTES + length;
    match M::decode_body(kind, body)? {
        Some(message) => {
            message.check()?;
            Ok(Decoded::Message(message, taken))
        }
        None if kind >= KIND_OPTIONAL_MIN => Ok(Decoded::Skipped(taken)),
        None => Err(ControlError::UnknownKind { kind }),
    }
}

/// Refuses lists and texts longer than `max`.
pub(super) fn bounded(what: &'static str, count: usize, max: usize) -> Result<(), ControlError> {
    if count > max {
        return Err(ControlError::TooMany { what, count, max });
    }
    Ok(())
}

pub(super) fn write<T: Encode>(value: &T, kind: u8, out: &mut Vec<u8>) -> Result<(), ControlError> {
    bincode::encode_into_std_write(value, out, config::standard())
        .map_err(|error| malformed(kind, error.to_string()))?;
    Ok(())
}

/// The limit makes the decoder refuse a count before it allocates for it.
pub(super) fn read<T: Decode<()>>(body: &[u8], kind: u8) -> Result<T, ControlError> {
    let bounded = config::standard().with_limit::<MESSAGE_BYTES_MAX>();
    match bincode::decode_from_slice(body, bounded) {
        Ok((value, _optional_fields_of_later_releases_follow)) => Ok(value),
        Err(error) => Err(malformed(kind, error.to_string())),
    }
}

fn malformed(kind: u8, reason: String) -> ControlError {
    ControlError::Malformed { kind, reason }
}

/// A newtype is encoded as what it wraps.
macro_rules! encode_as {
    ($name:ty, $inner:ty, $to:expr, $from:expr) => {
        impl Encode for $name {
            fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
                let to: fn(&$name) -> $inner = $to;
                to(self).encode(encoder)
            }
        }

        impl<C> Decode<C> for $name {
            fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
                let from: fn($inner) -> $name = $from;
                Ok(from(Decode::decode(decoder)?))
            }
        }

        impl<'de, C> BorrowDecode<'de, C> for $name {
            fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(
                decoder: &mut D,
            ) -> Result<Self, DecodeError> {
                Decode::decode(decoder)
            }
        }
    };
}

encode_as!(LogId, u128, |log| log.0, LogId);
encode_as!(BatchSeq, u64, |seq| seq.0, BatchSeq);
encode_as!(ReplicaId, [u8; 16], |id| id.0.into_bytes(), |bytes| ReplicaId(uuid::Uuid::from_bytes(bytes)));
