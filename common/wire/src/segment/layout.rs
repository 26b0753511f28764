//! Which buckets a histogram has. Histograms repeat their layout from scrape to scrape, and many series share one, so
//! that it is told once and then named.

use std::collections::HashMap;
use std::sync::Arc;

use vedette_model::{CountKind, Histogram, Span};

use super::decode::BodyError;
use super::range::{BitCoder, BitModel, BitTree};
use super::scale::Scale;
use super::series::{RestModels, code_signed};

/// All of a histogram but its numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Layout {
    pub(super) counts: CountKind,
    pub(super) schema: i32,
    pub(super) zero_threshold: f64,
    pub(super) positive: Vec<Span>,
    pub(super) negative: Vec<Span>,
    pub(super) custom_values: Arc<[f64]>,
}

impl Layout {
    pub(super) fn of(histogram: &Histogram) -> Self {
        Self {
            counts: histogram.counts,
            schema: histogram.schema,
            zero_threshold: histogram.zero_threshold,
            positive: histogram.positive_spans.clone(),
            negative: histogram.negative_spans.clone(),
            custom_values: Arc::clone(&histogram.custom_values),
        }
    }

    pub(super) fn is_of(&self, histogram: &Histogram) -> bool {
        self.counts == histogram.counts
            && self.schema == histogram.schema
            && self.zero_threshold.to_bits() == histogram.zero_threshold.to_bits()
            && self.positive == histogram.positive_spans
            && self.negative == histogram.negative_spans
            && same_bits(&self.custom_values, &histogram.custom_values)
    }

    /// The memory it takes, in buckets.
    pub(super) fn weight(&self) -> usize {
        self.buckets() + self.positive.len() + self.negative.len() + self.custom_values.len() + 1
    }

    /// How many buckets its spans name.
    pub(super) fn buckets(&self) -> usize {
        named(&self.positive) + named(&self.negative)
    }

    pub(super) fn positive_buckets(&self) -> usize {
        named(&self.positive)
    }

    /// Whether a bucket with the same sign and index is the same bucket.
    pub(super) fn has_bounds_of(&self, other: &Self) -> bool {
        self.schema == other.schema && same_bits(&self.custom_values, &other.custom_values)
    }

    /// Sign and index of each bucket, positive ones first.
    pub(super) fn places(&self) -> impl Iterator<Item = (bool, i32)> + '_ {
        let positive = indices(&self.positive).map(|index| (false, index));
        positive.chain(indices(&self.negative).map(|index| (true, index)))
    }

    fn key(&self) -> LayoutKey {
        let bits = std::iter::once(&self.zero_threshold).chain(self.custom_values.iter());
        LayoutKey {
            counts: self.counts,
            schema: self.schema,
            floats: bits.map(|float| float.to_bits()).collect(),
            positive: self.positive.clone(),
            negative: self.negative.clone(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct LayoutKey {
    counts: CountKind,
    schema: i32,
    floats: Vec<u64>,
    positive: Vec<Span>,
    negative: Vec<Span>,
}

fn same_bits(left: &[f64], right: &[f64]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(left, right)| left.to_bits() == right.to_bits())
}

fn named(spans: &[Span]) -> usize {
    spans.iter().map(|span| span.length as usize).sum()
}

/// The indices that spans name. They wrap where spans reach too far, which no valid histogram's do.
fn indices(spans: &[Span]) -> impl Iterator<Item = i32> + '_ {
    let mut next = 0i32;
    spans.iter().flat_map(move |span| {
        let first = next.wrapping_add(span.offset);
        next = first.wrapping_add(span.length as i32);
        (0..span.length).map(move |place| first.wrapping_add(place as i32))
    })
}

const SLOT_COUNT: usize = 1 << 10;
/// When the layouts of all slots are heavier, all are forgotten.
const WEIGHT_MAX: usize = 1 << 19;

/// The layouts told last in a segment, and the models by which others are told.
#[derive(Debug)]
pub(super) struct Layouts {
    slots: Vec<Arc<Layout>>,
    /// The slot that the next new one takes when all are taken.
    next: usize,
    /// Of all slots.
    weight: usize,
    /// Only the encoder's.
    by_key: HashMap<LayoutKey, usize>,
    known: BitModel,
    slot: Box<BitTree<SLOT_COUNT>>,
    counts: BitModel,
    schema: BitTree<64>,
    scale: BitTree<32>,
    float: BitTree<64>,
    length: BitTree<64>,
    offset: BitTree<64>,
    rest: RestModels,
}

impl Layouts {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            next: 0,
            weight: 0,
            by_key: HashMap::new(),
            known: BitModel::new(),
            slot: Box::new(BitTree::new()),
            counts: BitModel::new(),
            schema: BitTree::new(),
            scale: BitTree::new(),
            float: BitTree::new(),
            length: BitTree::new(),
            offset: BitTree::new(),
            rest: RestModels::new(),
        }
    }

    /// A layout: one of the last ones, or a new one of at most `buckets_max` buckets. The encoder gives it.
    pub(super) fn code<C: BitCoder>(
        &mut self,
        coder: &mut C,
        truth: Option<&Histogram>,
        buckets_max: usize,
    ) -> Result<Arc<Layout>, BodyError> {
        let truth = truth.map(Layout::of).unwrap_or_default();
        let key = if C::ENCODES { Some(truth.key()) } else { None };
        let found = key.as_ref().and_then(|key| self.by_key.get(key)).copied();
        if coder.bit(&mut self.known, found.is_some()) {
            let slot = self.slot.code(coder, found.unwrap_or(0) as u32) as usize;
            return self.slots.get(slot).cloned().ok_or(BodyError::Malformed("histogram layout reference"));
        }
        let layout = Arc::new(self.code_new(coder, &truth, buckets_max)?);
        self.weight += layout.weight();
        if self.weight > WEIGHT_MAX {
            self.slots.clear();
            self.by_key.clear();
            self.next = 0;
            self.weight = layout.weight();
        }
        let slot = if self.slots.len() < SLOT_COUNT {
            self.slots.push(Arc::clone(&layout));
            self.slots.len() - 1
        } else {
            let slot = self.next;
            self.next = (self.next + 1) % SLOT_COUNT;
            let old = std::mem::replace(&mut self.slots[slot], Arc::clone(&layout));
            self.weight -= old.weight();
            if C::ENCODES {
                self.by_key.remove(&old.key());
            }
            slot
        };
        if let Some(key) = key {
            self.by_key.insert(key, slot);
        }
        Ok(layout)
    }

    fn code_new<C: BitCoder>(
        &mut self,
        coder: &mut C,
        truth: &Layout,
        buckets_max: usize,
    ) -> Result<Layout, BodyError> {
        let integer = coder.bit(&mut self.counts, truth.counts == CountKind::Integer);
        let schema = code_signed(coder, &mut self.schema, &mut self.rest, i64::from(truth.schema));
        let schema = i32::try_from(schema).map_err(|_| BodyError::Malformed("histogram schema"))?;
        let zero_threshold = self.code_float(coder, truth.zero_threshold);
        let positive = self.code_spans(coder, &truth.positive, buckets_max)?;
        let negative = self.code_spans(coder, &truth.negative, buckets_max)?;
        let custom = self.code_length(coder, truth.custom_values.len(), buckets_max)?;
        let truth_of = |place: usize| truth.custom_values.get(place).copied().unwrap_or(0.0);
        let custom_values = (0..custom).map(|place| self.code_float(coder, truth_of(place))).collect();
        let counts = if integer { CountKind::Integer } else { CountKind::Float };
        Ok(Layout { counts, schema, zero_threshold, positive, negative, custom_values })
    }

    fn code_spans<C: BitCoder>(
        &mut self,
        coder: &mut C,
        truth: &[Span],
        buckets_max: usize,
    ) -> Result<Vec<Span>, BodyError> {
        let count = self.code_length(coder, truth.len(), buckets_max)?;
        let mut spans = Vec::new();
        let mut left = buckets_max;
        for place in 0..count {
            let truth = truth.get(place).copied().unwrap_or_default();
            let offset = code_signed(coder, &mut self.offset, &mut self.rest, i64::from(truth.offset));
            let offset = i32::try_from(offset).map_err(|_| BodyError::Malformed("histogram span"))?;
            let length = self.code_length(coder, truth.length as usize, left)?;
            left -= length;
            spans.push(Span { offset, length: length as u32 });
        }
        Ok(spans)
    }

    fn code_length<C: BitCoder>(
        &mut self,
        coder: &mut C,
        truth: usize,
        max: usize,
    ) -> Result<usize, BodyError> {
        let length = code_signed(coder, &mut self.length, &mut self.rest, truth as i64);
        match usize::try_from(length) {
            Ok(length) if length <= max => Ok(length),
            _ => Err(BodyError::Limit("buckets of a histogram", max)),
        }
    }

    fn code_float<C: BitCoder>(&mut self, coder: &mut C, truth: f64) -> f64 {
        let scale = if C::ENCODES { Scale::of(truth, truth) } else { Scale::WHOLE };
        let scale = Scale::from_code(self.scale.code(coder, scale.code()));
        let integer = if C::ENCODES { scale.integer(truth).unwrap_or(0) } else { 0 };
        scale.value(code_signed(coder, &mut self.float, &mut self.rest, integer))
    }
}
