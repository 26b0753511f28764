//! Chunks of histograms read back by a reader of its own, as Prometheus' reader does it.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use vedette_model::{
    CUSTOM_BUCKETS_SCHEMA, CountKind, CounterReset, Histogram, HistogramSample, STALE_NAN, Span,
};

use super::histogram::Run;

/// Bits, the highest first.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn bits(&mut self, count: u32) -> u64 {
        (0..count).fold(0, |value, _| {
            let bit = self.bytes[self.at / 8] >> (7 - self.at % 8) & 1;
            self.at += 1;
            value << 1 | u64::from(bit)
        })
    }

    fn float(&mut self) -> f64 {
        f64::from_bits(self.bits(64))
    }

    fn varbit_size(&mut self) -> u32 {
        let ones = (0..8).take_while(|_| self.bits(1) == 1).count();
        [0, 3, 6, 9, 12, 18, 25, 56, 64][ones]
    }

    fn unsigned(&mut self) -> u64 {
        let size = self.varbit_size();
        self.bits(size)
    }

    fn signed(&mut self) -> i64 {
        let size = self.varbit_size();
        let value = self.bits(size);
        match size {
            1..64 if value > 1 << (size - 1) => value.cast_signed() - (1 << size),
            _ => value.cast_signed(),
        }
    }

    fn xor(&mut self, last: &mut f64, window: &mut (u32, u32)) -> f64 {
        if self.bits(1) == 1 {
            if self.bits(1) == 1 {
                let leading = self.bits(5) as u32;
                let size = match self.bits(6) as u32 {
                    0 => 64,
                    size => size,
                };
                *window = (leading, 64 - leading - size);
            }
            let bits = self.bits(64 - window.0 - window.1) << window.1;
            *last = f64::from_bits(last.to_bits() ^ bits);
        }
        *last
    }

    fn spans(&mut self) -> Vec<Span> {
        (0..self.unsigned())
            .map(|_| {
                let length = self.unsigned() as u32;
                Span { length, offset: self.signed() as i32 }
            })
            .collect()
    }

    fn bound(&mut self) -> f64 {
        match self.unsigned() {
            0 => self.float(),
            thousandths => (thousandths - 1) as f64 / 1000.0,
        }
    }
}

/// Samples of a chunk, each with the reset that a reader assumes.
fn decode(bytes: &[u8], encoding: i64) -> Vec<HistogramSample> {
    let count = u16::from_be_bytes([bytes[0], bytes[1]]);
    let is_gauge = bytes[2] >> 6 == 3;
    let mut reader = Reader { bytes: &bytes[3..], at: 0 };
    let mut layout = Histogram {
        counts: if encoding == 2 { CountKind::Integer } else { CountKind::Float },
        zero_threshold: match reader.bits(8) {
            0 => 0.0,
            255 => reader.float(),
            exponent => 2f64.powi(exponent as i32 - 244),
        },
        schema: reader.signed() as i32,
        ..Histogram::default()
    };
    (layout.positive_spans, layout.negative_spans) = (reader.spans(), reader.spans());
    if layout.uses_custom_buckets() {
        let count = reader.unsigned();
        layout.custom_values = (0..count).map(|_| reader.bound()).collect();
    }
    let buckets = |spans: &[Span]| spans.iter().map(|span| span.length as usize).sum::<usize>();
    let sizes = [buckets(&layout.positive_spans), buckets(&layout.negative_spans)];
    let mut numbers = Numbers::new(sizes[0] + sizes[1]);
    let mut samples = Vec::new();
    for place in 0..count {
        let mut histogram = layout.clone();
        let at_ms = match encoding {
            2 => numbers.read_integers(&mut reader, place == 0, &mut histogram, sizes),
            _ => numbers.read_floats(&mut reader, place == 0, &mut histogram, sizes),
        };
        histogram.counter_reset = match place {
            _ if is_gauge => CounterReset::Gauge,
            0 => CounterReset::Unknown,
            _ => CounterReset::NotReset,
        };
        samples.push(HistogramSample { at_ms, start_ms: 0, histogram: Arc::new(histogram) });
    }
    samples
}

/// What the last sample left: time, counts and buckets with their deltas; floats with their windows.
struct Numbers {
    whole: Vec<(i64, i64)>,
    floats: Vec<(f64, (u32, u32))>,
}

impl Numbers {
    fn new(buckets: usize) -> Self {
        Self { whole: vec![(0, 0); 3 + buckets], floats: vec![(0.0, (0, 0)); 3 + buckets] }
    }

    fn step(&mut self, index: usize, reader: &mut Reader<'_>) -> i64 {
        let (value, delta) = &mut self.whole[index];
        *delta += reader.signed();
        *value += *delta;
        *value
    }

    fn read_integers(
        &mut self,
        reader: &mut Reader<'_>,
        first: bool,
        histogram: &mut Histogram,
        [positive, negative]: [usize; 2],
    ) -> i64 {
        let buckets = 3..3 + positive + negative;
        if first {
            self.whole[0].0 = reader.signed();
            for index in 1..3 {
                self.whole[index].0 = reader.unsigned().cast_signed();
            }
            self.floats[2].0 = reader.float();
            buckets.clone().for_each(|index| self.whole[index].0 = reader.signed());
        } else {
            for index in 0..3 {
                self.step(index, reader);
            }
            let (sum, window) = &mut self.floats[2];
            reader.xor(sum, window);
            if sum.to_bits() != STALE_NAN.to_bits() {
                for index in buckets.clone() {
                    self.step(index, reader);
                }
            }
        }
        histogram.count = self.whole[1].0 as f64;
        histogram.zero_count = self.whole[2].0 as f64;
        histogram.sum = self.floats[2].0;
        let absolute = |range: std::ops::Range<usize>| {
            let deltas = self.whole[range].iter();
            deltas.scan(0, |count, (delta, _)| {
                *count += delta;
                Some(*count as f64)
            })
        };
        histogram.positive_buckets = absolute(3..3 + positive).collect();
        histogram.negative_buckets = absolute(3 + positive..buckets.end).collect();
        self.whole[0].0
    }

    fn read_floats(
        &mut self,
        reader: &mut Reader<'_>,
        first: bool,
        histogram: &mut Histogram,
        [positive, negative]: [usize; 2],
    ) -> i64 {
        if first {
            self.whole[0].0 = reader.signed();
        } else {
            self.step(0, reader);
        }
        for (value, window) in &mut self.floats {
            if first {
                *value = reader.float();
            } else {
                reader.xor(value, window);
            }
        }
        let values: Vec<f64> = self.floats.iter().map(|(value, _)| *value).collect();
        (histogram.count, histogram.zero_count, histogram.sum) = (values[0], values[1], values[2]);
        histogram.positive_buckets = values[3..3 + positive].to_vec();
        histogram.negative_buckets = values[3 + positive..3 + positive + negative].to_vec();
        self.whole[0].0
    }
}

/// All chunks of some histograms, read back.
fn round_trip(samples: &[HistogramSample]) -> Vec<HistogramSample> {
    let (mut read, mut rest) = (Vec::new(), samples);
    while !rest.is_empty() {
        let run = Run::first_of(rest);
        assert!(!run.samples.is_empty() && run.samples.len() <= 120);
        let back = decode(&run.encode(), run.encoding());
        assert_eq!(back.len(), run.samples.len());
        read.extend(back);
        rest = &rest[run.samples.len()..];
    }
    read
}

/// The buckets that are not empty, and all else, with numbers by their bits.
fn essence(sample: &HistogramSample) -> impl PartialEq + std::fmt::Debug + use<> {
    let histogram = &*sample.histogram;
    let filled = |(index, count): (i32, f64)| (count.to_bits() != 0).then_some((index, count.to_bits()));
    let positive = histogram.positive_buckets().map(|bucket| (bucket.index, bucket.count)).filter_map(filled);
    let negative = histogram.negative_buckets().map(|bucket| (bucket.index, bucket.count)).filter_map(filled);
    let numbers = [histogram.count, histogram.zero_count, histogram.sum, histogram.zero_threshold];
    (
        (sample.at_ms, histogram.counts, histogram.schema, histogram.counter_reset == CounterReset::Gauge),
        numbers.map(f64::to_bits),
        histogram.custom_values.iter().map(|bound| bound.to_bits()).collect::<Vec<_>>(),
        positive.collect::<Vec<_>>(),
        negative.collect::<Vec<_>>(),
    )
}

/// Buckets at random places, each holding little, much or nothing.
fn arbitrary_side(whole: bool) -> impl Strategy<Value = (Vec<Span>, Vec<f64>)> {
    let count =
        prop_oneof![Just(0.0), (0u32..50).prop_map(f64::from), (0u64..1 << 50).prop_map(|n| n as f64)];
    let fraction = if whole { 0.0 } else { 0.3 };
    vec((0i32..4, vec(count, 0..5)), 0..4).prop_map(move |runs| {
        let (mut spans, mut buckets) = (Vec::new(), Vec::new());
        for (offset, counts) in runs {
            spans.push(Span { offset: offset - i32::from(spans.is_empty()), length: counts.len() as u32 });
            buckets.extend(counts.into_iter().map(|count| if count == 0.0 { 0.0 } else { count + fraction }));
        }
        (spans, buckets)
    })
}

fn arbitrary_histogram() -> impl Strategy<Value = Histogram> {
    any::<bool>().prop_flat_map(|whole| {
        let hints = [CounterReset::Unknown, CounterReset::NotReset, CounterReset::Reset, CounterReset::Gauge];
        (
            proptest::sample::select(hints.to_vec()),
            proptest::sample::select(vec![0, 3, CUSTOM_BUCKETS_SCHEMA]),
            proptest::sample::select(vec![
                0.0,
                1e-9,
                2f64.powi(-128),
                1024.0,
                2f64.powi(-243),
                2f64.powi(11),
            ]),
            (0u32..1000, any::<f64>()),
            arbitrary_side(whole),
            arbitrary_side(whole),
        )
            .prop_map(
                move |(counter_reset, schema, zero_threshold, (zero, sum), positive, negative)| {
                    let custom = schema == CUSTOM_BUCKETS_SCHEMA;
                    let bounds = [-1.0, 0.0, 0.005, 0.3, 33_554.43, 33_554.431, 1e300];
                    let negative = if custom { Default::default() } else { negative };
                    let zero_count = if custom { 0.0 } else { f64::from(zero) };
                    Histogram {
                        counts: if whole { CountKind::Integer } else { CountKind::Float },
                        counter_reset,
                        schema,
                        zero_threshold: if custom { 0.0 } else { zero_threshold },
                        zero_count,
                        count: zero_count + positive.1.iter().chain(&negative.1).sum::<f64>(),
                        sum,
                        positive_spans: positive.0,
                        negative_spans: negative.0,
                        positive_buckets: positive.1,
                        negative_buckets: negative.1,
                        custom_values: if custom { bounds.into() } else { [].into() },
                    }
                },
            )
    })
}

/// Histograms, many of them several times in a row and with more in them each time, so that chunks go on.
fn arbitrary_samples() -> impl Strategy<Value = Vec<HistogramSample>> {
    vec((arbitrary_histogram(), 1usize..6, 1i64..100_000), 0..12).prop_map(|runs| {
        let (mut samples, mut at_ms) = (Vec::new(), -5);
        for (mut histogram, times, distance) in runs {
            for _ in 0..times {
                at_ms += distance;
                samples.push(HistogramSample { at_ms, start_ms: 0, histogram: Arc::new(histogram.clone()) });
                histogram.count += 2.0;
                histogram.zero_count += if histogram.uses_custom_buckets() { 0.0 } else { 2.0 };
                histogram.positive_buckets.iter_mut().for_each(|bucket| *bucket += 1.0);
                if histogram.counter_reset == CounterReset::Reset {
                    histogram.counter_reset = CounterReset::Unknown;
                }
            }
        }
        samples
    })
}

proptest! {
    #[test]
    fn chunks_give_back_what_went_in(samples in arbitrary_samples()) {
        let back = round_trip(&samples);
        prop_assert_eq!(back.len(), samples.len());
        for (index, (sample, back)) in samples.iter().zip(&back).enumerate() {
            prop_assert_eq!(essence(sample), essence(back), "sample {}", index);
            // Where a reader takes it that nothing was reset, nothing was.
            if back.histogram.counter_reset == CounterReset::NotReset {
                prop_assert!(!sample.histogram.detect_reset(&samples[index - 1].histogram), "sample {}", index);
            }
        }
    }
}

fn growing(count: f64, spans: Vec<Span>, buckets: Vec<f64>) -> Histogram {
    Histogram {
        counts: CountKind::Integer,
        count,
        positive_spans: spans,
        positive_buckets: buckets,
        ..Histogram::default()
    }
}

fn at(at_ms: i64, histogram: Histogram) -> HistogramSample {
    HistogramSample { at_ms, start_ms: 0, histogram: Arc::new(histogram) }
}

#[test]
fn a_chunk_goes_on_when_buckets_come_up() {
    let samples = [
        at(1, growing(1.0, vec![Span { offset: 2, length: 1 }], vec![1.0])),
        at(2, growing(3.0, vec![Span { offset: 1, length: 2 }], vec![2.0, 1.0])),
        at(
            3,
            growing(
                4.0,
                vec![Span { offset: 1, length: 1 }, Span { offset: 0, length: 2 }],
                vec![2.0, 1.0, 1.0],
            ),
        ),
    ];
    let run = Run::first_of(&samples);
    assert_eq!(run.samples.len(), 3);
    let layout = &decode(&run.encode(), run.encoding())[0].histogram;
    assert_eq!(layout.positive_spans, [Span { offset: 1, length: 3 }]);
    assert_eq!(layout.positive_buckets, [0.0, 1.0, 0.0]);
}

#[test]
fn a_stale_one_is_alone() {
    let stale = Histogram { sum: STALE_NAN, ..growing(7.0, vec![Span { offset: 0, length: 1 }], vec![7.0]) };
    let samples = [at(1, growing(0.0, vec![], vec![])), at(2, stale), at(3, growing(9.0, vec![], vec![]))];
    let lengths = [0, 1, 2].map(|from| Run::first_of(&samples[from..]).samples.len());
    assert_eq!(lengths, [1, 1, 1]);
    let run = Run::first_of(&samples[1..]);
    let read = decode(&run.encode(), run.encoding());
    assert_eq!((read[0].at_ms, read[0].histogram.sum.to_bits()), (2, STALE_NAN.to_bits()));
}

/// However many buckets there are, a chunk has so many bytes and no more.
#[test]
fn many_buckets_make_short_chunks() {
    let wide = |at_ms: i64| {
        let buckets: Vec<f64> = (0..3000).map(|index| (index * at_ms % 1000) as f64 / 3.0).collect();
        let spans = vec![Span { offset: 0, length: 3000 }];
        let histogram = Histogram {
            counter_reset: CounterReset::Gauge,
            counts: CountKind::Float,
            ..growing(1e9, spans, buckets)
        };
        at(at_ms, histogram)
    };
    let samples: Vec<_> = (1..=40).map(wide).collect();
    let run = Run::first_of(&samples);
    assert_eq!(run.samples.len(), (1 << 15) / 3000);
    assert!(run.encode().len() < 400 << 10);
    assert_eq!(round_trip(&samples).len(), 40);
}
