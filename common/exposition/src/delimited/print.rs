//! Writing families, for those that read native histograms.

use vedette_model::{CounterReset, Histogram};

use crate::protobuf::{
    push_bytes, push_double, push_floats, push_integer, push_signed, push_spans, push_varint,
};

/// A family is written in several of the same name when it is longer.
const FAMILY_BYTES_MAX: usize = 256 << 10;

/// Writes families into a buffer of the caller's.
#[derive(Debug)]
pub struct DelimitedPrinter<'a> {
    out: &'a mut Vec<u8>,
    /// Name and type of the family that is being written.
    head: Vec<u8>,
    metrics: Vec<u8>,
}

impl<'a> DelimitedPrinter<'a> {
    /// Appends to `out`. What was written is whole after [`DelimitedPrinter::finish`].
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, head: Vec::new(), metrics: Vec::new() }
    }

    /// A float of no known kind.
    pub fn untyped(&mut self, name: &str, labels: &[(&str, &str)], value: f64, at_ms: i64) {
        const UNTYPED: i64 = 3;
        let mut untyped = Vec::new();
        push_double(&mut untyped, 1, value);
        self.metric((name, UNTYPED), labels, (5, &untyped), at_ms);
    }

    /// A histogram with its counts as floats; one with custom bounds in the classic form, which every reader knows.
    pub fn histogram(&mut self, name: &str, labels: &[(&str, &str)], histogram: &Histogram, at_ms: i64) {
        const HISTOGRAM: i64 = 4;
        const GAUGE_HISTOGRAM: i64 = 5;
        let kind = match histogram.counter_reset {
            CounterReset::Gauge => GAUGE_HISTOGRAM,
            CounterReset::Unknown | CounterReset::Reset | CounterReset::NotReset => HISTOGRAM,
        };
        let mut message = Vec::new();
        push_said(&mut message, 4, histogram.count);
        push_said(&mut message, 2, histogram.sum);
        match histogram.uses_custom_buckets() {
            true => push_classic(&mut message, histogram),
            false => push_native(&mut message, histogram),
        }
        self.metric((name, kind), labels, (7, &message), at_ms);
    }

    /// Ends the last family.
    pub fn finish(mut self) {
        self.end_family();
    }

    fn metric(
        &mut self,
        (name, kind): (&str, i64),
        labels: &[(&str, &str)],
        (number, value): (u32, &[u8]),
        at_ms: i64,
    ) {
        let mut head = Vec::new();
        push_bytes(&mut head, 1, name.as_bytes());
        push_integer(&mut head, 3, kind);
        if head != self.head || self.metrics.len() > FAMILY_BYTES_MAX {
            self.end_family();
            self.head = head;
        }
        let mut metric = Vec::new();
        for (name, value) in labels {
            let mut label = Vec::new();
            push_bytes(&mut label, 1, name.as_bytes());
            push_bytes(&mut label, 2, value.as_bytes());
            push_bytes(&mut metric, 1, &label);
        }
        push_bytes(&mut metric, number, value);
        push_integer(&mut metric, 6, at_ms);
        push_bytes(&mut self.metrics, 4, &metric);
    }

    fn end_family(&mut self) {
        if !self.metrics.is_empty() {
            push_varint(self.out, (self.head.len() + self.metrics.len()) as u64);
            self.out.append(&mut self.head);
            self.out.append(&mut self.metrics);
        }
    }
}

/// A float that is said even when it is 0.
fn push_said(message: &mut Vec<u8>, number: u64, value: f64) {
    const FIXED64: u64 = 1;
    push_varint(message, number << 3 | FIXED64);
    message.extend_from_slice(&value.to_bits().to_le_bytes());
}

fn push_native(message: &mut Vec<u8>, histogram: &Histogram) {
    push_signed(message, 5, histogram.schema.into());
    push_said(message, 6, histogram.zero_threshold);
    push_said(message, 8, histogram.zero_count);
    push_spans(message, 9, &histogram.negative_spans);
    push_floats(message, 11, &histogram.negative_buckets);
    push_spans(message, 12, &histogram.positive_spans);
    push_floats(message, 14, &histogram.positive_buckets);
    let is_empty = histogram.negative_spans.is_empty() && histogram.positive_spans.is_empty();
    if is_empty && histogram.zero_threshold == 0.0 {
        // A span of nothing tells a native histogram from a classic one.
        push_bytes(message, 12, &[]);
    }
}

/// One bucket for each bound. The last, +Inf, goes without saying.
fn push_classic(message: &mut Vec<u8>, histogram: &Histogram) {
    let mut filled = histogram.positive_buckets().peekable();
    let mut cumulative = 0.0;
    for (index, bound) in (0i32..).zip(&*histogram.custom_values) {
        while let Some(bucket) = filled.next_if(|bucket| bucket.index <= index) {
            cumulative += bucket.count;
        }
        let mut bucket = Vec::new();
        push_double(&mut bucket, 2, *bound);
        push_double(&mut bucket, 4, cumulative);
        push_bytes(message, 3, &bucket);
    }
}
