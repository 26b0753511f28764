//! Series in memory: what tests and rule tests query.

use std::collections::{BTreeMap, BTreeSet};

use vedette_model::{
    Labels, MetadataEntry, Samples, SelectError, SelectRequest, SeriesSource, SeriesStream, Timestamp,
};

/// A source that holds all its series in memory.
#[derive(Clone, Debug, Default)]
pub struct MemorySource {
    series: BTreeMap<Labels, Samples>,
}

impl MemorySource {
    /// Adds a sample; one at the same time is replaced.
    pub fn push(&mut self, labels: &Labels, at: Timestamp, value: f64) {
        let samples = match self.series.get_mut(labels) {
            Some(samples) => samples,
            None => self.series.entry(labels.clone()).or_default(),
        };
        match samples.at_ms.binary_search(&at.as_millis()) {
            Ok(index) => samples.values[index] = value,
            Err(index) => {
                samples.at_ms.insert(index, at.as_millis());
                samples.values.insert(index, value);
            }
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.series.clear();
    }

    fn matching<'a>(
        &'a self,
        request: &SelectRequest<'a>,
    ) -> impl Iterator<Item = (&'a Labels, &'a [i64], &'a [f64])> + use<'a> {
        let SelectRequest { matchers, start, end } = *request;
        self.series.iter().filter_map(move |(labels, samples)| {
            let matches =
                |matcher: &vedette_model::Matcher| matcher.matches(labels.get(matcher.name()).unwrap_or(""));
            let from = samples.at_ms.partition_point(|at_ms| *at_ms < start.as_millis());
            let to = samples.at_ms.partition_point(|at_ms| *at_ms <= end.as_millis());
            let wanted = from < to && matchers.iter().all(matches);
            wanted.then(|| (labels, &samples.at_ms[from..to], &samples.values[from..to]))
        })
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

    fn metadata(&self, _metric: Option<&str>) -> Result<Vec<MetadataEntry>, SelectError> {
        Ok(Vec::new())
    }
}

struct MemoryStream<I>(I);

impl<'a, I: Iterator<Item = (&'a Labels, &'a [i64], &'a [f64])> + Send> SeriesStream for MemoryStream<I> {
    fn next_into(&mut self, samples: &mut Samples) -> Result<Option<Labels>, SelectError> {
        let Some((labels, at_ms, values)) = self.0.next() else { return Ok(None) };
        samples.clear();
        samples.at_ms.extend_from_slice(at_ms);
        samples.values.extend_from_slice(values);
        Ok(Some(labels.clone()))
    }
}
