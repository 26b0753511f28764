//! Classic histograms: quantiles and fractions from cumulative buckets.

use std::cmp::Ordering;

use crate::eval::annotations::Monotonicity;

/// Differences that are smaller than this share of the counts come from rounding.
const SMALL_DELTA: f64 = 1e-12;

/// A bucket: its upper bound, and how many observations are at or below it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    pub(crate) upper: f64,
    pub(crate) count: f64,
}

/// Sorts buckets by bound and adds up those with the same one. False without a bucket for all observations.
fn normalize(buckets: &mut Vec<Bucket>) -> bool {
    buckets.sort_by(|left, right| left.upper.total_cmp(&right.upper));
    if buckets.last().is_none_or(|last| last.upper != f64::INFINITY) {
        return false;
    }
    buckets.dedup_by(|later, earlier| {
        let same = later.upper == earlier.upper;
        if same {
            earlier.count += later.count;
        }
        same
    });
    true
}

/// Makes counts rise, which they must but may not after a rate over racing scrapes. What was forced, if anything.
fn force_monotonic(buckets: &mut [Bucket], time_ms: i64) -> Option<Monotonicity> {
    let mut forced: Option<Monotonicity> = None;
    let mut last = buckets[0].count;
    for bucket in &mut buckets[1..] {
        let count = bucket.count;
        if count == last {
            continue;
        }
        if almost_equal(last, count, SMALL_DELTA) {
            bucket.count = last;
        } else if count < last {
            bucket.count = last;
            let forced = forced.get_or_insert(Monotonicity {
                first_ms: time_ms,
                last_ms: time_ms,
                bucket_min: bucket.upper,
                bucket_max: bucket.upper,
                difference_max: 0.0,
                samples: 1,
            });
            forced.bucket_max = bucket.upper;
            forced.difference_max = forced.difference_max.max(last - count);
        } else {
            last = count;
        }
    }
    forced
}

/// Whether two numbers differ by less than `epsilon` of their sum.
pub(crate) fn almost_equal(left: f64, right: f64, epsilon: f64) -> bool {
    if left == right || (left.is_nan() && right.is_nan()) {
        return true;
    }
    let sum = left.abs() + right.abs();
    let difference = (left - right).abs();
    if left == 0.0 || right == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < epsilon * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < epsilon
}

/// The quantile, and what had to be forced for it.
pub(crate) fn bucket_quantile(
    wanted: f64,
    buckets: &mut Vec<Bucket>,
    time_ms: i64,
) -> (f64, Option<Monotonicity>) {
    if wanted.is_nan() {
        return (f64::NAN, None);
    }
    if wanted < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if wanted > 1.0 {
        return (f64::INFINITY, None);
    }
    if !normalize(buckets) {
        return (f64::NAN, None);
    }
    let forced = force_monotonic(buckets, time_ms);
    let last = buckets.len() - 1;
    let observations = buckets[last].count;
    if last == 0 || observations == 0.0 {
        return (f64::NAN, forced);
    }
    let mut rank = wanted * observations;
    let found =
        buckets[..last].partition_point(|bucket| bucket.count.partial_cmp(&rank).is_none_or(Ordering::is_lt));
    if found == last {
        return (buckets[last - 1].upper, forced);
    }
    if found == 0 && buckets[0].upper <= 0.0 {
        return (buckets[0].upper, forced);
    }
    let mut start = 0.0;
    let mut count = buckets[found].count;
    if found > 0 {
        start = buckets[found - 1].upper;
        count -= buckets[found - 1].count;
        rank -= buckets[found - 1].count;
    }
    (start + (buckets[found].upper - start) * (rank / count), forced)
}

/// The share of observations between two values.
pub(crate) fn bucket_fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if !normalize(buckets) {
        return f64::NAN;
    }
    let count = buckets[buckets.len() - 1].count;
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let rank_of = |wanted: f64| {
        let mut rank = 0.0;
        // Where the first bound is above zero, there are no negative observations.
        let mut start = if buckets[0].upper <= 0.0 { f64::NEG_INFINITY } else { 0.0 };
        for bucket in buckets.iter() {
            if start >= wanted {
                return rank;
            }
            if bucket.upper > wanted {
                if start == f64::NEG_INFINITY {
                    return bucket.count;
                }
                return rank + (bucket.count - rank) * (wanted - start) / (bucket.upper - start);
            }
            rank = bucket.count;
            start = bucket.upper;
        }
        count
    };
    let rank = |wanted: f64| {
        let rank = rank_of(wanted);
        if rank > count { count } else { rank }
    };
    (rank(upper) - rank(lower)) / count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(pairs: &[(f64, f64)]) -> Vec<Bucket> {
        pairs.iter().map(|(upper, count)| Bucket { upper: *upper, count: *count }).collect()
    }

    #[test]
    fn quantiles_are_interpolated_inside_a_bucket() {
        let mut found = buckets(&[(f64::INFINITY, 4.0), (1.0, 2.0), (2.0, 4.0)]);
        assert_eq!(bucket_quantile(0.5, &mut found, 0).0, 1.0);
        assert_eq!(bucket_quantile(0.75, &mut found, 0).0, 1.5);
        assert!(bucket_quantile(0.5, &mut buckets(&[(1.0, 2.0)]), 0).0.is_nan());
    }

    #[test]
    fn falling_counts_are_forced_up_and_told() {
        let mut found = buckets(&[(1.0, 5.0), (2.0, 3.0), (f64::INFINITY, 6.0)]);
        let (_, forced) = bucket_quantile(0.9, &mut found, 7);
        assert!(forced.is_some_and(|forced| forced.bucket_min == 2.0 && forced.difference_max == 2.0));
    }
}
