//! What a response means. Plain data in, rows out: no socket, no clock.

mod exemplar;
mod family;
mod labels;
mod synthetic;
mod timed;

use std::collections::HashMap;
use std::sync::Arc;

use vedette_exposition::{Entry, ParseError, Parser, Sample, UnknownContentType, format_of_content_type};
use vedette_model::{Labels, SeriesId, Timestamp};
use vedette_wire::{RowValues, SERIES_PER_TARGET_MAX, SeriesDescription, SetOutcome, TargetTable};

use crate::client::{Body, FetchError};
use crate::pool::Fetched;
use crate::status::{Health, TargetStatus};
use crate::target::Target;

use family::CurrentFamily;
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
            Ok(body) => self.read(body, &mut outcome),
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

    fn read(&mut self, body: &Body, outcome: &mut ScrapeOutcome) -> Result<(), ScrapeError> {
        if body.bytes.is_empty() {
            return Ok(());
        }
        let config = self.target.config.clone();
        let fallback = config.fallback_scrape_protocol.map(|protocol| protocol.format());
        let format = format_of_content_type(&body.content_type, fallback)?;
        let sample_max = if config.limits.samples == 0 { u64::MAX } else { config.limits.samples };
        let mut parser = Parser::new(format, &body.bytes);
        let mut family = CurrentFamily::default();
        let mut taken = 0;
        while let Some(entry) = parser.next_entry()? {
            let Entry::Sample(sample) = entry else {
                family.note(entry);
                continue;
            };
            outcome.samples += 1;
            let own_time = sample.timestamp.filter(|_| config.honor_timestamps);
            let counts = if taken < sample_max {
                self.take(&parser, &sample, own_time, &mut family, outcome)?
            } else {
                self.is_beyond(&sample, outcome)
            };
            taken = taken.saturating_add(u64::from(counts));
            outcome.samples_kept += 1;
        }
        if taken > sample_max { Err(ScrapeError::SampleLimit) } else { Ok(()) }
    }

    /// Reading goes on beyond the limit, so that the number of samples is told; a repetition is not one too many.
    fn is_beyond(&mut self, sample: &Sample<'_>, outcome: &mut ScrapeOutcome) -> bool {
        let is_repeated =
            self.table.set(sample.series, sample.value, || Err(())) == Ok(SetOutcome::Duplicate);
        outcome.duplicates += usize::from(is_repeated);
        !is_repeated
    }

    /// Takes one sample; whether it counts towards the limit.
    fn take(
        &mut self,
        parser: &Parser<'_>,
        sample: &Sample<'_>,
        own_time: Option<i64>,
        family: &mut CurrentFamily<'_>,
        outcome: &mut ScrapeOutcome,
    ) -> Result<bool, ScrapeError> {
        family.publish(sample.series, &mut self.table);
        if let Some(time) = own_time {
            return self.take_timed(parser, sample, Timestamp::from_millis(time), family, outcome);
        }
        let describe = || describe(&self.target, &self.external_labels, parser, sample, family);
        let set =
            set(&mut self.table, &mut self.keys, &mut self.aliases, sample.series, sample.value, describe)?;
        match set {
            SetOutcome::Known | SetOutcome::New => {
                if let Some(exemplar) = &sample.exemplar {
                    self.take_exemplar(exemplar, outcome);
                }
                Ok(true)
            }
            SetOutcome::Duplicate => {
                outcome.duplicates += 1;
                Ok(false)
            }
            SetOutcome::SeriesLimit => Err(ScrapeError::SeriesLimit),
        }
    }

    /// Adds an exemplar to the series set last.
    fn take_exemplar(&mut self, exemplar: &vedette_exposition::Exemplar<'_>, outcome: &mut ScrapeOutcome) {
        let room = self.table.row().exemplars().len() < exemplar::EXEMPLARS_PER_SCRAPE_MAX;
        match exemplar::labels_of(exemplar).filter(|_| room) {
            Some(labels) => {
                let at_ms = outcome.at.as_millis();
                self.table.push_exemplar(labels, exemplar.value, exemplar.timestamp, at_ms);
            }
            None => outcome.exemplars_refused += 1,
        }
    }

    fn take_timed(
        &mut self,
        parser: &Parser<'_>,
        sample: &Sample<'_>,
        time: Timestamp,
        family: &CurrentFamily<'_>,
        outcome: &mut ScrapeOutcome,
    ) -> Result<bool, ScrapeError> {
        let track = self.target.config.track_timestamps_staleness;
        let (target, external) = (&self.target, &self.external_labels);
        let describe = || describe(target, external, parser, sample, family);
        match self.timed.take(sample.series, sample.value, time, outcome.at, track, describe)? {
            timed::Taken::Yes => {
                if let Some(exemplar) = &sample.exemplar {
                    outcome.exemplars_refused += usize::from(!self.timed.add_exemplar(exemplar));
                }
            }
            timed::Taken::Repeated => {}
            timed::Taken::OutOfOrder => outcome.out_of_order += 1,
            timed::Taken::OutOfBounds => outcome.out_of_bounds += 1,
        }
        Ok(true)
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
            set(table, keys, aliases, key, value, || Ok(description)).is_ok()
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
    key: &[u8],
    value: f64,
    describe: impl FnOnce() -> Result<SeriesDescription, ScrapeError>,
) -> Result<SetOutcome, ScrapeError> {
    let outcome = table.set(key, value, || {
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
            table.set(&first, value, || Err(ScrapeError::SeriesLimit))
        }
    }
}

fn describe(
    target: &Target,
    external_labels: &Labels,
    parser: &Parser<'_>,
    sample: &Sample<'_>,
    family: &CurrentFamily<'_>,
) -> Result<SeriesDescription, ScrapeError> {
    let pairs = parser.label_pairs(sample)?;
    let own = labels::with_target(&pairs, target);
    labels::check_limits(&own, &target.config.limits)?;
    let family = family.of(own.metric_name().unwrap_or_default()).into_owned();
    Ok(SeriesDescription { labels: labels::with_external(&own, external_labels), family })
}
