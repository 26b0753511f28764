//! What messages of native histograms are made of, in remote write, remote read and expositions alike.

use vedette_model::Span;

use super::{Fields, FieldsError, Value, numbers, push_bytes, push_integer, push_varint};

/// A number of either sign, as it is written.
pub fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

fn zigzag(value: i64) -> i64 {
    value << 1 ^ value >> 63
}

/// A `BucketSpan`.
pub fn read_span(message: &[u8]) -> Result<Span, FieldsError> {
    let mut span = Span::default();
    for field in Fields::of(message) {
        match field? {
            (1, Value::Varint(offset)) => span.offset = unzigzag(offset) as i32,
            (2, Value::Varint(length)) => span.length = length as u32,
            _ => {}
        }
    }
    Ok(span)
}

/// Adds buckets that are given by how much each differs from the one before.
pub fn add_deltas(buckets: &mut Vec<f64>, value: Value<'_>) -> Result<(), FieldsError> {
    let mut count = buckets.last().map_or(0, |last| *last as i64);
    for delta in numbers(value)? {
        count = count.wrapping_add(unzigzag(delta));
        buckets.push(count as f64);
    }
    Ok(())
}

/// Adds floats, which are written one by one or packed.
pub fn add_floats(values: &mut Vec<f64>, value: Value<'_>) {
    match value {
        Value::Fixed64(bits) => values.push(f64::from_bits(bits)),
        Value::Bytes(packed) => {
            values.extend(packed.as_chunks().0.iter().map(|bits| f64::from_le_bytes(*bits)))
        }
        Value::Varint(_) | Value::Fixed32 => {}
    }
}

/// Adds a number of either sign; 0 is what is not said.
pub fn push_signed(message: &mut Vec<u8>, number: u32, value: i64) {
    push_integer(message, number, zigzag(value));
}

/// Adds `BucketSpan`s.
pub fn push_spans(message: &mut Vec<u8>, number: u32, spans: &[Span]) {
    for span in spans {
        let mut field = Vec::new();
        push_signed(&mut field, 1, span.offset.into());
        push_integer(&mut field, 2, span.length.into());
        push_bytes(message, number, &field);
    }
}

/// Adds whole numbers by how much each differs from the one before.
pub fn push_deltas(message: &mut Vec<u8>, number: u32, buckets: &[f64]) {
    let (mut packed, mut last) = (Vec::new(), 0);
    for bucket in buckets {
        let count = *bucket as i64;
        push_varint(&mut packed, zigzag(count.wrapping_sub(last)).cast_unsigned());
        last = count;
    }
    if !packed.is_empty() {
        push_bytes(message, number, &packed);
    }
}

/// Adds floats, packed.
pub fn push_floats(message: &mut Vec<u8>, number: u32, values: &[f64]) {
    if !values.is_empty() {
        let packed: Vec<u8> = values.iter().flat_map(|value| value.to_bits().to_le_bytes()).collect();
        push_bytes(message, number, &packed);
    }
}
