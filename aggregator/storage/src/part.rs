//! Reads one part.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use roaring::RoaringBitmap;
use rocksdb::{DBPinnableSlice, Direction, IteratorMode};
use rustc_hash::{FxHashMap, FxHashSet};
use vedette_chunk::{decode_times, decode_values};
use vedette_model::{
    Exemplar, HistogramSample, Labels, METRIC_NAME, Matcher, Metadata, MetricKind, SelectError,
};
use vedette_wire::LogId;

use crate::bytes::{BytesError, Reader, VERSION, open, open_up_to};
use crate::db::{Db, PARTS};
use crate::histograms::{decode_exemplars, decode_histograms};
use crate::keys::{Kind, PartId, label_pair};
use crate::part_writer::{
    COLUMN_EXEMPLARS, COLUMN_FLOATS, COLUMN_HISTOGRAMS, COLUMNS_GROUP, COLUMNS_VERSION, LABELS_GROUP,
    TIMES_GROUP, decode_postings,
};
use crate::record::PartRecord;
use crate::samples::Run;

/// No column has more samples: a day of one every millisecond.
pub(crate) const COLUMN_SAMPLES_MAX: usize = 86_400_000;
/// Decoded columns of times that one reader keeps.
const TIMES_KEPT_MAX: usize = 4096;

/// Why a part could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("{0}")]
    Disk(#[from] rocksdb::Error),
    #[error("part {number} of day {day}: {source}")]
    Bytes { day: u32, number: u64, source: BytesError },
    /// Whoever reads does not want to go on.
    #[error(transparent)]
    Stopped(#[from] SelectError),
}

/// Parts that nothing refers to any more, and whose files can go.
pub(crate) type Garbage = Arc<Mutex<Vec<PartId>>>;

/// A part that can be read. When it is replaced, its files stay until the last view has let go of it.
pub(crate) struct Part {
    pub(crate) record: PartRecord,
    db: Arc<Db>,
    retired: AtomicBool,
    garbage: Garbage,
    absent: Mutex<AbsentCache>,
    times: Mutex<KeptTimes>,
}

/// Columns of times that readers have decoded: few, since series share them, and asked for by every query. At
/// [`KEPT_TIMES_MAX`] all are forgotten.
#[derive(Default)]
struct KeptTimes {
    columns: FxHashMap<u32, Arc<Vec<i64>>>,
    times: usize,
}

/// Times that a part keeps: a megabyte.
const KEPT_TIMES_MAX: usize = 131_072;

/// What queries ask of a part because of writers that are gone. A writer may be gone for as long as retention keeps
/// its part, and a part does not change, so it is looked up once. Both are forgotten at [`ABSENT_MAX`].
#[derive(Default)]
struct AbsentCache {
    /// The series named `up` that a log has brought.
    up_of: FxHashMap<LogId, Vec<Labels>>,
    /// Where a series is, if it is here.
    ordinals: FxHashMap<Labels, Option<u32>>,
}

/// Entries that a part remembers of each kind.
const ABSENT_MAX: usize = 65_536;

impl Drop for Part {
    fn drop(&mut self) {
        if *self.retired.get_mut() {
            self.garbage.lock().unwrap_or_else(PoisonError::into_inner).push(self.record.id);
        }
    }
}

impl Part {
    pub(crate) fn new(record: PartRecord, db: Arc<Db>, garbage: Garbage) -> Self {
        Self {
            record,
            db,
            retired: AtomicBool::new(false),
            garbage,
            absent: Mutex::default(),
            times: Mutex::default(),
        }
    }

    /// Its record is gone: its files go with the last reference.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    pub(crate) fn overlaps(&self, start: i64, end: i64) -> bool {
        self.record.range.from.as_millis() <= end && self.record.range.through.as_millis() >= start
    }

    pub(crate) fn is_within(&self, start: i64, end: i64) -> bool {
        start <= self.record.range.from.as_millis() && self.record.range.through.as_millis() <= end
    }

    /// Ordinals, in the order of their labels, of the series that all `matchers` accept.
    pub(crate) fn matching(&self, matchers: &[Matcher]) -> Result<RoaringBitmap, ReadError> {
        let mut found: Option<RoaringBitmap> = None;
        let mut excluded = RoaringBitmap::new();
        // What cuts down most comes first; nothing left ends it.
        let mut ordered: Vec<&Matcher> = matchers.iter().collect();
        ordered.sort_by_key(|matcher| (matcher.matches_absent(), matcher.listed_values().is_none()));
        for matcher in ordered {
            let with = match (matcher.matches_absent(), matcher.is_negative()) {
                (true, true) => {
                    excluded |= self.with_hits(matcher)?;
                    continue;
                }
                (true, false) => {
                    excluded |= self.with_value(matcher.name(), "", |value| !matcher.matches(value))?;
                    continue;
                }
                (false, false) => self.with_hits(matcher)?,
                (false, true) => self.with_value(matcher.name(), "", |value| matcher.matches(value))?,
            };
            found = Some(match found {
                Some(found) => found & with,
                None => with,
            });
            if found.as_ref().is_some_and(RoaringBitmap::is_empty) {
                return Ok(RoaringBitmap::new());
            }
        }
        let all = || (0..self.record.series).collect();
        Ok(found.unwrap_or_else(all) - excluded)
    }

    /// The series named `up` that one of `logs` has brought, into `out`.
    pub(crate) fn up_of(
        self: &Arc<Self>,
        logs: &FxHashSet<LogId>,
        up: &str,
        mut out: impl FnMut(&Labels),
    ) -> Result<(), ReadError> {
        let wanted = || self.record.logs.iter().map(|batches| batches.log).filter(|log| logs.contains(log));
        if wanted().next().is_none() {
            return Ok(());
        }
        let mut absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted().any(|log| !absent.up_of.contains_key(&log)) {
            if absent.up_of.values().map(Vec::len).sum::<usize>() > ABSENT_MAX {
                absent.up_of.clear();
            }
            let mut found: FxHashMap<LogId, Vec<Labels>> = wanted().map(|log| (log, Vec::new())).collect();
            let mut reader = PartReader::new(Arc::clone(self));
            for ordinal in self.matching(&[Matcher::equal(METRIC_NAME, up)])? {
                for log in reader.logs(ordinal)? {
                    if let Some(series) = found.get_mut(&log) {
                        series.push(reader.labels(ordinal)?);
                    }
                }
            }
            absent.up_of.extend(found);
        }
        wanted().filter_map(|log| absent.up_of.get(&log)).flatten().for_each(&mut out);
        Ok(())
    }

    /// The series with exactly these labels, if it is here.
    pub(crate) fn ordinal_of(self: &Arc<Self>, labels: &Labels) -> Result<Option<u32>, ReadError> {
        let absent = || self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = absent().ordinals.get(labels) {
            return Ok(*known);
        }
        let matchers: Vec<Matcher> = labels.iter().map(|(name, value)| Matcher::equal(name, value)).collect();
        let mut reader = PartReader::new(Arc::clone(self));
        let mut found = None;
        for ordinal in self.matching(&matchers)? {
            if reader.labels(ordinal)? == *labels {
                found = Some(ordinal);
            }
        }
        let mut absent = absent();
        if absent.ordinals.len() >= ABSENT_MAX {
            absent.ordinals.clear();
        }
        absent.ordinals.insert(labels.clone(), found);
        Ok(found)
    }

    /// The series with a value that the matcher's comparison accepts, before any negation.
    fn with_hits(&self, matcher: &Matcher) -> Result<RoaringBitmap, ReadError> {
        let (name, negative) = (matcher.name(), matcher.is_negative());
        let Some(values) = matcher.listed_values() else {
            let hits = |value: &str| matcher.matches(value) != negative;
            return self.with_value(name, matcher.literal_prefix(), hits);
        };
        let mut found = RoaringBitmap::new();
        for value in values {
            found |= self.postings(name, value)?;
        }
        Ok(found)
    }

    /// The series with a value that begins with `prefix` and is accepted.
    fn with_value(
        &self,
        name: &str,
        prefix: &str,
        mut accept: impl FnMut(&str) -> bool,
    ) -> Result<RoaringBitmap, ReadError> {
        let mut found = RoaringBitmap::new();
        self.for_values(name, prefix, |value, postings| {
            if accept(value) {
                found |= postings()?;
            }
            Ok(())
        })?;
        Ok(found)
    }

    fn postings(&self, name: &str, value: &str) -> Result<RoaringBitmap, ReadError> {
        let mut pair = Vec::new();
        label_pair(name, value, &mut pair);
        match self.get(&self.record.id.text(Kind::Postings, &pair))? {
            Some(bytes) => self.decode_postings(&bytes),
            None => Ok(RoaringBitmap::new()),
        }
    }

    fn decode_postings(&self, bytes: &[u8]) -> Result<RoaringBitmap, ReadError> {
        decode_postings(bytes).ok_or_else(|| self.damaged("postings", "can not be read"))
    }

    /// Every value of a label that begins with `value_prefix`, in order, with its postings.
    pub(crate) fn for_values(
        &self,
        name: &str,
        value_prefix: &str,
        mut visit: impl FnMut(&str, &dyn Fn() -> Result<RoaringBitmap, ReadError>) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let mut pair = Vec::new();
        label_pair(name, value_prefix, &mut pair);
        let prefix = self.record.id.text(Kind::Postings, &pair);
        self.scan(&prefix, prefix.len() - value_prefix.len(), |rest, bytes| {
            let value = std::str::from_utf8(rest).map_err(|error| self.damaged("a label's value", error))?;
            visit(value, &|| self.decode_postings(bytes))
        })
    }

    /// Every label name, in the order of keys, with whether `accept`ed ordinals have it.
    pub(crate) fn label_names(
        &self,
        matching: Option<&RoaringBitmap>,
        out: &mut BTreeSet<String>,
    ) -> Result<(), ReadError> {
        let prefix = self.record.id.text(Kind::Postings, &[]);
        self.scan(&prefix, prefix.len(), |rest, bytes| {
            let mut reader = Reader::new(rest, "a label's name");
            let name = reader.text().map_err(|source| self.bytes_error(source))?;
            if out.contains(name) {
                return Ok(());
            }
            let here = match matching {
                Some(matching) => !matching.is_disjoint(&self.decode_postings(bytes)?),
                None => true,
            };
            if here {
                out.insert(name.to_owned());
            }
            Ok(())
        })
    }

    /// Visits what the part knows of families.
    pub(crate) fn metadata(
        &self,
        metric: Option<&str>,
        mut visit: impl FnMut(&str, Vec<Metadata>) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let prefix = self.record.id.text(Kind::Metadata, metric.unwrap_or("").as_bytes());
        self.scan(&prefix, prefix.len(), |rest, bytes| {
            let name = match metric {
                Some(_) if !rest.is_empty() => return Ok(()),
                Some(metric) => metric,
                None => std::str::from_utf8(rest).map_err(|error| self.damaged("a family's name", error))?,
            };
            visit(name, decode_metadata(bytes).map_err(|source| self.bytes_error(source))?)
        })
    }

    /// Visits all with a key that begins with `prefix`: what stands in the key from `skipped` on, and the value.
    fn scan(
        &self,
        prefix: &[u8],
        skipped: usize,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let Some(parts) = self.db.cf_handle(PARTS) else { return Ok(()) };
        for entry in self.db.iterator_cf(&parts, IteratorMode::From(prefix, Direction::Forward)) {
            let (key, value) = entry?;
            if !key.starts_with(prefix) {
                break;
            }
            visit(&key[skipped..], &value)?;
        }
        Ok(())
    }

    /// A value where it lies in the cache of blocks.
    fn get(&self, key: &[u8]) -> Result<Option<DBPinnableSlice<'_>>, ReadError> {
        let Some(parts) = self.db.cf_handle(PARTS) else { return Ok(None) };
        Ok(self.db.get_pinned_cf(&parts, key)?)
    }

    fn kept_times(&self, place: u32) -> Option<Arc<Vec<i64>>> {
        let kept = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        kept.columns.get(&place).map(Arc::clone)
    }

    fn keep_times(&self, place: u32, times: &Arc<Vec<i64>>) {
        let mut kept = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.times + times.len() > KEPT_TIMES_MAX {
            *kept = KeptTimes::default();
        }
        if times.len() <= KEPT_TIMES_MAX && kept.columns.insert(place, Arc::clone(times)).is_none() {
            kept.times += times.len();
        }
    }

    fn opened_columns(&self, group: u32) -> Result<(u8, Vec<u8>), ReadError> {
        const WHAT: &str = "columns";
        let bytes = self.get(&self.record.id.group(Kind::Columns, group))?;
        let bytes = bytes.ok_or_else(|| self.damaged(WHAT, format_args!("group {group} is missing")))?;
        open_up_to(COLUMNS_VERSION, &bytes, WHAT).map_err(|source| self.bytes_error(source))
    }

    fn opened(&self, kind: Kind, group: u32, what: &'static str) -> Result<Vec<u8>, ReadError> {
        let bytes = self.get(&self.record.id.group(kind, group))?;
        let bytes = bytes.ok_or_else(|| self.damaged(what, format_args!("group {group} is missing")))?;
        open(&bytes, what).map_err(|source| self.bytes_error(source))
    }

    fn damaged(&self, what: &'static str, reason: impl ToString) -> ReadError {
        self.bytes_error(BytesError::damaged(what, reason))
    }

    fn bytes_error(&self, source: BytesError) -> ReadError {
        let id = self.record.id;
        ReadError::Bytes { day: id.partition.0, number: id.number, source }
    }
}

fn decode_metadata(bytes: &[u8]) -> Result<Vec<Metadata>, BytesError> {
    const WHAT: &str = "a family's metadata";
    let plain = open(bytes, WHAT)?;
    read_metadata(&mut Reader::new(&plain, WHAT))
}

/// What is known of one family.
pub(crate) fn read_metadata(reader: &mut Reader<'_>) -> Result<Vec<Metadata>, BytesError> {
    let count = reader.elements()?;
    (0..count)
        .map(|_| {
            let kind = MetricKind::from_word(reader.text()?).unwrap_or_default();
            Ok(Metadata { kind, unit: reader.text()?.to_owned(), help: reader.text()?.to_owned() })
        })
        .collect()
}

/// Reads `bytes` as every value of a part.
pub(crate) fn check_any_bytes(bytes: &[u8]) {
    let _postings = decode_postings(bytes);
    let _metadata = decode_metadata(bytes);
    for version in [VERSION, COLUMNS_VERSION] {
        if let Ok(starts) = series_starts(bytes, version) {
            assert!(starts.iter().all(|start| read_columns(bytes, *start, version).is_ok()));
        }
    }
}

/// Reads series of a part, best in rising order; keeps what neighbours share.
pub(crate) struct PartReader {
    pub(crate) part: Arc<Part>,
    labels: Option<LabelsGroup>,
    columns: Option<ColumnsGroup>,
    times_group: Option<(u32, Vec<Vec<u8>>)>,
    times: FxHashMap<u32, Arc<Vec<i64>>>,
}

/// The labels of neighbouring series. Most queries want few of them, so each is read when it is asked for.
struct LabelsGroup {
    number: u32,
    plain: Vec<u8>,
    /// Where each series' labels are.
    places: Vec<Range<usize>>,
}

/// The columns of neighbouring series.
struct ColumnsGroup {
    number: u32,
    version: u8,
    plain: Vec<u8>,
    /// Where each series' columns begin.
    starts: Vec<usize>,
}

impl PartReader {
    pub(crate) fn new(part: Arc<Part>) -> Self {
        Self { part, labels: None, columns: None, times_group: None, times: FxHashMap::default() }
    }

    /// The labels of a series.
    pub(crate) fn labels(&mut self, ordinal: u32) -> Result<Labels, ReadError> {
        let number = ordinal / LABELS_GROUP;
        if self.labels.as_ref().is_none_or(|kept| kept.number != number) {
            self.labels = Some(self.read_labels(number)?);
        }
        let bytes = self.labels.as_ref().and_then(|kept| {
            let place = kept.places.get((ordinal % LABELS_GROUP) as usize)?;
            kept.plain.get(place.clone())
        });
        let missing = || self.part.damaged("labels", format_args!("series {ordinal} is missing"));
        let text = std::str::from_utf8(bytes.ok_or_else(missing)?);
        let text = text.map_err(|error| self.part.damaged("labels", error))?;
        Labels::from_canonical(text).ok_or_else(|| self.part.damaged("labels", "not canonical"))
    }

    fn read_labels(&self, number: u32) -> Result<LabelsGroup, ReadError> {
        let plain = self.part.opened(Kind::Labels, number, "labels")?;
        let mut reader = Reader::new(&plain, "labels");
        let mut places = Vec::with_capacity(LABELS_GROUP as usize);
        while !reader.rest().is_empty() {
            let len = reader.prefixed().map_err(|source| self.part.bytes_error(source))?.len();
            let end = plain.len() - reader.rest().len();
            places.push(end - len..end);
        }
        Ok(LabelsGroup { number, plain, places })
    }

    /// Appends the series' runs in the range, both ends included; empty ones are left out. Those in `spare` give their
    /// memory.
    pub(crate) fn runs(
        &mut self,
        ordinal: u32,
        (start, end): (i64, i64),
        spare: &mut Vec<Run>,
        out: &mut Vec<Run>,
    ) -> Result<(), ReadError> {
        for column in self.columns(ordinal)? {
            if column.is_exemplars() || column.last < start || column.first > end {
                continue;
            }
            let times = self.times(column.times)?;
            let log = self.part.record.logs.get(column.log as usize).map(|batches| batches.log);
            if log.is_none() {
                return Err(self.part.damaged("a column", "names no log"));
            }
            let from = times.partition_point(|at| *at < start);
            let wanted = from..times.partition_point(|at| *at <= end).max(from);
            if wanted.is_empty() {
                continue;
            }
            let mut run = spare.pop().unwrap_or_default();
            run.clear();
            run.log = log;
            if column.kind == COLUMN_HISTOGRAMS {
                run.histograms = self.histograms(&column, &times)?;
                run.cut(start, end);
            } else {
                self.floats(&column, &times, wanted, &mut run)?;
            }
            out.push(run);
        }
        Ok(())
    }

    /// The floats of a column at the `wanted` places.
    fn floats(
        &self,
        column: &Column,
        times: &[i64],
        wanted: Range<usize>,
        run: &mut Run,
    ) -> Result<(), ReadError> {
        let bytes = self.column_bytes(&column.values);
        decode_values(bytes, COLUMN_SAMPLES_MAX.min(times.len()), &mut run.values)
            .map_err(|error| self.part.damaged("a column of values", error))?;
        if run.values.len() != times.len() {
            return Err(self.part.damaged("a column of values", "not as long as its times"));
        }
        run.starts_ms = self.starts(column, times.len())?;
        for cut in [wanted.end..times.len(), 0..wanted.start] {
            run.values.drain(cut.clone());
            if !run.starts_ms.is_empty() {
                run.starts_ms.drain(cut);
            }
        }
        run.at_ms.extend_from_slice(&times[wanted]);
        Ok(())
    }

    fn histograms(&self, column: &Column, times: &[i64]) -> Result<Vec<HistogramSample>, ReadError> {
        let bytes = self.column_bytes(&column.values);
        let histograms = decode_histograms(bytes, COLUMN_SAMPLES_MAX.min(times.len()))
            .map_err(|source| self.part.bytes_error(source))?;
        let starts = self.starts(column, times.len())?;
        let samples = times.iter().zip(histograms).enumerate().map(|(place, (at_ms, histogram))| {
            let start_ms = starts.get(place).copied().unwrap_or(0);
            HistogramSample { at_ms: *at_ms, start_ms, histogram }
        });
        Ok(samples.collect())
    }

    /// Since when the samples of a column count; empty where nothing is known.
    fn starts(&self, column: &Column, count: usize) -> Result<Vec<i64>, ReadError> {
        let bytes = self.column_bytes(&column.starts);
        let mut starts = Vec::new();
        if !bytes.is_empty() {
            decode_times(bytes, COLUMN_SAMPLES_MAX.min(count), &mut starts)
                .map_err(|error| self.part.damaged("a column of starts", error))?;
            if starts.len() != count {
                return Err(self.part.damaged("a column of starts", "not as long as its times"));
            }
        }
        Ok(starts)
    }

    /// The series' exemplars.
    pub(crate) fn exemplars(&mut self, ordinal: u32) -> Result<Vec<Exemplar>, ReadError> {
        let mut all = Vec::new();
        for column in self.columns(ordinal)?.iter().filter(|column| column.is_exemplars()) {
            let decoded = decode_exemplars(self.column_bytes(&column.values));
            all.extend(decoded.map_err(|source| self.part.bytes_error(source))?);
        }
        Ok(all)
    }

    /// Whether the series has a sample in the range.
    pub(crate) fn has_sample(&mut self, ordinal: u32, start: i64, end: i64) -> Result<bool, ReadError> {
        for column in self.columns(ordinal)?.into_iter().filter(|column| !column.is_exemplars()) {
            let inside = |at: i64| (start..=end).contains(&at);
            if inside(column.first) || inside(column.last) {
                return Ok(true);
            }
            if column.first < start && column.last > end {
                let times = self.times(column.times)?;
                if times.get(times.partition_point(|at| *at < start)).is_some_and(|at| *at <= end) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The logs that have brought the series.
    fn logs(&mut self, ordinal: u32) -> Result<Vec<LogId>, ReadError> {
        let columns = self.columns(ordinal)?;
        let logs = &self.part.record.logs;
        let columns = columns.iter().filter(|column| !column.is_exemplars());
        Ok(columns.filter_map(|column| Some(logs.get(column.log as usize)?.log)).collect())
    }

    /// The series' columns, one a log.
    pub(crate) fn columns(&mut self, ordinal: u32) -> Result<Vec<Column>, ReadError> {
        let group = ordinal / COLUMNS_GROUP;
        if self.columns.as_ref().is_none_or(|kept| kept.number != group) {
            let (version, plain) = self.part.opened_columns(group)?;
            let starts = series_starts(&plain, version).map_err(|source| self.part.bytes_error(source))?;
            self.columns = Some(ColumnsGroup { number: group, version, plain, starts });
        }
        let Some(kept) = &self.columns else { return Ok(Vec::new()) };
        let Some(&start) = kept.starts.get((ordinal % COLUMNS_GROUP) as usize) else {
            return Err(self.part.damaged("columns", format_args!("series {ordinal} is missing")));
        };
        read_columns(&kept.plain, start, kept.version).map_err(|source| self.part.bytes_error(source))
    }

    /// Bytes of a column of the series that was read last, as they are stored.
    pub(crate) fn column_bytes(&self, place: &Range<usize>) -> &[u8] {
        let plain = self.columns.as_ref().map_or(&[][..], |kept| &kept.plain);
        plain.get(place.clone()).unwrap_or_default()
    }

    fn times(&mut self, place: u32) -> Result<Arc<Vec<i64>>, ReadError> {
        if let Some(times) = self.times.get(&place) {
            return Ok(Arc::clone(times));
        }
        if let Some(times) = self.part.kept_times(place) {
            self.times.insert(place, Arc::clone(&times));
            return Ok(times);
        }
        let column = self.times_bytes(place)?.to_vec();
        let mut times = Vec::new();
        // A few bytes may stand for any number of times on a grid: the part's record says how many there can be.
        let samples_max = usize::try_from(self.part.record.samples).unwrap_or(usize::MAX);
        decode_times(&column, samples_max.min(COLUMN_SAMPLES_MAX), &mut times)
            .map_err(|error| self.part.damaged("a column of times", error))?;
        if self.times.len() >= TIMES_KEPT_MAX {
            self.times.clear();
        }
        let times = Arc::new(times);
        self.part.keep_times(place, &times);
        self.times.insert(place, Arc::clone(&times));
        Ok(times)
    }

    /// A column of times, as it is stored.
    pub(crate) fn times_bytes(&mut self, place: u32) -> Result<&[u8], ReadError> {
        let group = place / TIMES_GROUP;
        if self.times_group.as_ref().is_none_or(|(kept, _)| *kept != group) {
            let plain = self.part.opened(Kind::Times, group, "times")?;
            let mut reader = Reader::new(&plain, "times");
            let mut columns = Vec::new();
            while !reader.rest().is_empty() {
                columns.push(reader.prefixed().map_err(|source| self.part.bytes_error(source))?.to_vec());
            }
            self.times_group = Some((group, columns));
        }
        let column =
            self.times_group.as_ref().and_then(|(_, columns)| columns.get((place % TIMES_GROUP) as usize));
        column
            .map(Vec::as_slice)
            .ok_or_else(|| self.part.damaged("times", format_args!("column {place} is missing")))
    }
}

/// Where a series' samples of one log are, or its exemplars.
pub(crate) struct Column {
    pub(crate) kind: u8,
    /// By place in the part's record.
    pub(crate) log: u32,
    /// The number of its column of times.
    pub(crate) times: u32,
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) values: Range<usize>,
    pub(crate) starts: Range<usize>,
}

impl Column {
    pub(crate) fn is_exemplars(&self) -> bool {
        self.kind == COLUMN_EXEMPLARS
    }
}

fn series_starts(plain: &[u8], version: u8) -> Result<Vec<usize>, BytesError> {
    let mut reader = Reader::new(plain, "columns");
    let mut starts = Vec::new();
    while !reader.rest().is_empty() {
        starts.push(plain.len() - reader.rest().len());
        let count = reader.elements()?;
        for _ in 0..count {
            read_column(&mut reader, plain.len(), version)?;
        }
    }
    Ok(starts)
}

fn read_columns(plain: &[u8], start: usize, version: u8) -> Result<Vec<Column>, BytesError> {
    let mut reader = Reader::new(plain.get(start..).unwrap_or_default(), "columns");
    let count = reader.elements()?;
    (0..count).map(|_| read_column(&mut reader, plain.len(), version)).collect()
}

fn read_column(reader: &mut Reader<'_>, plain_len: usize, version: u8) -> Result<Column, BytesError> {
    let kind = if version < COLUMNS_VERSION { COLUMN_FLOATS } else { reader.byte()? };
    let place_of = |reader: &mut Reader<'_>| {
        let bytes = reader.prefixed()?;
        let end = plain_len - reader.rest().len();
        Ok::<_, BytesError>(end - bytes.len()..end)
    };
    if kind == COLUMN_EXEMPLARS {
        let values = place_of(reader)?;
        return Ok(Column { kind, log: 0, times: 0, first: 0, last: 0, values, starts: 0..0 });
    }
    if kind > COLUMN_EXEMPLARS {
        return Err(BytesError::damaged("columns", format_args!("kind {kind} of a column")));
    }
    let log = reader.count(u32::MAX as usize)? as u32;
    let times = reader.count(u32::MAX as usize)? as u32;
    let first = reader.signed()?;
    let last = first.wrapping_add(reader.unsigned()? as i64);
    let values = place_of(reader)?;
    let starts = if version < COLUMNS_VERSION { 0..0 } else { place_of(reader)? };
    Ok(Column { kind, log, times, first, last, values, starts })
}
