//! The buckets of one sign, and what is counted in them.

use super::Span;
use super::bounds::exponential_bound;
use super::buckets::indexed;

/// A number that is added to: a float, or a float with what rounding lost.
pub(super) trait Cell: Copy + From<f64> {
    /// Adds another.
    fn add(&mut self, other: Self);
    /// Multiplies.
    fn scale(&mut self, factor: f64);
    /// Whether nothing is in it.
    fn is_zero(self) -> bool;
    /// What it comes to without what rounding lost.
    fn rounded(self) -> f64;
}

impl Cell for f64 {
    fn add(&mut self, other: Self) {
        *self += other;
    }

    fn scale(&mut self, factor: f64) {
        *self *= factor;
    }

    fn is_zero(self) -> bool {
        self == 0.0
    }

    fn rounded(self) -> f64 {
        self
    }
}

/// Spans and what is in the buckets that they name.
#[derive(Clone, Debug, Default)]
pub(super) struct Side<C> {
    pub(super) spans: Vec<Span>,
    pub(super) buckets: Vec<C>,
}

impl<C: Cell> Side<C> {
    pub(super) fn of(spans: &[Span], buckets: &[f64]) -> Self {
        Self { spans: spans.to_vec(), buckets: buckets.iter().map(|count| C::from(*count)).collect() }
    }

    /// Adds a bucket after all others.
    fn push(&mut self, end: &mut Option<i32>, index: i32, cell: C) {
        match (*end, self.spans.last_mut()) {
            (Some(next), Some(span)) if next == index => span.length += 1,
            (next, _) => {
                self.spans.push(Span { offset: index.wrapping_sub(next.unwrap_or(0)), length: 1 });
            }
        }
        *end = Some(index.wrapping_add(1));
        self.buckets.push(cell);
    }

    /// Adds what another side of the same schema holds, multiplied by `factor`, without its lowest buckets as long as
    /// they are `in_zero_bucket`.
    pub(super) fn add<D: Copy>(
        &mut self,
        (spans, buckets): (&[Span], &[D]),
        factor: f64,
        in_zero_bucket: impl Fn(i32) -> bool,
    ) where
        C: From<D>,
    {
        let other = indexed(spans, buckets).map(|(index, count)| {
            let mut cell = C::from(count);
            cell.scale(factor);
            (index, cell)
        });
        let lowest_is_out = spans.first().is_some_and(|span| in_zero_bucket(span.offset));
        if self.spans == spans && self.buckets.len() == buckets.len() && !lowest_is_out {
            self.buckets.iter_mut().zip(other).for_each(|(cell, (_, other))| cell.add(other));
            return;
        }
        let mut added = other.skip_while(|(index, _)| in_zero_bucket(*index)).peekable();
        let mut union = Self { spans: Vec::new(), buckets: Vec::with_capacity(self.buckets.len()) };
        let mut end = None;
        for (index, mut cell) in indexed(&self.spans, &self.buckets) {
            while let Some((before, other)) = added.next_if(|(before, _)| *before < index) {
                union.push(&mut end, before, other);
            }
            if let Some((_, other)) = added.next_if(|(same, _)| *same == index) {
                cell.add(other);
            }
            union.push(&mut end, index, cell);
        }
        added.for_each(|(index, other)| union.push(&mut end, index, other));
        *self = union;
    }

    /// Merges neighbours so that the schema is lower by `steps`.
    pub(super) fn coarsen(&mut self, steps: u32) {
        let mut coarse = Self { spans: Vec::new(), buckets: Vec::with_capacity(self.buckets.len()) };
        let mut end = None;
        for (index, cell) in indexed(&self.spans, &self.buckets) {
            let index = coarser_index(index, steps);
            match coarse.buckets.last_mut() {
                Some(last) if end == Some(index.wrapping_add(1)) => last.add(cell),
                _ => coarse.push(&mut end, index, cell),
            }
        }
        *self = coarse;
    }

    /// Leaves out empty buckets, but for runs of at most `empty_max` between two that are not.
    pub(super) fn compact(&mut self, empty_max: u32) {
        let normal = |(place, span): (usize, &Span)| span.length > 0 && (place == 0 || span.offset > 0);
        let roomy = self.spans.iter().skip(1).all(|span| i64::from(span.offset) > i64::from(empty_max));
        let full = !self.buckets.iter().any(|cell| cell.is_zero());
        if full && roomy && self.spans.iter().enumerate().all(normal) {
            return;
        }
        let mut compact = Self { spans: Vec::new(), buckets: Vec::with_capacity(self.buckets.len()) };
        let mut end: Option<i32> = None;
        for (index, cell) in indexed(&self.spans, &self.buckets).filter(|(_, cell)| !cell.is_zero()) {
            if let Some(next) = end {
                let gap = i64::from(index) - i64::from(next);
                if (1..=i64::from(empty_max)).contains(&gap) {
                    (next..index).for_each(|empty| compact.push(&mut end, empty, C::from(0.0)));
                }
            }
            compact.push(&mut end, index, cell);
        }
        *self = compact;
    }

    /// Adds to `zero` what lies within `threshold` of zero. Gives the bound of a bucket that reaches beyond it and is
    /// not empty.
    pub(super) fn add_to_zero(&self, zero: &mut C, threshold: f64, schema: i32) -> Option<f64> {
        for (index, cell) in indexed(&self.spans, &self.buckets) {
            if exponential_bound(index.wrapping_sub(1), schema) >= threshold {
                break;
            }
            zero.add(cell);
            let upper = exponential_bound(index, schema);
            if upper > threshold {
                return (cell.rounded() != 0.0).then_some(upper);
            }
        }
        None
    }

    /// Empties and leaves out what lies within `threshold` of zero, and leaves out empty buckets.
    pub(super) fn trim(&mut self, threshold: f64, schema: i32) {
        let inside = |index: &i32| exponential_bound(index.wrapping_sub(1), schema) < threshold;
        let within = indexed(&self.spans, &self.buckets).take_while(|(index, _)| inside(index)).count();
        self.buckets[..within].fill(C::from(0.0));
        self.compact(0);
    }

    /// What is in each bucket of `to`, which has some of the upper bounds of `from`.
    pub(super) fn add_to_bounds(&self, factor: f64, from: &[f64], to: &[f64], cells: &mut [C]) {
        for (index, mut cell) in indexed(&self.spans, &self.buckets) {
            cell.scale(factor);
            let bound = usize::try_from(index).ok().and_then(|index| from.get(index));
            let place = bound.map_or(to.len(), |bound| to.partition_point(|upper| upper < bound));
            cells[place].add(cell);
        }
    }

    /// One cell per custom bucket, without the empty ones.
    pub(super) fn of_cells(cells: Vec<C>) -> Self {
        let mut side = Self { spans: Vec::new(), buckets: Vec::new() };
        let mut end = None;
        for (index, cell) in (0i32..).zip(cells).filter(|(_, cell)| !cell.is_zero()) {
            side.push(&mut end, index, cell);
        }
        side
    }
}

/// Where a bucket's content goes when the schema is lower by `steps`.
pub(super) fn coarser_index(index: i32, steps: u32) -> i32 {
    (index.wrapping_sub(1) >> steps.min(31)).wrapping_add(1)
}
