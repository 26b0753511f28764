//! Reading a body: entry by entry into the target's table.

use std::sync::Arc;

use vedette_exposition::{
    BodyFormat, DelimitedEntry, DelimitedReader, Entry, Exemplar, Format, LabelPair, Parser,
    format_of_content_type,
};
use vedette_model::{Histogram, Timestamp};
use vedette_wire::{HISTOGRAM_BUCKETS_MAX, SeriesDescription, SetOutcome, TargetTable};

use super::exemplar::{EXEMPLARS_PER_SCRAPE_MAX, labels_of};
use super::family::CurrentFamily;
use super::{ScrapeError, ScrapeOutcome, TargetScrape, labels, set, timed};
use crate::client::Body;
use crate::target::Target;

/// What a sample says.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Float(f64),
    Histogram(Arc<Histogram>),
}

impl Value {
    /// Sets it for a key of the table.
    pub(super) fn put<E>(
        &self,
        table: &mut TargetTable,
        key: &[u8],
        describe: impl FnOnce() -> Result<SeriesDescription, E>,
    ) -> Result<SetOutcome, E> {
        match self {
            Self::Float(value) => table.set(key, *value, describe),
            Self::Histogram(histogram) => table.set_histogram(key, Arc::clone(histogram), describe),
        }
    }
}

/// A sample as it was read.
struct Read<'k, 'r> {
    series: &'k [u8],
    value: Value,
    timestamp: Option<i64>,
    /// 0 where it is not known.
    start_ms: i64,
    exemplars: &'r [Exemplar<'k>],
    /// Checks the series in full.
    pairs: &'r dyn Fn() -> Result<Vec<LabelPair<'k>>, ScrapeError>,
}

/// A body on its way into the table.
struct Reading<'s, 'a> {
    scrape: &'s mut TargetScrape,
    outcome: &'s mut ScrapeOutcome,
    target: Arc<Target>,
    family: CurrentFamily<'a>,
    /// Samples that count towards the limit.
    taken: u64,
    sample_max: u64,
}

pub(super) fn read(
    scrape: &mut TargetScrape,
    body: &Body,
    outcome: &mut ScrapeOutcome,
) -> Result<(), ScrapeError> {
    if body.bytes.is_empty() {
        return Ok(());
    }
    let target = Arc::clone(&scrape.target);
    let fallback = target.config.fallback_scrape_protocol.map(|protocol| protocol.format());
    let format = format_of_content_type(&body.content_type, fallback)?;
    let sample_max = match target.config.limits.samples {
        0 => u64::MAX,
        samples => samples,
    };
    let family = CurrentFamily::default();
    let mut reading = Reading { scrape, outcome, target, family, taken: 0, sample_max };
    match format {
        BodyFormat::Text(format) => reading.text(format, &body.bytes)?,
        BodyFormat::Delimited => reading.delimited(&body.bytes)?,
    }
    if reading.taken > sample_max { Err(ScrapeError::SampleLimit) } else { Ok(()) }
}

impl<'a> Reading<'_, 'a> {
    fn text(&mut self, format: Format, bytes: &'a [u8]) -> Result<(), ScrapeError> {
        let mut parser = Parser::new(format, bytes);
        while let Some(entry) = parser.next_entry()? {
            let Entry::Sample(sample) = entry else {
                self.family.note(entry);
                continue;
            };
            self.sample(&Read {
                series: sample.series,
                value: Value::Float(sample.value),
                timestamp: sample.timestamp,
                start_ms: 0,
                exemplars: sample.exemplar.as_slice(),
                pairs: &|| Ok(parser.label_pairs(&sample)?),
            })?;
        }
        Ok(())
    }

    fn delimited(&mut self, bytes: &'a [u8]) -> Result<(), ScrapeError> {
        let reader = DelimitedReader::new(bytes, self.target.config.histograms);
        reader.read(|entry| match entry {
            DelimitedEntry::Family { name, kind, help, unit } => {
                self.family = CurrentFamily::plain(name, kind, help, unit);
                Ok(())
            }
            DelimitedEntry::Sample { sample, start_ms } => self.sample(&Read {
                series: sample.series,
                value: Value::Float(sample.value),
                timestamp: sample.timestamp,
                start_ms,
                exemplars: sample.exemplar.as_slice(),
                pairs: &|| Ok(sample.label_pairs()?),
            }),
            DelimitedEntry::Histogram(entry) => {
                let buckets = entry.histogram.positive_buckets.len() + entry.histogram.negative_buckets.len();
                if buckets > HISTOGRAM_BUCKETS_MAX {
                    return Err(ScrapeError::HistogramBuckets { buckets });
                }
                self.sample(&Read {
                    series: entry.sample.series,
                    value: Value::Histogram(Arc::new(entry.histogram)),
                    timestamp: entry.sample.timestamp,
                    start_ms: entry.start_ms,
                    exemplars: &entry.exemplars,
                    pairs: &|| Ok(entry.sample.label_pairs()?),
                })
            }
        })
    }

    fn sample(&mut self, read: &Read<'_, '_>) -> Result<(), ScrapeError> {
        self.outcome.samples += 1;
        let counts = if self.taken < self.sample_max { self.take(read)? } else { self.is_beyond(read) };
        self.taken = self.taken.saturating_add(u64::from(counts));
        self.outcome.samples_kept += 1;
        Ok(())
    }

    /// Reading goes on beyond the limit, so that the number of samples is told; a repetition is not one too many.
    fn is_beyond(&mut self, read: &Read<'_, '_>) -> bool {
        let set = read.value.put(&mut self.scrape.table, read.series, || Err(()));
        let is_repeated = set == Ok(SetOutcome::Duplicate);
        self.outcome.duplicates += usize::from(is_repeated);
        !is_repeated
    }

    /// Takes one sample; whether it counts towards the limit.
    fn take(&mut self, read: &Read<'_, '_>) -> Result<bool, ScrapeError> {
        self.family.publish(read.series, &mut self.scrape.table);
        if let Some(time) = read.timestamp.filter(|_| self.target.config.honor_timestamps) {
            return self.take_timed(read, Timestamp::from_millis(time));
        }
        let scrape = &mut *self.scrape;
        let describe = || describe(&self.target, &scrape.external_labels, read, &self.family);
        let (table, keys, aliases) = (&mut scrape.table, &mut scrape.keys, &mut scrape.aliases);
        match set(table, keys, aliases, (read.series, &read.value), describe)? {
            SetOutcome::Known | SetOutcome::New => {
                if (1..=self.outcome.at.as_millis()).contains(&read.start_ms) {
                    scrape.table.set_start_ms(read.start_ms);
                }
                self.take_exemplars(read);
                Ok(true)
            }
            SetOutcome::Duplicate => {
                self.outcome.duplicates += 1;
                Ok(false)
            }
            SetOutcome::SeriesLimit => Err(ScrapeError::SeriesLimit),
        }
    }

    /// Adds exemplars to the series set last.
    fn take_exemplars(&mut self, read: &Read<'_, '_>) {
        if let [exemplar] = read.exemplars {
            return self.take_exemplar(exemplar);
        }
        let Some(index) = self.scrape.table.last_set().filter(|_| !read.exemplars.is_empty()) else { return };
        let known = self.scrape.newest_exemplars.get(&index).copied().unwrap_or(i64::MIN);
        let time = |exemplar: &Exemplar<'_>| exemplar.timestamp.unwrap_or(i64::MIN);
        let mut new: Vec<_> = read.exemplars.iter().filter(|exemplar| time(exemplar) > known).collect();
        new.sort_by_key(|exemplar| time(exemplar));
        new.iter().for_each(|exemplar| self.take_exemplar(exemplar));
        if let Some(newest) = new.last() {
            self.scrape.newest_exemplars.insert(index, time(newest));
        }
    }

    fn take_exemplar(&mut self, exemplar: &Exemplar<'_>) {
        let table = &mut self.scrape.table;
        let room = table.row().exemplars().len() < EXEMPLARS_PER_SCRAPE_MAX;
        match labels_of(exemplar).filter(|_| room) {
            Some(labels) => {
                let at_ms = self.outcome.at.as_millis();
                table.push_exemplar(labels, exemplar.value, exemplar.timestamp, at_ms);
            }
            None => self.outcome.exemplars_refused += 1,
        }
    }

    fn take_timed(&mut self, read: &Read<'_, '_>, time: Timestamp) -> Result<bool, ScrapeError> {
        let track = self.target.config.track_timestamps_staleness;
        let scrape = &mut *self.scrape;
        let describe = || describe(&self.target, &scrape.external_labels, read, &self.family);
        let sample = (read.series, &read.value);
        match scrape.timed.take(sample, time, self.outcome.at, track, describe)? {
            timed::Taken::Yes => {
                for exemplar in read.exemplars {
                    self.outcome.exemplars_refused += usize::from(!scrape.timed.add_exemplar(exemplar));
                }
            }
            timed::Taken::Repeated => {}
            timed::Taken::OutOfOrder => self.outcome.out_of_order += 1,
            timed::Taken::OutOfBounds => self.outcome.out_of_bounds += 1,
        }
        Ok(true)
    }
}

fn describe(
    target: &Target,
    external_labels: &vedette_model::Labels,
    read: &Read<'_, '_>,
    family: &CurrentFamily<'_>,
) -> Result<SeriesDescription, ScrapeError> {
    let pairs = (read.pairs)()?;
    let own = labels::with_target(&pairs, target);
    labels::check_limits(&own, &target.config.limits)?;
    let family = family.of(own.metric_name().unwrap_or_default()).into_owned();
    Ok(SeriesDescription { labels: labels::with_external(&own, external_labels), family })
}
