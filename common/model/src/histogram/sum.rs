//! Adding and subtracting, with or without compensation for what rounding loses.

use std::mem;
use std::sync::Arc;

use super::bounds::exponential_bound;
use super::custom::shared_bounds;
use super::side::{Cell, Side};
use super::{CountKind, CounterReset, Histogram};

/// One histogram has an exponential schema and the other has custom bounds: nothing can be said of both together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot apply this operation on histograms with a mix of exponential and custom bucket schemas")]
pub struct IncompatibleSchemas;

/// What had to be made the same for an addition, of which users are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// One of the two says that it follows a counter reset, and the other that it does not.
    pub counter_resets_collide: bool,
    /// Custom bounds differ; only those that both have were kept.
    pub custom_bounds: bool,
}

impl Histogram {
    /// Adds another. The result has the lower of both schemas, and a zero bucket that holds both. It may have empty
    /// buckets: see [`Histogram::compact`].
    pub fn add(&mut self, other: &Self) -> Result<Reconciled, IncompatibleSchemas> {
        self.combine(other, 1.0)
    }

    /// Subtracts another. Otherwise as [`Histogram::add`], also for the counter reset; whoever makes a difference that
    /// is no counter any more says so by setting [`CounterReset::Gauge`].
    pub fn sub(&mut self, other: &Self) -> Result<Reconciled, IncompatibleSchemas> {
        self.combine(other, -1.0)
    }

    fn combine(&mut self, other: &Self, factor: f64) -> Result<Reconciled, IncompatibleSchemas> {
        check_schemas(self, other)?;
        let mut sum = Total::<f64>::from(mem::take(self));
        let reconciled = sum.add(other, factor);
        *self = sum.into();
        Ok(reconciled)
    }
}

/// A sum of histograms that keeps what rounding loses (Kahan's summation with Neumaier's improvement), so that the order
/// of many summands hardly matters.
///
/// ```
/// # use vedette_model::{Histogram, HistogramSum};
/// let part = |sum| Histogram { sum, ..Histogram::default() };
/// let mut total = HistogramSum::new(part(1.0));
/// for sum in [1e100, 1.0, -1e100] {
///     total.add(&part(sum))?;
/// }
/// assert_eq!(total.finish().sum, 2.0);
/// # Ok::<(), vedette_model::IncompatibleSchemas>(())
/// ```
#[derive(Clone, Debug)]
pub struct HistogramSum(Total<Compensated>);

impl HistogramSum {
    /// Begins with one histogram.
    pub fn new(first: Histogram) -> Self {
        let mut total = Total::of(&first);
        total.counts = CountKind::Float;
        Self(total)
    }

    /// Adds another, as [`Histogram::add`] does.
    pub fn add(&mut self, other: &Histogram) -> Result<Reconciled, IncompatibleSchemas> {
        if self.0.uses_custom_buckets() != other.uses_custom_buckets() {
            return Err(IncompatibleSchemas);
        }
        Ok(self.0.add(other, 1.0))
    }

    /// Multiplies the sum so far, as [`Histogram::mul`] does.
    pub fn mul(&mut self, factor: f64) {
        self.0.cells_mut().for_each(|cell| {
            cell.sum *= factor;
            cell.lost *= factor;
        });
        if factor < 0.0 {
            self.0.counter_reset = CounterReset::Gauge;
        }
    }

    /// Divides the sum so far by something that is not 0, as [`Histogram::div`] does.
    pub fn div(&mut self, divisor: f64) {
        self.0.cells_mut().for_each(|cell| {
            cell.sum /= divisor;
            cell.lost /= divisor;
        });
        if divisor < 0.0 {
            self.0.counter_reset = CounterReset::Gauge;
        }
    }

    /// Whether a number in it is too great for a float. A mean is then computed step by step instead.
    pub fn has_overflow(&self) -> bool {
        let Total { zero_count, count, sum, positive, negative, custom_values, .. } = &self.0;
        let cells = [zero_count, count, sum].into_iter().chain(&positive.buckets).chain(&negative.buckets);
        cells.map(|cell| cell.sum).chain(custom_values.iter().copied()).any(f64::is_infinite)
    }

    /// The sum with what rounding had lost.
    pub fn finish(self) -> Histogram {
        let all = |cells: Vec<Compensated>| cells.into_iter().map(|cell| cell.sum + cell.lost).collect();
        let Total { zero_count, count, sum, positive, negative, .. } = self.0;
        Histogram {
            counts: CountKind::Float,
            counter_reset: self.0.counter_reset,
            schema: self.0.schema,
            zero_threshold: self.0.zero_threshold,
            zero_count: zero_count.sum + zero_count.lost,
            count: count.sum + count.lost,
            sum: sum.sum + sum.lost,
            positive_spans: positive.spans,
            negative_spans: negative.spans,
            positive_buckets: all(positive.buckets),
            negative_buckets: all(negative.buckets),
            custom_values: self.0.custom_values,
        }
    }
}

/// A float and what was lost when others were added to it.
#[derive(Clone, Copy, Debug, Default)]
struct Compensated {
    sum: f64,
    lost: f64,
}

impl Compensated {
    fn increase(&mut self, by: f64) {
        let total = self.sum + by;
        if total.is_infinite() {
            self.lost = 0.0;
        } else if self.sum.abs() >= by.abs() {
            self.lost += (self.sum - total) + by;
        } else {
            self.lost += (by - total) + self.sum;
        }
        self.sum = total;
    }
}

impl From<f64> for Compensated {
    fn from(sum: f64) -> Self {
        Self { sum, lost: 0.0 }
    }
}

impl Cell for Compensated {
    fn add(&mut self, other: Self) {
        self.increase(other.sum);
        self.increase(other.lost);
    }

    fn scale(&mut self, factor: f64) {
        self.sum *= factor;
        self.lost *= factor;
    }

    fn is_zero(self) -> bool {
        self.sum == 0.0 && self.lost == 0.0
    }

    fn rounded(self) -> f64 {
        self.sum
    }
}

/// A histogram with other numbers.
#[derive(Clone, Debug)]
struct Total<C> {
    counts: CountKind,
    counter_reset: CounterReset,
    schema: i32,
    zero_threshold: f64,
    zero_count: C,
    count: C,
    sum: C,
    positive: Side<C>,
    negative: Side<C>,
    custom_values: Arc<[f64]>,
}

impl From<Histogram> for Total<f64> {
    fn from(histogram: Histogram) -> Self {
        Self {
            counts: CountKind::Float,
            counter_reset: histogram.counter_reset,
            schema: histogram.schema,
            zero_threshold: histogram.zero_threshold,
            zero_count: histogram.zero_count,
            count: histogram.count,
            sum: histogram.sum,
            positive: Side { spans: histogram.positive_spans, buckets: histogram.positive_buckets },
            negative: Side { spans: histogram.negative_spans, buckets: histogram.negative_buckets },
            custom_values: histogram.custom_values,
        }
    }
}

impl From<Total<f64>> for Histogram {
    fn from(total: Total<f64>) -> Self {
        Self {
            counts: total.counts,
            counter_reset: total.counter_reset,
            schema: total.schema,
            zero_threshold: total.zero_threshold,
            zero_count: total.zero_count,
            count: total.count,
            sum: total.sum,
            positive_spans: total.positive.spans,
            negative_spans: total.negative.spans,
            positive_buckets: total.positive.buckets,
            negative_buckets: total.negative.buckets,
            custom_values: total.custom_values,
        }
    }
}

impl<C: Cell> Total<C> {
    fn of(histogram: &Histogram) -> Self {
        Self {
            counts: histogram.counts,
            counter_reset: histogram.counter_reset,
            schema: histogram.schema,
            zero_threshold: histogram.zero_threshold,
            zero_count: C::from(histogram.zero_count),
            count: C::from(histogram.count),
            sum: C::from(histogram.sum),
            positive: Side::of(&histogram.positive_spans, &histogram.positive_buckets),
            negative: Side::of(&histogram.negative_spans, &histogram.negative_buckets),
            custom_values: Arc::clone(&histogram.custom_values),
        }
    }

    fn uses_custom_buckets(&self) -> bool {
        self.schema == super::CUSTOM_BUCKETS_SCHEMA
    }

    fn cells_mut(&mut self) -> impl Iterator<Item = &mut C> {
        let Self { zero_count, count, sum, positive, negative, .. } = self;
        [zero_count, count, sum].into_iter().chain(&mut positive.buckets).chain(&mut negative.buckets)
    }

    /// Adds `other` × `factor`, which is 1 or -1. Both have custom bounds or neither.
    fn add(&mut self, other: &Histogram, factor: f64) -> Reconciled {
        let counter_resets_collide = self.combine_counter_reset(other.counter_reset);
        let custom = self.uses_custom_buckets();
        if !custom {
            let mut zero_count = self.reconcile_zero_buckets(other);
            zero_count.scale(factor);
            self.zero_count.add(zero_count);
        }
        self.count.add(C::from(other.count * factor));
        self.sum.add(C::from(other.sum * factor));
        let custom_bounds = custom && *self.custom_values != *other.custom_values;
        if custom_bounds {
            self.add_to_shared_bounds(other, factor);
        } else if custom {
            self.positive.add::<f64>((&other.positive_spans, &other.positive_buckets), factor, |_| false);
        } else {
            self.add_buckets(other, factor);
        }
        Reconciled { counter_resets_collide, custom_bounds }
    }

    fn add_buckets(&mut self, other: &Histogram, factor: f64) {
        let (schema, threshold) = (self.schema.min(other.schema), self.zero_threshold);
        let in_zero_bucket = |index| threshold > 0.0 && exponential_bound(index, schema) <= threshold;
        let mine = self.schema.abs_diff(schema);
        self.schema = schema;
        let theirs = other.schema.abs_diff(schema);
        let sides = [
            (&mut self.positive, &other.positive_spans, &other.positive_buckets),
            (&mut self.negative, &other.negative_spans, &other.negative_buckets),
        ];
        for (side, spans, buckets) in sides {
            if mine > 0 {
                side.coarsen(mine);
            }
            if theirs > 0 {
                let mut coarse = Side::<C>::of(spans, buckets);
                coarse.coarsen(theirs);
                side.add::<C>((&coarse.spans, &coarse.buckets), factor, in_zero_bucket);
            } else {
                side.add::<f64>((spans, buckets), factor, in_zero_bucket);
            }
        }
    }

    /// Both are mapped to the bounds that they share. Buckets that come out empty are left out.
    fn add_to_shared_bounds(&mut self, other: &Histogram, factor: f64) {
        let shared = shared_bounds(&self.custom_values, &other.custom_values);
        let mut cells = vec![C::from(0.0); shared.len() + 1];
        self.positive.add_to_bounds(1.0, &self.custom_values, &shared, &mut cells);
        let theirs = Side::<C>::of(&other.positive_spans, &other.positive_buckets);
        theirs.add_to_bounds(factor, &other.custom_values, &shared, &mut cells);
        self.positive = Side::of_cells(cells);
        self.custom_values = shared.into();
    }

    /// Whether a reset collides with none. A gauge makes the sum a gauge, something unknown makes it unknown.
    fn combine_counter_reset(&mut self, other: CounterReset) -> bool {
        use CounterReset::{Gauge, Unknown};
        let (combined, collide) = match (self.counter_reset, other) {
            (mine, theirs) if mine == theirs => (mine, false),
            (Gauge, _) | (_, Gauge) => (Gauge, false),
            (Unknown, _) | (_, Unknown) => (Unknown, false),
            _ => (Unknown, true),
        };
        self.counter_reset = combined;
        collide
    }

    /// Widens the own zero bucket until it holds both and ends inside of no bucket that holds something. Gives what the
    /// other's would then hold.
    fn reconcile_zero_buckets(&mut self, other: &Histogram) -> C {
        let mut their_threshold = other.zero_threshold;
        let mut their_count = C::from(other.zero_count);
        let mut theirs = None;
        // A threshold that is no number is never met, so the loop is for those that are less.
        while their_threshold != self.zero_threshold {
            if self.zero_threshold > their_threshold {
                let theirs = theirs.get_or_insert_with(|| Self::of(other));
                (their_count, their_threshold) = theirs.zero_count_for(self.zero_threshold);
            } else if their_threshold > self.zero_threshold {
                (self.zero_count, self.zero_threshold) = self.zero_count_for(their_threshold);
                self.positive.trim(self.zero_threshold, self.schema);
                self.negative.trim(self.zero_threshold, self.schema);
            } else {
                break;
            }
        }
        their_count
    }

    /// What the zero bucket would hold with a threshold that is at least that great, and that threshold: it must not
    /// fall within a bucket that holds something.
    fn zero_count_for(&self, mut threshold: f64) -> (C, f64) {
        loop {
            let mut zero_count = self.zero_count;
            if let Some(bound) = self.positive.add_to_zero(&mut zero_count, threshold, self.schema) {
                threshold = bound;
            }
            match self.negative.add_to_zero(&mut zero_count, threshold, self.schema) {
                Some(bound) => threshold = bound,
                None => return (zero_count, threshold),
            }
        }
    }
}

/// What the zero bucket of `histogram` would hold with a threshold that is at least that great, and that threshold.
pub(super) fn zero_count_for(histogram: &Histogram, threshold: f64) -> (f64, f64) {
    if threshold == histogram.zero_threshold {
        return (histogram.zero_count, threshold);
    }
    Total::<f64>::of(histogram).zero_count_for(threshold)
}

fn check_schemas(left: &Histogram, right: &Histogram) -> Result<(), IncompatibleSchemas> {
    if left.uses_custom_buckets() == right.uses_custom_buckets() { Ok(()) } else { Err(IncompatibleSchemas) }
}
