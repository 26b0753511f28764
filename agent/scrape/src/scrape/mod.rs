//! What a response means. Plain data in, rows out: no socket, no clock.

mod classic;
mod exemplar;
mod family;
mod labels;
mod read;
mod synthetic;
mod timed;

use std::collections::HashMap;
use std::sync::Arc;

use vedette_exposition::{DelimitedError, ParseError, SeriesError, UnknownContentType};
use vedette_model::{Labels, SeriesId, Timestamp};
use vedette_wire::{
    HISTOGRAM_BUCKETS_MAX, RowValues, SERIES_PER_TARGET_MAX, SeriesDescription, SetOutcome, TargetTable,
};

use crate::client::FetchError;
use crate::pool::Fetched;
use crate::status::{Health, TargetStatus};
use crate::target::Target;

use read::Value;
use synthetic::Report;
use timed::Timed;

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
    /// The same of a body in the protobuf format.
    #[error(transparent)]
    Protobuf(#[from] DelimitedError),
    /// A name or label that can not be one.
    #[error(transparent)]
    Series(#[from] SeriesError),
    /// A native histogram with too many buckets.
    #[error("a native histogram of {buckets} buckets, at most {HISTOGRAM_BUCKETS_MAX} are allowed")]
    HistogramBuckets {
        /// How many it has.
        buckets: usize,
    },
    /// A native histogram that can not be made coarse enough for `native_histogram_bucket_limit`.
    #[error("histogram bucket limit exceeded")]
    BucketLimit,
    /// More samples than `sample_limit`.
    #[error("sample limit exceeded")]
    SampleLimit,
    /// One of the label limits; the text names it, the metric and the numbers.
    #[error("{reason}")]
    LabelLimit {
        /// As Prometheus words it.
        reason: String,
    },
    /// More series than are remembered of one target, gone ones included.
    #[error("more than {SERIES_PER_TARGET_MAX} series")]
    SeriesLimit,
}

/// What one scrape, failed or not, comes to.
#[derive(Clone, Debug)]
pub struct ScrapeOutcome {
    /// The time of the target's main row.
    pub at: Timestamp,
    /// Why it failed.
    pub error: Option<ScrapeError>,
    /// Samples in the body.
    pub samples: usize,
    /// Of these, the ones that would have been kept after relabelling; duplicates are among them, as in Prometheus.
    pub samples_kept: usize,
    /// Series that were not there in the last scrape that succeeded.
    pub series_added: usize,
    /// Samples left out because the same series came twice.
    pub duplicates: usize,
    /// Samples left out because their own time is older than one that was taken.
    pub out_of_order: usize,
    /// Samples left out because their own time is too far ahead.
    pub out_of_bounds: usize,
    /// Exemplars left out because there are too many of them or their labels are too long.
    pub exemplars_refused: usize,
    /// Classic histograms that could not be converted.
    pub histograms_refused: usize,
}

impl ScrapeOutcome {
    fn new(at: Timestamp) -> Self {
        Self {
            at,
            error: None,
            samples: 0,
            samples_kept: 0,
            series_added: 0,
            duplicates: 0,
            out_of_order: 0,
            out_of_bounds: 0,
            exemplars_refused: 0,
            histograms_refused: 0,
        }
    }
}

/// One target's memory: the series that it exposes, which of them were there last time, how it is.
#[derive(Debug)]
pub struct TargetScrape {
    target: Arc<Target>,
    external_labels: Labels,
    table: TargetTable,
    /// The first key of each label set, so that another spelling of it finds the same series.
    keys: HashMap<SeriesId, Box<[u8]>>,
    /// Other spellings, each with the first.
    aliases: HashMap<Box<[u8]>, Box<[u8]>>,
    /// Bits of the series that the last scrape that succeeded had, or a failed one since.
    counted: Vec<u64>,
    timed: Timed,
    /// Of series of native histograms the time of the newest exemplar: sources repeat many of them.
    newest_exemplars: HashMap<u32, i64>,
    /// Of the last scrape, when it had samples with times of their own; else empty.
    rows: Vec<(Timestamp, RowValues)>,
    status: TargetStatus,
}

impl TargetScrape {
    /// `external_labels` are added to every series that does not have them.
    pub fn new(target: Arc<Target>, external_labels: Labels) -> Self {
        Self {
            target,
            external_labels,
            table: TargetTable::new(),
            keys: HashMap::new(),
            aliases: HashMap::new(),
            counted: Vec::new(),
            timed: Timed::default(),
            newest_exemplars: HashMap::new(),
            rows: Vec::new(),
            status: TargetStatus::default(),
        }
    }

    /// Goes on with a changed configuration of the same target.
    pub fn set_target(&mut self, target: Arc<Target>) {
        self.target = target;
    }

    /// Takes what was fetched into the table: samples, synthetic series, stale markers.
    pub fn apply(&mut self, fetched: &Fetched) -> ScrapeOutcome {
        let mut outcome = ScrapeOutcome::new(fetched.tick.at);
        self.table.begin_row();
        self.timed.begin();
        let read = match &fetched.result {
            Ok(body) => read::read(self, body, &mut outcome),
            Err(error) => Err(error.clone().into()),
        };
        self.count_series(read.is_ok(), &mut outcome);
        if let Err(error) = read {
            // Nothing of a failed scrape is kept.
            self.table.begin_row();
            self.timed.fail();
            outcome.error = Some(error);
        }
        self.finish(fetched, &outcome);
        self.note_status(fetched, &outcome);
        outcome
    }

    /// The target is gone or the agent stops: everything it had ends, the synthetic series too. The row to write is
    /// as after [`TargetScrape::apply`], at the time that the caller chooses.
    pub fn end(&mut self) {
        self.rows.clear();
        self.table.begin_row();
        self.timed.fail();
        self.timed.mark_gone(&mut self.table);
        self.table.finish_row();
    }

    /// The rows of the last scrape, by time: the main one at `at`, and those of samples with times of their own.
    pub fn rows(&self, at: Timestamp) -> impl Iterator<Item = (Timestamp, &RowValues)> {
        let main = self.rows.is_empty().then(|| (at, self.table.row()));
        main.into_iter().chain(self.rows.iter().map(|(at, row)| (*at, row)))
    }

    /// The series that the rows' indices mean.
    pub fn table(&self) -> &TargetTable {
        &self.table
    }

    /// Whether most of what is remembered is of series long gone.
    pub fn needs_compaction(&self) -> bool {
        self.table.needs_compaction()
    }

    /// Forgets series long gone; only right before a new segment, when no row of the last scrape is still to be
    /// written.
    pub fn compact(&mut self) {
        self.table.compact();
        self.rows.clear();
        self.counted.clear();
        let kept: Vec<_> =
            (0..self.table.series_len()).filter_map(|index| self.table.labels(index)).collect();
        let kept: std::collections::HashSet<_> = kept.into_iter().map(SeriesId::of).collect();
        self.keys.retain(|id, _| kept.contains(id));
        self.aliases.clear();
        self.newest_exemplars.clear();
        self.counted = self.table.row().present_words().to_vec();
    }

    /// What is scraped.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// The labels of its synthetic series, `up` and its like.
    pub fn labels(&self) -> Labels {
        labels::with_external(&self.target.labels, &self.external_labels)
    }

    /// How it is.
    pub fn status(&self) -> &TargetStatus {
        &self.status
    }

    /// Counts the series that are new, as Prometheus does: against those of the last scrape that succeeded, and of
    /// failed ones since as far as they were read.
    fn count_series(&mut self, is_success: bool, outcome: &mut ScrapeOutcome) {
        let present = self.table.row().present_words();
        let new = present
            .iter()
            .enumerate()
            .map(|(index, now)| now & !self.counted.get(index).copied().unwrap_or(0));
        let added: u32 = new.map(u64::count_ones).sum();
        outcome.series_added = added as usize + self.timed.added();
        if is_success && outcome.samples > 0 {
            self.counted.clear();
        }
        self.counted.resize(self.counted.len().max(present.len()), 0);
        for (known, now) in self.counted.iter_mut().zip(present) {
            *known |= now;
        }
    }

    /// The synthetic series and the stale markers, then the rows of samples with times of their own.
    fn finish(&mut self, fetched: &Fetched, outcome: &ScrapeOutcome) {
        let report = Report {
            up: outcome.error.is_none(),
            duration: fetched.duration,
            samples: outcome.samples,
            samples_kept: outcome.samples_kept,
            series_added: outcome.series_added,
        };
        report.write(&self.target, &self.external_labels, &mut self.table);
        self.timed.mark_gone(&mut self.table);
        self.table.finish_row();
        self.rows.clear();
        if self.timed.is_empty() {
            return;
        }
        self.rows.push((outcome.at, self.table.row().clone()));
        let (table, keys, aliases) = (&mut self.table, &mut self.keys, &mut self.aliases);
        self.timed.write_rows(&mut self.rows, table, |table, key, value, description| {
            // The description was checked when the sample was read.
            set(table, keys, aliases, (key, value), || Ok(description)).is_ok()
        });
    }

    fn note_status(&mut self, fetched: &Fetched, outcome: &ScrapeOutcome) {
        self.status = TargetStatus {
            health: if outcome.error.is_none() { Health::Up } else { Health::Down },
            last_error: outcome.error.as_ref().map(ToString::to_string),
            last_scrape: Some(outcome.at),
            last_duration: fetched.duration,
            last_samples: outcome.samples,
        };
    }
}

/// Why a key is not described.
enum Undescribed {
    /// Its labels are those of a series with another key.
    Alias(Box<[u8]>),
    /// The scrape fails.
    Failed(ScrapeError),
}

/// Sets a value by its key, or by the first key of the same labels.
fn set(
    table: &mut TargetTable,
    keys: &mut HashMap<SeriesId, Box<[u8]>>,
    aliases: &mut HashMap<Box<[u8]>, Box<[u8]>>,
    (key, value): (&[u8], &Value),
    describe: impl FnOnce() -> Result<SeriesDescription, ScrapeError>,
) -> Result<SetOutcome, ScrapeError> {
    let outcome = value.put(table, key, || {
        if let Some(first) = aliases.get(key) {
            return Err(Undescribed::Alias(first.clone()));
        }
        let description = describe().map_err(Undescribed::Failed)?;
        let id = SeriesId::of(&description.labels);
        match keys.get(&id) {
            Some(first) if first.as_ref() != key => {
                if aliases.len() < SERIES_PER_TARGET_MAX {
                    aliases.insert(key.into(), first.clone());
                }
                Err(Undescribed::Alias(first.clone()))
            }
            _ => {
                keys.insert(id, key.into());
                Ok(description)
            }
        }
    });
    match outcome {
        Ok(outcome) => Ok(outcome),
        Err(Undescribed::Failed(error)) => Err(error),
        Err(Undescribed::Alias(first)) => {
            // The first key is in the table: `keys` holds no other.
            value.put(table, &first, || Err(ScrapeError::SeriesLimit))
        }
    }
}
