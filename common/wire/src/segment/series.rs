//! How the values of one series follow each other.
//!
//! A value is an integer by the series' [`Scale`]. It is predicted in three ways (the last one, the last one and
//! the mean step, the mean level); the way that did best lately is taken, and the difference is written with
//! models for its size. A series that changes by exactly as much as another one did in the same row is its
//! *twin*, and says so in a fraction of a bit.

use vedette_model::{STALE_NAN, is_stale};

use super::range::{BitCoder, BitModel, BitTree};
use super::scale::Scale;

/// What both sides know of a series within a segment.
#[derive(Clone, Debug)]
pub(super) struct SeriesState {
    /// The last value that was no stale marker.
    value: f64,
    /// The same as an integer by `scale`.
    integer: i64,
    /// Mean of the last steps from one value to the next, where the value changed.
    step: i64,
    /// Mean of the last integers.
    level: i64,
    /// The series that last changed by as much as this one.
    twin: u32,
    /// Mean bit length of what each prediction left, in sixteenths of a bit.
    costs: [u16; PREDICTIONS],
    scale: Scale,
    /// Low bits that are zero in all integers, and are not written.
    shift: u8,
    /// One bit a row, last row lowest: did the value change?
    history: u8,
    /// Changes seen, held at its maximum.
    changes: u8,
    /// How well the twin predicts: see [`TWIN_TRUST_MAX`].
    twin_trust: u8,
    /// Whether no value was seen in this segment.
    fresh: bool,
    /// Whether the last value was a stale marker: the series is then expected to be absent.
    stale: bool,
    /// Whether `scale` and `shift` served in the last segment. Only an encoder's are.
    proven: bool,
}

const PREDICTIONS: usize = 3;
const NO_TWIN: u32 = u32::MAX;
/// A twin is given up when it missed as often as it hit; hits count up to here.
const TWIN_TRUST_MAX: u8 = 3;
/// Steps smaller than this are equal by chance too often to make twins.
const TWIN_STEP_MIN: u64 = 8;
const SHIFT_MAX: u32 = 63;
/// Rows that the change models look back.
const HISTORY_MASK: u8 = 0x3f;
const HISTORIES: usize = HISTORY_MASK as usize + 1;
/// What is known of the twin's change: no twin, it did not change, it did.
const TWIN_STATES: usize = 3;
/// Bit lengths of residuals are modelled for each length expected, up to here.
const EXPECTED_BITS_MAX: usize = 23;

/// Models that all series of a segment share.
#[derive(Clone, Debug)]
pub(super) struct ValueModels {
    /// By neighbour's change, twin's change and history.
    changed: [[[BitModel; HISTORIES]; TWIN_STATES]; 2],
    special: BitModel,
    stale: BitModel,
    /// By trust.
    twin: [BitModel; TWIN_TRUST_MAX as usize + 1],
    scale: [BitTree<32>; 3],
    shift: [BitTree<64>; 3],
    first: BitTree<64>,
    residual: Vec<BitTree<64>>,
    rest: RestModels,
    /// The scale written last.
    last_scale: Scale,
}

impl ValueModels {
    pub(super) fn new() -> Self {
        Self {
            changed: [[[BitModel::new(); HISTORIES]; TWIN_STATES]; 2],
            special: BitModel::new(),
            stale: BitModel::new(),
            twin: [BitModel::new(); TWIN_TRUST_MAX as usize + 1],
            scale: [const { BitTree::new() }; 3],
            shift: [const { BitTree::new() }; 3],
            first: BitTree::new(),
            residual: vec![BitTree::new(); EXPECTED_BITS_MAX + 1],
            rest: RestModels::new(),
            last_scale: Scale::WHOLE,
        }
    }
}

/// What the series coded before in the same row say.
#[derive(Clone, Debug)]
pub(super) struct RowContext {
    /// Whether the series coded before this one changed.
    neighbour_changed: bool,
    /// By how much each series changed in this row; 0 where it did not.
    steps: Vec<i64>,
    /// The series that changed last by a step, by a hash of the step.
    by_step: [u32; STEP_SLOTS],
}

const STEP_SLOT_BITS: u32 = 8;
const STEP_SLOTS: usize = 1 << STEP_SLOT_BITS;

impl RowContext {
    pub(super) fn new() -> Self {
        Self { neighbour_changed: false, steps: Vec::new(), by_step: [NO_TWIN; STEP_SLOTS] }
    }

    /// Starts a row of a target with so many series.
    pub(super) fn start(&mut self, series: usize) {
        self.neighbour_changed = false;
        self.steps.clear();
        self.steps.resize(series, 0);
        self.by_step.fill(NO_TWIN);
    }

    fn step_of(&self, series: u32) -> i64 {
        self.steps.get(series as usize).copied().unwrap_or(0)
    }

    /// Notes the step of series `index`; gives the last one before it in the row that had the same.
    fn note(&mut self, index: usize, step: i64) -> Option<u32> {
        self.steps[index] = step;
        if step.unsigned_abs() < TWIN_STEP_MIN {
            return None;
        }
        // Fibonacci hashing: the high bits of the product depend on all bits of the step.
        let slot = (step as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - STEP_SLOT_BITS);
        let found = std::mem::replace(&mut self.by_step[slot as usize], index as u32);
        (found != NO_TWIN && self.step_of(found) == step).then_some(found)
    }
}

impl SeriesState {
    pub(super) fn new() -> Self {
        Self {
            value: 0.0,
            integer: 0,
            step: 0,
            level: 0,
            twin: NO_TWIN,
            costs: [0; PREDICTIONS],
            scale: Scale::WHOLE,
            shift: 0,
            history: 0,
            changes: 0,
            twin_trust: 0,
            fresh: true,
            stale: false,
            proven: false,
        }
    }

    /// One whose last value was 0.
    pub(super) fn at_zero() -> Self {
        Self { fresh: false, ..Self::new() }
    }

    /// Forgets what a reader of the next segment cannot know. How the values are best written it is told, so
    /// that the encoder need not find out again.
    pub(super) fn start_segment(&mut self) {
        let proven = self.proven || !self.fresh;
        *self = Self { scale: self.scale, shift: self.shift, proven, ..Self::new() };
    }

    pub(super) fn is_stale(&self) -> bool {
        self.stale
    }

    /// One value of series `index`.
    #[inline]
    pub(super) fn code<C: BitCoder>(
        &mut self,
        coder: &mut C,
        models: &mut ValueModels,
        row: &mut RowContext,
        index: usize,
        value: f64,
    ) -> f64 {
        if self.fresh {
            return self.code_first(coder, models, value);
        }
        let twin = if self.twin == NO_TWIN { 0 } else { 1 + usize::from(row.step_of(self.twin) != 0) };
        let models_of_history = &mut models.changed[usize::from(row.neighbour_changed)][twin];
        let model = &mut models_of_history[usize::from(self.history & HISTORY_MASK)];
        let changed = coder.bit(model, value.to_bits() != self.value.to_bits());
        self.history = self.history << 1 | u8::from(changed);
        row.neighbour_changed = changed;
        if !changed {
            self.stale = false;
            return self.value;
        }
        self.code_changed(coder, models, row, index, value)
    }

    fn code_first<C: BitCoder>(&mut self, coder: &mut C, models: &mut ValueModels, value: f64) -> f64 {
        self.stale = coder.bit(&mut models.stale, is_stale(value));
        if self.stale {
            return STALE_NAN;
        }
        if C::ENCODES {
            self.choose_first(value);
        }
        self.fresh = false;
        self.code_scale(coder, models);
        let integer = if C::ENCODES { self.scale.integer(value).unwrap_or(0) } else { 0 };
        let shifted = code_signed(coder, &mut models.first, &mut models.rest, integer >> self.shift);
        self.integer = shifted << self.shift;
        self.level = self.integer;
        self.value = self.scale.value(self.integer);
        self.value
    }

    fn code_changed<C: BitCoder>(
        &mut self,
        coder: &mut C,
        models: &mut ValueModels,
        row: &mut RowContext,
        index: usize,
        value: f64,
    ) -> f64 {
        let special = C::ENCODES && (is_stale(value) || self.integer_of(value).is_none());
        if coder.bit(&mut models.special, special) {
            self.stale = coder.bit(&mut models.stale, is_stale(value));
            if self.stale {
                return STALE_NAN;
            }
            self.code_other_scale(coder, models, value);
        }
        self.stale = false;
        let integer = if C::ENCODES { self.integer_of(value).unwrap_or(0) } else { 0 };
        let integer = self.code_integer(coder, models, row, integer);
        self.learn(row, index, integer);
        self.value = self.scale.value(integer);
        self.value
    }

    /// The integer that stands for `value`, if it can be written without another scale or shift.
    fn integer_of(&self, value: f64) -> Option<i64> {
        self.scale.integer(value).filter(|integer| integer >> self.shift << self.shift == *integer)
    }

    fn choose_first(&mut self, value: f64) {
        if !self.proven || self.scale.integer(value).is_none() {
            self.scale = Scale::of(value, value);
            self.shift = SHIFT_MAX as u8;
        }
        self.narrow_shift(value);
    }

    /// Chooses and tells a scale and shift that the last value and this one have, and goes over to them.
    fn code_other_scale<C: BitCoder>(&mut self, coder: &mut C, models: &mut ValueModels, value: f64) {
        let before = self.scale;
        if C::ENCODES {
            if self.scale.integer(value).is_none() {
                self.scale = Scale::of(value, self.value);
                self.shift = SHIFT_MAX as u8;
                self.narrow_shift(self.value);
            }
            self.narrow_shift(value);
        }
        self.code_scale(coder, models);
        if self.scale != before {
            self.integer = self.scale.integer(self.value).unwrap_or(0);
            self.level = self.integer;
            self.step = 0;
        }
    }

    fn narrow_shift(&mut self, value: f64) {
        let zeros = self.scale.integer(value).map_or(SHIFT_MAX, i64::trailing_zeros);
        self.shift = self.shift.min(zeros.min(SHIFT_MAX) as u8);
    }

    fn code_scale<C: BitCoder>(&mut self, coder: &mut C, models: &mut ValueModels) {
        // Whole numbers, the nanoseconds of many durations, and the rest.
        let context = match models.last_scale.code() {
            0 => 0,
            9 => 1,
            _ => 2,
        };
        self.scale = Scale::from_code(models.scale[context].code(coder, self.scale.code()));
        models.last_scale = self.scale;
        let context = match self.scale {
            Scale::WHOLE => 0,
            Scale::BITS => 1,
            _ => 2,
        };
        self.shift = models.shift[context].code(coder, u32::from(self.shift)) as u8;
    }

    fn predictions(&self) -> [i64; PREDICTIONS] {
        [self.integer, self.integer.wrapping_add(self.step), self.level]
    }

    fn code_integer<C: BitCoder>(
        &mut self,
        coder: &mut C,
        models: &mut ValueModels,
        row: &RowContext,
        integer: i64,
    ) -> i64 {
        let twin_step = row.step_of(self.twin);
        if twin_step != 0 {
            let by_twin = self.integer.wrapping_add(twin_step);
            if coder.bit(&mut models.twin[usize::from(self.twin_trust)], integer == by_twin) {
                self.twin_trust = (self.twin_trust + 1).min(TWIN_TRUST_MAX);
                return by_twin;
            }
        }
        self.twin_trust = self.twin_trust.saturating_sub(1);
        let best = (0..PREDICTIONS).min_by_key(|&index| self.costs[index]).unwrap_or(0);
        let predicted = self.predictions()[best] >> self.shift;
        let expected_bits = usize::from((self.costs[best] + 8) >> 4).min(EXPECTED_BITS_MAX);
        let lengths = &mut models.residual[expected_bits];
        let residual = (integer >> self.shift).wrapping_sub(predicted);
        let residual = code_signed(coder, lengths, &mut models.rest, residual);
        predicted.wrapping_add(residual) << self.shift
    }

    fn learn(&mut self, row: &mut RowContext, index: usize, integer: i64) {
        let step = integer.wrapping_sub(self.integer);
        let equal = row.note(index, step);
        if let (Some(twin), 0) = (equal, self.twin_trust) {
            self.twin = twin;
        }
        let predictions = self.predictions();
        for (cost, prediction) in self.costs.iter_mut().zip(predictions) {
            let error = (integer >> self.shift).wrapping_sub(prediction >> self.shift);
            let found = bit_length(error) as u16 * 16;
            *cost = match self.changes {
                0 => found,
                1 => (*cost + found) / 2,
                // Rounded so that both directions reach their end.
                _ if found > *cost => *cost + ((found - *cost + 3) >> 2),
                _ => *cost - ((*cost - found) >> 2),
            };
        }
        let mean_step = self.step.wrapping_add(step.wrapping_sub(self.step) >> 2);
        self.step = if self.changes == 0 { step } else { mean_step };
        self.level = self.level.wrapping_add(integer.wrapping_sub(self.level) >> 2);
        self.changes = self.changes.saturating_add(1);
        self.integer = integer;
    }
}

/// Models of what follows a number's bit length, by that length.
#[derive(Clone, Debug)]
pub(super) struct RestModels {
    negative: [BitModel; 64],
    top: [BitModel; 64],
    least: BitModel,
}

impl RestModels {
    pub(super) fn new() -> Self {
        Self { negative: [BitModel::new(); 64], top: [BitModel::new(); 64], least: BitModel::new() }
    }
}

/// A signed number: its bit length, its sign, and its bits below the highest, of which the first is modelled.
#[inline]
pub(super) fn code_signed<C: BitCoder>(
    coder: &mut C,
    lengths: &mut BitTree<64>,
    rest: &mut RestModels,
    value: i64,
) -> i64 {
    let truth = value.unsigned_abs();
    let bits = lengths.code(coder, bit_length(value).min(63));
    if bits == 0 {
        return 0;
    }
    // The one number whose magnitude has 64 bits.
    if bits == 63 && coder.bit(&mut rest.least, value == i64::MIN) {
        return i64::MIN;
    }
    let negative = coder.bit(&mut rest.negative[bits as usize], value < 0);
    let mut magnitude = 1u64;
    let mut open = bits - 1;
    if open > 0 {
        open -= 1;
        let bit = coder.bit(&mut rest.top[bits as usize], truth >> open & 1 == 1);
        magnitude = magnitude << 1 | u64::from(bit);
    }
    while open > 0 {
        let take = open.min(RAW_BITS_MAX);
        open -= take;
        let part = coder.raw((truth >> open) as u32 & ((1 << take) - 1), take);
        magnitude = magnitude << take | u64::from(part);
    }
    if negative { -(magnitude as i64) } else { magnitude as i64 }
}

const RAW_BITS_MAX: u32 = 16;

fn bit_length(value: i64) -> u32 {
    u64::BITS - value.unsigned_abs().leading_zeros()
}
