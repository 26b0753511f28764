//! Going through the buckets.

use std::fmt;

use super::bounds::upper_bound;
use super::{Histogram, Span};
use crate::number::format_exposition;

/// A bucket with its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// The lower bound.
    pub lower: f64,
    /// The upper bound.
    pub upper: f64,
    /// Whether an observation at the lower bound is in it.
    pub lower_inclusive: bool,
    /// Whether an observation at the upper bound is in it.
    pub upper_inclusive: bool,
    /// Observations.
    pub count: f64,
    /// Its place within the schema and sign. Means nothing for the zero bucket.
    pub index: i32,
}

/// `(0.5,1]:3`
impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = if self.lower_inclusive { '[' } else { '(' };
        let close = if self.upper_inclusive { ']' } else { ')' };
        let [lower, upper, count] = [self.lower, self.upper, self.count].map(format_exposition);
        write!(f, "{open}{lower},{upper}{close}:{count}")
    }
}

impl Histogram {
    /// The positive buckets that the spans name, empty ones too, from zero upwards. To go down, `rev()`.
    pub fn positive_buckets(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        indexed(&self.positive_spans, &self.positive_buckets)
            .map(|(index, count)| self.positive(index, count))
    }

    /// The negative buckets that the spans name, empty ones too, from zero **downwards**. To go up, `rev()`.
    pub fn negative_buckets(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        indexed(&self.negative_spans, &self.negative_buckets)
            .map(|(index, count)| self.negative(index, count))
    }

    /// All buckets from the lowest to the highest: negative ones, the zero bucket if anything is in it, positive ones.
    /// Where one overlaps with the zero bucket it ends (or begins) at the zero threshold. To go down, `rev()`.
    pub fn all_buckets(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        let threshold = self.zero_threshold;
        let clip = move |mut bucket: Bucket| {
            if bucket.upper < 0.0 && bucket.upper > -threshold {
                bucket.upper = -threshold;
            } else if bucket.lower > 0.0 && bucket.lower < threshold {
                bucket.lower = threshold;
            }
            bucket
        };
        let zero = (self.zero_count > 0.0).then(|| self.zero_bucket());
        self.negative_buckets().rev().map(clip).chain(zero).chain(self.positive_buckets().map(clip))
    }

    /// From the negative of the zero threshold to the zero threshold, both included. Only exponential schemas have one.
    pub fn zero_bucket(&self) -> Bucket {
        Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: self.zero_count,
            index: 0,
        }
    }

    fn positive(&self, index: i32, count: f64) -> Bucket {
        let bound = |index| upper_bound(index, self.schema, &self.custom_values);
        self.bounded(bound(index.wrapping_sub(1)), bound(index), index, count)
    }

    fn negative(&self, index: i32, count: f64) -> Bucket {
        let bound = |index| -upper_bound(index, self.schema, &[]);
        self.bounded(bound(index), bound(index.wrapping_sub(1)), index, count)
    }

    fn bounded(&self, lower: f64, upper: f64, index: i32, count: f64) -> Bucket {
        let (lower_inclusive, upper_inclusive) =
            if self.uses_custom_buckets() { (index == 0, true) } else { (lower < 0.0, upper > 0.0) };
        Bucket { lower, upper, lower_inclusive, upper_inclusive, count, index }
    }
}

/// `{count:6, sum:18.4, [-0.001,0.001]:2, (0.5,1]:3, (1,2]:1}`: from the lowest to the highest bucket, without empty ones.
impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", format_exposition(self.count), format_exposition(self.sum))?;
        let zero = std::iter::once(self.zero_bucket());
        let buckets = self.negative_buckets().rev().chain(zero).chain(self.positive_buckets());
        for bucket in buckets.filter(|bucket| bucket.count != 0.0) {
            write!(f, ", {bucket}")?;
        }
        f.write_str("}")
    }
}

/// What `spans` name, with the index of each.
pub(super) fn indexed<'a, C: Copy>(
    spans: &'a [Span],
    buckets: &'a [C],
) -> impl DoubleEndedIterator<Item = (i32, C)> + ExactSizeIterator + use<'a, C> {
    let indices = Indices::new(spans, buckets.len());
    let named = &buckets[..indices.remaining];
    indices.zip(named.iter().copied())
}

/// The indices that spans name, from both ends. Indices wrap where spans reach too far, which no valid histogram's do.
struct Indices<'a> {
    spans: &'a [Span],
    remaining: usize,
    front: Cursor,
    back: Cursor,
}

/// A place between two buckets.
struct Cursor {
    /// The span it is in.
    span: usize,
    /// Buckets of that span which are still to come.
    left: u32,
    /// The index of the bucket after it.
    index: i32,
}

impl<'a> Indices<'a> {
    /// At most `count` of them: not more than there are buckets.
    fn new(spans: &'a [Span], count: usize) -> Self {
        let mut end = 0i32;
        let mut named = 0usize;
        for span in spans {
            end = end.wrapping_add(span.offset).wrapping_add(span.length as i32);
            named = named.saturating_add(span.length as usize);
        }
        let first = spans.first().copied().unwrap_or_default();
        let last = spans.last().copied().unwrap_or_default();
        Self {
            spans,
            remaining: named.min(count),
            front: Cursor { span: 0, left: first.length, index: first.offset },
            back: Cursor { span: spans.len().saturating_sub(1), left: last.length, index: end },
        }
    }
}

impl Iterator for Indices<'_> {
    type Item = i32;

    fn next(&mut self) -> Option<i32> {
        self.remaining = self.remaining.checked_sub(1)?;
        let cursor = &mut self.front;
        while cursor.left == 0 {
            cursor.span += 1;
            let span = self.spans.get(cursor.span)?;
            cursor.left = span.length;
            cursor.index = cursor.index.wrapping_add(span.offset);
        }
        cursor.left -= 1;
        cursor.index = cursor.index.wrapping_add(1);
        Some(cursor.index.wrapping_sub(1))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining, Some(self.remaining))
    }
}

impl DoubleEndedIterator for Indices<'_> {
    fn next_back(&mut self) -> Option<i32> {
        self.remaining = self.remaining.checked_sub(1)?;
        let cursor = &mut self.back;
        while cursor.left == 0 {
            cursor.index = cursor.index.wrapping_sub(self.spans.get(cursor.span)?.offset);
            cursor.span = cursor.span.checked_sub(1)?;
            cursor.left = self.spans.get(cursor.span)?.length;
        }
        cursor.left -= 1;
        cursor.index = cursor.index.wrapping_sub(1);
        Some(cursor.index)
    }
}

impl ExactSizeIterator for Indices<'_> {}
