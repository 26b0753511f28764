//! Which logs and parts there are, told to another replica page by page. `FORMAT.md` has the diagrams.

use rocksdb::{Direction, IteratorMode};
use vedette_wire::{AgentName, BatchSeq, LogId};

use crate::bytes::{BytesError, Reader, VERSION, push_prefixed};
use crate::db::PARTS;
use crate::keys::{self, PartId, Partition};
use crate::record::{LogBatches, LogRecord, PartRecord};
use crate::shared::Core;
use crate::{StorageFault, TimeRange};

/// Names a part of another replica: its day and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartName {
    /// The UTC day, counted from 1 = 1970-01-01.
    pub day: u32,
    /// Its number.
    pub number: u64,
}

impl From<PartId> for PartName {
    fn from(id: PartId) -> Self {
        Self { day: id.partition.0, number: id.number }
    }
}

impl From<PartName> for PartId {
    fn from(name: PartName) -> Self {
        Self { partition: Partition(name.day), number: name.number }
    }
}

/// A log as another replica has it in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerLog {
    pub(crate) log: LogId,
    pub(crate) record: LogRecord,
}

impl PeerLog {
    /// Which log.
    pub fn log(&self) -> LogId {
        self.log
    }

    /// Whose.
    pub fn writer(&self) -> &AgentName {
        &self.record.writer
    }

    /// The last batch.
    pub fn through(&self) -> BatchSeq {
        BatchSeq(self.record.watermark)
    }
}

/// A part of another replica, with those of its logs that were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerPart {
    pub(crate) record: PartRecord,
}

impl PeerPart {
    /// Its name.
    pub fn name(&self) -> PartName {
        self.record.id.into()
    }

    /// When its samples are.
    pub fn range(&self) -> TimeRange {
        self.record.range
    }
}

/// A page of logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogListing {
    /// In the order of their ids.
    pub logs: Vec<PeerLog>,
    /// Whether more come behind.
    pub more: bool,
}

/// A page of parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartListing {
    /// In the order of their names.
    pub parts: Vec<PeerPart>,
    /// Whether more come behind.
    pub more: bool,
}

impl LogListing {
    const WHAT: &'static str = "a list of logs";

    /// Reads what [`crate::Storage::list_logs`] wrote, or says what is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        Self::read(bytes).map_err(|error| error.to_string())
    }

    fn read(bytes: &[u8]) -> Result<Self, BytesError> {
        let mut reader = Reader::versioned(bytes, Self::WHAT)?;
        let more = reader.byte()? != 0;
        let mut logs: Vec<PeerLog> = Vec::new();
        while !reader.rest().is_empty() {
            let log = LogId(u128::from_be_bytes(reader.array()?));
            if logs.last().is_some_and(|last| last.log >= log) {
                return Err(BytesError::damaged(Self::WHAT, "not in order"));
            }
            logs.push(PeerLog { log, record: LogRecord::decode(reader.prefixed()?)? });
        }
        Ok(Self { logs, more })
    }

    fn encode(&self) -> Vec<u8> {
        let mut page = Page::new();
        for peer in &self.logs {
            page.push_log(peer.log, &peer.record.encode());
        }
        page.finish(self.more)
    }
}

impl PartListing {
    const WHAT: &'static str = "a list of parts";

    /// Reads what [`crate::Storage::list_parts`] wrote, or says what is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        Self::read(bytes).map_err(|error| error.to_string())
    }

    fn read(bytes: &[u8]) -> Result<Self, BytesError> {
        let mut reader = Reader::versioned(bytes, Self::WHAT)?;
        let more = reader.byte()? != 0;
        let mut parts: Vec<PeerPart> = Vec::new();
        while !reader.rest().is_empty() {
            let record = PartRecord::decode(reader.prefixed()?)?;
            if parts.last().is_some_and(|last| last.record.id >= record.id) {
                return Err(BytesError::damaged(Self::WHAT, "not in order"));
            }
            if record.id.partition.0 == 0 {
                return Err(BytesError::damaged(Self::WHAT, "a part of no day"));
            }
            parts.push(PeerPart { record });
        }
        Ok(Self { parts, more })
    }

    fn encode(&self) -> Vec<u8> {
        let mut page = Page::new();
        for part in &self.parts {
            page.push_part(&part.record);
        }
        page.finish(self.more)
    }
}

/// Reads `bytes` as pages.
pub(super) fn check_any_bytes(bytes: &[u8]) {
    if let Ok(logs) = LogListing::read(bytes) {
        assert_eq!(LogListing::read(&logs.encode()), Ok(logs));
    }
    if let Ok(parts) = PartListing::read(bytes) {
        assert_eq!(PartListing::read(&parts.encode()), Ok(parts));
    }
}

struct Page(Vec<u8>);

impl Page {
    fn new() -> Self {
        Self(vec![VERSION, 0])
    }

    fn push_log(&mut self, log: LogId, record: &[u8]) {
        self.0.extend_from_slice(&log.0.to_be_bytes());
        push_prefixed(&mut self.0, record);
    }

    fn push_part(&mut self, record: &PartRecord) {
        push_prefixed(&mut self.0, &record.encode());
    }

    /// Whether one more of `bytes` bytes fits. The first always does: records are bounded.
    fn has_room(&self, bytes: usize, bytes_max: usize) -> bool {
        self.0.len() <= 2 || self.0.len() + bytes <= bytes_max
    }

    fn finish(mut self, more: bool) -> Vec<u8> {
        self.0[1] = u8::from(more);
        self.0
    }
}

/// Records of logs as they are on disk: what is in parts, and nothing of the head.
pub(crate) fn list_logs(
    core: &Core,
    after: Option<LogId>,
    bytes_max: usize,
) -> Result<Vec<u8>, StorageFault> {
    let from = after.map(keys::log_record);
    list(core, &keys::log_records(), from, |page, id, record| {
        // Other keys would have kept the folder from being opened.
        let Ok(id) = <[u8; 16]>::try_from(id) else { return true };
        let room = page.has_room(record.len() + 32, bytes_max);
        if room {
            page.push_log(LogId(u128::from_be_bytes(id)), record);
        }
        room
    })
}

/// Records of the parts with one of `logs`, which are sorted; of their logs only these. They are read from disk as
/// well, so that a part that a log's record speaks of is never missing because it is not shown yet.
pub(crate) fn list_parts(
    core: &Core,
    after: Option<PartName>,
    logs: &[LogId],
    bytes_max: usize,
) -> Result<Vec<u8>, StorageFault> {
    let from = after.map(|name| keys::part_record(name.into()));
    list(core, &keys::part_records(), from, |page, _, record| {
        let Ok(record) = PartRecord::decode(record) else { return true };
        let wanted = only(&record.logs, logs);
        let room = wanted.is_empty() || page.has_room(128 + 36 * wanted.len(), bytes_max);
        if room && !wanted.is_empty() {
            page.push_part(&PartRecord { logs: wanted, ..record });
        }
        room
    })
}

/// A page of the records under `prefix` behind the key `after`, until `push` has no room.
fn list(
    core: &Core,
    prefix: &[u8],
    after: Option<Vec<u8>>,
    mut push: impl FnMut(&mut Page, &[u8], &[u8]) -> bool,
) -> Result<Vec<u8>, StorageFault> {
    let db = core.lock().db.clone().ok_or(StorageFault::Closed)?;
    let parts = db.cf_handle(PARTS).ok_or(StorageFault::Closed)?;
    let from = match after {
        // The first key behind it.
        Some(mut key) => {
            key.push(0);
            key
        }
        None => prefix.to_vec(),
    };
    let mut page = Page::new();
    for item in db.iterator_cf(&parts, IteratorMode::From(&from, Direction::Forward)) {
        let (key, record) = item.map_err(|error| StorageFault::Disk(error.to_string()))?;
        let Some(rest) = key.strip_prefix(prefix) else { break };
        if !push(&mut page, rest, &record) {
            return Ok(page.finish(true));
        }
    }
    Ok(page.finish(false))
}

/// Those of a part's logs that are among the sorted `wanted`.
pub(super) fn only(logs: &[LogBatches], wanted: &[LogId]) -> Vec<LogBatches> {
    logs.iter().filter(|batches| wanted.binary_search(&batches.log).is_ok()).copied().collect()
}
