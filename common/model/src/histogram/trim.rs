//! Taking observations out that are above or below a limit.

use super::{Bucket, Histogram};

/// Which observations stay.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Keep {
    Below(f64),
    Above(f64),
}

/// How many observations of a bucket stay, and the value that stands for each in the sum.
struct Kept {
    count: f64,
    middle: f64,
}

const NOTHING: Kept = Kept { count: 0.0, middle: 0.0 };

impl Histogram {
    /// Takes out what is above `limit`. Where the limit is inside of a bucket, observations are thought to be spread
    /// evenly: on a logarithmic scale, or on a linear one with custom bounds and around zero. The sum is then
    /// estimated anew from the middles of buckets.
    pub fn trim_above(&mut self, limit: f64) {
        self.trim(Keep::Below(limit));
    }

    /// Takes out what is below `limit`, as [`Histogram::trim_above`] does.
    pub fn trim_below(&mut self, limit: f64) {
        self.trim(Keep::Above(limit));
    }

    fn trim(&mut self, keep: Keep) {
        let linear = self.uses_custom_buckets();
        let (mut count, mut sum, mut changed) = (0.0, 0.0, false);
        let mut trim_side = |buckets: Vec<Bucket>, counts: &mut [f64]| {
            let mut any = false;
            for (bucket, slot) in buckets.iter().zip(counts).filter(|(bucket, _)| bucket.count != 0.0) {
                any = true;
                let kept = keep.of_bucket(bucket, linear);
                changed |= kept.count != *slot;
                *slot = kept.count;
                count += kept.count;
                sum += kept.middle * kept.count;
            }
            any
        };
        let buckets = self.positive_buckets().collect();
        let any_positive = trim_side(buckets, &mut self.positive_buckets);
        let buckets = self.negative_buckets().collect();
        let any_negative = trim_side(buckets, &mut self.negative_buckets);
        if self.zero_count > 0.0 {
            let mut zero = self.zero_bucket();
            match (any_positive, any_negative) {
                (true, false) => zero.lower = 0.0,
                (false, true) => zero.upper = 0.0,
                _ => {}
            }
            let kept = keep.of_zero_bucket(&zero);
            changed |= kept.count != self.zero_count;
            self.zero_count = kept.count;
            count += kept.count;
            sum += kept.middle * kept.count;
        }
        if changed {
            (self.count, self.sum) = (count, sum);
            self.counts = super::CountKind::Float;
            self.compact(0);
        }
    }
}

impl Keep {
    fn of_bucket(self, bucket: &Bucket, linear: bool) -> Kept {
        let Bucket { lower, upper, count, .. } = *bucket;
        match self {
            Self::Below(limit) if upper <= limit => Kept { count, middle: middle(lower, upper, linear) },
            Self::Above(limit) if lower >= limit => Kept { count, middle: middle(lower, upper, linear) },
            Self::Below(limit) if lower < limit => self.of_part(bucket, limit, linear),
            Self::Above(limit) if upper > limit => self.of_part(bucket, limit, linear),
            _ => NOTHING,
        }
    }

    /// Of a bucket that the limit is inside of.
    fn of_part(self, bucket: &Bucket, limit: f64, linear: bool) -> Kept {
        let Bucket { lower, upper, count, .. } = *bucket;
        if lower.is_infinite() || upper.is_infinite() {
            return self.of_endless(bucket, limit);
        }
        let below = count * bucket.fraction_below(limit, linear);
        match self {
            Self::Below(_) => Kept { count: below, middle: middle(lower, limit, linear) },
            Self::Above(_) => Kept { count: count - below, middle: middle(limit, upper, linear) },
        }
    }

    /// Of a bucket without an end, inside of which nothing is known: it stays whole or not at all. But one from below
    /// that ends above zero is thought to begin at zero.
    fn of_endless(self, bucket: &Bucket, limit: f64) -> Kept {
        let Bucket { lower, upper, count, .. } = *bucket;
        let begins_at_zero = lower.is_infinite() && upper > 0.0 && upper.is_finite();
        match self {
            Self::Below(_) if begins_at_zero && limit > 0.0 => {
                Kept { count: count * limit / upper, middle: limit / 2.0 }
            }
            Self::Above(_) if begins_at_zero && limit >= 0.0 => {
                Kept { count: count * (1.0 - limit / upper), middle: (limit + upper) / 2.0 }
            }
            Self::Below(_) if lower.is_infinite() && upper <= 0.0 => Kept { count, middle: limit },
            Self::Above(_) if lower.is_finite() => Kept { count, middle: limit },
            _ => NOTHING,
        }
    }

    fn of_zero_bucket(self, bucket: &Bucket) -> Kept {
        let Bucket { lower, upper, count, .. } = *bucket;
        let part = |from: f64, to: f64| Kept {
            count: count * ((to - from) / (upper - lower)),
            middle: (from + to) / 2.0,
        };
        let all = Kept { count, middle: (lower + upper) / 2.0 };
        match self {
            Self::Below(limit) if limit <= lower => NOTHING,
            Self::Below(limit) if limit >= upper => all,
            Self::Below(limit) => part(lower, limit),
            Self::Above(limit) if limit <= lower => all,
            Self::Above(limit) if limit >= upper => NOTHING,
            Self::Above(limit) => part(limit, upper),
        }
    }
}

impl Bucket {
    /// The share of its width that lies at or below `value`, which is inside of it: on a linear scale, or on a
    /// logarithmic one.
    pub fn fraction_below(&self, value: f64, linear: bool) -> f64 {
        if linear {
            return (value - self.lower) / (self.upper - self.lower);
        }
        let [lower, upper, log] = [self.lower, self.upper, value].map(|bound| bound.abs().log2());
        if value > 0.0 { (log - lower) / (upper - lower) } else { 1.0 - (log - upper) / (lower - upper) }
    }
}

/// What stands for the observations of a bucket: the arithmetic mean of its bounds, or the geometric one.
fn middle(lower: f64, upper: f64, linear: bool) -> f64 {
    match (lower.is_infinite(), upper.is_infinite()) {
        (true, true) => 0.0,
        (true, false) if upper > 0.0 => upper / 2.0,
        (true, false) => upper,
        (false, true) => lower,
        (false, false) if linear => (lower + upper) / 2.0,
        (false, false) => (lower * upper).abs().sqrt().copysign(if lower < 0.0 { -1.0 } else { 1.0 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Span;

    #[test]
    fn what_is_beyond_the_limit_goes() {
        let whole = Histogram {
            count: 9.0,
            sum: 20.0,
            zero_count: 1.0,
            zero_threshold: 0.001,
            positive_spans: vec![Span { offset: 0, length: 3 }],
            positive_buckets: vec![2.0, 4.0, 2.0],
            ..Histogram::default()
        };
        let mut trimmed = whole.clone();
        trimmed.trim_above(8.0);
        assert_eq!(trimmed, whole);
        trimmed.trim_above(2.0);
        // Zero, (0.5,1] and (1,2]; the sum from their middles.
        assert_eq!((trimmed.count, trimmed.positive_buckets.as_slice()), (7.0, &[2.0, 4.0][..]));
        let middles = 0.0005 + 2.0 * 0.5f64.sqrt() + 4.0 * 2.0f64.sqrt();
        assert!((trimmed.sum - middles).abs() < 1e-12);
        trimmed.trim_below(2f64.sqrt());
        assert!((trimmed.count - 2.0).abs() < 1e-12 && trimmed.zero_count == 0.0, "{trimmed:?}");
    }

    #[test]
    fn a_bucket_without_an_end_stays_whole_or_goes() {
        let custom = Histogram {
            schema: crate::CUSTOM_BUCKETS_SCHEMA,
            count: 6.0,
            positive_spans: vec![Span { offset: 0, length: 2 }],
            positive_buckets: vec![4.0, 2.0],
            custom_values: [10.0].into(),
            ..Histogram::default()
        };
        let count = |trim: fn(&mut Histogram, f64), limit| {
            let mut trimmed = custom.clone();
            trim(&mut trimmed, limit);
            trimmed.count
        };
        assert_eq!(count(Histogram::trim_above, 5.0), 2.0);
        assert_eq!(count(Histogram::trim_above, 20.0), 4.0);
        assert_eq!(count(Histogram::trim_below, 20.0), 2.0);
        assert_eq!(count(Histogram::trim_above, -1.0), 0.0);
    }
}
