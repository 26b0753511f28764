//! The seam between a query engine and whatever holds the samples.

use crate::{Labels, Matcher, Metadata, Timestamp};

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
/// Staleness markers are included: what they mean is the query engine's business.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// Times in milliseconds since the epoch, strictly rising.
    pub at_ms: Vec<i64>,
    /// The values at those times.
    pub values: Vec<f64>,
}

impl Samples {
    /// Forgets all samples and keeps the memory.
    pub fn clear(&mut self) {
        self.at_ms.clear();
        self.values.clear();
    }

    /// Adds a sample, which must be later than the last.
    pub fn push(&mut self, at: Timestamp, value: f64) {
        debug_assert!(self.at_ms.last().is_none_or(|last| *last < at.as_millis()));
        self.at_ms.push(at.as_millis());
        self.values.push(value);
    }

    /// How many samples.
    pub fn len(&self) -> usize {
        self.at_ms.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.at_ms.is_empty()
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

/// Something that holds series and can be asked for them. One value is one consistent view.
pub trait SeriesSource: Send + Sync {
    /// The series that match, each once, in the order of their labels, with their samples in the range.
    /// Series that have no sample in the range may be left out.
    fn select<'a>(&'a self, request: &SelectRequest<'a>) -> Result<Box<dyn SeriesStream + 'a>, SelectError>;

    /// Label sets that have samples in the range, sorted, each once.
    fn series(&self, request: &SelectRequest<'_>) -> Result<Vec<Labels>, SelectError>;

    /// Label names of the series that match, sorted, each once.
    fn label_names(&self, request: &SelectRequest<'_>) -> Result<Vec<String>, SelectError>;

    /// Values of label `name` among the series that match, sorted, each once.
    fn label_values(&self, name: &str, request: &SelectRequest<'_>) -> Result<Vec<String>, SelectError>;

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
