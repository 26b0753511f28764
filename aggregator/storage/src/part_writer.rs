//! Writes one part: series in the order of their labels, then everything that finds them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use roaring::RoaringBitmap;
use rocksdb::{Options, SstFileWriter};
use rustc_hash::FxHashMap;
use vedette_chunk::{encode_times, encode_values, push_signed, push_unsigned};
use vedette_model::{Exemplar, Labels, Metadata, Timestamp};
use vedette_wire::LogId;

use crate::bytes::{VERSION, push_prefixed, seal, seal_as};
use crate::db::staging;
use crate::histograms::{encode_exemplars, encode_histograms, newest_exemplars};
use crate::keys::{DAY_MS, Kind, PartId, label_pair};
use crate::record::{LogBatches, PartRecord};
use crate::samples::Run;
use crate::{StorageConfig, TimeRange};

/// Series whose columns share a value.
pub(crate) const COLUMNS_GROUP: u32 = 32;
/// The version of a group of columns that has anything but floats without starts.
pub(crate) const COLUMNS_VERSION: u8 = 2;
/// Kinds of columns, in that version.
pub(crate) const COLUMN_FLOATS: u8 = 0;
pub(crate) const COLUMN_HISTOGRAMS: u8 = 1;
pub(crate) const COLUMN_EXEMPLARS: u8 = 2;
/// Columns of times that share a value.
pub(crate) const TIMES_GROUP: u32 = 64;
/// Label sets that share a value.
pub(crate) const LABELS_GROUP: u32 = 64;

/// Why a part could not be written.
#[derive(Debug, thiserror::Error)]
#[error("writing a part: {0}")]
pub(crate) struct WriteError(#[from] pub(crate) rocksdb::Error);

pub(crate) struct PartWriter<'a> {
    id: PartId,
    file: PathBuf,
    sst: SstFileWriter<'a>,
    columns: Group,
    exemplars_max: usize,
    labels: Vec<u8>,
    labels_sealed: Vec<Vec<u8>>,
    times: Times,
    postings: FxHashMap<Vec<u8>, Vec<u32>>,
    logs: Vec<LogId>,
    log_places: HashMap<LogId, u32>,
    series: u32,
    samples: u64,
    range: TimeRange,
    /// Reused.
    key: Vec<u8>,
}

/// A series' samples of one log, or its exemplars, encoded.
pub(crate) struct EncodedColumn<'a> {
    pub(crate) kind: u8,
    /// None for exemplars, which are of no log.
    pub(crate) log: Option<LogId>,
    /// The number of its column of times.
    pub(crate) times: u32,
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) samples: u64,
    pub(crate) values: &'a [u8],
    /// A column of starts, or nothing.
    pub(crate) starts: Vec<u8>,
}

/// Columns put together until there are enough series.
#[derive(Default)]
struct Group {
    next: u32,
    /// The columns of each series.
    series: Vec<Vec<ColumnBytes>>,
}

/// A column as it is written.
struct ColumnBytes {
    kind: u8,
    /// What version 1 has as well.
    body: Vec<u8>,
    /// A column of starts, or nothing.
    starts: Vec<u8>,
}

impl Group {
    fn seal(&self) -> Vec<u8> {
        let plain = |column: &ColumnBytes| column.kind == COLUMN_FLOATS && column.starts.is_empty();
        let is_plain = self.series.iter().flatten().all(plain);
        let mut bytes = Vec::new();
        for columns in &self.series {
            push_unsigned(&mut bytes, columns.len() as u64);
            for column in columns {
                if !is_plain {
                    bytes.push(column.kind);
                }
                bytes.extend_from_slice(&column.body);
                if !is_plain && column.kind != COLUMN_EXEMPLARS {
                    push_prefixed(&mut bytes, &column.starts);
                }
            }
        }
        seal_as(if is_plain { VERSION } else { COLUMNS_VERSION }, &bytes)
    }
}

/// Columns of times, each once.
#[derive(Default)]
struct Times {
    by_content: FxHashMap<u128, u32>,
    encoded: Vec<Vec<u8>>,
}

impl<'a> PartWriter<'a> {
    pub(crate) fn create(
        options: &'a Options,
        config: &StorageConfig,
        id: PartId,
    ) -> Result<Self, WriteError> {
        let file = staging(&config.path).join(format!("{:010}-{:020}.sst", id.partition.0, id.number));
        Self::create_at(options, file, id, config.exemplars_max)
    }

    /// Writes into `file`.
    pub(crate) fn create_at(
        options: &'a Options,
        file: PathBuf,
        id: PartId,
        exemplars_max: usize,
    ) -> Result<Self, WriteError> {
        let sst = SstFileWriter::create(options);
        sst.open(&file)?;
        Ok(Self {
            id,
            file,
            sst,
            columns: Group::default(),
            exemplars_max,
            labels: Vec::new(),
            labels_sealed: Vec::new(),
            times: Times::default(),
            postings: FxHashMap::default(),
            logs: Vec::new(),
            log_places: HashMap::new(),
            series: 0,
            samples: 0,
            range: TimeRange { from: Timestamp::MAX, through: Timestamp::MIN },
            key: Vec::new(),
        })
    }

    /// Adds a series with one run per log, none of them empty, and its exemplars of the day. Series come in the order of
    /// their labels, each once, and have at least one or the other.
    pub(crate) fn add(
        &mut self,
        labels: &Labels,
        runs: &[Run],
        exemplars: Vec<Exemplar>,
    ) -> Result<(), WriteError> {
        self.add_labels(labels);
        let mut columns = Vec::with_capacity(runs.len());
        for run in runs {
            self.add_floats(run, &mut columns);
            self.add_histograms(run, &mut columns);
        }
        self.add_exemplars(exemplars, &mut columns);
        self.end_series(columns)
    }

    /// Adds a series whose columns are encoded already, by the same rules.
    pub(crate) fn add_encoded(
        &mut self,
        labels: &Labels,
        encoded: Vec<EncodedColumn<'_>>,
        exemplars: Vec<Exemplar>,
    ) -> Result<(), WriteError> {
        self.add_labels(labels);
        let mut columns = Vec::with_capacity(encoded.len() + 1);
        encoded.into_iter().for_each(|column| self.add_column(column, &mut columns));
        self.add_exemplars(exemplars, &mut columns);
        self.end_series(columns)
    }

    /// Adds a column of times that is encoded already, and is not there yet; gives its number.
    pub(crate) fn add_times(&mut self, encoded: Vec<u8>) -> u32 {
        self.times.encoded.push(encoded);
        self.times.encoded.len() as u32 - 1
    }

    fn add_labels(&mut self, labels: &Labels) {
        let ordinal = self.series;
        self.series += 1;
        for (name, value) in labels {
            self.key.clear();
            label_pair(name, value, &mut self.key);
            match self.postings.get_mut(&self.key) {
                Some(ordinals) => ordinals.push(ordinal),
                None => drop(self.postings.insert(self.key.clone(), vec![ordinal])),
            }
        }
        push_prefixed(&mut self.labels, labels.canonical().as_bytes());
        if self.series.is_multiple_of(LABELS_GROUP) {
            self.seal_labels();
        }
    }

    fn add_exemplars(&mut self, exemplars: Vec<Exemplar>, columns: &mut Vec<ColumnBytes>) {
        let exemplars = newest_exemplars(exemplars, self.exemplars_max);
        if exemplars.is_empty() {
            return;
        }
        if columns.is_empty() {
            self.cover(&exemplars);
        }
        let mut encoded = Vec::new();
        encode_exemplars(&exemplars, &mut encoded);
        let mut body = Vec::new();
        push_prefixed(&mut body, &encoded);
        columns.push(ColumnBytes { kind: COLUMN_EXEMPLARS, body, starts: Vec::new() });
    }

    fn end_series(&mut self, columns: Vec<ColumnBytes>) -> Result<(), WriteError> {
        self.columns.series.push(columns);
        if self.columns.series.len() == COLUMNS_GROUP as usize { self.put_columns() } else { Ok(()) }
    }

    /// Exemplars whose series has no sample are found by the part's range.
    fn cover(&mut self, exemplars: &[Exemplar]) {
        let day_end = self.id.partition.end().as_millis();
        for exemplar in exemplars {
            let at = Timestamp::from_millis(exemplar.at_ms.clamp(day_end - DAY_MS, day_end - 1));
            self.range.from = self.range.from.min(at);
            self.range.through = self.range.through.max(at);
        }
    }

    fn add_floats(&mut self, run: &Run, columns: &mut Vec<ColumnBytes>) {
        let mut values = Vec::new();
        encode_values(&run.values, &mut values);
        self.add_samples(run.log, COLUMN_FLOATS, (&run.at_ms, &run.starts_ms), &values, columns);
    }

    fn add_histograms(&mut self, run: &Run, columns: &mut Vec<ColumnBytes>) {
        if run.histograms.is_empty() {
            return;
        }
        let histograms: Vec<_> = run.histograms.iter().map(|sample| Arc::clone(&sample.histogram)).collect();
        let mut values = Vec::new();
        encode_histograms(&histograms, &mut values);
        let times: Vec<i64> = run.histograms.iter().map(|sample| sample.at_ms).collect();
        let starts: Vec<i64> = run.histograms.iter().map(|sample| sample.start_ms).collect();
        self.add_samples(run.log, COLUMN_HISTOGRAMS, (&times, &starts), &values, columns);
    }

    /// Adds a column of values at `times`, which count since `starts`.
    fn add_samples(
        &mut self,
        log: Option<LogId>,
        kind: u8,
        (at_ms, starts): (&[i64], &[i64]),
        values: &[u8],
        columns: &mut Vec<ColumnBytes>,
    ) {
        let (Some(&first), Some(&last)) = (at_ms.first(), at_ms.last()) else { return };
        let mut starts_column = Vec::new();
        if starts.iter().any(|start| *start != 0) {
            encode_times(starts, &mut starts_column);
        }
        let (times, samples) = (self.times.place(at_ms), at_ms.len() as u64);
        let column = EncodedColumn { kind, log, times, first, last, samples, values, starts: starts_column };
        self.add_column(column, columns);
    }

    fn add_column(&mut self, column: EncodedColumn<'_>, columns: &mut Vec<ColumnBytes>) {
        let EncodedColumn { kind, log, times, first, last, samples, values, starts } = column;
        let Some(log) = log else { return };
        self.samples += samples;
        self.range.from = self.range.from.min(Timestamp::from_millis(first));
        self.range.through = self.range.through.max(Timestamp::from_millis(last));
        let next = self.logs.len() as u32;
        let place = *self.log_places.entry(log).or_insert(next);
        if place == next {
            self.logs.push(log);
        }
        let mut body = Vec::new();
        push_unsigned(&mut body, u64::from(place));
        push_unsigned(&mut body, u64::from(times));
        push_signed(&mut body, first);
        push_unsigned(&mut body, last.wrapping_sub(first) as u64);
        push_prefixed(&mut body, values);
        columns.push(ColumnBytes { kind, body, starts });
    }

    fn put_columns(&mut self) -> Result<(), WriteError> {
        if !self.columns.series.is_empty() {
            let key = self.id.group(Kind::Columns, self.columns.next);
            self.sst.put(key, self.columns.seal())?;
            self.columns = Group { next: self.columns.next + 1, series: Vec::new() };
        }
        Ok(())
    }

    fn seal_labels(&mut self) {
        self.labels_sealed.push(seal(&self.labels));
        self.labels.clear();
    }

    /// Writes what is left; gives the file and the part's record. `batches` says which batches of each log went
    /// in.
    pub(crate) fn finish(
        mut self,
        level: u8,
        created: Timestamp,
        families: &BTreeMap<String, BTreeSet<Metadata>>,
        batches: impl Fn(LogId) -> (u64, u64),
    ) -> Result<(PathBuf, PartRecord), WriteError> {
        self.put_columns()?;
        for (group, columns) in (0..).zip(self.times.encoded.chunks(TIMES_GROUP as usize)) {
            let mut bytes = Vec::new();
            columns.iter().for_each(|column| push_prefixed(&mut bytes, column));
            self.sst.put(self.id.group(Kind::Times, group), seal(&bytes))?;
        }
        if !self.labels.is_empty() {
            self.seal_labels();
        }
        for (group, sealed) in (0..).zip(&self.labels_sealed) {
            self.sst.put(self.id.group(Kind::Labels, group), sealed)?;
        }
        let mut postings: Vec<_> = std::mem::take(&mut self.postings).into_iter().collect();
        postings.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        for (pair, ordinals) in postings {
            self.sst.put(self.id.text(Kind::Postings, &pair), encode_postings(&ordinals))?;
        }
        for (name, known) in families {
            self.sst.put(self.id.text(Kind::Metadata, name.as_bytes()), encode_metadata(known))?;
        }
        self.sst.finish()?;
        let logs = self.logs.iter().map(|&log| {
            let (first, last) = batches(log);
            LogBatches { log, first, last }
        });
        let record = PartRecord {
            id: self.id,
            level,
            created,
            series: self.series,
            samples: self.samples,
            bytes: self.sst.file_size(),
            range: self.range,
            logs: logs.collect(),
        };
        Ok((self.file, record))
    }
}

impl Times {
    fn place(&mut self, times: &[i64]) -> u32 {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        let mut buffer = [0u8; 512];
        for chunk in times.chunks(buffer.len() / 8) {
            for (slot, time) in buffer.chunks_exact_mut(8).zip(chunk) {
                slot.copy_from_slice(&time.to_le_bytes());
            }
            hasher.update(&buffer[..chunk.len() * 8]);
        }
        let next = self.encoded.len() as u32;
        let place = *self.by_content.entry(hasher.digest128()).or_insert(next);
        if place == next {
            let mut encoded = Vec::new();
            encode_times(times, &mut encoded);
            self.encoded.push(encoded);
        }
        place
    }
}

/// A single series is written as its number; more of them as a bitmap.
const POSTINGS_ONE: u8 = 0;
const POSTINGS_BITMAP: u8 = 1;

fn encode_postings(ordinals: &[u32]) -> Vec<u8> {
    let mut out = vec![VERSION];
    if let [one] = ordinals {
        out.push(POSTINGS_ONE);
        push_unsigned(&mut out, u64::from(*one));
        return out;
    }
    out.push(POSTINGS_BITMAP);
    let bitmap: RoaringBitmap = ordinals.iter().copied().collect();
    bitmap.serialize_into(&mut out).expect("memory takes all bytes");
    out
}

/// Undoes what the writer has written for a label pair; `None` when it can not be read.
pub(crate) fn decode_postings(bytes: &[u8]) -> Option<RoaringBitmap> {
    match bytes {
        [VERSION, POSTINGS_ONE, rest @ ..] => {
            let one = vedette_chunk::take_unsigned(&mut &*rest).ok()?;
            Some(RoaringBitmap::from_iter([u32::try_from(one).ok()?]))
        }
        [VERSION, POSTINGS_BITMAP, rest @ ..] => RoaringBitmap::deserialize_from(rest).ok(),
        _ => None,
    }
}

fn encode_metadata(known: &BTreeSet<Metadata>) -> Vec<u8> {
    let mut bytes = Vec::new();
    push_unsigned(&mut bytes, known.len() as u64);
    for metadata in known {
        for text in [metadata.kind.as_str(), &metadata.unit, &metadata.help] {
            push_prefixed(&mut bytes, text.as_bytes());
        }
    }
    seal(&bytes)
}
