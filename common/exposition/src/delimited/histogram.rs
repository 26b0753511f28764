//! `Histogram`: classic buckets, a native histogram, or both.

use std::mem::take;

use vedette_model::{CountKind, CounterReset, EXPONENTIAL_SCHEMA_MAX, Histogram, Span};

use crate::protobuf::{Fields, FieldsError, Value, add_deltas, add_floats, read_span, unzigzag};

use super::read::{Timed, read_start};

/// What a message of a histogram says.
#[derive(Default)]
pub(super) struct HistogramMessage<'a> {
    pub(super) count: f64,
    count_float: f64,
    pub(super) sum: f64,
    pub(super) buckets: Vec<Bucket<'a>>,
    pub(super) exemplars: Vec<&'a [u8]>,
    pub(super) start_ms: i64,
    schema: i32,
    zero_threshold: f64,
    zero_count: u64,
    zero_count_float: f64,
    negative: Side,
    positive: Side,
}

/// A classic bucket.
pub(super) struct Bucket<'a> {
    pub(super) upper_bound: f64,
    pub(super) cumulative_count: f64,
    pub(super) exemplar: Option<&'a [u8]>,
}

#[derive(Default)]
struct Side {
    spans: Vec<Span>,
    whole: Vec<f64>,
    floats: Vec<f64>,
}

impl<'a> HistogramMessage<'a> {
    pub(super) fn read(message: &'a [u8]) -> Result<Self, FieldsError> {
        let mut read = Self::default();
        for field in Fields::of(message) {
            match field? {
                (1, Value::Varint(count)) => read.count = count as f64,
                (2, Value::Fixed64(bits)) => read.sum = f64::from_bits(bits),
                (3, Value::Bytes(bucket)) => read.buckets.push(Bucket::read(bucket)?),
                (4, Value::Fixed64(bits)) => read.count_float = f64::from_bits(bits),
                (5, Value::Varint(schema)) => read.schema = unzigzag(schema) as i32,
                (6, Value::Fixed64(bits)) => read.zero_threshold = f64::from_bits(bits),
                (7, Value::Varint(count)) => read.zero_count = count,
                (8, Value::Fixed64(bits)) => read.zero_count_float = f64::from_bits(bits),
                (9, Value::Bytes(span)) => read.negative.spans.push(read_span(span)?),
                (10, value) => add_deltas(&mut read.negative.whole, value)?,
                (11, value) => add_floats(&mut read.negative.floats, value),
                (12, Value::Bytes(span)) => read.positive.spans.push(read_span(span)?),
                (13, value) => add_deltas(&mut read.positive.whole, value)?,
                (14, value) => add_floats(&mut read.positive.floats, value),
                (15, Value::Bytes(start)) => read.start_ms = read_start(start)?,
                (16, Value::Bytes(exemplar)) => read.exemplars.push(exemplar),
                _ => {}
            }
        }
        Ok(read)
    }

    /// A classic histogram has nothing of a native one, not even a span of nothing.
    pub(super) fn is_native(&self) -> bool {
        !self.positive.spans.is_empty()
            || !self.negative.spans.is_empty()
            || self.zero_threshold > 0.0
            || self.zero_count > 0
    }

    /// Observations, of whichever kind they were counted in.
    pub(super) fn count(&self) -> f64 {
        if self.count_float == 0.0 { self.count } else { self.count_float }
    }

    /// Takes out the native histogram, without empty buckets, and not finer than there are schemas. Why not, when its
    /// parts do not fit.
    pub(super) fn take_native(&mut self, is_gauge: bool) -> Result<Histogram, String> {
        let is_float = self.count_float > 0.0 || self.zero_count_float > 0.0;
        let (counts, count, zero_count) = match is_float {
            true => (CountKind::Float, self.count_float, self.zero_count_float),
            false => (CountKind::Integer, self.count, self.zero_count as f64),
        };
        let (negative_spans, negative_buckets) = take(&mut self.negative).into_buckets(is_float)?;
        let (positive_spans, positive_buckets) = take(&mut self.positive).into_buckets(is_float)?;
        let mut histogram = Histogram {
            counts,
            counter_reset: if is_gauge { CounterReset::Gauge } else { CounterReset::Unknown },
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count,
            count,
            sum: self.sum,
            positive_spans,
            negative_spans,
            positive_buckets,
            negative_buckets,
            custom_values: [].into(),
        };
        histogram.compact(0);
        if histogram.schema > EXPONENTIAL_SCHEMA_MAX {
            histogram.reduce_resolution(EXPONENTIAL_SCHEMA_MAX).map_err(|error| error.to_string())?;
        }
        histogram.validate().map_err(|error| error.to_string())?;
        Ok(histogram)
    }

    /// Exemplars of a native histogram: its own, else those of its classic buckets; without a time they can not be
    /// told from those of the scrape before.
    pub(super) fn native_exemplars(&self) -> Result<Vec<Timed<'a>>, FieldsError> {
        let own = self.exemplars.iter().copied();
        let of_buckets = self.buckets.iter().filter_map(|bucket| bucket.exemplar);
        let mut exemplars = Vec::new();
        if self.exemplars.is_empty() {
            of_buckets.map(Timed::read).try_for_each(|read| read.map(|read| exemplars.push(read)))?;
        } else {
            own.map(Timed::read).try_for_each(|read| read.map(|read| exemplars.push(read)))?;
        }
        exemplars.retain(|exemplar| exemplar.at_ms.is_some());
        Ok(exemplars)
    }
}

impl<'a> Bucket<'a> {
    fn read(message: &'a [u8]) -> Result<Self, FieldsError> {
        let mut bucket = Self { upper_bound: 0.0, cumulative_count: 0.0, exemplar: None };
        let mut float = 0.0;
        for field in Fields::of(message) {
            match field? {
                (1, Value::Varint(count)) => bucket.cumulative_count = count as f64,
                (2, Value::Fixed64(bits)) => bucket.upper_bound = f64::from_bits(bits),
                (3, Value::Bytes(exemplar)) => bucket.exemplar = Some(exemplar),
                (4, Value::Fixed64(bits)) => float = f64::from_bits(bits),
                _ => {}
            }
        }
        if float != 0.0 {
            bucket.cumulative_count = float;
        }
        Ok(bucket)
    }
}

impl Side {
    fn into_buckets(self, is_float: bool) -> Result<(Vec<Span>, Vec<f64>), String> {
        let named: u64 = self.spans.iter().map(|span| u64::from(span.length)).sum();
        let buckets = if is_float { self.floats } else { self.whole };
        if named != buckets.len() as u64 {
            return Err(format!("its spans name {named} buckets, and {} are there", buckets.len()));
        }
        Ok((self.spans, buckets))
    }
}
