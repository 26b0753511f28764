//! Protobuf's wire format, with nothing copied: the fields of a message one after the other, and their writing.
//!
//! Prometheus' messages are lists of tens of thousands of small messages of which most need not be looked into, so no
//! structure is made of them.

mod histogram;

use prost::DecodeError;
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};

pub use histogram::{
    add_deltas, add_floats, push_deltas, push_floats, push_signed, push_spans, read_span, unzigzag,
};

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// A number or an enumeration's.
    Varint(u64),
    /// A number of eight bytes, floats among them.
    Fixed64(u64),
    /// A number of four bytes, which no message of Prometheus has.
    Fixed32,
    /// A message, a text or bytes.
    Bytes(&'a [u8]),
}

/// Why bytes are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldsError {
    /// It is cut off.
    #[error("unexpected end")]
    End,
    /// A kind of field that is long out of use.
    #[error("groups are of a version that nobody writes any more")]
    Group,
    /// A number or key that is none.
    #[error(transparent)]
    Number(#[from] DecodeError),
}

/// The fields of a message: their numbers and values.
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Of a message's bytes.
    pub fn of(message: &'a [u8]) -> Self {
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

/// Numbers of a repeated field of numbers, which is written one by one or packed.
pub fn numbers(value: Value<'_>) -> Result<Vec<u64>, FieldsError> {
    match value {
        Value::Varint(number) => Ok(vec![number]),
        Value::Bytes(mut packed) => {
            let mut numbers = Vec::new();
            while !packed.is_empty() {
                numbers.push(decode_varint(&mut packed)?);
            }
            Ok(numbers)
        }
        Value::Fixed64(_) | Value::Fixed32 => Ok(Vec::new()),
    }
}

/// Name and value of a label (`prometheus.Label`, `io.prometheus.client.LabelPair`); nothing says that they are UTF-8.
pub fn read_label(message: &[u8]) -> Result<(&[u8], &[u8]), FieldsError> {
    let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
    for field in Fields::of(message) {
        match field? {
            (1, Value::Bytes(bytes)) => name = bytes,
            (2, Value::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    Ok((name, value))
}

/// Takes a bare number off, as it stands before a message in a stream of them.
pub fn take_varint(bytes: &mut &[u8]) -> Result<u64, FieldsError> {
    Ok(decode_varint(bytes)?)
}

/// Adds a message, a text or bytes.
pub fn push_bytes(message: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    encode_key(number, WireType::LengthDelimited, message);
    encode_varint(bytes.len() as u64, message);
    message.extend_from_slice(bytes);
}

/// Adds a number; 0 is what is not said.
pub fn push_integer(message: &mut Vec<u8>, number: u32, value: i64) {
    if value != 0 {
        encode_key(number, WireType::Varint, message);
        encode_varint(value.cast_unsigned(), message);
    }
}

/// Adds a float; 0 is what is not said, −0 is said.
pub fn push_double(message: &mut Vec<u8>, number: u32, value: f64) {
    if value.to_bits() != 0 {
        encode_key(number, WireType::SixtyFourBit, message);
        message.extend_from_slice(&value.to_bits().to_le_bytes());
    }
}

/// Adds a bare number, as it stands before a message in a stream of them.
pub fn push_varint(bytes: &mut Vec<u8>, value: u64) {
    encode_varint(value, bytes);
}
