//! What one replica lacks of what another has, and what may be claimed when.

use std::collections::{BTreeMap, VecDeque};

use vedette_model::Timestamp;
use vedette_wire::{BatchSeq, LogId};

use super::batches::Batches;
use super::listing::{PartName, PeerLog, PeerPart};
use crate::db::{Db, PARTS};
use crate::keys;
use crate::ranges::RangeSet;
use crate::record::LogRecord;
use crate::shared::Core;
use crate::{AppendRefusal, StorageFault};

/// A log of which another replica has something that this one has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    theirs: PeerLog,
    through: u64,
    /// Of this replica's gaps, what the other has.
    holes: Batches,
    /// What the other has behind all that is here.
    tail: Batches,
    /// The same, and what this replica has in its head alone: all that is to be copied with the tail.
    tail_copied: Batches,
    /// Whether the log ends later there than here, and is to end later here as well.
    with_tail: bool,
}

impl Lack {
    /// Which log.
    pub fn log(&self) -> LogId {
        self.theirs.log
    }

    /// The last batch that is here.
    pub fn through(&self) -> BatchSeq {
        BatchSeq(self.through)
    }

    /// Whether the log ends later there: the writer may still bring that by itself.
    pub fn has_tail(&self) -> bool {
        self.with_tail
    }

    /// Batches that this replica lacks and that its peer has.
    pub fn batches(&self) -> u64 {
        self.holes.count().saturating_add(self.tail.count())
    }

    /// What is left to copy when the writer is trusted to bring the tail; `None` when that is nothing.
    pub fn without_tail(self) -> Option<Self> {
        if !self.with_tail {
            return Some(self);
        }
        let nothing = Batches::default;
        let rest = Self { tail: nothing(), tail_copied: nothing(), with_tail: false, ..self };
        (!rest.holes.is_empty()).then_some(rest)
    }
}

/// Compares logs of another replica, as listed, with this one's.
pub(crate) fn compare(core: &Core, theirs: Vec<PeerLog>, now: Timestamp) -> Result<Vec<Lack>, StorageFault> {
    let db = core.lock().db.clone().ok_or(StorageFault::Closed)?;
    let oldest = core.forgotten_before(now);
    let mut lacks = Vec::new();
    let mut unknown = 0;
    for theirs in theirs {
        // What this replica would forget again at once.
        if theirs.record.complete.last_through().is_some_and(|through| through < oldest) {
            continue;
        }
        let own = core.lock().catalogue.logs.get(&theirs.log).map(|info| info.record.clone());
        if own.as_ref().is_some_and(|own| own.writer != theirs.record.writer) {
            tracing::warn!(log = %theirs.log, "a peer has the log under another writer's name; it is not copied");
            continue;
        }
        if own.is_none() {
            let logs_max = core.config.logs_max;
            unknown += 1;
            if core.lock().catalogue.logs.len() + unknown > logs_max {
                core.counters.refuse(&AppendRefusal::LogLimit { logs_max });
                continue;
            }
        }
        let durable = |log| -> Result<u64, StorageFault> {
            let record = read_record(&db, log).map_err(StorageFault::Disk)?;
            Ok(record.map_or(0, |record| record.watermark))
        };
        lacks.extend(lack(theirs, own.as_ref(), durable, oldest)?);
    }
    Ok(lacks)
}

fn lack(
    theirs: PeerLog,
    own: Option<&LogRecord>,
    durable: impl Fn(LogId) -> Result<u64, StorageFault>,
    oldest: Timestamp,
) -> Result<Option<Lack>, StorageFault> {
    let (through, gaps) = own.map_or((0, &[][..]), |own| (own.watermark, &own.gaps));
    let there = batches_of(&theirs.record);
    let end = theirs.record.watermark;
    let behind = |through: u64| there.intersection(&Batches::range(through.saturating_add(1), end));
    let mut lack = Lack {
        through,
        holes: there.intersection(&Batches::of_gaps(gaps)),
        tail: behind(through),
        tail_copied: Batches::default(),
        // Gaps at the end count as well: they are news.
        with_tail: theirs.record.watermark > through,
        theirs,
    };
    let theirs = &lack.theirs.record;
    if lack.with_tail {
        lack.tail_copied = behind(durable(lack.theirs.log)?);
        return Ok(Some(lack));
    }
    let has_times = own.is_some_and(|own| covers(&own.complete, &theirs.complete, oldest));
    Ok((!lack.holes.is_empty() || !has_times).then_some(lack))
}

fn batches_of(record: &LogRecord) -> Batches {
    Batches::range(1, record.watermark).without(&Batches::of_gaps(&record.gaps))
}

/// Whether the times that `theirs` says are whole, as far as they are kept, are in `own`.
fn covers(own: &RangeSet, theirs: &RangeSet, oldest: Timestamp) -> bool {
    let own = own.as_slice();
    theirs.as_slice().iter().filter(|range| range.through >= oldest).all(|range| {
        let place = own.partition_point(|own| own.through < range.through);
        own.get(place).is_some_and(|own| own.from <= range.from.max(oldest))
    })
}

/// A log's record on disk.
pub(super) fn read_record(db: &Db, log: LogId) -> Result<Option<LogRecord>, String> {
    let parts = db.cf_handle(PARTS).ok_or("closed")?;
    let bytes = db.get_cf(&parts, keys::log_record(log)).map_err(|error| error.to_string())?;
    bytes.map(|bytes| LogRecord::decode(&bytes)).transpose().map_err(|error| error.to_string())
}

/// What is to be copied from one replica: logs, and the parts that hold them, oldest first.
#[derive(Debug, Default)]
pub struct Lot {
    logs: BTreeMap<LogId, Wanted>,
    parts: VecDeque<PeerPart>,
}

#[derive(Debug)]
struct Wanted {
    theirs: PeerLog,
    with_tail: bool,
    /// Batches to be copied and not claimed yet.
    missing: Batches,
    /// Of the parts that are still to come: the day and number, the first and the last batch.
    parts: Vec<(PartName, u64, u64)>,
}

/// Batches of a log that are here now.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(super) theirs: PeerLog,
    pub(super) covered: Batches,
    /// Whether the log's end moves with it.
    pub(super) with_tail: bool,
    /// Whether nothing of the log is still to come.
    pub(super) last: bool,
}

impl Claim {
    pub(super) fn log(&self) -> LogId {
        self.theirs.log
    }

    /// Batches that it brings.
    pub(super) fn batches(&self) -> u64 {
        self.covered.count()
    }

    /// Whether the log's end would move over batches that the other replica never had, and that are in `head` here.
    pub(super) fn passes_over(&self, head: &Batches) -> bool {
        self.with_tail && !head.intersection(&Batches::of_gaps(&self.theirs.record.gaps)).is_empty()
    }

    /// What the log's record on disk becomes: every batch up to its watermark is in parts, but for its gaps. Its end
    /// stays before what is in `head` and not claimed.
    pub(super) fn settle(&self, own: Option<LogRecord>, head: &Batches) -> LogRecord {
        let theirs = &self.theirs.record;
        let mut record = own.unwrap_or_else(|| LogRecord {
            watermark: 0,
            complete: RangeSet::default(),
            gaps: Vec::new(),
            ..theirs.clone()
        });
        record.fill(&self.covered);
        while self.with_tail
            && let Some(next) = record.watermark.checked_add(1)
        {
            if let Some(end) = self.covered.end_of(next) {
                record.watermark = end;
            } else if let Some(gap) = theirs.gaps.iter().find(|gap| gap.from.0 <= next && next <= gap.to.0)
                && !head.intersects(next, gap.to.0)
            {
                record.watermark = gap.to.0;
                record.add_gap(Some(vedette_wire::Gap { from: BatchSeq(next), ..*gap }));
            } else {
                break;
            }
        }
        record
    }

    /// Whether `own` has every batch of which the other replica's times speak.
    pub(super) fn is_whole(&self, own: &LogRecord) -> bool {
        self.last
            && own.watermark >= self.theirs.record.watermark
            && Batches::of_gaps(&own.gaps).intersection(&batches_of(&self.theirs.record)).is_empty()
    }
}

impl Lot {
    /// All that `lacks` name.
    pub fn new(lacks: Vec<Lack>) -> Self {
        let wanted = |lack: Lack| {
            let wanted = Wanted {
                missing: lack.holes.union(&lack.tail_copied),
                with_tail: lack.with_tail,
                theirs: lack.theirs,
                parts: Vec::new(),
            };
            (wanted.theirs.log, wanted)
        };
        Self { logs: lacks.into_iter().map(wanted).collect(), parts: VecDeque::new() }
    }

    /// The logs, sorted.
    pub fn logs(&self) -> Vec<LogId> {
        self.logs.keys().copied().collect()
    }

    /// Takes a page of the parts with these logs, as listed after the logs.
    pub(crate) fn add_parts(&mut self, parts: Vec<PeerPart>, oldest: Timestamp) {
        for mut part in parts {
            if part.record.id.partition.end() <= oldest {
                continue;
            }
            let name = part.name();
            part.record.logs.retain(|batches| {
                let Some(wanted) = self.logs.get_mut(&batches.log) else { return false };
                let needed = wanted.missing.intersects(batches.first, batches.last);
                if needed {
                    wanted.parts.push((name, batches.first, batches.last));
                }
                needed
            });
            if !part.record.logs.is_empty() {
                self.parts.push_back(part);
            }
        }
    }

    /// The part to be copied next, and the logs that are wanted of it, sorted.
    pub fn next_part(&self) -> Option<(PartName, Vec<LogId>)> {
        let part = self.parts.front()?;
        let mut logs: Vec<LogId> = part.record.logs.iter().map(|batches| batches.log).collect();
        logs.sort_unstable();
        Some((part.name(), logs))
    }

    /// How many parts are left.
    pub fn parts_left(&self) -> usize {
        self.parts.len()
    }

    pub(super) fn front(&self) -> Option<&PeerPart> {
        self.parts.front()
    }

    /// What can be claimed of logs that no part is left of. Each is claimed once.
    pub(crate) fn claim_rest(&mut self) -> Vec<Claim> {
        let logs: Vec<LogId> =
            self.logs.iter().filter(|(_, wanted)| wanted.parts.is_empty()).map(|(log, _)| *log).collect();
        logs.into_iter().filter_map(|log| self.claim(log)).collect()
    }

    /// What can be claimed when the next part is here.
    pub(super) fn claims_with_front(&mut self) -> Vec<Claim> {
        let Some(part) = self.parts.front() else { return Vec::new() };
        let name = part.name();
        let logs: Vec<LogId> = part.record.logs.iter().map(|batches| batches.log).collect();
        let mut claims = Vec::new();
        for log in logs {
            if let Some(wanted) = self.logs.get_mut(&log) {
                wanted.parts.retain(|(part, ..)| *part != name);
            }
            claims.extend(self.claim(log));
        }
        claims
    }

    /// The next part is here.
    pub(super) fn pop_front(&mut self) {
        self.parts.pop_front();
    }

    /// What no part that is still to come may have a share in.
    fn claim(&mut self, log: LogId) -> Option<Claim> {
        let wanted = self.logs.get_mut(&log)?;
        let to_come = wanted.parts.iter().fold(Batches::default(), |to_come, (_, first, last)| {
            to_come.union(&Batches::range(*first, *last))
        });
        let covered = wanted.missing.without(&to_come);
        let last = wanted.parts.is_empty();
        if covered.is_empty() && !last {
            return None;
        }
        wanted.missing = wanted.missing.without(&covered);
        let claim = Claim { theirs: wanted.theirs.clone(), covered, with_tail: wanted.with_tail, last };
        if last {
            self.logs.remove(&log);
        }
        Some(claim)
    }
}
