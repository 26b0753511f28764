//! Classic histograms that become native ones with custom bounds, as in Prometheus: series of one family that stand
//! together and differ in their bound alone.

use vedette_exposition::{Exemplar, LabelPair, parse_float, series_key};
use vedette_model::{BUCKET_LABEL, ClassicHistogram, ClassicHistogramError, METRIC_NAME, MetricKind};

/// Collects the series of one histogram after the other.
#[derive(Debug, Default)]
pub(super) struct ClassicConversion {
    /// The family that the last metadata named as one of classic histograms.
    family: Option<Box<[u8]>>,
    collected: Option<Collected>,
    /// Labels of a native histogram whose classic series follow it.
    native: Vec<(String, String)>,
}

/// What there is of a histogram.
#[derive(Debug)]
pub(super) struct Collected {
    /// Labels of the native histogram, by name.
    labels: Vec<(String, String)>,
    histogram: Result<ClassicHistogram, ClassicHistogramError>,
    /// When its last series said that it was.
    pub(super) timestamp: Option<i64>,
    /// When its first series said that it began; 0 where it did not.
    pub(super) start_ms: i64,
    exemplars: Vec<OwnExemplar>,
}

/// An exemplar that outlives its line.
#[derive(Debug)]
struct OwnExemplar {
    labels: Box<[u8]>,
    value: f64,
    timestamp: i64,
}

/// A series as it was read.
pub(super) struct ClassicSeries<'r, 'k> {
    pub(super) pairs: &'r [LabelPair<'k>],
    pub(super) value: f64,
    pub(super) timestamp: Option<i64>,
    pub(super) start_ms: i64,
    pub(super) exemplars: &'r [Exemplar<'k>],
}

enum Part {
    Bucket(f64),
    Count,
    Sum,
}

impl ClassicConversion {
    /// What follows is of this family.
    pub(super) fn note_family(&mut self, name: &[u8], kind: MetricKind) {
        self.family = (kind == MetricKind::Histogram).then(|| name.into());
    }

    /// Whether what is read now may be part of a classic histogram.
    pub(super) fn is_expected(&self) -> bool {
        self.family.is_some()
    }

    /// What was collected, when nothing more belongs to it.
    pub(super) fn take(&mut self) -> Option<Collected> {
        self.collected.take()
    }

    /// What was collected, unless these are labels of a series of the same histogram.
    pub(super) fn take_before(&mut self, pairs: &[LabelPair<'_>]) -> Option<Collected> {
        self.collected.take_if(|collected| !is_of(pairs, &collected.labels))
    }

    /// There is a native histogram: classic series of the same labels, which follow, are not made another one.
    pub(super) fn note_native(&mut self, pairs: &[LabelPair<'_>]) {
        self.native = pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    }

    /// Takes a series that is part of a histogram; how many buckets that has now, or `None` when it is not.
    pub(super) fn add(&mut self, series: &ClassicSeries<'_, '_>) -> Option<usize> {
        let (part, name) = self.part(series.pairs)?;
        if !self.native.is_empty() {
            if is_of(series.pairs, &self.native) {
                return None;
            }
            self.native.clear();
        }
        let collected = self.collected.get_or_insert_with(|| Collected {
            labels: labels_of(series.pairs, name),
            histogram: Ok(ClassicHistogram::default()),
            timestamp: None,
            start_ms: series.start_ms,
            exemplars: Vec::new(),
        });
        collected.add(part, series);
        Some(collected.histogram.as_ref().map_or(0, ClassicHistogram::buckets))
    }

    /// What a series is of a histogram of the family, and the histogram's name.
    fn part<'p>(&self, pairs: &'p [LabelPair<'_>]) -> Option<(Part, &'p str)> {
        let (name, part) = split(value_of(pairs, METRIC_NAME)?)?;
        if self.family.as_deref() != Some(name.as_bytes()) {
            return None;
        }
        let part = match part {
            "_bucket" => {
                let bound = parse_float(value_of(pairs, BUCKET_LABEL)?.as_bytes())?;
                Part::Bucket(Some(bound).filter(|bound| !bound.is_nan())?)
            }
            "_count" => Part::Count,
            _ => Part::Sum,
        };
        Some((part, name))
    }
}

impl Collected {
    fn add(&mut self, part: Part, series: &ClassicSeries<'_, '_>) {
        self.timestamp = series.timestamp;
        let own = |exemplar: &Exemplar<'_>| {
            // Without a time it can not be told from the one of the scrape before.
            let timestamp = exemplar.timestamp?;
            Some(OwnExemplar { labels: exemplar.labels.into(), value: exemplar.value, timestamp })
        };
        self.exemplars.extend(series.exemplars.iter().filter_map(own));
        let Ok(histogram) = &mut self.histogram else { return };
        let added = match part {
            Part::Bucket(bound) => histogram.add_bucket(bound, series.value),
            Part::Count => histogram.set_count(series.value),
            Part::Sum => {
                histogram.set_sum(series.value);
                Ok(())
            }
        };
        if let Err(error) = added {
            self.histogram = Err(error);
        }
    }

    /// The native histogram, or why there is none.
    pub(super) fn histogram(&mut self) -> Result<vedette_model::Histogram, ClassicHistogramError> {
        std::mem::replace(&mut self.histogram, Ok(ClassicHistogram::default()))?.into_native()
    }

    /// The key of the native histogram: the same that it would have if it was exposed so.
    pub(super) fn key(&self) -> Vec<u8> {
        let name = self.labels.iter().find(|(name, _)| name == METRIC_NAME);
        let others = self.labels.iter().filter(|(name, _)| name != METRIC_NAME);
        let others = others.map(|(name, value)| (name.as_str(), value.as_str()));
        series_key(name.map_or("", |(_, name)| name), others)
    }

    pub(super) fn pairs(&self) -> Vec<LabelPair<'_>> {
        self.labels.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect()
    }

    pub(super) fn exemplars(&self) -> Vec<Exemplar<'_>> {
        let all = self.exemplars.iter();
        all.map(|own| Exemplar { labels: &own.labels, value: own.value, timestamp: Some(own.timestamp) })
            .collect()
    }
}

/// The name of a histogram, and which part of it a series of this name is.
fn split(metric: &str) -> Option<(&str, &'static str)> {
    ["_bucket", "_sum", "_count"].into_iter().find_map(|part| Some((metric.strip_suffix(part)?, part)))
}

fn value_of<'p>(pairs: &'p [LabelPair<'_>], name: &str) -> Option<&'p str> {
    pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_ref())
}

fn labels_of(pairs: &[LabelPair<'_>], histogram: &str) -> Vec<(String, String)> {
    let kept = pairs.iter().filter(|(name, _)| name != BUCKET_LABEL);
    kept.map(|(name, value)| {
        (name.to_string(), if name == METRIC_NAME { histogram } else { value }.to_owned())
    })
    .collect()
}

/// Whether a series belongs to the histogram of these labels.
fn is_of(pairs: &[LabelPair<'_>], histogram: &[(String, String)]) -> bool {
    let own = pairs.iter().filter(|(name, _)| name != BUCKET_LABEL);
    let own = own.map(|(name, value)| match name.as_ref() {
        METRIC_NAME => (METRIC_NAME, split(value).map_or(value.as_ref(), |(base, _)| base)),
        name => (name, value.as_ref()),
    });
    own.eq(histogram.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}
