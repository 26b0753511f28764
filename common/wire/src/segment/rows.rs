//! How the rows of a batch are written: times, which series are there, and their values.

use vedette_model::Timestamp;

use super::range::{BitCoder, BitModel, BitTree};
use super::series::{RestModels, RowContext, SeriesState, ValueModels, code_signed};
use crate::row::RowValues;

/// What both sides know of a target within a segment.
#[derive(Clone, Debug, Default)]
pub(super) struct TargetState {
    series: Vec<SeriesState>,
    /// Whether a series was in the last whole row, by its index.
    expected: Vec<bool>,
    /// Of the last whole row; `None` before the first.
    at: Option<i64>,
    interval: i64,
}

impl TargetState {
    /// Room for the series of the dictionary; new ones are expected to be present.
    pub(super) fn grow(&mut self, series: usize) {
        self.series.resize_with(series, SeriesState::new);
        self.expected.resize(series, true);
    }

    pub(super) fn series_len(&self) -> usize {
        self.series.len()
    }

    /// Forgets what a reader of the next segment cannot know.
    pub(super) fn start_segment(&mut self) {
        self.series.iter_mut().for_each(SeriesState::start_segment);
        self.expected.fill(true);
        self.at = None;
        self.interval = 0;
    }

    fn is_expected(&self, index: usize) -> bool {
        self.expected[index] && !self.series[index].is_stale()
    }

    /// Whether a row of few series, which says nothing of the others, is better named one by one.
    fn is_sparse(&self, row: &RowValues) -> bool {
        let expected = (0..self.series.len()).filter(|&index| self.is_expected(index)).count();
        row.count_present() * 4 < expected
    }
}

/// What both sides know of a segment beside its targets.
#[derive(Clone, Debug)]
pub(super) struct BodyState {
    values: ValueModels,
    context: RowContext,
    rest: RestModels,
    completeness: BitTree<64>,
    rows: BitTree<64>,
    target: BitTree<64>,
    time: [BitTree<64>; 2],
    gap: BitTree<64>,
    same_rows: BitModel,
    sparse: BitModel,
    same_series: BitModel,
    flip: [BitModel; 4],
    /// Of the last batch.
    complete_through: i64,
    complete_step: i64,
    rows_len: i64,
    /// Of the last row.
    last_target: i64,
}

impl BodyState {
    pub(super) fn new() -> Self {
        Self {
            values: ValueModels::new(),
            context: RowContext::new(),
            rest: RestModels::new(),
            completeness: BitTree::new(),
            rows: BitTree::new(),
            target: BitTree::new(),
            time: [BitTree::new(), BitTree::new()],
            gap: BitTree::new(),
            same_rows: BitModel::new(),
            sparse: BitModel::new(),
            same_series: BitModel::new(),
            flip: [BitModel::new(); 4],
            complete_through: 0,
            complete_step: 0,
            rows_len: 0,
            last_target: -1,
        }
    }

    /// The batch's times: the end against the last batch's end and step, the start against the last end.
    pub(super) fn code_completeness<C: BitCoder>(
        &mut self,
        coder: &mut C,
        from: Timestamp,
        through: Timestamp,
    ) -> (Timestamp, Timestamp) {
        let last = self.complete_through;
        let expected = last.wrapping_add(self.complete_step);
        let through = code_near(coder, &mut self.completeness, &mut self.rest, expected, through.as_millis());
        // In a segment's first batch there is no last end to start from.
        let expected = if last == 0 { through } else { last };
        let from = code_near(coder, &mut self.completeness, &mut self.rest, expected, from.as_millis());
        self.complete_step = if last == 0 { through.wrapping_sub(from) } else { through.wrapping_sub(last) };
        self.complete_through = through;
        (Timestamp::from_millis(from), Timestamp::from_millis(through))
    }

    /// How many rows follow.
    pub(super) fn code_row_count<C: BitCoder>(&mut self, coder: &mut C, count: usize) -> usize {
        self.last_target = -1;
        if !coder.bit(&mut self.same_rows, count as i64 == self.rows_len) {
            self.rows_len = code_signed(coder, &mut self.rows, &mut self.rest, count as i64);
        }
        usize::try_from(self.rows_len).unwrap_or(usize::MAX)
    }

    /// A row's target: ordinarily the one after the last row's.
    pub(super) fn code_target<C: BitCoder>(&mut self, coder: &mut C, target: u32) -> u32 {
        let expected = self.last_target.wrapping_add(1);
        self.last_target = code_near(coder, &mut self.target, &mut self.rest, expected, i64::from(target));
        u32::try_from(self.last_target).unwrap_or(u32::MAX)
    }

    /// A row's time and values. The encoder reads `input`, the decoder fills `output`, which has no series
    /// present and room for all.
    pub(super) fn code_row<C: BitCoder>(
        &mut self,
        coder: &mut C,
        target: &mut TargetState,
        at: Timestamp,
        input: &RowValues,
        output: &mut RowValues,
    ) -> Timestamp {
        let sparse = coder.bit(&mut self.sparse, C::ENCODES && target.is_sparse(input));
        let at = self.code_time(coder, target, at, sparse);
        if sparse {
            self.code_sparse_values(coder, target, input, output);
        } else {
            self.code_values(coder, target, input, output);
        }
        at
    }

    fn code_time<C: BitCoder>(
        &mut self,
        coder: &mut C,
        target: &mut TargetState,
        at: Timestamp,
        sparse: bool,
    ) -> Timestamp {
        let models = &mut self.time[usize::from(sparse)];
        let expected = target.at.map_or(self.complete_through, |last| last.wrapping_add(target.interval));
        let at = code_near(coder, models, &mut self.rest, expected, at.as_millis());
        if !sparse {
            target.interval = target.at.map_or(0, |last| at.wrapping_sub(last));
            target.at = Some(at);
        }
        Timestamp::from_millis(at)
    }

    /// A whole row: the series of the last one, unless it says which differ.
    fn code_values<C: BitCoder>(
        &mut self,
        coder: &mut C,
        target: &mut TargetState,
        input: &RowValues,
        output: &mut RowValues,
    ) {
        let count = target.series.len();
        let same = C::ENCODES && (0..count).all(|index| target.is_expected(index) == input.is_present(index));
        let same = coder.bit(&mut self.same_series, same);
        self.context.start(target.series.len());
        let mut flipped = false;
        for index in 0..count {
            let mut present = target.is_expected(index);
            if !same {
                let truth = C::ENCODES && input.is_present(index) != present;
                let model = &mut self.flip[usize::from(present) << 1 | usize::from(flipped)];
                flipped = coder.bit(model, truth);
                present ^= flipped;
            }
            target.expected[index] = present;
            if present {
                code_value(coder, &mut self.values, &mut self.context, target, index, input, output);
            }
        }
    }

    /// A sparse row: how many series, and of each how many to skip before it.
    fn code_sparse_values<C: BitCoder>(
        &mut self,
        coder: &mut C,
        target: &mut TargetState,
        input: &RowValues,
        output: &mut RowValues,
    ) {
        let count = code_signed(coder, &mut self.gap, &mut self.rest, input.count_present() as i64);
        self.context.start(target.series.len());
        let mut present = input.iter_present().map(|(index, _)| index);
        let mut next = 0usize;
        for _ in 0..count {
            let gap = present.next().map_or(0, |index| (index - next) as i64);
            let gap = code_signed(coder, &mut self.gap, &mut self.rest, gap);
            // Only a hostile row leaves the series there are.
            let index = usize::try_from(gap).unwrap_or(usize::MAX).saturating_add(next);
            if index >= target.series.len() {
                break;
            }
            next = index + 1;
            code_value(coder, &mut self.values, &mut self.context, target, index, input, output);
        }
    }
}

#[inline]
fn code_value<C: BitCoder>(
    coder: &mut C,
    models: &mut ValueModels,
    context: &mut RowContext,
    target: &mut TargetState,
    index: usize,
    input: &RowValues,
    output: &mut RowValues,
) {
    let truth = if C::ENCODES { input.get(index).unwrap_or(0.0) } else { 0.0 };
    let value = target.series[index].code(coder, models, context, index, truth);
    if !C::ENCODES {
        output.set(index, value);
    }
}

/// A number by its distance from the one expected.
fn code_near<C: BitCoder>(
    coder: &mut C,
    lengths: &mut BitTree<64>,
    rest: &mut RestModels,
    expected: i64,
    value: i64,
) -> i64 {
    expected.wrapping_add(code_signed(coder, lengths, rest, value.wrapping_sub(expected)))
}
