//! How the values of one series follow each other.

use vedette_model::{STALE_NAN, is_stale};

use super::range::{BitCoder, BitModel, BitTree};
use super::scale::Scale;

/// What both sides know of a series within a segment.
#[derive(Clone, Debug)]
pub(super) struct SeriesState {
    /// The last value that was no stale marker.
    value: f64,
    /// The same as an integer by `scale`, and the steps of the last rows.
    integer: i64,
    /// Mean of the last steps, where the value changed.
    step: i64,
    /// Mean of the last integers.
    level: i64,
    /// The series whose last change was equal to this one's: they often go on so.
    twin: u32,
    /// Bits of recent residuals of each [`Prediction`], in sixteenths, decaying.
    costs: [u16; 3],
    scale: Scale,
    /// Low bits that are zero in all integers, and are not written.
    shift: u8,
    /// One bit a row, last row lowest: did the value change?
    history: u8,
    /// Whether this is the first value of the segment.
    fresh: bool,
    /// Whether the last value was a stale marker: the series is then expected to be absent.
    stale: bool,
}

/// What the encoder remembers of a series over segments, and tells again in each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habit {
    scale: Scale,
    shift: u8,
}

pub(super) const NO_TWIN: u32 = u32::MAX;
const SHIFT_MAX: u32 = 63;

/// Models shared by the series of a segment.
#[derive(Clone, Debug)]
pub(super) struct ValueModels {
    changed: Vec<BitModel>,
    special: BitModel,
    stale: BitModel,
    twin: [BitModel; 4],
    scale: [BitTree<32>; 3],
    shift: [BitTree<64>; 3],
    bits: Vec<BitTree<64>>,
    bits_fresh: Vec<BitTree<64>>,
    rest: RestModels,
    last_scale: Scale,
}

/// The residual's bit length is modelled for each expected one up to here.
const EXPECTED_MAX: usize = 31;
const HISTORY: usize = 256;

impl ValueModels {
    pub(super) fn new() -> Self {
        Self {
            changed: vec![BitModel::new(); HISTORY * 2],
            special: BitModel::new(),
            stale: BitModel::new(),
            twin: [BitModel::new(); 4],
            scale: std::array::from_fn(|_| BitTree::new()),
            shift: std::array::from_fn(|_| BitTree::new()),
            bits: vec![BitTree::new(); EXPECTED_MAX + 1],
            bits_fresh: vec![BitTree::new(); 4],
            rest: RestModels::new(),
            last_scale: Scale::WHOLE,
        }
    }
}

/// What the rows coded before in this batch say.
#[derive(Debug, Default)]
pub(super) struct RowContext {
    /// Whether the series coded before this one changed.
    neighbour_changed: bool,
}

impl SeriesState {
    pub(super) fn new() -> Self {
        Self {
            value: 0.0,
            integer: 0,
            step: 0,
            level: 0,
            twin: NO_TWIN,
            costs: [0; 3],
            scale: Scale::WHOLE,
            shift: 0,
            history: 0,
            fresh: true,
            stale: false,
        }
    }

    pub(super) fn is_stale(&self) -> bool {
        self.stale
    }

    /// One value. The decoder's `value` means nothing.
    #[inline]
    pub(super) fn code<C: BitCoder>(
        &mut self,
        coder: &mut C,
        models: &mut ValueModels,
        row: &mut RowContext,
        value: f64,
    ) -> f64 {
        if self.fresh {
            return self.code_first(coder, models, value);
        }
        let context = usize::from(self.history) << 1 | usize::from(row.neighbour_changed);
        let changed = coder.bit(&mut models.changed[context], value.to_bits() != self.value.to_bits());
        self.history = self.history << 1 | u8::from(changed);
        row.neighbour_changed = changed;
        if !changed {
            self.stale = false;
            return self.value;
        }
        self.code_changed(coder, models, value)
    }

    fn code_first<C: BitCoder>(&mut self, coder: &mut C, models: &mut ValueModels, value: f64) -> f64 {
        if coder.bit(&mut models.stale, is_stale(value)) {
            self.stale = true;
            return STALE_NAN;
        }
        self.fresh = false;
        self.stale = false;
        if C::ENCODES {
            self.choose(value);
        }
        self.code_scale(coder, models);
        let target = if C::ENCODES { self.scale.integer(value).unwrap_or(0) } else { 0 };
        self.integer = (code_residual(coder, models, 40, true, target >> self.shift)) << self.shift;
        self.level = self.integer;
        self.value = self.scale.value(self.integer);
        self.value
    }

    fn choose(&mut self, value: f64) {
        let integer = self.scale.integer(value);
        if self.fresh || integer.is_none() {
            self.scale = if self.fresh { Scale::of(value, value) } else { Scale::of(value, self.value) };
            self.shift = self.scale.integer(value).map_or(0, |i| i.trailing_zeros().min(SHIFT_MAX)) as u8;
        }
        if let Some(integer) = integer {
            self.shift = self.shift.min(integer.trailing_zeros().min(SHIFT_MAX) as u8);
        }
    }

    fn code_scale<C: BitCoder>(&mut self, coder: &mut C, models: &mut ValueModels) {
        let context = match models.last_scale.code() {
            0 => 0,
            9 => 1,
            _ => 2,
        };
        self.scale = Scale::from_code(models.scale[context].code(coder, self.scale.code()));
        models.last_scale = self.scale;
        let context = match self.scale.code() {
            0 => 0,
            31 => 1,
            _ => 2,
        };
        self.shift = models.shift[context].code(coder, u32::from(self.shift)) as u8;
    }

    fn code_changed<C: BitCoder>(&mut self, coder: &mut C, models: &mut ValueModels, value: f64) -> f64 {
        let mut special = false;
        let mut integer = 0;
        if C::ENCODES {
            match self.scale.integer(value) {
                Some(found) => {
                    integer = found;
                    special = is_stale(value) || integer & !(!0i64 << self.shift) != 0;
                }
                None => special = true,
            }
        }
        if coder.bit(&mut models.special, special) {
            if coder.bit(&mut models.stale, is_stale(value)) {
                self.stale = true;
                return STALE_NAN;
            }
            if C::ENCODES {
                self.choose(value);
                integer = self.scale.integer(value).unwrap_or(0);
            }
            self.code_scale(coder, models);
            self.integer = self.scale.integer(self.value).unwrap_or(0) >> self.shift << self.shift;
            self.step = 0;
            self.level = self.integer;
        }
        self.stale = false;
        let best = (0..3).min_by_key(|&index| self.costs[index]).unwrap_or(0);
        let predictions = [self.integer, self.integer.wrapping_add(self.step), self.level];
        let shift = self.shift;
        let base = predictions[best] >> shift;
        let expected = usize::from(self.costs[best]);
        let target = (integer >> shift).wrapping_sub(base);
        let residual = code_residual(coder, models, expected, false, target);
        let new = base.wrapping_add(residual) << shift;
        for index in 0..3 {
            let error = (new >> shift).wrapping_sub(predictions[index] >> shift);
            let bits = bit_length(error) as u16 * 16;
            let cost = &mut self.costs[index];
            *cost =
                if bits > *cost { *cost + ((bits - *cost + 3) >> 2) } else { *cost - ((*cost - bits) >> 2) };
        }
        let step = new.wrapping_sub(self.integer);
        self.step = self.step.wrapping_add(step.wrapping_sub(self.step) >> 2);
        self.level = self.level.wrapping_add(new.wrapping_sub(self.level) >> 2);
        self.integer = new;
        self.value = self.scale.value(new);
        self.value
    }
}

fn bit_length(value: i64) -> u32 {
    u64::BITS - value.unsigned_abs().leading_zeros()
}

fn code_residual<C: BitCoder>(
    coder: &mut C,
    models: &mut ValueModels,
    expected: usize,
    fresh: bool,
    value: i64,
) -> i64 {
    let tree = if fresh {
        &mut models.bits_fresh[0]
    } else {
        &mut models.bits[((expected + 8) >> 4).min(EXPECTED_MAX)]
    };
    code_signed(coder, tree, &mut models.rest, value)
}

/// Models of what follows a number's bit length.
#[derive(Clone, Debug)]
pub(super) struct RestModels {
    sign: [BitModel; 64],
    top: [[BitModel; 8]; 64],
    least: BitModel,
}

impl RestModels {
    pub(super) fn new() -> Self {
        Self { sign: [BitModel::new(); 64], top: [[BitModel::new(); 8]; 64], least: BitModel::new() }
    }
}

/// A signed number by its bit length, its sign, and the bits that the length leaves open, of which the first
/// are modelled.
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
    let negative = coder.bit(&mut rest.sign[bits as usize], value < 0);
    let models = &mut rest.top[bits as usize];
    let mut magnitude = 1u64;
    let mut open = bits - 1;
    let mut context = 1;
    while open > 0 && context < 4 {
        let bit = coder.bit(&mut models[context], truth >> (open - 1) & 1 == 1);
        context = context << 1 | usize::from(bit);
        magnitude = magnitude << 1 | u64::from(bit);
        open -= 1;
    }
    while open > 0 {
        let take = open.min(16);
        open -= take;
        let part = coder.raw((truth >> open) as u32 & ((1 << take) - 1), take);
        magnitude = magnitude << take | u64::from(part);
    }
    if negative { -(magnitude as i64) } else { magnitude as i64 }
}
