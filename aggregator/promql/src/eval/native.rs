//! What a native histogram says of its observations.

use vedette_model::{Bucket, Histogram};

use crate::error::QueryError;
use crate::eval::column::{ABSENT, Column, SeriesHead};
use crate::eval::context::Context;
use crate::eval::kahan;
use crate::eval::operator::Operator;

/// What NaN observations, which are in no bucket, did to an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum NanEffect {
    /// The quantile is among them.
    QuantileIsNan,
    /// They pushed the quantile up.
    QuantileIsSkewed,
    /// They are in no fraction.
    LeftOutOfFraction,
}

/// A value, and what is to be told of it.
pub(crate) type Answer = (f64, Option<NanEffect>);

/// With only positive or only negative buckets, the zero bucket has no observations on the other side.
fn cut_zero_bucket(histogram: &Histogram, bucket: &mut Bucket) {
    match (histogram.negative_buckets.is_empty(), histogram.positive_buckets.is_empty()) {
        (true, false) => bucket.lower = 0.0,
        (false, true) => bucket.upper = 0.0,
        _ => {}
    }
}

/// The value below which the share `wanted` of all observations lies: interpolated as if the logarithms of
/// observations were spread evenly over a bucket, or the observations themselves with custom bounds and around zero.
pub(crate) fn quantile(wanted: f64, histogram: &Histogram) -> Answer {
    if wanted < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if wanted > 1.0 {
        return (f64::INFINITY, None);
    }
    if histogram.count == 0.0 || wanted.is_nan() {
        return (f64::NAN, None);
    }
    // NaN observations are in no bucket, so that ranks are known from below only.
    let has_nan = histogram.sum.is_nan();
    let from_below = has_nan || wanted < 0.5;
    let rank = if from_below { wanted } else { 1.0 - wanted } * histogram.count;
    let buckets = histogram.all_buckets();
    let mut buckets: Box<dyn Iterator<Item = Bucket>> =
        if from_below { Box::new(buckets) } else { Box::new(buckets.rev()) };
    let mut bucket = Bucket {
        lower: 0.0,
        upper: 0.0,
        lower_inclusive: false,
        upper_inclusive: false,
        count: 0.0,
        index: 0,
    };
    let mut count = 0.0;
    for next in buckets.by_ref() {
        bucket = next;
        count += bucket.count;
        if bucket.count != 0.0 && count >= rank {
            break;
        }
    }
    let custom = histogram.uses_custom_buckets();
    if !custom && bucket.lower < 0.0 && bucket.upper > 0.0 {
        cut_zero_bucket(histogram, &mut bucket);
    } else if custom && bucket.lower == f64::NEG_INFINITY {
        if bucket.upper <= 0.0 {
            return (bucket.upper, None);
        }
        bucket.lower = 0.0;
    } else if custom && bucket.upper == f64::INFINITY {
        return (bucket.lower, None);
    }
    let count = count.min(histogram.count);
    if count < rank {
        return if has_nan { (f64::NAN, Some(NanEffect::QuantileIsNan)) } else { (bucket.upper, None) };
    }
    let into = if from_below { rank - (count - bucket.count) } else { count - rank };
    let mut in_buckets = count;
    if has_nan {
        // As in Prometheus, whose value is then taken from the highest bucket.
        for next in buckets {
            bucket = next;
            in_buckets += bucket.count;
        }
    }
    let value = interpolate(&bucket, into / bucket.count, custom);
    let skewed = has_nan && in_buckets < histogram.count;
    (value, skewed.then_some(NanEffect::QuantileIsSkewed))
}

/// The value that has the share `fraction` of a bucket below it.
fn interpolate(bucket: &Bucket, fraction: f64, custom: bool) -> f64 {
    if custom || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
        return bucket.lower + (bucket.upper - bucket.lower) * fraction;
    }
    let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
    if bucket.lower > 0.0 {
        (lower + (upper - lower) * fraction).exp2()
    } else {
        -(upper + (lower - upper) * (1.0 - fraction)).exp2()
    }
}

/// The share of a bucket that lies at or below `value`, which is inside.
fn fraction_below(bucket: &Bucket, value: f64, linear: bool) -> f64 {
    if linear {
        return (value - bucket.lower) / (bucket.upper - bucket.lower);
    }
    let [lower, upper, log] = [bucket.lower, bucket.upper, value].map(|bound| bound.abs().log2());
    if value > 0.0 { (log - lower) / (upper - lower) } else { 1.0 - (log - upper) / (lower - upper) }
}

/// How many observations lie below `wanted`; `None` where it is above all buckets.
fn rank_of(wanted: f64, histogram: &Histogram) -> Option<f64> {
    let custom = histogram.uses_custom_buckets();
    let mut rank = 0.0;
    for mut bucket in histogram.all_buckets() {
        let around_zero = bucket.lower <= 0.0 && bucket.upper >= 0.0;
        if around_zero {
            cut_zero_bucket(histogram, &mut bucket);
        }
        if bucket.lower >= wanted {
            return Some(rank);
        }
        if bucket.upper > wanted {
            let linear = custom || around_zero;
            // Nothing can be said of where observations lie in a bucket without an end.
            return Some(if linear && bucket.lower == f64::NEG_INFINITY {
                bucket.count
            } else {
                rank + bucket.count * fraction_below(&bucket, wanted, linear)
            });
        }
        rank += bucket.count;
    }
    None
}

/// The share of all observations between two values.
pub(crate) fn fraction(lower: f64, upper: f64, histogram: &Histogram) -> Answer {
    if histogram.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return (f64::NAN, None);
    }
    if lower >= upper {
        return (0.0, None);
    }
    let has_nan = histogram.sum.is_nan();
    let count =
        if has_nan { histogram.all_buckets().map(|bucket| bucket.count).sum() } else { histogram.count };
    let rank = |wanted: f64| rank_of(wanted, histogram).filter(|rank| *rank <= count).unwrap_or(count);
    let note = (has_nan && count < histogram.count).then_some(NanEffect::LeftOutOfFraction);
    ((rank(upper) - rank(lower)) / histogram.count, note)
}

/// The variance, as if the observations of a bucket were all at its middle.
fn variance(histogram: &Histogram) -> f64 {
    let mean = histogram.sum / histogram.count;
    let (mut squares, mut compensation) = (0.0, 0.0);
    for bucket in histogram.all_buckets().filter(|bucket| bucket.count != 0.0) {
        let middle = if histogram.uses_custom_buckets() {
            (bucket.upper + bucket.lower) / 2.0
        } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            0.0
        } else {
            (bucket.upper * bucket.lower).sqrt().copysign(bucket.upper)
        };
        let delta = middle - mean;
        kahan::add(bucket.count * delta * delta, &mut squares, &mut compensation);
    }
    (squares + compensation) / histogram.count
}

/// A function from histogram to number.
pub(crate) type OfHistogram = fn(&Histogram) -> f64;

/// The function of this name.
pub(crate) fn of_histogram(name: &str) -> Option<OfHistogram> {
    Some(match name {
        "histogram_count" => |histogram| histogram.count,
        "histogram_sum" => |histogram| histogram.sum,
        "histogram_avg" => |histogram| histogram.sum / histogram.count,
        "histogram_stddev" => |histogram| variance(histogram).sqrt(),
        "histogram_stdvar" => variance,
        _ => return None,
    })
}

/// `histogram_count(x)` and the like: floats are left out.
pub(crate) struct HistogramMapped<'a> {
    pub(crate) context: &'a Context<'a>,
    pub(crate) inner: Box<dyn Operator + 'a>,
    pub(crate) function: OfHistogram,
}

impl Operator for HistogramMapped<'_> {
    fn next_into(&mut self, column: &mut Column) -> Result<Option<SeriesHead>, QueryError> {
        loop {
            let Some(mut head) = self.inner.next_into(column)? else { return Ok(None) };
            if !column.has_histograms() {
                continue;
            }
            let mut floats = vec![ABSENT; column.steps()];
            for (step, histogram) in column.histograms() {
                floats[step] = (self.function)(histogram);
            }
            *column = floats.into();
            if !column.any() {
                continue;
            }
            head.drop_name = true;
            if !self.context.delays_names() {
                // As in Prometheus, labels of type and unit stay.
                head.labels = head.labels.without_metric_name();
            }
            return Ok(Some(head));
        }
    }
}
