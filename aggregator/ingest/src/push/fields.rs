//! The fields of a protobuf message, one after the other, with nothing copied.
//!
//! Messages of remote write are lists of tens of thousands of small messages of which most need not be looked into, so
//! no structure is made of them.

use prost::DecodeError;
use prost::encoding::{WireType, decode_key, decode_varint};

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    /// A message, a text or bytes.
    Bytes(&'a [u8]),
}

/// Why bytes are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FieldsError {
    #[error("unexpected end")]
    End,
    #[error("groups are of a version that nobody writes any more")]
    Group,
    #[error(transparent)]
    Number(#[from] DecodeError),
}

/// The fields of a message: their numbers and values.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn read(&mut self) -> Result<(u32, Value<'a>), FieldsError> {
        let (number, kind) = decode_key(&mut self.rest)?;
        let value = match kind {
            WireType::Varint => Value::Varint(decode_varint(&mut self.rest)?),
            WireType::SixtyFourBit => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            WireType::ThirtyTwoBit => {
                let _value: [u8; 4] = self.array()?;
                Value::Fixed32
            }
            WireType::LengthDelimited => {
                let length = decode_varint(&mut self.rest)?;
                let length = usize::try_from(length).ok().filter(|length| *length <= self.rest.len());
                let (bytes, rest) = self.rest.split_at(length.ok_or(FieldsError::End)?);
                self.rest = rest;
                Value::Bytes(bytes)
            }
            WireType::StartGroup | WireType::EndGroup => return Err(FieldsError::Group),
        };
        Ok((number, value))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FieldsError> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or(FieldsError::End)?;
        self.rest = rest;
        Ok(*bytes)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), FieldsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}
