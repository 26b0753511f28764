//! Series in memory: what tests and rule tests query.

use std::collections::{BTreeMap, BTreeSet};

use vedette_model::{
    Exemplar, HistogramSample, Labels, MetadataEntry, Samples, SelectError, SelectRequest, SeriesSource,
    SeriesStream, Timestamp,
};

/// A source that holds all its series in memory.
#[derive(Clone, Debug, Default)]
pub struct MemorySource {
    series: BTreeMap<Labels, Samples>,
    /// By time within a series.
    exemplars: BTreeMap<Labels, Vec<Exemplar>>,
}

impl MemorySource {
    /// Adds a float; a sample at the same time is replaced.
    pub fn push(&mut self, labels: &Labels, at: Timestamp, value: f64) {
        self.push_started(labels, at, 0, value);
    }

    /// Adds a float that counts since `start_ms` (0: unknown); a sample at the same time is replaced.
    pub fn push_started(&mut self, labels: &Labels, at: Timestamp, start_ms: i64, value: f64) {
        let samples = self.samples_mut(labels);
        let at_ms = at.as_millis();
        if samples.at_ms.last().is_none_or(|last| *last < at_ms) {
            samples.push_started(at, start_ms, value);
        } else {
            if start_ms != 0 {
                samples.starts_ms.resize(samples.at_ms.len(), 0);
            }
            match samples.at_ms.binary_search(&at_ms) {
                Ok(index) => {
                    samples.values[index] = value;
                    if let Some(known) = samples.starts_ms.get_mut(index) {
                        *known = start_ms;
                    }
                }
                Err(index) => {
                    samples.at_ms.insert(index, at_ms);
                    samples.values.insert(index, value);
                    if !samples.starts_ms.is_empty() {
                        samples.starts_ms.insert(index, start_ms);
                    }
                }
            }
        }
        if let Ok(index) = samples.histograms.binary_search_by_key(&at_ms, |sample| sample.at_ms) {
            samples.histograms.remove(index);
        }
    }

    /// Adds a histogram; a sample at the same time is replaced.
    pub fn push_histogram(&mut self, labels: &Labels, sample: HistogramSample) {
        let samples = self.samples_mut(labels);
        if let Ok(index) = samples.at_ms.binary_search(&sample.at_ms) {
            samples.at_ms.remove(index);
            samples.values.remove(index);
            if !samples.starts_ms.is_empty() {
                samples.starts_ms.remove(index);
            }
        }
        match samples.histograms.binary_search_by_key(&sample.at_ms, |known| known.at_ms) {
            Ok(index) => samples.histograms[index] = sample,
            Err(index) => samples.histograms.insert(index, sample),
        }
    }

    /// Adds an exemplar to a series.
    pub fn push_exemplar(&mut self, labels: &Labels, exemplar: Exemplar) {
        let exemplars = self.exemplars.entry(labels.clone()).or_default();
        let index = exemplars.partition_point(|known| known.at_ms <= exemplar.at_ms);
        exemplars.insert(index, exemplar);
    }

    fn samples_mut(&mut self, labels: &Labels) -> &mut Samples {
        self.series.entry(labels.clone()).or_default()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.series.clear();
        self.exemplars.clear();
    }

    fn matching<'a>(
        &'a self,
        request: &SelectRequest<'a>,
    ) -> impl Iterator<Item = (&'a Labels, Part<'a>)> + use<'a> {
        let request = *request;
        self.series.iter().filter_map(move |(labels, samples)| {
            let part = Part::of(samples, request.start.as_millis(), request.end.as_millis());
            (!part.is_empty() && matches(&request, labels)).then_some((labels, part))
        })
    }
}

fn matches(request: &SelectRequest<'_>, labels: &Labels) -> bool {
    request.matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or("")))
}

/// What a range holds of a series' samples.
struct Part<'a> {
    at_ms: &'a [i64],
    values: &'a [f64],
    starts_ms: &'a [i64],
    histograms: &'a [HistogramSample],
}

impl<'a> Part<'a> {
    fn of(samples: &'a Samples, start_ms: i64, end_ms: i64) -> Self {
        let from = samples.at_ms.partition_point(|at_ms| *at_ms < start_ms);
        let to = samples.at_ms.partition_point(|at_ms| *at_ms <= end_ms).max(from);
        let first = samples.histograms.partition_point(|sample| sample.at_ms < start_ms);
        let end = samples.histograms.partition_point(|sample| sample.at_ms <= end_ms).max(first);
        Self {
            at_ms: &samples.at_ms[from..to],
            values: &samples.values[from..to],
            starts_ms: samples.starts_ms.get(from..to).unwrap_or(&[]),
            histograms: &samples.histograms[first..end],
        }
    }

    fn is_empty(&self) -> bool {
        self.at_ms.is_empty() && self.histograms.is_empty()
    }
}

impl SeriesSource for MemorySource {
    fn select<'a>(&'a self, request: &SelectRequest<'a>) -> Result<Box<dyn SeriesStream + 'a>, SelectError> {
        Ok(Box::new(MemoryStream(self.matching(request))))
    }

    fn series(&self, request: &SelectRequest<'_>) -> Result<Vec<Labels>, SelectError> {
        Ok(self.matching(request).map(|(labels, ..)| labels.clone()).collect())
    }

    fn label_names(&self, request: &SelectRequest<'_>) -> Result<Vec<String>, SelectError> {
        let names: BTreeSet<_> =
            self.matching(request).flat_map(|(labels, ..)| labels.iter().map(|(name, _)| name)).collect();
        Ok(names.into_iter().map(str::to_owned).collect())
    }

    fn label_values(&self, name: &str, request: &SelectRequest<'_>) -> Result<Vec<String>, SelectError> {
        let values: BTreeSet<_> =
            self.matching(request).filter_map(|(labels, ..)| labels.get(name)).collect();
        Ok(values.into_iter().map(str::to_owned).collect())
    }

    fn exemplars(&self, request: &SelectRequest<'_>) -> Result<Vec<(Labels, Vec<Exemplar>)>, SelectError> {
        let range = request.start.as_millis()..=request.end.as_millis();
        let found =
            self.exemplars.iter().filter(|(labels, _)| matches(request, labels)).map(|(labels, all)| {
                let wanted = all.iter().filter(|exemplar| range.contains(&exemplar.at_ms));
                (labels.clone(), wanted.cloned().collect::<Vec<_>>())
            });
        Ok(found.filter(|(_, exemplars)| !exemplars.is_empty()).collect())
    }

    fn metadata(&self, _metric: Option<&str>) -> Result<Vec<MetadataEntry>, SelectError> {
        Ok(Vec::new())
    }
}

struct MemoryStream<I>(I);

impl<'a, I: Iterator<Item = (&'a Labels, Part<'a>)> + Send> SeriesStream for MemoryStream<I> {
    fn next_into(&mut self, samples: &mut Samples) -> Result<Option<Labels>, SelectError> {
        let Some((labels, part)) = self.0.next() else { return Ok(None) };
        samples.clear();
        samples.at_ms.extend_from_slice(part.at_ms);
        samples.values.extend_from_slice(part.values);
        samples.starts_ms.extend_from_slice(part.starts_ms);
        samples.histograms.extend_from_slice(part.histograms);
        Ok(Some(labels.clone()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_time_is_of_a_float_or_a_histogram_whichever_came_last() {
        let labels = Labels::from_pairs([("a", "b")]);
        let mut source = MemorySource::default();
        let sample = |at_ms| HistogramSample { at_ms, start_ms: 3, histogram: Arc::default() };
        source.push(&labels, Timestamp::from_millis(10), 1.0);
        source.push_histogram(&labels, sample(20));
        source.push_histogram(&labels, sample(10));
        source.push_started(&labels, Timestamp::from_millis(20), 5, 2.0);
        source.push(&labels, Timestamp::from_millis(15), 1.5);
        let request = SelectRequest {
            matchers: &[],
            start: Timestamp::from_millis(0),
            end: Timestamp::from_millis(20),
        };
        let mut samples = Samples::default();
        let mut stream = source.select(&request).expect("selects");
        assert_eq!(stream.next_into(&mut samples).expect("reads"), Some(labels));
        assert_eq!((samples.at_ms, samples.starts_ms), (vec![15, 20], vec![0, 5]));
        assert_eq!(samples.histograms, [sample(10)]);
    }

    #[test]
    fn exemplars_of_the_range_come_by_time() {
        let labels = Labels::from_pairs([("a", "b")]);
        let mut source = MemorySource::default();
        for at_ms in [30, 10, 20] {
            source.push_exemplar(&labels, Exemplar { labels: Labels::empty(), value: 1.0, at_ms });
        }
        let times = |start, end| {
            let (start, end) = (Timestamp::from_millis(start), Timestamp::from_millis(end));
            let found = source.exemplars(&SelectRequest { matchers: &[], start, end }).expect("reads");
            found.into_iter().flat_map(|(_, all)| all).map(|found| found.at_ms).collect::<Vec<_>>()
        };
        assert_eq!(times(10, 20), [10, 20]);
        assert!(times(31, 40).is_empty());
    }
}
