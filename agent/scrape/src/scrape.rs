use std::sync::Arc;
use std::time::Duration;

use vedette_exposition::{ParseError, UnknownContentType};
use vedette_model::{Labels, Timestamp};
use vedette_wire::{RowValues, TargetTable};

use crate::client::FetchError;
use crate::pool::Fetched;
use crate::status::TargetStatus;
use crate::target::Target;

/// Why a scrape failed: `up` is 0 and every series of the target ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScrapeError {
    /// Nothing was fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// What was fetched is in no known format.
    #[error(transparent)]
    ContentType(#[from] UnknownContentType),
    /// What was fetched is malformed.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// More samples than `sample_limit`.
    #[error("sample limit exceeded")]
    SampleLimit,
    /// One of the label limits; the text names it, the metric and the numbers.
    #[error("{reason}")]
    LabelLimit {
        /// As Prometheus words it.
        reason: String,
    },
}

/// What one scrape, failed or not, comes to.
#[derive(Clone, Debug)]
pub struct ScrapeOutcome {
    /// The time of the target's main row, which is `table().row()`.
    pub at: Timestamp,
    /// Rows of samples that carry a time of their own, by time.
    pub timestamped: Vec<(Timestamp, RowValues)>,
    /// Why it failed.
    pub error: Option<ScrapeError>,
    /// Samples in the body.
    pub samples: usize,
    /// Series that were not there before.
    pub series_added: usize,
    /// Samples left out because the same series came twice.
    pub duplicates: usize,
    /// Samples left out because their own time is too far ahead.
    pub out_of_bounds: usize,
}

/// One target's memory: the series that it exposes, which of them were there last time, how it is.
#[derive(Debug)]
pub struct TargetScrape {
    target: Arc<Target>,
    external_labels: Labels,
    table: TargetTable,
    status: TargetStatus,
}

impl TargetScrape {
    /// `external_labels` are added to every series that does not have them.
    pub fn new(target: Arc<Target>, external_labels: Labels) -> Self {
        Self { target, external_labels, table: TargetTable::new(), status: TargetStatus::default() }
    }

    /// Takes what was fetched into the table: samples, synthetic series, stale markers.
    pub fn apply(&mut self, _fetched: &Fetched) -> ScrapeOutcome {
        let _ = &self.external_labels;
        unimplemented!()
    }

    /// The target is gone or the agent stops: everything it had ends at `at`, the synthetic series too.
    pub fn end(&mut self, _at: Timestamp) -> ScrapeOutcome {
        unimplemented!()
    }

    /// The series and the row that was filled last.
    pub fn table(&self) -> &TargetTable {
        &self.table
    }

    /// For [`TargetTable::compact`] before a new segment.
    pub fn table_mut(&mut self) -> &mut TargetTable {
        &mut self.table
    }

    /// What is scraped.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// How it is.
    pub fn status(&self) -> &TargetStatus {
        &self.status
    }

    /// How long a scrape may take and how often it comes.
    pub fn interval(&self) -> Duration {
        self.target.config.scrape_interval
    }
}
