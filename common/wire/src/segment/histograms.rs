//! How native histograms follow each other: a layout that ordinarily stays, and in each bucket a number that follows the
//! one before as the values of a series do.

use std::collections::HashMap;
use std::sync::Arc;

use vedette_model::{CounterReset, Histogram};

use super::decode::{BodyError, DecodeLimits, DecodedRow};
use super::layout::{Layout, Layouts};
use super::range::{BitCoder, BitModel, BitTree, RangeDecoder, RangeEncoder};
use super::series::{RestModels, RowContext, SeriesState, ValueModels, code_signed};
use crate::row::RowValues;

/// What both sides know of a segment's histograms.
#[derive(Debug)]
pub(super) struct HistogramsState {
    /// By target index. Made with the segment's first histogram.
    targets: Vec<HistogramTarget>,
    layouts: Layouts,
    values: ValueModels,
    context: RowContext,
    rest: RestModels,
    same_series: BitModel,
    gap: BitTree<64>,
    same: BitModel,
    same_layout: BitModel,
    adds_up: BitModel,
    /// By the one before.
    counter_reset: [BitTree<4>; 4],
    /// Buckets of all histograms that are remembered.
    held: usize,
}

#[derive(Debug, Default)]
struct HistogramTarget {
    /// Series that had a histogram in the last row which had any, rising.
    series: Vec<u32>,
    states: HashMap<u32, HistogramState>,
}

/// The last histogram of a series.
#[derive(Debug)]
struct HistogramState {
    last: Arc<Histogram>,
    layout: Arc<Layout>,
    sum: SeriesState,
    count: SeriesState,
    zero_count: SeriesState,
    /// One a bucket, as [`Layout::places`] has them.
    buckets: Vec<SeriesState>,
}

impl HistogramsState {
    pub(super) fn new() -> Self {
        Self {
            targets: Vec::new(),
            layouts: Layouts::new(),
            values: ValueModels::new(),
            context: RowContext::new(),
            rest: RestModels::new(),
            same_series: BitModel::new(),
            gap: BitTree::new(),
            same: BitModel::new(),
            same_layout: BitModel::new(),
            adds_up: BitModel::new(),
            counter_reset: [const { BitTree::new() }; 4],
            held: 0,
        }
    }

    /// The section of a batch with these rows, of which some have histograms.
    pub(super) fn encode<'a>(
        &mut self,
        rows: impl Iterator<Item = (u32, &'a RowValues)>,
        limits: &DecodeLimits,
    ) -> Result<Vec<u8>, BodyError> {
        let mut coder = RangeEncoder::new(Vec::new());
        let mut budget = limits.cells_max;
        for (target, values) in rows {
            self.code_row(&mut coder, target, values, &mut RowValues::new(), limits, &mut budget)?;
        }
        Ok(coder.finish())
    }

    /// Adds what a section says to the rows. `series_len`: how many series a target has.
    pub(super) fn decode(
        &mut self,
        section: &[u8],
        rows: &mut [DecodedRow],
        limits: &DecodeLimits,
    ) -> Result<(), BodyError> {
        let mut coder = RangeDecoder::new(section);
        let mut budget = limits.cells_max;
        let nothing = RowValues::new();
        for row in rows {
            self.code_row(&mut coder, row.target, &nothing, &mut row.values, limits, &mut budget)?;
        }
        Ok(())
    }

    /// The histograms of a row. `budget`: buckets that the rest of the batch may have.
    fn code_row<C: BitCoder>(
        &mut self,
        coder: &mut C,
        target: u32,
        input: &RowValues,
        output: &mut RowValues,
        limits: &DecodeLimits,
        budget: &mut usize,
    ) -> Result<(), BodyError> {
        let place = target as usize;
        if place >= self.targets.len() {
            self.targets.resize_with(place + 1, HistogramTarget::default);
        }
        let mut target = std::mem::take(&mut self.targets[place]);
        let series = || input.histograms().iter().map(|(index, _)| *index);
        let same = C::ENCODES && series().eq(target.series.iter().copied());
        if !coder.bit(&mut self.same_series, same) {
            self.code_series(
                coder,
                &mut target.series,
                series(),
                if C::ENCODES { usize::MAX } else { output.len() },
            )?;
        }
        for (place, index) in target.series.iter().enumerate() {
            let truth =
                if C::ENCODES { input.histograms().get(place).map(|(_, histogram)| histogram) } else { None };
            let state = target.states.remove(index);
            let state = self.code_histogram(coder, state, truth, limits)?;
            *budget = budget
                .checked_sub(state.layout.weight())
                .ok_or(BodyError::Limit("histogram buckets", limits.cells_max))?;
            if !C::ENCODES {
                output.set_histogram(*index as usize, Arc::clone(&state.last));
            }
            target.states.insert(*index, state);
        }
        self.targets[place] = target;
        Ok(())
    }

    /// Which series have a histogram, when these are not those of the row before: how many, and of each how many
    /// series to skip before it.
    fn code_series<C: BitCoder>(
        &mut self,
        coder: &mut C,
        series: &mut Vec<u32>,
        mut truth: impl ExactSizeIterator<Item = u32>,
        series_len: usize,
    ) -> Result<(), BodyError> {
        let count = code_signed(coder, &mut self.gap, &mut self.rest, truth.len() as i64);
        series.clear();
        let mut next = 0u32;
        for _ in 0..count {
            let gap = truth.next().map_or(0, |index| i64::from(index - next));
            let gap = code_signed(coder, &mut self.gap, &mut self.rest, gap);
            let index = u32::try_from(gap).ok().and_then(|gap| gap.checked_add(next));
            let index = index.filter(|index| (*index as usize) < series_len);
            let index = index.ok_or(BodyError::Malformed("series of a histogram"))?;
            series.push(index);
            next = index + 1;
        }
        Ok(())
    }

    fn code_histogram<C: BitCoder>(
        &mut self,
        coder: &mut C,
        state: Option<HistogramState>,
        truth: Option<&Arc<Histogram>>,
        limits: &DecodeLimits,
    ) -> Result<HistogramState, BodyError> {
        let (mut state, is_new) = match state {
            Some(state) => (state, false),
            None => (HistogramState::new(), true),
        };
        if !is_new {
            let same = truth.is_some_and(|truth| Arc::ptr_eq(truth, &state.last) || **truth == *state.last);
            if coder.bit(&mut self.same, same) {
                return Ok(state);
            }
        }
        let same_layout = !is_new && {
            let same = truth.is_some_and(|truth| state.layout.is_of(truth));
            coder.bit(&mut self.same_layout, same)
        };
        if !same_layout {
            let truth = truth.map(|truth| &**truth);
            if truth.is_some_and(|truth| !has_its_buckets(truth)) {
                return Err(BodyError::Malformed("spans name other buckets than there are"));
            }
            let layout = self.layouts.code(coder, truth, limits.histogram_buckets_max)?;
            let before = if is_new { 0 } else { state.layout.weight() };
            self.held = self.held + layout.weight() - before;
            if self.held > limits.series_max {
                return Err(BodyError::Limit("buckets of all histograms", limits.series_max));
            }
            state.change_layout(layout, is_new);
        }
        let histogram = self.code_numbers(coder, &mut state, truth);
        state.last = match truth {
            Some(truth) => Arc::clone(truth),
            None => Arc::new(histogram),
        };
        Ok(state)
    }

    /// The numbers of a histogram that is not the one before. The count comes last, as it ordinarily is what the
    /// buckets come to.
    fn code_numbers<C: BitCoder>(
        &mut self,
        coder: &mut C,
        state: &mut HistogramState,
        truth: Option<&Arc<Histogram>>,
    ) -> Histogram {
        let nothing = Histogram::default();
        let truth = truth.map_or(&nothing, |truth| truth);
        let before = state.last.counter_reset;
        let counter_reset =
            self.counter_reset[code_of(before) as usize].code(coder, code_of(truth.counter_reset));
        self.context.start(state.buckets.len() + OTHERS);
        let (values, context) = (&mut self.values, &mut self.context);
        let sum = state.sum.code(coder, values, context, 0, truth.sum);
        let zero_count = state.zero_count.code(coder, values, context, 1, truth.zero_count);
        let mut total = zero_count;
        let mut positive = Vec::with_capacity(if C::ENCODES { 0 } else { state.buckets.len() });
        let truths = truth.positive_buckets.iter().chain(&truth.negative_buckets);
        let truths = truths.copied().chain(std::iter::repeat(0.0));
        for (place, (bucket, truth)) in state.buckets.iter_mut().zip(truths).enumerate() {
            let found = bucket.code(coder, values, context, place + OTHERS, truth);
            total += found;
            if !C::ENCODES {
                positive.push(found);
            }
        }
        let adds_up = coder.bit(&mut self.adds_up, total.to_bits() == truth.count.to_bits());
        let count = if adds_up { total } else { state.count.code(coder, values, context, 2, truth.count) };
        if C::ENCODES {
            return nothing;
        }
        let layout = &state.layout;
        let negative_buckets = positive.split_off(layout.positive_buckets());
        Histogram {
            counts: layout.counts,
            counter_reset: counter_reset_of(counter_reset),
            schema: layout.schema,
            zero_threshold: layout.zero_threshold,
            zero_count,
            count,
            sum,
            positive_spans: layout.positive.clone(),
            negative_spans: layout.negative.clone(),
            positive_buckets: positive,
            negative_buckets,
            custom_values: Arc::clone(&layout.custom_values),
        }
    }
}

/// Numbers of a histogram beside its buckets.
const OTHERS: usize = 3;

impl HistogramState {
    fn new() -> Self {
        Self {
            last: Arc::default(),
            layout: Arc::default(),
            sum: SeriesState::new(),
            count: SeriesState::new(),
            zero_count: SeriesState::new(),
            buckets: Vec::new(),
        }
    }

    /// Buckets that stay keep what is known of them. One that is new in a known histogram held nothing before.
    fn change_layout(&mut self, layout: Arc<Layout>, is_new: bool) {
        let fresh = if is_new { SeriesState::new } else { SeriesState::at_zero };
        let keeps = self.layout.has_bounds_of(&layout);
        let old = std::mem::take(&mut self.buckets);
        let mut old = self.layout.places().zip(old).filter(|_| keeps).peekable();
        self.buckets.reserve_exact(layout.buckets());
        for place in layout.places() {
            while old.next_if(|(before, _)| *before < place).is_some() {}
            let kept = old.next_if(|(same, _)| *same == place);
            self.buckets.push(kept.map_or_else(fresh, |(_, state)| state));
        }
        drop(old);
        self.layout = layout;
    }
}

/// Whether there is a number for each bucket that the spans name, and no other.
fn has_its_buckets(histogram: &Histogram) -> bool {
    let sides = [
        (&histogram.positive_spans, &histogram.positive_buckets),
        (&histogram.negative_spans, &histogram.negative_buckets),
    ];
    sides.iter().all(|(spans, buckets)| {
        spans.iter().map(|span| u64::from(span.length)).sum::<u64>() == buckets.len() as u64
    })
}

fn code_of(counter_reset: CounterReset) -> u32 {
    match counter_reset {
        CounterReset::Unknown => 0,
        CounterReset::Reset => 1,
        CounterReset::NotReset => 2,
        CounterReset::Gauge => 3,
    }
}

fn counter_reset_of(code: u32) -> CounterReset {
    match code {
        1 => CounterReset::Reset,
        2 => CounterReset::NotReset,
        3 => CounterReset::Gauge,
        _ => CounterReset::Unknown,
    }
}
