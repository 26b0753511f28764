//! Warnings and infos about native histograms.

use crate::eval::annotations::for_metric;
use crate::eval::native::NanEffect;
use crate::syntax::printer::quote;

/// A fact about histograms in a result.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum HistogramNote {
    MixedFloatsHistograms { metric: String },
    MixedFloatsHistogramsInAggregation,
    MixedClassicNative { metric: String },
    NotCounter { metric: String },
    NotGauge { metric: String },
    MixedBucketSchemas { metric: String },
    IncompatibleBucketLayout { operator: &'static str },
    IgnoredInAggregation { aggregation: &'static str },
    IgnoredInMixedRange { metric: String },
    NanObservations { what: NanEffect, metric: String },
    CounterResetCollision(HistogramOperation),
    MismatchedCustomBuckets(HistogramOperation),
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

impl HistogramNote {
    pub(crate) fn is_warning(&self) -> bool {
        !matches!(
            self,
            Self::IgnoredInAggregation { .. }
                | Self::IgnoredInMixedRange { .. }
                | Self::NanObservations { .. }
                | Self::MismatchedCustomBuckets(_)
        )
    }

    pub(crate) fn text(&self) -> String {
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
            Self::IgnoredInAggregation { aggregation } => {
                format!("ignored histogram in {aggregation} aggregation")
            }
            Self::IgnoredInMixedRange { metric } => {
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
        }
    }
}
