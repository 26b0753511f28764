//! `prometheus.Histogram`: counts as whole numbers, buckets by their differences, or all as floats.

use std::sync::Arc;

use vedette_exposition::protobuf::{Fields, FieldsError, Value, add_deltas, add_floats, read_span, unzigzag};
use vedette_model::{CountKind, CounterReset, Histogram};

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
