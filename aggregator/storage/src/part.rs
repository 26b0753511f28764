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
use crate::cache::{Opened, OpenedCache, part_selection};
use crate::db::{Db, PARTS};
use crate::group::{Column, ColumnsGroup, LabelsGroup};
use crate::histograms::{decode_exemplars, decode_histograms};
use crate::keys::{Kind, PartId, label_pair};
use crate::part_writer::{
    COLUMN_HISTOGRAMS, COLUMNS_GROUP, COLUMNS_VERSION, LABELS_GROUP, TIMES_GROUP, decode_postings,
};
use crate::record::PartRecord;
use crate::samples::Run;
use crate::shared::Core;

/// No column has more samples: a day of one every millisecond.
pub(crate) const COLUMN_SAMPLES_MAX: usize = 86_400_000;
/// Columns of times that one reader keeps at hand.
const TIMES_KEPT_MAX: usize = 4096;
/// A selection of more series is not kept: to find them costs little beside reading them.
const ORDINALS_KEPT_MAX: usize = 65_536;

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
    cache: Arc<OpenedCache>,
    absent: Mutex<AbsentCache>,
}

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
    pub(crate) fn new(record: PartRecord, db: Arc<Db>, core: &Core) -> Self {
        Self {
            record,
            db,
            retired: AtomicBool::new(false),
            garbage: Arc::clone(&core.garbage),
            cache: Arc::clone(&core.opened),
            absent: Mutex::default(),
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

    /// As [`Part::matching`], remembered; `key` is that of the matchers.
    pub(crate) fn selected(&self, matchers: &[Matcher], key: &[u8]) -> Result<Arc<[u32]>, ReadError> {
        let key = part_selection(self.record.id.prefix(), key);
        if let Some(Opened::Ordinals(found)) = self.cache.get(&key) {
            return Ok(found);
        }
        let found: Arc<[u32]> = self.matching(matchers)?.into_iter().collect();
        if found.len() <= ORDINALS_KEPT_MAX {
            self.cache.insert(&key, Opened::Ordinals(Arc::clone(&found)));
        }
        Ok(found)
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
            found |= &*self.postings(name, value)?;
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

    fn postings(&self, name: &str, value: &str) -> Result<Arc<RoaringBitmap>, ReadError> {
        let mut pair = Vec::new();
        label_pair(name, value, &mut pair);
        let key = self.record.id.text(Kind::Postings, &pair);
        if let Some(Opened::Postings(known)) = self.cache.get(&key) {
            return Ok(known);
        }
        let postings = Arc::new(match self.get(&key)? {
            Some(bytes) => self.decode_postings(&bytes)?,
            None => RoaringBitmap::new(),
        });
        self.cache.insert(&key, Opened::Postings(Arc::clone(&postings)));
        Ok(postings)
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

    /// What is stored of a group, opened, with its version.
    fn opened_columns(&self, group: u32) -> Result<ColumnsGroup, ReadError> {
        const WHAT: &str = "columns";
        let bytes = self.get(&self.record.id.group(Kind::Columns, group))?;
        let bytes = bytes.ok_or_else(|| self.damaged(WHAT, format_args!("group {group} is missing")))?;
        let opened = open_up_to(COLUMNS_VERSION, &bytes, WHAT);
        let group = opened.and_then(|(version, plain)| ColumnsGroup::read(plain, version));
        group.map_err(|source| self.bytes_error(source))
    }

    fn opened_labels(&self, group: u32) -> Result<LabelsGroup, ReadError> {
        let plain = self.opened(Kind::Labels, group, "labels")?;
        LabelsGroup::read(&plain).map_err(|source| self.bytes_error(source))
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
    let _labels = LabelsGroup::read(bytes);
    for version in [VERSION, COLUMNS_VERSION] {
        let _columns = ColumnsGroup::read(bytes.to_vec(), version);
    }
}

/// Reads series of a part, best in rising order; keeps what neighbours share.
pub(crate) struct PartReader {
    pub(crate) part: Arc<Part>,
    /// Whether what it opens is kept for others.
    shares: bool,
    labels: Option<(u32, Arc<LabelsGroup>)>,
    columns: Option<(u32, Arc<ColumnsGroup>)>,
    times_group: Option<(u32, Vec<Vec<u8>>)>,
    times: FxHashMap<u32, Arc<Vec<i64>>>,
}

impl PartReader {
    /// For queries, which ask for the same again.
    pub(crate) fn new(part: Arc<Part>) -> Self {
        Self { shares: true, ..Self::once(part) }
    }

    /// For what goes through the whole part once.
    pub(crate) fn once(part: Arc<Part>) -> Self {
        let times = FxHashMap::default();
        Self { part, shares: false, labels: None, columns: None, times_group: None, times }
    }

    /// The labels of a series.
    pub(crate) fn labels(&mut self, ordinal: u32) -> Result<Labels, ReadError> {
        let number = ordinal / LABELS_GROUP;
        let group = match &self.labels {
            Some((kept, group)) if *kept == number => group,
            _ => &self.labels.insert((number, self.labels_group(number)?)).1,
        };
        let labels = group.of(ordinal).cloned();
        labels.ok_or_else(|| self.part.damaged("labels", format_args!("series {ordinal} is missing")))
    }

    fn labels_group(&self, number: u32) -> Result<Arc<LabelsGroup>, ReadError> {
        if !self.shares {
            return Ok(Arc::new(self.part.opened_labels(number)?));
        }
        let key = self.part.record.id.group(Kind::Labels, number);
        if let Some(Opened::Labels(known)) = self.part.cache.get(&key) {
            return Ok(known);
        }
        let group = Arc::new(self.part.opened_labels(number)?);
        self.part.cache.insert(&key, Opened::Labels(Arc::clone(&group)));
        Ok(group)
    }

    fn columns_group(&self, number: u32) -> Result<Arc<ColumnsGroup>, ReadError> {
        if !self.shares {
            return Ok(Arc::new(self.part.opened_columns(number)?));
        }
        let key = self.part.record.id.group(Kind::Columns, number);
        if let Some(Opened::Columns(known)) = self.part.cache.get(&key) {
            return Ok(known);
        }
        let group = Arc::new(self.part.opened_columns(number)?);
        self.part.cache.insert(&key, Opened::Columns(Arc::clone(&group)));
        Ok(group)
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
        let group = self.group(ordinal)?;
        for column in self.columns_of(&group, ordinal)? {
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
                run.histograms = self.histograms(&group, column, &times)?;
                run.cut(start, end);
            } else {
                self.floats(&group, column, &times, wanted, &mut run)?;
            }
            out.push(run);
        }
        Ok(())
    }

    /// The floats of a column at the `wanted` places.
    fn floats(
        &self,
        group: &ColumnsGroup,
        column: &Column,
        times: &[i64],
        wanted: Range<usize>,
        run: &mut Run,
    ) -> Result<(), ReadError> {
        decode_values(group.bytes(&column.values), COLUMN_SAMPLES_MAX.min(times.len()), &mut run.values)
            .map_err(|error| self.part.damaged("a column of values", error))?;
        if run.values.len() != times.len() {
            return Err(self.part.damaged("a column of values", "not as long as its times"));
        }
        run.starts_ms = self.starts(group, column, times.len())?;
        for cut in [wanted.end..times.len(), 0..wanted.start] {
            run.values.drain(cut.clone());
            if !run.starts_ms.is_empty() {
                run.starts_ms.drain(cut);
            }
        }
        run.at_ms.extend_from_slice(&times[wanted]);
        Ok(())
    }

    fn histograms(
        &self,
        group: &ColumnsGroup,
        column: &Column,
        times: &[i64],
    ) -> Result<Vec<HistogramSample>, ReadError> {
        let bytes = group.bytes(&column.values);
        let histograms = decode_histograms(bytes, COLUMN_SAMPLES_MAX.min(times.len()))
            .map_err(|source| self.part.bytes_error(source))?;
        let starts = self.starts(group, column, times.len())?;
        let samples = times.iter().zip(histograms).enumerate().map(|(place, (at_ms, histogram))| {
            let start_ms = starts.get(place).copied().unwrap_or(0);
            HistogramSample { at_ms: *at_ms, start_ms, histogram }
        });
        Ok(samples.collect())
    }

    /// Since when the samples of a column count; empty where nothing is known.
    fn starts(&self, group: &ColumnsGroup, column: &Column, count: usize) -> Result<Vec<i64>, ReadError> {
        let bytes = group.bytes(&column.starts);
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
        let group = self.group(ordinal)?;
        for column in self.columns_of(&group, ordinal)?.iter().filter(|column| column.is_exemplars()) {
            let decoded = decode_exemplars(group.bytes(&column.values));
            all.extend(decoded.map_err(|source| self.part.bytes_error(source))?);
        }
        Ok(all)
    }

    /// Whether the series has a sample in the range.
    pub(crate) fn has_sample(&mut self, ordinal: u32, start: i64, end: i64) -> Result<bool, ReadError> {
        let group = self.group(ordinal)?;
        for column in self.columns_of(&group, ordinal)?.iter().filter(|column| !column.is_exemplars()) {
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
        let group = self.group(ordinal)?;
        let logs = &self.part.record.logs;
        let columns = self.columns_of(&group, ordinal)?.iter().filter(|column| !column.is_exemplars());
        Ok(columns.filter_map(|column| Some(logs.get(column.log as usize)?.log)).collect())
    }

    /// The group that the series is in.
    pub(crate) fn group(&mut self, ordinal: u32) -> Result<Arc<ColumnsGroup>, ReadError> {
        let number = ordinal / COLUMNS_GROUP;
        let group = match &self.columns {
            Some((kept, group)) if *kept == number => group,
            _ => &self.columns.insert((number, self.columns_group(number)?)).1,
        };
        Ok(Arc::clone(group))
    }

    /// The series' columns, one a log and kind, of its group.
    pub(crate) fn columns_of<'a>(
        &self,
        group: &'a ColumnsGroup,
        ordinal: u32,
    ) -> Result<&'a [Column], ReadError> {
        let missing = || self.part.damaged("columns", format_args!("series {ordinal} is missing"));
        group.of(ordinal).ok_or_else(missing)
    }

    fn times(&mut self, place: u32) -> Result<Arc<Vec<i64>>, ReadError> {
        if let Some(times) = self.times.get(&place) {
            return Ok(Arc::clone(times));
        }
        if self.times.len() >= TIMES_KEPT_MAX {
            self.times.clear();
        }
        let key = times_key(&self.part, place);
        let known = if self.shares { self.part.cache.get(&key) } else { None };
        let times = match known {
            Some(Opened::Times(times)) => times,
            _ => {
                let times = Arc::new(self.decoded_times(place)?);
                if self.shares {
                    self.part.cache.insert(&key, Opened::Times(Arc::clone(&times)));
                }
                times
            }
        };
        self.times.insert(place, Arc::clone(&times));
        Ok(times)
    }

    fn decoded_times(&mut self, place: u32) -> Result<Vec<i64>, ReadError> {
        // A few bytes may stand for any number of times on a grid: the part's record says how many there can be.
        let samples_max = usize::try_from(self.part.record.samples).unwrap_or(usize::MAX);
        let mut times = Vec::new();
        let decoded = decode_times(self.times_bytes(place)?, samples_max.min(COLUMN_SAMPLES_MAX), &mut times);
        decoded.map_err(|error| self.part.damaged("a column of times", error))?;
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

/// One column of times in the cache; the group that it is stored in is not kept.
fn times_key(part: &Part, place: u32) -> Vec<u8> {
    part.record.id.group(Kind::Times, place)
}
