//! `prometheus.Histogram`: counts as whole numbers, buckets by their differences, or all as floats.

use std::sync::Arc;

use vedette_exposition::protobuf::{Fields, FieldsError, Value, numbers};
use vedette_model::{CountKind, CounterReset, Histogram, Span};

/// A histogram at a time, as it was pushed: nothing says that it is valid.
pub(super) struct PushedHistogram {
    pub(super) at_ms: i64,
    pub(super) histogram: Arc<Histogram>,
}

pub(super) fn read_histogram(message: &[u8]) -> Result<PushedHistogram, FieldsError> {
    let mut at_ms = 0;
    let mut histogram = Histogram { counts: CountKind::Integer, ..Histogram::default() };
    for field in Fields::of(message) {
        match field? {
            (1, Value::Varint(count)) => histogram.count = count as f64,
            (2, Value::Fixed64(bits)) => {
                histogram.counts = CountKind::Float;
                histogram.count = f64::from_bits(bits);
            }
            (3, Value::Fixed64(bits)) => histogram.sum = f64::from_bits(bits),
            (4, Value::Varint(schema)) => histogram.schema = unzigzag(schema) as i32,
            (5, Value::Fixed64(bits)) => histogram.zero_threshold = f64::from_bits(bits),
            (6, Value::Varint(count)) => histogram.zero_count = count as f64,
            (7, Value::Fixed64(bits)) => histogram.zero_count = f64::from_bits(bits),
            (8, Value::Bytes(span)) => histogram.negative_spans.push(read_span(span)?),
            (9, value) => add_deltas(&mut histogram.negative_buckets, value)?,
            (10, value) => add_floats(&mut histogram.negative_buckets, value),
            (11, Value::Bytes(span)) => histogram.positive_spans.push(read_span(span)?),
            (12, value) => add_deltas(&mut histogram.positive_buckets, value)?,
            (13, value) => add_floats(&mut histogram.positive_buckets, value),
            (14, Value::Varint(hint)) => histogram.counter_reset = reset_of(hint),
            (15, Value::Varint(at)) => at_ms = at.cast_signed(),
            (16, value) => {
                let mut bounds = histogram.custom_values.to_vec();
                add_floats(&mut bounds, value);
                histogram.custom_values = bounds.into();
            }
            _ => {}
        }
    }
    Ok(PushedHistogram { at_ms, histogram: Arc::new(histogram) })
}

fn reset_of(hint: u64) -> CounterReset {
    match hint {
        1 => CounterReset::Reset,
        2 => CounterReset::NotReset,
        3 => CounterReset::Gauge,
        _ => CounterReset::Unknown,
    }
}

fn read_span(message: &[u8]) -> Result<Span, FieldsError> {
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
fn add_deltas(buckets: &mut Vec<f64>, value: Value<'_>) -> Result<(), FieldsError> {
    let mut count = buckets.last().map_or(0, |last| *last as i64);
    for delta in numbers(value)? {
        count = count.wrapping_add(unzigzag(delta));
        buckets.push(count as f64);
    }
    Ok(())
}

/// Adds floats, which are written one by one or packed.
fn add_floats(values: &mut Vec<f64>, value: Value<'_>) {
    match value {
        Value::Fixed64(bits) => values.push(f64::from_bits(bits)),
        Value::Bytes(packed) => {
            values.extend(packed.as_chunks().0.iter().map(|bits| f64::from_le_bytes(*bits)))
        }
        Value::Varint(_) | Value::Fixed32 => {}
    }
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}
