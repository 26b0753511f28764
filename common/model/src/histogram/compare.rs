//! Whether two histograms are the same, and whether one follows the other without a reset.

use super::bounds::exponential_bound;
use super::buckets::indexed;
use super::custom::fell_between_shared_bounds;
use super::side::Side;
use super::sum::zero_count_for;
use super::{CounterReset, Histogram, Span, same_bits};

impl Histogram {
    /// Whether both hold the same numbers in the same buckets, empty ones included: what PromQL's `==` asks. Counts and
    /// sums are compared by their bits. Spans may be cut differently by spans without a bucket. What their writers
    /// counted in and whether there was a reset do not matter; `==` of Rust compares these as well.
    pub fn holds_the_same(&self, other: &Self) -> bool {
        self.schema == other.schema
            && self.zero_threshold == other.zero_threshold
            && same_bits(
                &[self.zero_count, self.count, self.sum],
                &[other.zero_count, other.count, other.sum],
            )
            && (!self.uses_custom_buckets() || *self.custom_values == *other.custom_values)
            && same_layout(&self.positive_spans, &other.positive_spans)
            && same_layout(&self.negative_spans, &other.negative_spans)
            && same_bits(&self.positive_buckets, &other.positive_buckets)
            && same_bits(&self.negative_buckets, &other.negative_buckets)
    }

    /// Whether counters were reset between `previous` and this one. What this one says itself is believed; else there
    /// was a reset when a bucket, the zero bucket or the count holds less than before, and when resolution grew or the
    /// zero bucket shrank, which only a new start of the writer does.
    pub fn detect_reset(&self, previous: &Self) -> bool {
        match self.counter_reset {
            CounterReset::Reset => return true,
            CounterReset::NotReset => return false,
            // A gauge should not be asked; if it is, it is taken for a counter.
            CounterReset::Unknown | CounterReset::Gauge => {}
        }
        if self.count < previous.count {
            return true;
        }
        if self.uses_custom_buckets() {
            if !previous.uses_custom_buckets() {
                return true;
            }
            if *self.custom_values != *previous.custom_values {
                return fell_between_shared_bounds(self, previous);
            }
        }
        if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
            return true;
        }
        let (zero_count, threshold) = zero_count_for(previous, self.zero_threshold);
        // Otherwise the threshold is now within a bucket that held something.
        threshold != self.zero_threshold
            || self.zero_count < zero_count
            || self.side_fell(
                (&self.positive_spans, &self.positive_buckets),
                Side::of(&previous.positive_spans, &previous.positive_buckets),
                previous.schema,
            )
            || self.side_fell(
                (&self.negative_spans, &self.negative_buckets),
                Side::of(&previous.negative_spans, &previous.negative_buckets),
                previous.schema,
            )
    }

    /// Whether a bucket outside of the zero bucket holds less than before.
    fn side_fell(&self, now: (&[Span], &[f64]), mut before: Side<f64>, schema: i32) -> bool {
        if schema != self.schema {
            before.coarsen(schema.abs_diff(self.schema));
        }
        let in_zero_bucket = |(index, _): &(i32, f64)| {
            self.zero_threshold > 0.0 && exponential_bound(*index, self.schema) <= self.zero_threshold
        };
        let mut now = indexed(now.0, now.1).skip_while(in_zero_bucket).peekable();
        let mut before = indexed(&before.spans, &before.buckets).skip_while(in_zero_bucket);
        before.any(|(index, count)| {
            while now.next_if(|(earlier, _)| *earlier < index).is_some() {}
            match now.peek() {
                Some((same, now)) if *same == index => *now < count,
                _ => count != 0.0,
            }
        })
    }
}

/// Whether spans name the same buckets, cut in the same way but for spans without a bucket.
fn same_layout(left: &[Span], right: &[Span]) -> bool {
    left == right || filled(left).eq(filled(right))
}

fn filled(spans: &[Span]) -> impl Iterator<Item = Span> + '_ {
    let mut skipped = 0i32;
    spans.iter().filter_map(move |span| {
        let offset = skipped.wrapping_add(span.offset);
        skipped = if span.length == 0 { offset } else { 0 };
        (span.length > 0).then_some(Span { offset, length: span.length })
    })
}
