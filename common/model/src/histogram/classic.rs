//! Classic histograms as native ones with custom bounds.

use super::{CUSTOM_BUCKETS_SCHEMA, CountKind, Histogram, HistogramError, Span};

/// The series of one classic histogram at one time, as they come in.
#[derive(Clone, Debug, Default)]
pub struct ClassicHistogram {
    /// Upper bounds with the count of all observations up to them. Invariant: bounds rise, counts do not fall.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// Why series make no histogram. The words are Prometheus'.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ClassicHistogramError {
    /// A bound that is no number.
    #[error("bucket boundary must not be NaN")]
    NanBound,
    /// Fewer than none.
    #[error("bucket count must be non-negative: le={bound}, count={count}")]
    NegativeBucket {
        /// The bucket's.
        bound: f64,
        /// Its count.
        count: f64,
    },
    /// Fewer than none.
    #[error("count must be non-negative: count={0}")]
    NegativeCount(f64),
    /// A bucket with less than one that it includes.
    #[error("count is not cumulative: {greater} < {lesser}")]
    NotCumulative {
        /// The count of the bucket with the greater bound.
        greater: f64,
        /// Of the one with the lesser.
        lesser: f64,
    },
    /// The last bucket has to have everything.
    #[error("count mismatch: count={count} != le=+Inf count={last}")]
    CountMismatch {
        /// Of the histogram.
        count: f64,
        /// Of its last bucket.
        last: f64,
    },
    /// What comes out is none either.
    #[error(transparent)]
    Histogram(#[from] HistogramError),
}

impl ClassicHistogram {
    /// Adds a bucket. Of two with the same bound the first counts.
    pub fn add_bucket(&mut self, bound: f64, cumulative: f64) -> Result<(), ClassicHistogramError> {
        if bound.is_nan() {
            return Err(ClassicHistogramError::NanBound);
        }
        if cumulative < 0.0 {
            return Err(ClassicHistogramError::NegativeBucket { bound, count: cumulative });
        }
        let place = self.buckets.partition_point(|(known, _)| *known < bound);
        let (below, above) = (place.checked_sub(1).map(|below| self.buckets[below]), self.buckets.get(place));
        if above.is_some_and(|(known, _)| *known == bound) {
            return Ok(());
        }
        let falls = |greater: f64, lesser: f64| match greater < lesser {
            true => Err(ClassicHistogramError::NotCumulative { greater, lesser }),
            false => Ok(()),
        };
        below.map_or(Ok(()), |(_, below)| falls(cumulative, below))?;
        above.map_or(Ok(()), |(_, above)| falls(*above, cumulative))?;
        self.buckets.insert(place, (bound, cumulative));
        Ok(())
    }

    /// Says how many observations there are in all.
    pub fn set_count(&mut self, count: f64) -> Result<(), ClassicHistogramError> {
        if count < 0.0 {
            return Err(ClassicHistogramError::NegativeCount(count));
        }
        self.count = Some(count);
        Ok(())
    }

    /// Says what they come to.
    pub fn set_sum(&mut self, sum: f64) {
        self.sum = sum;
    }

    /// How many buckets were added.
    pub fn buckets(&self) -> usize {
        self.buckets.len()
    }

    /// The native histogram: of whole numbers when all counts are. What is missing of count and +Inf bucket is taken from
    /// the other.
    pub fn into_native(mut self) -> Result<Histogram, ClassicHistogramError> {
        let highest = self.buckets.last().copied();
        let count = self.count.or(highest.map(|(_, count)| count)).unwrap_or(0.0);
        if highest.is_none_or(|(bound, _)| bound != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        let last = self.buckets.last().map_or(count, |(_, last)| *last);
        if count != last {
            return Err(ClassicHistogramError::CountMismatch { count, last });
        }
        let is_whole = |number: f64| number.fract() == 0.0 && number < super::validate::EXACT_END;
        let whole = is_whole(count) && self.buckets.iter().all(|(_, cumulative)| is_whole(*cumulative));
        let mut below = 0.0;
        let own = |(_, cumulative): &(f64, f64)| cumulative - std::mem::replace(&mut below, *cumulative);
        let positive_buckets: Vec<_> = self.buckets.iter().map(own).collect();
        let bounds = self.buckets.iter().map(|(bound, _)| *bound).filter(|bound| *bound < f64::INFINITY);
        let mut native = Histogram {
            counts: if whole { CountKind::Integer } else { CountKind::Float },
            schema: CUSTOM_BUCKETS_SCHEMA,
            count,
            sum: self.sum,
            positive_spans: vec![Span { offset: 0, length: positive_buckets.len() as u32 }],
            positive_buckets,
            custom_values: bounds.collect(),
            ..Histogram::default()
        };
        // As Prometheus does: a limit on buckets counts the empty ones that remain.
        native.compact(if whole { EMPTY_BUCKETS_MAX } else { 0 });
        native.validate()?;
        Ok(native)
    }
}

/// The longest run of empty buckets that is kept in a histogram of whole numbers.
const EMPTY_BUCKETS_MAX: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    /// Bounds, counts of the buckets as they are compacted, count, and kind of what `buckets` and `count` come to.
    fn native(buckets: &[(f64, f64)], count: Option<f64>) -> Result<Histogram, ClassicHistogramError> {
        let mut classic = ClassicHistogram::default();
        for (bound, cumulative) in buckets {
            classic.add_bucket(*bound, *cumulative)?;
        }
        count.map_or(Ok(()), |count| classic.set_count(count))?;
        classic.set_sum(1.5);
        classic.into_native()
    }

    const INF: f64 = f64::INFINITY;

    #[test]
    fn buckets_are_told_apart() {
        let found = native(&[(0.1, 4.0), (1.0, 7.0), (INF, 9.0)], Some(9.0)).expect("it is one");
        assert_eq!(
            (&found.custom_values[..], &found.positive_buckets[..]),
            (&[0.1, 1.0][..], &[4.0, 3.0, 2.0][..])
        );
        assert_eq!((found.count, found.sum, found.counts), (9.0, 1.5, CountKind::Integer));
        let found = native(&[(0.1, 4.5), (INF, 9.0)], Some(9.0)).expect("it is one");
        assert_eq!((found.counts, found.positive_buckets), (CountKind::Float, vec![4.5, 4.5]));
        let great = 2f64.powi(60);
        assert_eq!(native(&[(INF, great)], None).map(|found| found.counts), Ok(CountKind::Float));
    }

    #[test]
    fn order_does_not_matter_and_what_is_missing_is_added() {
        let whole = native(&[(-1.0, 1.0), (1.0, 7.0), (INF, 9.0)], Some(9.0));
        assert_eq!(native(&[(INF, 9.0), (-1.0, 1.0), (1.0, 7.0), (1.0, 8.0)], None), whole);
        assert_eq!(native(&[(1.0, 7.0), (-1.0, 1.0)], Some(9.0)), whole);
        let empty = native(&[], None).expect("a sum is enough");
        assert_eq!((empty.count, empty.positive_buckets.len(), empty.custom_values.len()), (0.0, 0, 0));
    }

    #[test]
    fn long_runs_of_empty_buckets_are_left_out() {
        let run = |length: usize| {
            let mut buckets: Vec<_> = (0..=length).map(|bound| (bound as f64, 1.0)).collect();
            buckets.push((INF, 2.0));
            native(&buckets, None).expect("it is one").positive_buckets.len()
        };
        assert_eq!((run(2), run(3)), (4, 2));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        use ClassicHistogramError::*;
        assert_eq!(native(&[(f64::NAN, 1.0)], None), Err(NanBound));
        assert_eq!(native(&[(1.0, -1.0)], None), Err(NegativeBucket { bound: 1.0, count: -1.0 }));
        assert_eq!(native(&[], Some(-1.0)), Err(NegativeCount(-1.0)));
        let falling = NotCumulative { greater: 1.0, lesser: 2.0 };
        assert_eq!(native(&[(1.0, 2.0), (2.0, 1.0)], None), Err(falling.clone()));
        assert_eq!(native(&[(2.0, 1.0), (1.0, 2.0)], None), Err(falling));
        assert_eq!(native(&[(INF, 2.0)], Some(3.0)), Err(CountMismatch { count: 3.0, last: 2.0 }));
        assert!(matches!(
            native(&[(1.0, 4.0)], Some(3.0)),
            Err(Histogram(HistogramError::NegativeBucket { .. }))
        ));
        assert!(matches!(native(&[(INF, f64::NAN)], None), Err(CountMismatch { .. })));
    }
}
