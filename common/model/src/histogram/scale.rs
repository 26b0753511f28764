//! Multiplying, dividing, making coarser, leaving out what is empty.

use std::mem;

use super::side::Side;
use super::{CountKind, CounterReset, Histogram};

/// Why a histogram can not be made as coarse as asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoarsenError {
    /// Its bounds are listed.
    #[error("cannot reduce resolution when there are custom buckets")]
    CustomBuckets,
    /// It is as coarse already, or the target is no exponential schema.
    #[error("cannot reduce resolution from schema {from} to {to}")]
    Target {
        /// Its schema.
        from: i32,
        /// The schema asked for.
        to: i32,
    },
}

impl Histogram {
    /// Multiplies all counts and the sum. A negative factor makes it a gauge.
    pub fn mul(&mut self, factor: f64) {
        self.numbers_mut().for_each(|number| *number *= factor);
        self.was_scaled(factor);
    }

    /// Divides all counts and the sum. A negative divisor makes it a gauge; 0 leaves no buckets.
    pub fn div(&mut self, divisor: f64) {
        if divisor == 0.0 {
            self.positive_spans.clear();
            self.positive_buckets.clear();
            self.negative_spans.clear();
            self.negative_buckets.clear();
        }
        self.numbers_mut().for_each(|number| *number /= divisor);
        self.was_scaled(divisor);
    }

    fn was_scaled(&mut self, factor: f64) {
        self.counts = CountKind::Float;
        if factor < 0.0 {
            self.counter_reset = CounterReset::Gauge;
        }
    }

    fn numbers_mut(&mut self) -> impl Iterator<Item = &mut f64> {
        let Self { zero_count, count, sum, positive_buckets, negative_buckets, .. } = self;
        [zero_count, count, sum].into_iter().chain(positive_buckets).chain(negative_buckets)
    }

    /// Whether a number in it is too great for a float.
    pub fn has_overflow(&self) -> bool {
        let buckets = self.positive_buckets.iter().chain(&self.negative_buckets);
        let numbers = [&self.zero_count, &self.count, &self.sum].into_iter().chain(buckets);
        numbers.chain(self.custom_values.iter()).any(|number| number.is_infinite())
    }

    /// Leaves out empty buckets, but for runs of at most `empty_max` between two that are not: a few empty buckets take
    /// less than another span. Gaps of at most that size are filled.
    pub fn compact(&mut self, empty_max: u32) {
        self.each_side(|side| side.compact(empty_max));
    }

    /// Merges neighbouring buckets, so that it has the (lower) schema `target`. The bounds that remain are the same.
    pub fn reduce_resolution(&mut self, target: i32) -> Result<(), CoarsenError> {
        if self.uses_custom_buckets() {
            return Err(CoarsenError::CustomBuckets);
        }
        if target >= self.schema || target < super::EXPONENTIAL_SCHEMA_MIN {
            return Err(CoarsenError::Target { from: self.schema, to: target });
        }
        let steps = self.schema.abs_diff(target);
        self.each_side(|side| side.coarsen(steps));
        self.schema = target;
        Ok(())
    }

    fn each_side(&mut self, change: impl Fn(&mut Side<f64>)) {
        let sides = [
            (&mut self.positive_spans, &mut self.positive_buckets),
            (&mut self.negative_spans, &mut self.negative_buckets),
        ];
        for (spans, buckets) in sides {
            let mut side = Side { spans: mem::take(spans), buckets: mem::take(buckets) };
            change(&mut side);
            (*spans, *buckets) = (side.spans, side.buckets);
        }
    }
}
