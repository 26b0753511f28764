//! Writes one part: series in the order of their labels, then everything that finds them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use roaring::RoaringBitmap;
use rocksdb::{Options, SstFileWriter};
use rustc_hash::FxHashMap;
use vedette_chunk::{encode_times, encode_values, push_signed, push_unsigned};
use vedette_model::{Labels, Metadata, Timestamp};
use vedette_wire::LogId;

use crate::TimeRange;
use crate::bytes::{VERSION, push_prefixed, seal};
use crate::db::staging;
use crate::keys::{Kind, PartId, label_pair};
use crate::record::{LogBatches, PartRecord};
use crate::samples::Run;

/// Series whose columns share a value.
pub(crate) const COLUMNS_GROUP: u32 = 32;
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

/// Values put together until there are enough of them.
#[derive(Default)]
struct Group {
    count: u32,
    next: u32,
    bytes: Vec<u8>,
}

/// Columns of times, each once.
#[derive(Default)]
struct Times {
    by_content: FxHashMap<u128, u32>,
    encoded: Vec<Vec<u8>>,
}

impl<'a> PartWriter<'a> {
    pub(crate) fn create(options: &'a Options, path: &Path, id: PartId) -> Result<Self, WriteError> {
        let file = staging(path).join(format!("{:010}-{:020}.sst", id.partition.0, id.number));
        let sst = SstFileWriter::create(options);
        sst.open(&file)?;
        Ok(Self {
            id,
            file,
            sst,
            columns: Group::default(),
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

    /// Adds a series with one run per log. Series come in the order of their labels, each once; `runs` is not
    /// empty, nor is any of them.
    pub(crate) fn add(&mut self, labels: &Labels, runs: &[Run]) -> Result<(), WriteError> {
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
        push_unsigned(&mut self.columns.bytes, runs.len() as u64);
        runs.iter().for_each(|run| self.add_column(run));
        self.columns.count += 1;
        if self.columns.count == COLUMNS_GROUP { self.put_columns() } else { Ok(()) }
    }

    fn add_column(&mut self, run: &Run) {
        let (Some(log), Some(&first), Some(&last)) = (run.log, run.at_ms.first(), run.at_ms.last()) else {
            return;
        };
        self.samples += run.at_ms.len() as u64;
        self.range.from = self.range.from.min(Timestamp::from_millis(first));
        self.range.through = self.range.through.max(Timestamp::from_millis(last));
        let next = self.logs.len() as u32;
        let place = *self.log_places.entry(log).or_insert(next);
        if place == next {
            self.logs.push(log);
        }
        let times = self.times.place(&run.at_ms);
        let bytes = &mut self.columns.bytes;
        push_unsigned(bytes, u64::from(place));
        push_unsigned(bytes, u64::from(times));
        push_signed(bytes, first);
        push_unsigned(bytes, last.wrapping_sub(first) as u64);
        let mut values = Vec::new();
        encode_values(&run.values, &mut values);
        push_prefixed(bytes, &values);
    }

    fn put_columns(&mut self) -> Result<(), WriteError> {
        if self.columns.count > 0 {
            let key = self.id.group(Kind::Columns, self.columns.next);
            self.sst.put(key, seal(&self.columns.bytes))?;
            self.columns = Group { next: self.columns.next + 1, ..Group::default() };
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
