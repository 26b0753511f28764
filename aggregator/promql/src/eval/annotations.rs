//! Warnings and infos: facts about a result that do not make it wrong.

use std::collections::BTreeMap;

use vedette_model::number::format_exposition;

use crate::ast::Span;
use crate::eval::calendar::format_rfc3339;
use crate::eval::native::NanEffect;
use crate::syntax::printer::quote;

/// A fact. Two that differ only in where they stand are one, as in Prometheus.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Annotation {
    InvalidQuantile { value: String },
    BadBucketLabel { metric: String, value: String },
    SortInRangeQuery,
    PossibleNonCounter { metric: String },
    PossibleNonCounterType { metric: String, kind: String },
    ForcedMonotonicity { metric: String },
    IncompatibleTypes { operator: &'static str, left: &'static str, right: &'static str },
    InvalidRatio { value: String, limit: String },
    MixedFloatsHistograms { metric: String },
    MixedFloatsHistogramsInAggregation,
    MixedClassicNative { metric: String },
    NotCounter { metric: String },
    NotGauge { metric: String },
    MixedBucketSchemas { metric: String },
    IncompatibleBucketLayout { operator: &'static str },
    HistogramIgnoredInAggregation { aggregation: &'static str },
    HistogramIgnoredInMixedRange { metric: String },
    NanObservations { what: NanEffect, metric: String },
    CounterResetCollision(HistogramOperation),
    MismatchedCustomBuckets(HistogramOperation),
    StartTimeOverlap { metric: String },
}

/// What was done with histograms that did not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum HistogramOperation {
    Addition,
    Subtraction,
    Aggregation,
}

impl HistogramOperation {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Addition => "addition",
            Self::Subtraction => "subtraction",
            Self::Aggregation => "aggregation",
        }
    }
}

/// How bad a forced monotonicity was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Monotonicity {
    pub(crate) first_ms: i64,
    pub(crate) last_ms: i64,
    pub(crate) bucket_min: f64,
    pub(crate) bucket_max: f64,
    pub(crate) difference_max: f64,
    pub(crate) samples: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Annotations {
    found: BTreeMap<Annotation, (Span, Option<Monotonicity>)>,
}

impl Annotations {
    pub(crate) fn add(&mut self, annotation: Annotation, span: Span) {
        self.found.insert(annotation, (span, None));
    }

    pub(crate) fn add_monotonicity(&mut self, metric: String, span: Span, fresh: Monotonicity) {
        let entry =
            self.found.entry(Annotation::ForcedMonotonicity { metric }).or_insert((span, Some(fresh)));
        let Some(known) = &mut entry.1 else { return };
        known.first_ms = known.first_ms.min(fresh.first_ms);
        known.last_ms = known.last_ms.max(fresh.last_ms);
        known.bucket_min = known.bucket_min.min(fresh.bucket_min);
        known.bucket_max = known.bucket_max.max(fresh.bucket_max);
        known.difference_max = known.difference_max.max(fresh.difference_max);
        known.samples += 1;
    }

    /// Warnings, then infos, each sorted.
    pub(crate) fn into_texts(self) -> (Vec<String>, Vec<String>) {
        let (mut warnings, mut infos) = (Vec::new(), Vec::new());
        for (annotation, (span, monotonicity)) in &self.found {
            let mut text = annotation.text();
            if let Some(monotonicity) = monotonicity {
                text.push_str(&monotonicity.text());
            }
            let (list, level) = match annotation.is_warning() {
                true => (&mut warnings, "warning"),
                false => (&mut infos, "info"),
            };
            list.push(format!("PromQL {level}: {text} ({span})"));
        }
        warnings.sort_unstable();
        infos.sort_unstable();
        (warnings, infos)
    }
}

impl Annotation {
    fn is_warning(&self) -> bool {
        !matches!(
            self,
            Self::PossibleNonCounter { .. }
                | Self::PossibleNonCounterType { .. }
                | Self::ForcedMonotonicity { .. }
                | Self::IncompatibleTypes { .. }
                | Self::HistogramIgnoredInAggregation { .. }
                | Self::HistogramIgnoredInMixedRange { .. }
                | Self::NanObservations { .. }
                | Self::MismatchedCustomBuckets(_)
        )
    }

    fn text(&self) -> String {
        match self {
            Self::InvalidQuantile { value } => {
                format!("quantile value should be between 0 and 1, got {value}")
            }
            Self::BadBucketLabel { metric, value } => {
                let value = quote(value);
                let text = format!("bucket label \"le\" is missing or has a malformed value of {value}");
                text + &for_metric(metric)
            }
            Self::SortInRangeQuery => {
                "sort is ineffective for range queries since results are always ordered by labels".to_owned()
            }
            Self::PossibleNonCounter { metric } => {
                let metric = quote(metric);
                format!(
                    "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {metric}"
                )
            }
            Self::PossibleNonCounterType { metric, kind } => {
                let (metric, kind) = (quote(metric), quote(kind));
                format!(
                    "metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\", \
                     got {kind}: {metric}"
                )
            }
            Self::ForcedMonotonicity { metric } => {
                let text = "input to histogram_quantile needed to be fixed for monotonicity (see \
                    https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)";
                text.to_owned() + &for_metric(metric)
            }
            Self::IncompatibleTypes { operator, left, right } => {
                let quoted = quote(operator);
                format!(
                    "incompatible sample types encountered for binary operator {quoted}: {left} {operator} {right}"
                )
            }
            Self::InvalidRatio { value, limit } => {
                format!("ratio value should be between -1 and 1, got {value}, capping to {limit}")
            }
            Self::StartTimeOverlap { metric } => {
                let metric = quote(metric);
                format!(
                    "sample has start time that overlaps with previous sample timestamp for metric {metric}"
                )
            }
            _ => self.histogram_text(),
        }
    }

    /// The text of what is told of native histograms.
    fn histogram_text(&self) -> String {
        match self {
            Self::MixedFloatsHistograms { metric } => {
                format!("encountered a mix of histograms and floats for metric name {}", quote(metric))
            }
            Self::MixedFloatsHistogramsInAggregation => {
                "encountered a mix of histograms and floats for aggregation".to_owned()
            }
            Self::MixedClassicNative { metric } => {
                "vector contains a mix of classic and native histograms".to_owned() + &for_metric(metric)
            }
            Self::NotCounter { metric } => {
                format!("this native histogram metric is not a counter: {}", quote(metric))
            }
            Self::NotGauge { metric } => {
                format!("this native histogram metric is not a gauge: {}", quote(metric))
            }
            Self::MixedBucketSchemas { metric } => {
                let text = "vector contains a mix of histograms with exponential and custom buckets schemas";
                format!("{text} for metric name {}", quote(metric))
            }
            Self::IncompatibleBucketLayout { operator } => {
                format!("incompatible bucket layout encountered for binary operator {operator}")
            }
            Self::HistogramIgnoredInAggregation { aggregation } => {
                format!("ignored histogram in {aggregation} aggregation")
            }
            Self::HistogramIgnoredInMixedRange { metric } => {
                let text = "ignored histograms in a range containing both floats and histograms";
                format!("{text} for metric name {}", quote(metric))
            }
            Self::NanObservations { what, metric } => {
                let text = match what {
                    NanEffect::QuantileIsNan => {
                        "input to histogram_quantile has NaN observations, result is NaN"
                    }
                    NanEffect::QuantileIsSkewed => {
                        "input to histogram_quantile has NaN observations, result is skewed higher"
                    }
                    NanEffect::LeftOutOfFraction => {
                        "input to histogram_fraction has NaN observations, which are excluded from all fractions"
                    }
                };
                text.to_owned() + &for_metric(metric)
            }
            Self::CounterResetCollision(operation) => {
                format!("conflicting counter resets during histogram {}", operation.as_str())
            }
            Self::MismatchedCustomBuckets(operation) => {
                format!("mismatched custom buckets were reconciled during {}", operation.as_str())
            }
            _ => String::new(),
        }
    }
}

fn for_metric(metric: &str) -> String {
    if metric.is_empty() { String::new() } else { format!(" for metric name {}", quote(metric)) }
}

impl Monotonicity {
    fn text(&self) -> String {
        format!(
            ", from buckets {} to {}, with a max diff of {}, over {} samples from {} to {}",
            format_exposition(self.bucket_min),
            format_exposition(self.bucket_max),
            two_digits(self.difference_max),
            self.samples,
            format_rfc3339(self.first_ms.div_euclid(1000)),
            format_rfc3339(self.last_ms.div_euclid(1000)),
        )
    }
}

/// Go's `%.2g`.
fn two_digits(value: f64) -> String {
    let scientific = format!("{value:.1e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !value.is_finite() || (-4..2).contains(&exponent) {
        return format_exposition(scientific.parse().unwrap_or(value));
    }
    let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}
