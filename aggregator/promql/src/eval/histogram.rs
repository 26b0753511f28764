//! Classic histograms: quantiles and fractions from cumulative buckets.

use std::cmp::Ordering;

use vedette_model::{BUCKET_LABEL, Labels};

use crate::ast::Span;
use crate::error::QueryError;
use crate::eval::annotations::{Annotation, Monotonicity};
use crate::eval::column::{ABSENT, Grid, SeriesHead, is_present, without_metric};
use crate::eval::context::{Context, Held};
use crate::eval::operator::{Computed, Operator, TakesAll};
use crate::eval::signature::{KeyIndex, KeyLabels};
use crate::syntax::parse_number;

/// Differences that are smaller than this share of the counts come from rounding.
const SMALL_DELTA: f64 = 1e-12;

/// A bucket: its upper bound, and how many observations are at or below it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    upper: f64,
    count: f64,
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

fn bucket_quantile(wanted: f64, buckets: &mut Vec<Bucket>, time_ms: i64) -> (f64, Option<Monotonicity>) {
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

fn bucket_fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
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

/// What is asked of a histogram; arguments have one value a step.
pub(crate) enum HistogramQuestion {
    Quantile(Vec<f64>),
    Fraction {
        lower: Vec<f64>,
        upper: Vec<f64>,
    },
    /// `histogram_quantiles(x, "label", φ, …)`
    Quantiles {
        label: String,
        wanted: Vec<Vec<f64>>,
    },
}

/// All buckets of one histogram, by bound.
struct Group {
    labels: Labels,
    buckets: Vec<(f64, Vec<f64>)>,
}

/// `histogram_quantile` and its kin.
pub(crate) struct HistogramOperator<'a> {
    context: &'a Context<'a>,
    inner: Box<dyn Operator + 'a>,
    question: HistogramQuestion,
    grid: Grid,
    /// Where the vector stands.
    span: Span,
}

impl<'a> HistogramOperator<'a> {
    pub(crate) fn new(
        context: &'a Context<'a>,
        inner: Box<dyn Operator + 'a>,
        question: HistogramQuestion,
        (grid, span): (Grid, Span),
    ) -> Self {
        Self { context, inner, question, grid, span }
    }

    fn load(&mut self, held: &mut Held<'a>) -> Result<Vec<Group>, QueryError> {
        let mut keys = KeyIndex::new(KeyLabels::AllBut(vec![BUCKET_LABEL.to_owned()]));
        let mut groups: Vec<Group> = Vec::new();
        let mut column = Vec::new();
        while let Some(head) = self.inner.next_into(&mut column)? {
            let bound = head.labels.get(BUCKET_LABEL).unwrap_or("");
            let Some(upper) = parse_bound(bound) else {
                let metric = head.labels.metric_name().unwrap_or("").to_owned();
                self.context
                    .annotate(Annotation::BadBucketLabel { metric, value: bound.to_owned() }, self.span);
                continue;
            };
            let number = keys.number(&head.labels);
            if number == groups.len() {
                groups.push(Group { labels: keys.project(&head.labels), buckets: Vec::new() });
            }
            held.grow(column.len())?;
            groups[number].buckets.push((upper, column.clone()));
        }
        Ok(groups)
    }

    fn quantiles(&self, group: &Group, wanted: &[f64]) -> Vec<f64> {
        self.each_step(group, |step, buckets| {
            let (value, forced) = bucket_quantile(wanted[step], buckets, self.grid.time_ms(step));
            if let Some(forced) = forced {
                let metric = group.labels.metric_name().unwrap_or("").to_owned();
                self.context.annotate_monotonicity(metric, self.span, forced);
            }
            value
        })
    }

    fn each_step(&self, group: &Group, mut value: impl FnMut(usize, &mut Vec<Bucket>) -> f64) -> Vec<f64> {
        let mut buckets = Vec::new();
        (0..self.grid.count)
            .map(|step| {
                buckets.clear();
                buckets.extend(
                    group
                        .buckets
                        .iter()
                        .filter(|(_, column)| is_present(column[step]))
                        .map(|(upper, column)| Bucket { upper: *upper, count: column[step] }),
                );
                if buckets.is_empty() { ABSENT } else { value(step, &mut buckets) }
            })
            .collect()
    }

    fn head(&self, group: &Group, extra: Option<(&str, &str)>) -> SeriesHead {
        let mut labels = group.labels.clone();
        if !self.context.delays_names() {
            labels = without_metric(&labels);
        }
        if let Some((name, value)) = extra {
            let mut builder = labels.to_builder();
            builder.set(name, value);
            labels = builder.finish();
        }
        SeriesHead { labels, drop_name: true }
    }
}

impl<'a> TakesAll<'a> for HistogramOperator<'a> {
    fn consume(&mut self) -> Result<(Computed, Held<'a>), QueryError> {
        let mut held = self.context.hold(0)?;
        let groups = self.load(&mut held)?;
        let mut series = Vec::new();
        match &self.question {
            HistogramQuestion::Quantile(wanted) => {
                for group in &groups {
                    let column = self.quantiles(group, wanted);
                    series.push((self.head(group, None), column));
                }
            }
            HistogramQuestion::Quantiles { label, wanted } => {
                for wanted in wanted {
                    let text = wanted.first().map_or_else(String::new, |wanted| open_metrics(*wanted));
                    for group in &groups {
                        let column = self.quantiles(group, wanted);
                        series.push((self.head(group, Some((label, &text))), column));
                    }
                }
            }
            HistogramQuestion::Fraction { lower, upper } => {
                for group in &groups {
                    let column = self
                        .each_step(group, |step, buckets| bucket_fraction(lower[step], upper[step], buckets));
                    series.push((self.head(group, None), column));
                }
            }
        }
        Ok((Computed::new(series), held))
    }
}

/// As Go's `ParseFloat` reads a bound.
fn parse_bound(text: &str) -> Option<f64> {
    match text.trim_start_matches(['+', '-']).to_ascii_lowercase().as_str() {
        "inf" | "infinity" => Some(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY }),
        "" => None,
        _ => text.parse::<f64>().ok().or_else(|| parse_number(text)),
    }
}

/// As OpenMetrics writes a number: never without a point or an exponent.
fn open_metrics(value: f64) -> String {
    let text = vedette_model::number::format_general_long(value);
    let whole = value.is_finite() && !text.contains(['.', 'e']);
    if whole { text + ".0" } else { text }
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
