//! Native histograms as Prometheus has them in its chunks.
//!
//! ```text
//! count: 2 bytes, big endian
//! flags: 1 byte; 10… after a counter reset, 01… after none, 11… gauges, 00… unknown
//! layout | zero threshold: 0 → 00; 2^n, -243 ≤ n ≤ 10 → byte n+244; else ff and 8 bytes | schema: varbit |
//!        | positive spans: their number, then length and offset of each | negative spans | custom bounds |
//! bound    multiple of 0.001 up to 33554.43 → varbit of thousandths + 1; else bit 0 and 8 bytes
//! sample | time | count | count of zero | sum | positive buckets | negative buckets |
//! ```
//!
//! Of whole numbers the first sample has varbits, and buckets by how they differ from the bucket before; others have
//! the delta of the delta to the sample before, sums their XOR. Of floats the first sample has 8 bytes each, others
//! XORs, a window for each. Times are varbits, later ones deltas of deltas.
//!
//! All histograms of a chunk have one layout. Whoever reads takes it that no counter was reset within it.

use vedette_model::{CountKind, CounterReset, Histogram, HistogramSample, Span, is_stale};

use super::bits::{Bits, Window};
use super::xor::CHUNK_SAMPLES_MAX;

/// Buckets of all histograms of a chunk, unless one alone has more: about as many bytes as a few hundred KiB.
const CHUNK_BUCKETS_MAX: usize = 1 << 15;

/// The first of some histograms that one chunk can hold, and which buckets any of them has.
pub(super) struct Run<'a> {
    pub(super) samples: &'a [HistogramSample],
    positive: Vec<i32>,
    negative: Vec<i32>,
}

impl<'a> Run<'a> {
    /// Of histograms in the order of time, of which there is one at least.
    pub(super) fn first_of(samples: &'a [HistogramSample]) -> Self {
        let mut run =
            Self { samples: &samples[..samples.len().min(1)], positive: Vec::new(), negative: Vec::new() };
        let Some(first) = run.samples.first().map(|sample| &*sample.histogram) else { return run };
        if is_stale(first.sum) {
            return run;
        }
        (run.positive, run.negative) = (indexes(&first.positive_spans), indexes(&first.negative_spans));
        for (index, pair) in samples.windows(2).enumerate().take(CHUNK_SAMPLES_MAX - 1) {
            let (last, next) = (&*pair[0].histogram, &*pair[1].histogram);
            if !may_follow(last, next) {
                break;
            }
            let positive = union_with(&run.positive, &last.positive_spans, &next.positive_spans);
            let negative = union_with(&run.negative, &last.negative_spans, &next.negative_spans);
            let length = |union: &Option<Vec<i32>>, now: &[i32]| union.as_ref().map_or(now.len(), Vec::len);
            let buckets = length(&positive, &run.positive) + length(&negative, &run.negative);
            if buckets * (index + 2) > CHUNK_BUCKETS_MAX {
                break;
            }
            run.positive = positive.unwrap_or(run.positive);
            run.negative = negative.unwrap_or(run.negative);
            run.samples = &samples[..index + 2];
        }
        run
    }

    /// What `prometheus.Chunk` calls the encoding.
    pub(super) fn encoding(&self) -> i64 {
        const HISTOGRAM: i64 = 2;
        const FLOAT_HISTOGRAM: i64 = 3;
        match self.samples.first().map(|sample| sample.histogram.counts) {
            Some(CountKind::Integer) => HISTOGRAM,
            Some(CountKind::Float) | None => FLOAT_HISTOGRAM,
        }
    }

    /// The chunk's bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = (self.samples.len() as u16).to_be_bytes().to_vec();
        let Some(first) = self.samples.first().map(|sample| &*sample.histogram) else { return bytes };
        bytes.push(flags(first.counter_reset));
        let mut bits = Bits::after(bytes);
        self.push_layout(&mut bits, first);
        match first.counts {
            CountKind::Integer => self.push_integers(&mut bits),
            CountKind::Float => self.push_floats(&mut bits),
        }
        bits.into_bytes()
    }

    fn push_layout(&self, bits: &mut Bits, first: &Histogram) {
        push_threshold(bits, first.zero_threshold);
        bits.varbit(first.schema.into());
        push_spans(bits, &self.positive);
        push_spans(bits, &self.negative);
        if first.uses_custom_buckets() {
            bits.varbit_unsigned(first.custom_values.len() as u64);
            first.custom_values.iter().for_each(|bound| push_bound(bits, *bound));
        }
    }

    fn push_integers(&self, bits: &mut Bits) {
        // Time, count, count of zero, buckets.
        let mut columns: Vec<Column> = Vec::new();
        let (mut last_sum, mut window) = (0.0, Window::default());
        for (place, sample) in self.samples.iter().enumerate() {
            let (numbers, sum) = (self.numbers(sample), sample.histogram.sum);
            if place == 0 {
                bits.varbit(numbers[0]);
                numbers[1..3].iter().for_each(|count| bits.varbit_unsigned(count.cast_unsigned()));
                bits.float(sum);
                numbers[3..].iter().for_each(|delta| bits.varbit(*delta));
                columns = numbers.into_iter().map(Column::starting).collect();
            } else {
                let steps = columns.iter_mut().zip(numbers).map(|(column, number)| column.step(number));
                let steps: Vec<i64> = steps.collect();
                steps[..3].iter().for_each(|step| bits.varbit(*step));
                bits.value(&mut window, last_sum, sum);
                steps[3..].iter().for_each(|step| bits.varbit(*step));
            }
            last_sum = sum;
        }
    }

    /// All whole numbers of a histogram, buckets by how they differ from the one before.
    fn numbers(&self, sample: &HistogramSample) -> Vec<i64> {
        let histogram = &*sample.histogram;
        let mut numbers = vec![sample.at_ms, histogram.count as i64, histogram.zero_count as i64];
        for (indexes, spans, buckets) in self.sides(histogram) {
            let mut before = 0;
            numbers.extend(aligned(indexes, spans, buckets).into_iter().map(|count| {
                let delta = count as i64 - before;
                before = count as i64;
                delta
            }));
        }
        numbers
    }

    fn push_floats(&self, bits: &mut Bits) {
        let mut columns = Vec::new();
        let mut time = Column::starting(0);
        for (place, sample) in self.samples.iter().enumerate() {
            let histogram = &*sample.histogram;
            let mut values = vec![histogram.count, histogram.zero_count, histogram.sum];
            for (indexes, spans, buckets) in self.sides(histogram) {
                values.extend(aligned(indexes, spans, buckets));
            }
            if place == 0 {
                time = Column::starting(sample.at_ms);
                bits.varbit(sample.at_ms);
                values.iter().for_each(|value| bits.float(*value));
                columns = values.into_iter().map(|value| (value, Window::default())).collect();
            } else {
                bits.varbit(time.step(sample.at_ms));
                for ((last, window), value) in columns.iter_mut().zip(values) {
                    bits.value(window, *last, value);
                    *last = value;
                }
            }
        }
    }

    fn sides<'h>(&'h self, histogram: &'h Histogram) -> [(&'h [i32], &'h [Span], &'h [f64]); 2] {
        [
            (&self.positive, &histogram.positive_spans, &histogram.positive_buckets),
            (&self.negative, &histogram.negative_spans, &histogram.negative_buckets),
        ]
    }
}

/// Whole numbers by how their differences differ.
struct Column {
    last: i64,
    last_delta: i64,
}

impl Column {
    fn starting(first: i64) -> Self {
        Self { last: first, last_delta: 0 }
    }

    fn step(&mut self, number: i64) -> i64 {
        let delta = number.wrapping_sub(self.last);
        let step = delta.wrapping_sub(self.last_delta);
        *self = Self { last: number, last_delta: delta };
        step
    }
}

/// Whether both go into one chunk.
fn may_follow(last: &Histogram, next: &Histogram) -> bool {
    let is_gauge = |histogram: &Histogram| histogram.counter_reset == CounterReset::Gauge;
    last.counts == next.counts
        && !is_stale(next.sum)
        && is_gauge(last) == is_gauge(next)
        && last.schema == next.schema
        && last.zero_threshold.to_bits() == next.zero_threshold.to_bits()
        && last.custom_values == next.custom_values
        && (is_gauge(next) || !next.detect_reset(last))
}

fn flags(hint: CounterReset) -> u8 {
    match hint {
        CounterReset::Unknown => 0,
        CounterReset::Reset => 0b10 << 6,
        CounterReset::NotReset => 0b01 << 6,
        CounterReset::Gauge => 0b11 << 6,
    }
}

/// Which buckets the spans name.
fn indexes(spans: &[Span]) -> Vec<i32> {
    let mut next = 0i32;
    let mut indexes = Vec::new();
    for span in spans {
        next = next.wrapping_add(span.offset);
        for _ in 0..span.length {
            indexes.push(next);
            next = next.wrapping_add(1);
        }
    }
    indexes
}

/// All buckets that were known, and those of `next`; nothing where they are the same.
fn union_with(known: &[i32], last: &[Span], next: &[Span]) -> Option<Vec<i32>> {
    if last == next {
        return None;
    }
    let mut union = [known, &indexes(next)].concat();
    union.sort_unstable();
    union.dedup();
    Some(union)
}

/// What is in each of the buckets `wanted`, of which the spans name some.
fn aligned(wanted: &[i32], spans: &[Span], buckets: &[f64]) -> Vec<f64> {
    let own = indexes(spans);
    let mut counts = own.iter().zip(buckets).peekable();
    let count_of = |index: &i32| counts.next_if(|(own, _)| *own == index).map_or(0.0, |(_, count)| *count);
    wanted.iter().map(count_of).collect()
}

fn push_spans(bits: &mut Bits, indexes: &[i32]) {
    let mut spans: Vec<Span> = Vec::new();
    let mut next = 0i32;
    for index in indexes {
        match spans.last_mut() {
            Some(span) if next == *index => span.length += 1,
            _ => spans.push(Span { offset: index.wrapping_sub(next), length: 1 }),
        }
        next = index.wrapping_add(1);
    }
    bits.varbit_unsigned(spans.len() as u64);
    for span in spans {
        bits.varbit_unsigned(span.length.into());
        bits.varbit(span.offset.into());
    }
}

fn push_threshold(bits: &mut Bits, threshold: f64) {
    const EXPONENT_BIAS: i64 = 1023;
    const MANTISSA_BITS: u32 = 52;
    let pattern = threshold.to_bits();
    let exponent = (pattern >> MANTISSA_BITS).cast_signed() - EXPONENT_BIAS;
    let is_power = pattern.trailing_zeros() >= MANTISSA_BITS;
    match exponent {
        _ if pattern == 0 => bits.push(0, 8),
        -243..=10 if is_power => bits.push((exponent + 244).cast_unsigned(), 8),
        _ => bits.marked(0xff, 8, pattern, 64),
    }
}

fn push_bound(bits: &mut Bits, bound: f64) {
    const THOUSANDTHS_MAX: f64 = 33_554_430.0;
    let thousandths = (bound * 1000.0).round();
    let is_short = (0.0..=THOUSANDTHS_MAX).contains(&(bound * 1000.0))
        && (thousandths / 1000.0).to_bits() == bound.to_bits();
    if is_short {
        bits.varbit_unsigned(thousandths as u64 + 1);
    } else {
        bits.marked(0, 1, bound.to_bits(), 64);
    }
}
