//! Keys of the column family of parts. `FORMAT.md` has the diagrams.
//!
//! The partition comes first, so that every part lands in files of its own at the lowest level and a day can be
//! deleted by whole files.

use vedette_model::Timestamp;
use vedette_wire::LogId;

pub(crate) const DAY_MS: i64 = 86_400_000;
/// Times from here on, inclusive, can be stored: 1970.
pub(crate) const TIME_MIN_MS: i64 = 0;
/// Times up to here, exclusive, can be stored: the year 2500.
pub(crate) const TIME_END_MS: i64 = 16_725_225_600_000;

/// The partition of records, before all days.
const RECORDS: u32 = 0;
const RECORD_LOG: u8 = b'L';
const RECORD_PART: u8 = b'P';
const RECORD_TOMBSTONE: u8 = b'T';

/// Kinds of values of a part, in the order in which they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Columns = 1,
    Times = 2,
    Labels = 3,
    Postings = 4,
    Metadata = 5,
}

/// One UTC day. Counts from 1, because 0 is the partition of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Partition(pub(crate) u32);

impl Partition {
    /// The day of a storable time.
    pub(crate) fn of(at_ms: i64) -> Self {
        Self(at_ms.clamp(TIME_MIN_MS, TIME_END_MS - 1).div_euclid(DAY_MS) as u32 + 1)
    }

    /// Its first millisecond after the end.
    pub(crate) fn end(self) -> Timestamp {
        Timestamp::from_millis(i64::from(self.0) * DAY_MS)
    }
}

/// Names one part: its day and its number. Numbers are given once and rise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PartId {
    pub(crate) partition: Partition,
    pub(crate) number: u64,
}

impl PartId {
    pub(crate) fn prefix(self) -> [u8; 12] {
        let mut key = [0; 12];
        key[..4].copy_from_slice(&self.partition.0.to_be_bytes());
        key[4..].copy_from_slice(&self.number.to_be_bytes());
        key
    }

    /// The first key behind all of this part's.
    pub(crate) fn end_prefix(self) -> [u8; 12] {
        Self { number: self.number.saturating_add(1), ..self }.prefix()
    }

    pub(crate) fn from_prefix(key: &[u8]) -> Option<Self> {
        let partition = u32::from_be_bytes(*key.first_chunk()?);
        let number = u64::from_be_bytes(*key.get(4..)?.first_chunk()?);
        Some(Self { partition: Partition(partition), number })
    }

    fn kind(self, kind: Kind, rest: usize) -> Vec<u8> {
        let mut key = Vec::with_capacity(13 + rest);
        key.extend_from_slice(&self.prefix());
        key.push(kind as u8);
        key
    }

    /// Of columns, times and labels: the number of the group.
    pub(crate) fn group(self, kind: Kind, group: u32) -> Vec<u8> {
        let mut key = self.kind(kind, 4);
        key.extend_from_slice(&group.to_be_bytes());
        key
    }

    /// Of postings and metadata: see [`label_pair`].
    pub(crate) fn text(self, kind: Kind, text: &[u8]) -> Vec<u8> {
        let mut key = self.kind(kind, text.len());
        key.extend_from_slice(text);
        key
    }
}

/// How a label pair stands in a key, so that the values of one name are neighbours in their order.
pub(crate) fn label_pair(name: &str, value: &str, out: &mut Vec<u8>) {
    vedette_chunk::push_unsigned(out, name.len() as u64);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(value.as_bytes());
}

/// The key of a log's record.
pub(crate) fn log_record(log: LogId) -> Vec<u8> {
    let mut key = records(RECORD_LOG);
    key.extend_from_slice(&log.0.to_be_bytes());
    key
}

/// The key of a part's record.
pub(crate) fn part_record(part: PartId) -> Vec<u8> {
    let mut key = records(RECORD_PART);
    key.extend_from_slice(&part.prefix());
    key
}

/// The key of a deletion's record.
pub(crate) fn tombstone_record(id: u128) -> Vec<u8> {
    let mut key = records(RECORD_TOMBSTONE);
    key.extend_from_slice(&id.to_be_bytes());
    key
}

/// What all deletions' records start with.
pub(crate) fn tombstone_records() -> Vec<u8> {
    records(RECORD_TOMBSTONE)
}

/// What all logs' records start with.
pub(crate) fn log_records() -> Vec<u8> {
    records(RECORD_LOG)
}

/// What all parts' records start with.
pub(crate) fn part_records() -> Vec<u8> {
    records(RECORD_PART)
}

/// Where the days begin.
pub(crate) fn first_day() -> [u8; 4] {
    1u32.to_be_bytes()
}

fn records(kind: u8) -> Vec<u8> {
    let mut key = RECORDS.to_be_bytes().to_vec();
    key.push(kind);
    key
}

/// The key of a frame in the log: the log, then the last batch number that the frame settles. Number 0 is the
/// log's own entry.
pub(crate) fn frame(log: LogId, seq: u64) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(&log.0.to_be_bytes());
    key[16..].copy_from_slice(&seq.to_be_bytes());
    key
}

/// The key of a segment's entry: between its log's own and the log's frames.
pub(crate) fn segment(log: LogId, key_seq: u64) -> [u8; 32] {
    let mut key = [0; 32];
    key[..24].copy_from_slice(&frame(log, 0));
    key[24..].copy_from_slice(&key_seq.to_be_bytes());
    key
}

/// Undoes [`segment`].
pub(crate) fn parse_segment(key: &[u8]) -> Option<(LogId, u64)> {
    let key: &[u8; 32] = key.try_into().ok()?;
    let (entry, key_seq) = key.split_at(24);
    let (log, _) = parse_frame(entry).filter(|(_, seq)| *seq == 0)?;
    Some((log, u64::from_be_bytes(key_seq.try_into().ok()?)))
}

/// Undoes [`frame`].
pub(crate) fn parse_frame(key: &[u8]) -> Option<(LogId, u64)> {
    let key: &[u8; 24] = key.try_into().ok()?;
    let (log, seq) = key.split_at(16);
    Some((LogId(u128::from_be_bytes(log.try_into().ok()?)), u64::from_be_bytes(seq.try_into().ok()?)))
}
