//! Warnings and infos: facts about a result that do not make it wrong.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use vedette_model::number::format_exposition;

use crate::ast::Span;
use crate::eval::calendar::format_rfc3339;
use crate::eval::histogram_note::HistogramNote;
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
    StartTimeOverlap { metric: String },
    Histogram(HistogramNote),
}

impl From<HistogramNote> for Annotation {
    fn from(note: HistogramNote) -> Self {
        Self::Histogram(note)
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
    found: BTreeMap<Annotation, (Span, Detail)>,
}

/// What is told of all the times that something was found.
#[derive(Debug)]
enum Detail {
    Monotonicity(Monotonicity),
    Times(u64),
}

impl Annotations {
    pub(crate) fn add(&mut self, annotation: Annotation, span: Span) {
        let (last, detail) = self.found.entry(annotation).or_insert((span, Detail::Times(0)));
        *last = span;
        if let Detail::Times(times) = detail {
            *times += 1;
        }
    }

    pub(crate) fn add_monotonicity(&mut self, metric: String, span: Span, fresh: Monotonicity) {
        match self.found.entry(Annotation::ForcedMonotonicity { metric }) {
            Entry::Vacant(entry) => {
                entry.insert((span, Detail::Monotonicity(fresh)));
            }
            Entry::Occupied(mut entry) => {
                if let (_, Detail::Monotonicity(known)) = entry.get_mut() {
                    known.merge(fresh);
                }
            }
        }
    }

    /// Warnings, then infos, each sorted.
    pub(crate) fn into_texts(self) -> (Vec<String>, Vec<String>) {
        let (mut warnings, mut infos) = (Vec::new(), Vec::new());
        for (annotation, (span, detail)) in &self.found {
            let mut text = annotation.text();
            match (annotation, detail) {
                (_, Detail::Monotonicity(monotonicity)) => text.push_str(&monotonicity.text()),
                (Annotation::StartTimeOverlap { .. }, Detail::Times(times)) if *times > 1 => {
                    text.push_str(&format!(" ({times} occurrences)"));
                }
                _ => {}
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
        match self {
            Self::PossibleNonCounter { .. }
            | Self::PossibleNonCounterType { .. }
            | Self::ForcedMonotonicity { .. }
            | Self::IncompatibleTypes { .. } => false,
            Self::Histogram(note) => note.is_warning(),
            _ => true,
        }
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
            Self::Histogram(note) => note.text(),
        }
    }
}

pub(super) fn for_metric(metric: &str) -> String {
    if metric.is_empty() { String::new() } else { format!(" for metric name {}", quote(metric)) }
}

impl Monotonicity {
    fn merge(&mut self, other: Self) {
        self.first_ms = self.first_ms.min(other.first_ms);
        self.last_ms = self.last_ms.max(other.last_ms);
        self.bucket_min = self.bucket_min.min(other.bucket_min);
        self.bucket_max = self.bucket_max.max(other.bucket_max);
        self.difference_max = self.difference_max.max(other.difference_max);
        self.samples += other.samples;
    }

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
