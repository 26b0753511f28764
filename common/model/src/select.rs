//! The seam between a query engine and whatever holds the samples.

use std::sync::Arc;

use crate::{Exemplar, HistogramSample, Labels, Matcher, Metadata, Timestamp};

/// Which samples are wanted.
#[derive(Clone, Copy, Debug)]
pub struct SelectRequest<'a> {
    /// All must match.
    pub matchers: &'a [Matcher],
    /// The first time wanted, inclusive.
    pub start: Timestamp,
    /// The last time wanted, inclusive.
    pub end: Timestamp,
}

/// Samples of one series, oldest first. `at_ms` and `values` have the same length; times are unique.
///
/// Staleness markers are included: what they mean is the query engine's business. One that ends a series of
/// histograms is a float as well.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// Times of the floats in milliseconds since the epoch, strictly rising.
    pub at_ms: Vec<i64>,
    /// The values at those times.
    pub values: Vec<f64>,
    /// Since when the floats count, in milliseconds since the epoch; 0 where that is unknown. Empty where nothing is
    /// known of any, else as long as `at_ms`.
    pub starts_ms: Vec<i64>,
    /// Histograms, oldest first. No time is both here and in `at_ms`.
    pub histograms: Vec<HistogramSample>,
}

impl Samples {
    /// Forgets all samples and keeps the memory.
    pub fn clear(&mut self) {
        self.at_ms.clear();
        self.values.clear();
        self.starts_ms.clear();
        self.histograms.clear();
    }

    /// Adds a float without a start, which must be later than the last.
    pub fn push(&mut self, at: Timestamp, value: f64) {
        debug_assert!(self.at_ms.last().is_none_or(|last| *last < at.as_millis()));
        self.at_ms.push(at.as_millis());
        self.values.push(value);
        if !self.starts_ms.is_empty() {
            self.starts_ms.push(0);
        }
    }

    /// Adds a float that counts since `start_ms` (0: unknown), which must be later than the last.
    pub fn push_started(&mut self, at: Timestamp, start_ms: i64, value: f64) {
        self.push(at, value);
        if start_ms != 0 {
            self.starts_ms.resize(self.at_ms.len() - 1, 0);
            self.starts_ms.push(start_ms);
        }
    }

    /// Since when the float at `index` counts; 0 where that is unknown.
    pub fn start_ms(&self, index: usize) -> i64 {
        self.starts_ms.get(index).copied().unwrap_or(0)
    }

    /// How many samples, floats and histograms.
    pub fn len(&self) -> usize {
        self.at_ms.len() + self.histograms.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.at_ms.is_empty() && self.histograms.is_empty()
    }
}

/// Why a selection failed.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// The storage could not be read; the text names what and where.
    #[error("storage: {0}")]
    Storage(String),
    /// A limit was reached; the text names the limit's key.
    #[error("{0}")]
    Limit(String),
    /// Whoever asked has gone, or its deadline has passed.
    #[error("query was cancelled")]
    Cancelled,
}

/// Whoever bounds what a listing takes, and may want it to end.
pub trait SelectGuard: Send + Sync {
    /// The listing holds so many bytes by now. Asked often enough that a refusal comes in time: the listing then ends
    /// with the error.
    fn hold(&self, bytes: u64) -> Result<(), SelectError>;
}

/// Something that holds series and can be asked for them. One value is one consistent view.
pub trait SeriesSource: Send + Sync {
    /// From now on asks `guard` while it lists series, names, values, exemplars or metadata. A source whose listings
    /// are short need not.
    fn set_guard(&mut self, _guard: Arc<dyn SelectGuard>) {}

    /// The series that match, each once, in the order of their labels, with their samples in the range.
    /// Series that have no sample in the range may be left out.
    fn select<'a>(&'a self, request: &SelectRequest<'a>) -> Result<Box<dyn SeriesStream + 'a>, SelectError>;

    /// As [`SeriesSource::select`], where of each series only the newest sample in the range matters: the others may be
    /// left out.
    fn select_newest<'a>(
        &'a self,
        request: &SelectRequest<'a>,
    ) -> Result<Box<dyn SeriesStream + 'a>, SelectError> {
        self.select(request)
    }

    /// Label sets that have samples in the range, sorted, each once.
    fn series(&self, request: &SelectRequest<'_>) -> Result<Vec<Labels>, SelectError>;

    /// Label names of the series that match, sorted, each once.
    fn label_names(&self, request: &SelectRequest<'_>) -> Result<Vec<String>, SelectError>;

    /// Values of label `name` among the series that match, sorted, each once.
    fn label_values(&self, name: &str, request: &SelectRequest<'_>) -> Result<Vec<String>, SelectError>;

    /// Exemplars in the range of the series that match: series in the order of their labels, each with at least one, and
    /// its exemplars by time.
    fn exemplars(&self, request: &SelectRequest<'_>) -> Result<Vec<(Labels, Vec<Exemplar>)>, SelectError>;

    /// What is known of metric families, sorted by name; only `metric` when it is given.
    fn metadata(&self, metric: Option<&str>) -> Result<Vec<MetadataEntry>, SelectError>;
}

/// One distinct piece of metadata that some writer gave for a metric family.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetadataEntry {
    /// The family's name.
    pub metric: String,
    /// What was said of it.
    pub metadata: Metadata,
}

/// Series one after the other, each decoded into memory that the caller keeps.
pub trait SeriesStream: Send {
    /// Puts the next series' samples in `samples` (cleared first) and gives its labels; `None` at the end.
    fn next_into(&mut self, samples: &mut Samples) -> Result<Option<Labels>, SelectError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_take_room_only_from_the_first_that_is_known() {
        let mut samples = Samples::default();
        samples.push(Timestamp::from_millis(1), 1.0);
        samples.push_started(Timestamp::from_millis(2), 0, 2.0);
        assert!(samples.starts_ms.is_empty());
        samples.push_started(Timestamp::from_millis(3), 7, 3.0);
        samples.push(Timestamp::from_millis(4), 4.0);
        assert_eq!(samples.starts_ms, [0, 0, 7, 0]);
        assert_eq!((samples.start_ms(2), samples.start_ms(3), samples.start_ms(9)), (7, 0, 0));
    }
}
