//! Native histograms, as Prometheus' model has them (its `model/histogram`).
//!
//! One type for integer and float histograms: counts are absolute floats, which hold every integer below 2⁵³ exactly.
//! What a histogram of counters loses that way is nothing; [`CountKind`] remembers what its writer sent.

mod bounds;
mod buckets;
mod classic;
mod compare;
mod custom;
mod scale;
mod side;
mod sum;
#[cfg(test)]
mod tests;
mod trim;
mod validate;

use std::sync::Arc;

pub use buckets::Bucket;
pub use classic::{ClassicHistogram, ClassicHistogramError};
pub use scale::CoarsenError;
pub use sum::{HistogramSum, IncompatibleSchemas, Reconciled};
pub use validate::HistogramError;

/// The schema of histograms whose bounds are listed in [`Histogram::custom_values`].
pub const CUSTOM_BUCKETS_SCHEMA: i32 = -53;
/// The coarsest exponential schema.
pub const EXPONENTIAL_SCHEMA_MIN: i32 = -4;
/// The finest exponential schema.
pub const EXPONENTIAL_SCHEMA_MAX: i32 = 8;

/// What a histogram's writer counted in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CountKind {
    /// Whole numbers, each below 2⁵³.
    Integer,
    /// Floats, or numbers too great to be exact as floats.
    #[default]
    Float,
}

/// What is known about a counter reset just before a histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CounterReset {
    /// Nothing: whoever needs it must compare with the histogram before.
    #[default]
    Unknown,
    /// There was one.
    Reset,
    /// There was none.
    NotReset,
    /// It is no counter: counts go up and down.
    Gauge,
}

/// A run of buckets that follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// For the first span the index of its first bucket, else how many buckets lie between it and the span before.
    pub offset: i32,
    /// How many buckets.
    pub length: u32,
}

/// A native histogram: the value of a histogram sample.
///
/// Buckets are absolute counts (not cumulative, not deltas); the spans say which bucket each one is. Anyone may put one
/// together from parts; `validate` says whether the parts fit.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// What its writer sent. Arithmetic makes it [`CountKind::Float`].
    pub counts: CountKind,
    /// Whether a counter reset came just before.
    pub counter_reset: CounterReset,
    /// -4 to 8: bucket bounds are powers of 2^(2^-schema). -53: bounds are the custom values.
    pub schema: i32,
    /// Half the width of the zero bucket, which reaches from its negative to itself. 0 with custom bounds.
    pub zero_threshold: f64,
    /// Observations in the zero bucket. 0 with custom bounds.
    pub zero_count: f64,
    /// Observations in all.
    pub count: f64,
    /// Sum of all observed values.
    pub sum: f64,
    /// Which buckets the positive ones are.
    pub positive_spans: Vec<Span>,
    /// Which buckets the negative ones are, counted away from zero. None with custom bounds.
    pub negative_spans: Vec<Span>,
    /// Observations in each bucket that the positive spans name.
    pub positive_buckets: Vec<f64>,
    /// Observations in each bucket that the negative spans name.
    pub negative_buckets: Vec<f64>,
    /// Upper bounds, strictly rising, without the last (+Inf). Only with schema -53.
    pub custom_values: Arc<[f64]>,
}

impl Histogram {
    /// Whether its bounds are listed rather than computed.
    pub fn uses_custom_buckets(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }
}

/// Every field is the same, numbers by their bits (so a NaN equals itself and 0 differs from -0).
impl PartialEq for Histogram {
    fn eq(&self, other: &Self) -> bool {
        self.counts == other.counts
            && self.counter_reset == other.counter_reset
            && self.schema == other.schema
            && same_bits(&[self.zero_threshold, self.zero_count], &[other.zero_threshold, other.zero_count])
            && same_bits(&[self.count, self.sum], &[other.count, other.sum])
            && self.positive_spans == other.positive_spans
            && self.negative_spans == other.negative_spans
            && same_bits(&self.positive_buckets, &other.positive_buckets)
            && same_bits(&self.negative_buckets, &other.negative_buckets)
            && same_bits(&self.custom_values, &other.custom_values)
    }
}

impl Eq for Histogram {}

fn same_bits(left: &[f64], right: &[f64]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(left, right)| left.to_bits() == right.to_bits())
}

/// A histogram at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistogramSample {
    /// When, in milliseconds since the epoch.
    pub at_ms: i64,
    /// Since when it counts, in milliseconds since the epoch; 0 where that is unknown.
    pub start_ms: i64,
    /// What.
    pub histogram: Arc<Histogram>,
}
