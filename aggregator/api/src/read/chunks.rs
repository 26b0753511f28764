//! A series' samples cut into Prometheus' chunks, each of one kind of samples.

use vedette_model::Samples;

use super::histogram::Run;
use super::message::chunk;
use super::xor::{self, CHUNK_SAMPLES_MAX};

/// What `prometheus.Chunk` calls the encoding of floats.
const XOR: i64 = 1;

/// `prometheus.Chunk`s in the order of time.
pub(super) struct Chunks<'a> {
    samples: &'a Samples,
    /// The first float and the first histogram that are left.
    float: usize,
    histogram: usize,
}

impl<'a> Chunks<'a> {
    pub(super) fn of(samples: &'a Samples) -> Self {
        Self { samples, float: 0, histogram: 0 }
    }

    fn floats(&mut self, before_ms: Option<i64>) -> Option<Vec<u8>> {
        let rest = &self.samples.at_ms[self.float..];
        let count = before_ms.map_or(rest.len(), |end| rest.partition_point(|at| *at < end));
        let range = self.float..self.float + count.min(CHUNK_SAMPLES_MAX);
        let (at_ms, values) = (&self.samples.at_ms[range.clone()], &self.samples.values[range.clone()]);
        self.float = range.end;
        Some(chunk(XOR, *at_ms.first()?, *at_ms.last()?, &xor::encode(at_ms, values)))
    }

    fn histograms(&mut self, before_ms: Option<i64>) -> Option<Vec<u8>> {
        let rest = &self.samples.histograms[self.histogram..];
        let count = before_ms.map_or(rest.len(), |end| rest.partition_point(|sample| sample.at_ms < end));
        let run = Run::first_of(&rest[..count]);
        self.histogram += run.samples.len();
        let (first, last) = (run.samples.first()?.at_ms, run.samples.last()?.at_ms);
        Some(chunk(run.encoding(), first, last, &run.encode()))
    }
}

impl Iterator for Chunks<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let float = self.samples.at_ms.get(self.float).copied();
        let histogram = self.samples.histograms.get(self.histogram).map(|sample| sample.at_ms);
        match (float, histogram) {
            (Some(float), Some(histogram)) if histogram < float => self.histograms(Some(float)),
            (Some(_), until) => self.floats(until),
            (None, _) => self.histograms(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vedette_exposition::protobuf::{Fields, Value};
    use vedette_model::{Histogram, HistogramSample, Span, Timestamp};

    use super::*;

    /// First time, last time and encoding of each chunk.
    fn cuts(samples: &Samples) -> Vec<[u64; 3]> {
        let numbers = |chunk: Vec<u8>| {
            let mut numbers = [0; 3];
            for field in Fields::of(&chunk) {
                if let (number @ 1..=3, Value::Varint(value)) = field.expect("a field") {
                    numbers[number as usize - 1] = value;
                }
            }
            numbers
        };
        Chunks::of(samples).map(numbers).collect()
    }

    fn histogram(at_ms: i64, count: f64) -> HistogramSample {
        let histogram = Histogram {
            counts: vedette_model::CountKind::Integer,
            count,
            positive_spans: vec![Span { offset: 0, length: 1 }],
            positive_buckets: vec![count],
            ..Histogram::default()
        };
        HistogramSample { at_ms, start_ms: 0, histogram: Arc::new(histogram) }
    }

    #[test]
    fn a_chunk_has_one_kind_and_no_reset() {
        let mut samples = Samples::default();
        for at in [1, 2, 7] {
            samples.push(Timestamp::from_millis(at), 1.0);
        }
        samples.histograms =
            [(3, 1.0), (4, 2.0), (5, 1.0), (6, 1.0), (8, 2.0)].map(|(at, count)| histogram(at, count)).into();
        assert_eq!(cuts(&samples), [[1, 2, 1], [3, 4, 2], [5, 6, 2], [7, 7, 1], [8, 8, 2]]);
        assert!(cuts(&Samples::default()).is_empty());
    }

    #[test]
    fn a_chunk_has_at_most_120_samples() {
        let mut samples = Samples::default();
        (1..=250).for_each(|at| samples.push(Timestamp::from_millis(at), 1.0));
        assert_eq!(cuts(&samples), [[1, 120, 1], [121, 240, 1], [241, 250, 1]]);
        samples = Samples::default();
        samples.histograms = (1..=250).map(|at| histogram(at, at as f64)).collect();
        assert_eq!(cuts(&samples), [[1, 120, 2], [121, 240, 2], [241, 250, 2]]);
    }
}
