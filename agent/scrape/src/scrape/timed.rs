//! Samples that carry a time of their own: rows beside the main one.

use std::collections::{HashMap, HashSet};

use vedette_exposition::Exemplar;
use vedette_model::{Labels, STALE_NAN, Timestamp};
use vedette_wire::{RowValues, SERIES_PER_TARGET_MAX, SeriesDescription, TargetTable};
use xxhash_rust::xxh3::xxh3_64;

use crate::scrape::ScrapeError;
use crate::scrape::exemplar::{EXEMPLARS_PER_SCRAPE_MAX, labels_of};
use crate::scrape::read::Value;

/// How far ahead of the scrape a sample's own time may be, as in Prometheus.
const AHEAD_MAX_MS: i64 = 10 * 60 * 1000;
/// The earliest own time. No aggregator stores what was before 1970, and it would refuse the whole batch.
const EARLIEST: Timestamp = Timestamp::from_millis(0);

/// What became of a sample.
pub(crate) enum Taken {
    Yes,
    /// It has the time that it had before: nothing new.
    Repeated,
    OutOfOrder,
    OutOfBounds,
}

/// The samples with own times of one scrape, and what must be known of the scrapes before.
#[derive(Debug, Default)]
pub(crate) struct Timed {
    samples: Vec<TimedSample>,
    /// The latest time of each series, by the hash of its key: exporters repeat a sample until there is a newer one.
    latest: HashMap<u64, i64>,
    added: usize,
    /// With `track_timestamps_staleness`: the series of this scrape and of the last.
    tracked: HashSet<Box<[u8]>>,
    tracked_before: HashSet<Box<[u8]>>,
}

#[derive(Debug)]
struct TimedSample {
    at: Timestamp,
    key: Box<[u8]>,
    value: Value,
    description: SeriesDescription,
    /// Their labels, values and own times.
    exemplars: Vec<(Labels, f64, Option<i64>)>,
}

impl Timed {
    pub(crate) fn begin(&mut self) {
        self.samples.clear();
        self.added = 0;
        std::mem::swap(&mut self.tracked, &mut self.tracked_before);
        self.tracked.clear();
        if self.latest.len() > SERIES_PER_TARGET_MAX {
            self.latest.clear();
        }
    }

    /// The scrape failed: nothing is kept of it.
    pub(crate) fn fail(&mut self) {
        self.samples.clear();
        self.tracked_before.extend(self.tracked.drain());
    }

    pub(crate) fn take(
        &mut self,
        (key, value): (&[u8], &Value),
        at: Timestamp,
        now: Timestamp,
        track: bool,
        describe: impl FnOnce() -> Result<SeriesDescription, ScrapeError>,
    ) -> Result<Taken, ScrapeError> {
        let hash = xxh3_64(key);
        let latest = self.latest.get(&hash).copied();
        if latest.is_some() && track {
            self.tracked.insert(key.into());
        }
        if at < EARLIEST || at.millis_since(now) > AHEAD_MAX_MS {
            return Ok(Taken::OutOfBounds);
        }
        match latest {
            Some(latest) if at.as_millis() == latest => return Ok(Taken::Repeated),
            Some(latest) if at.as_millis() < latest => return Ok(Taken::OutOfOrder),
            _ => {}
        }
        let description = describe()?;
        if track {
            self.tracked.insert(key.into());
        }
        self.added += usize::from(latest.is_none());
        self.latest.insert(hash, at.as_millis());
        let (key, value) = (key.into(), value.clone());
        self.samples.push(TimedSample { at, key, value, description, exemplars: Vec::new() });
        Ok(Taken::Yes)
    }

    /// Adds an exemplar to the sample taken last; whether there was room for it.
    pub(crate) fn add_exemplar(&mut self, exemplar: &Exemplar<'_>) -> bool {
        let room = self.samples.len() <= EXEMPLARS_PER_SCRAPE_MAX;
        match (self.samples.last_mut(), labels_of(exemplar).filter(|_| room)) {
            (Some(sample), Some(labels)) => {
                sample.exemplars.push((labels, exemplar.value, exemplar.timestamp));
                true
            }
            _ => false,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Series that no scrape had before.
    pub(crate) fn added(&self) -> usize {
        self.added
    }

    /// Ends the tracked series that are gone, in the row being filled.
    pub(crate) fn mark_gone(&mut self, table: &mut TargetTable) {
        for key in self.tracked_before.drain().filter(|key| !self.tracked.contains(key)) {
            // A series that the table has forgotten needs no end.
            let _known = table.set(&key, STALE_NAN, || Err(()));
        }
    }

    /// One row for each time, after the main row is finished. `set` puts a sample into the table's row.
    pub(crate) fn write_rows(
        &mut self,
        rows: &mut Vec<(Timestamp, RowValues)>,
        table: &mut TargetTable,
        mut set: impl FnMut(&mut TargetTable, &[u8], &Value, SeriesDescription) -> bool,
    ) {
        self.samples.sort_by_key(|sample| sample.at);
        let mut samples = self.samples.drain(..).peekable();
        while let Some(at) = samples.peek().map(|sample| sample.at) {
            // Not finished, so that the table takes these series neither for present nor for gone.
            table.begin_row();
            let mut is_any = false;
            while let Some(sample) = samples.next_if(|sample| sample.at == at) {
                if set(table, &sample.key, &sample.value, sample.description) {
                    is_any = true;
                    for (labels, value, own_time) in sample.exemplars {
                        table.push_exemplar(labels, value, own_time, at.as_millis());
                    }
                }
            }
            if is_any {
                rows.push((at, table.row().clone()));
            }
        }
        rows.sort_by_key(|(at, _)| *at);
    }
}
