//! Reading a body: entry by entry into the target's table.

use std::sync::Arc;

use vedette_exposition::{
    BodyFormat, DelimitedEntry, DelimitedReader, Entry, Exemplar, Format, LabelPair, Parser,
    format_of_content_type,
};
use vedette_model::{EXPONENTIAL_SCHEMA_MIN, Histogram, Timestamp};
use vedette_wire::{HISTOGRAM_BUCKETS_MAX, SeriesDescription, SetOutcome, TargetTable};

use super::classic::{ClassicConversion, ClassicSeries, Collected};
use super::exemplar::{EXEMPLARS_PER_SCRAPE_MAX, labels_of};
use super::family::CurrentFamily;
use super::{ScrapeError, ScrapeOutcome, TargetScrape, labels, set, timed};
use crate::client::Body;
use crate::config::HistogramLimits;
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
struct Read<'k, 'r, V> {
    series: &'k [u8],
    value: V,
    timestamp: Option<i64>,
    /// 0 where it is not known.
    start_ms: i64,
    exemplars: &'r [Exemplar<'k>],
    /// Checks the series in full.
    pairs: &'r dyn Fn() -> Result<Vec<LabelPair<'k>>, ScrapeError>,
}

impl<'k, 'r, V> Read<'k, 'r, V> {
    fn with<W>(&self, value: W) -> Read<'k, 'r, W> {
        let &Self { series, timestamp, start_ms, exemplars, pairs, .. } = self;
        Read { series, value, timestamp, start_ms, exemplars, pairs }
    }
}

/// A body on its way into the table.
struct Reading<'s, 'a> {
    scrape: &'s mut TargetScrape,
    outcome: &'s mut ScrapeOutcome,
    target: Arc<Target>,
    family: CurrentFamily<'a>,
    /// Where classic histograms are converted.
    conversion: Option<ClassicConversion>,
    /// Samples that count towards the limit.
    taken: u64,
    sample_max: u64,
    has_too_many_buckets: bool,
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
    let conversion = target.converts_classic_histograms.then(ClassicConversion::default);
    let family = CurrentFamily::default();
    let mut reading = Reading {
        scrape,
        outcome,
        target,
        family,
        conversion,
        taken: 0,
        sample_max,
        has_too_many_buckets: false,
    };
    match format {
        BodyFormat::Text(format) => reading.text(format, &body.bytes)?,
        BodyFormat::Delimited => reading.delimited(&body.bytes)?,
    }
    reading.finish()
}

impl<'a> Reading<'_, 'a> {
    fn text(&mut self, format: Format, bytes: &'a [u8]) -> Result<(), ScrapeError> {
        let mut parser = Parser::new(format, bytes);
        while let Some(entry) = parser.next_entry()? {
            let Entry::Sample(sample) = entry else {
                self.end_classic()?;
                if let (Some(conversion), Entry::Type { name, kind }) = (&mut self.conversion, &entry) {
                    conversion.note_family(name, *kind);
                }
                self.family.note(entry);
                continue;
            };
            self.float(&Read {
                series: sample.series,
                value: sample.value,
                timestamp: sample.timestamp,
                start_ms: 0,
                exemplars: sample.exemplar.as_slice(),
                pairs: &|| Ok(parser.label_pairs(&sample)?),
            })?;
        }
        Ok(())
    }

    fn delimited(&mut self, bytes: &'a [u8]) -> Result<(), ScrapeError> {
        let reader = DelimitedReader::new(bytes, self.target.histograms);
        reader.read(|entry| match entry {
            DelimitedEntry::Family { name, kind, help, unit } => {
                self.end_classic()?;
                if let Some(conversion) = &mut self.conversion {
                    conversion.note_family(name.as_bytes(), kind);
                }
                self.family = CurrentFamily::plain(name, kind, help, unit);
                Ok(())
            }
            DelimitedEntry::Sample { sample, start_ms } => self.float(&Read {
                series: sample.series,
                value: sample.value,
                timestamp: sample.timestamp,
                start_ms,
                exemplars: sample.exemplar.as_slice(),
                pairs: &|| Ok(sample.label_pairs()?),
            }),
            DelimitedEntry::Histogram(entry) => {
                self.end_classic()?;
                if let Some(conversion) = &mut self.conversion {
                    conversion.note_native(&entry.sample.label_pairs()?);
                }
                self.histogram(
                    entry.histogram,
                    &Read {
                        series: entry.sample.series,
                        value: (),
                        timestamp: entry.sample.timestamp,
                        start_ms: entry.start_ms,
                        exemplars: &entry.exemplars,
                        pairs: &|| Ok(entry.sample.label_pairs()?),
                    },
                )
            }
        })
    }

    fn finish(mut self) -> Result<(), ScrapeError> {
        self.end_classic()?;
        if self.taken > self.sample_max {
            return Err(ScrapeError::SampleLimit);
        }
        if self.has_too_many_buckets { Err(ScrapeError::BucketLimit) } else { Ok(()) }
    }

    /// A float, perhaps a part of a classic histogram that is to be converted.
    fn float(&mut self, read: &Read<'_, '_, f64>) -> Result<(), ScrapeError> {
        let is_expected = self.conversion.as_ref().is_some_and(ClassicConversion::is_expected);
        if !is_expected {
            return self.sample(&read.with(Value::Float(read.value)));
        }
        let pairs = (read.pairs)()?;
        if let Some(collected) = self.conversion.as_mut().and_then(|known| known.take_before(&pairs)) {
            self.converted(collected)?;
        }
        let &Read { value, timestamp, start_ms, exemplars, .. } = read;
        let series = ClassicSeries { pairs: &pairs, value, timestamp, start_ms, exemplars };
        let buckets = self.conversion.as_mut().and_then(|conversion| conversion.add(&series));
        check_buckets(buckets.unwrap_or(0))?;
        if buckets.is_some() && !self.target.histograms.classic_as_well {
            return Ok(());
        }
        self.sample(&read.with(Value::Float(read.value)))
    }

    /// No more series of the classic histogram that is being collected, if there is one.
    fn end_classic(&mut self) -> Result<(), ScrapeError> {
        match self.conversion.as_mut().and_then(ClassicConversion::take) {
            Some(collected) => self.converted(collected),
            None => Ok(()),
        }
    }

    fn converted(&mut self, mut collected: Collected) -> Result<(), ScrapeError> {
        let Ok(histogram) = collected.histogram() else {
            self.outcome.histograms_refused += 1;
            return Ok(());
        };
        self.histogram(
            histogram,
            &Read {
                series: &collected.key(),
                value: (),
                timestamp: collected.timestamp,
                start_ms: collected.start_ms,
                exemplars: &collected.exemplars(),
                pairs: &|| Ok(collected.pairs()),
            },
        )
    }

    /// A native histogram, made as coarse as it has to be.
    fn histogram(&mut self, histogram: Histogram, read: &Read<'_, '_, ()>) -> Result<(), ScrapeError> {
        check_buckets(histogram.positive_buckets.len() + histogram.negative_buckets.len())?;
        match within(histogram, self.target.config.histogram_limits) {
            Some(histogram) => self.sample(&read.with(Value::Histogram(Arc::new(histogram)))),
            None => {
                // Reading goes on, so that the number of samples is told.
                self.has_too_many_buckets = true;
                self.outcome.samples += 1;
                self.outcome.samples_kept += 1;
                Ok(())
            }
        }
    }

    fn sample(&mut self, read: &Read<'_, '_, Value>) -> Result<(), ScrapeError> {
        self.outcome.samples += 1;
        let is_full = self.taken >= self.sample_max || self.has_too_many_buckets;
        let counts = if is_full { self.is_beyond(read) } else { self.take(read)? };
        self.taken = self.taken.saturating_add(u64::from(counts));
        self.outcome.samples_kept += 1;
        Ok(())
    }

    /// Reading goes on beyond a limit, so that the number of samples is told; a repetition is not one too many.
    fn is_beyond(&mut self, read: &Read<'_, '_, Value>) -> bool {
        let set = read.value.put(&mut self.scrape.table, read.series, || Err(()));
        let is_repeated = set == Ok(SetOutcome::Duplicate);
        self.outcome.duplicates += usize::from(is_repeated);
        !is_repeated
    }

    /// Takes one sample; whether it counts towards the limit.
    fn take(&mut self, read: &Read<'_, '_, Value>) -> Result<bool, ScrapeError> {
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
    fn take_exemplars(&mut self, read: &Read<'_, '_, Value>) {
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

    fn take_timed(&mut self, read: &Read<'_, '_, Value>, time: Timestamp) -> Result<bool, ScrapeError> {
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
    read: &Read<'_, '_, Value>,
    family: &CurrentFamily<'_>,
) -> Result<SeriesDescription, ScrapeError> {
    let pairs = (read.pairs)()?;
    let own = labels::with_target(&pairs, target);
    labels::check_limits(&own, &target.config.limits)?;
    let family = family.of(own.metric_name().unwrap_or_default()).into_owned();
    Ok(SeriesDescription { labels: labels::with_external(&own, external_labels), family })
}

fn check_buckets(buckets: usize) -> Result<(), ScrapeError> {
    if buckets > HISTOGRAM_BUCKETS_MAX { Err(ScrapeError::HistogramBuckets { buckets }) } else { Ok(()) }
}

/// The histogram with as fine a resolution as the limits allow; `None` when none is coarse enough.
fn within(mut histogram: Histogram, limits: HistogramLimits) -> Option<Histogram> {
    let buckets =
        |histogram: &Histogram| (histogram.positive_buckets.len() + histogram.negative_buckets.len()) as u64;
    if !histogram.uses_custom_buckets() && histogram.schema > limits.schema_max {
        histogram.reduce_resolution(limits.schema_max).ok()?;
    }
    while limits.buckets_max > 0 && buckets(&histogram) > limits.buckets_max {
        if histogram.schema <= EXPONENTIAL_SCHEMA_MIN {
            return None;
        }
        histogram.reduce_resolution(histogram.schema - 1).ok()?;
    }
    Some(histogram)
}
