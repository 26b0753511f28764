//! What was copied, brought in: on disk in one step, then shown in one.
//!
//! Nothing else changes records on disk meanwhile, because whoever commits holds maintenance. Frames go on coming. A
//! log's record on disk and the one in memory, which is ahead by what is in the head, take the claims each for
//! itself, and the log's end in memory is only moved to where it is on disk: so reading the log again after a crash
//! finds each frame either known or next.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use vedette_model::Timestamp;
use vedette_wire::{BatchSeq, Gap, LogId};

use super::batches::Batches;
use super::import::ImportError;
use super::lot::{Claim, read_record};
use crate::StorageFault;
use crate::db::{self, Db, Records};
use crate::keys;
use crate::maintain::Maintenance;
use crate::part::Part;
use crate::queue::{Command, Queue};
use crate::record::{LogRecord, PartRecord};
use crate::shared::Core;

/// What is on disk and is to be shown.
pub(crate) struct Copied {
    part: Option<PartRecord>,
    logs: Vec<CopiedLog>,
}

struct CopiedLog {
    log: LogId,
    /// As it is on disk now, or would be if there were anything of it.
    record: LogRecord,
    covered: Batches,
}

/// Brings in a part, if there is one, with the claims that it allows. Gives the batches claimed.
///
/// `maintenance` is held, and puts this replica's head into parts first where a claim would pass over it: a record on
/// disk must not name as a gap of the other's what is here in the head alone.
pub(crate) fn commit(
    core: &Core,
    queue: &Queue,
    maintenance: &mut Maintenance,
    claims: &[Claim],
    part: Option<(PathBuf, PartRecord)>,
    now: Timestamp,
) -> Result<u64, ImportError> {
    let db = core.lock().db.clone().ok_or(StorageFault::Closed)?;
    for claim in claims {
        let own = read_record(&db, claim.log()).map_err(StorageFault::Disk)?;
        if claim.passes_over(&in_head(core, claim.log(), own.as_ref())) {
            if !maintenance.freeze_now(core, queue, now) {
                return Err(ImportError::Busy);
            }
            break;
        }
    }
    if core.lock().frozen.is_some() {
        // Its records would overwrite these.
        return Err(ImportError::Busy);
    }
    let mut logs = Vec::new();
    let mut records = Records::new();
    for claim in claims {
        let own = read_record(&db, claim.log()).map_err(StorageFault::Disk)?;
        let before = own.clone();
        let Some(record) = settled(core, claim, own, now) else { continue };
        // A log of which nothing is in parts but what a gap in memory had named has no record yet, and gets one with
        // the next freeze. After a crash the gap comes back, and is filled again.
        if record.watermark > 0 && before.as_ref() != Some(&record) {
            records.insert(keys::log_record(claim.log()), Some(record.encode()));
        }
        logs.push(CopiedLog { log: claim.log(), record, covered: claim.covered.clone() });
    }
    let (file, part) = part.unzip();
    if let Some(part) = &part {
        records.insert(keys::part_record(part.id), Some(part.encode()));
    }
    if !records.is_empty() {
        core.crash_point("copy_before_ingest");
        db::ingest(&db, &core.config.path, file.into_iter().collect(), &records)
            .map_err(|error| StorageFault::Disk(error.to_string()))?;
        core.crash_point("copy_after_ingest");
    }
    if logs.is_empty() && part.is_none() {
        return Ok(0);
    }
    let (answer, answered) = sync_channel(1);
    let copied = Box::new(Copied { part, logs });
    if !queue.push_control(Command::Show(copied, answer)) || answered.recv() != Ok(true) {
        // It is on disk, and is shown when the storage is open again.
        return Err(StorageFault::Closed.into());
    }
    Ok(claims.iter().map(Claim::batches).sum())
}

/// The log's record on disk with the claim; `None` when the log is another writer's.
fn settled(core: &Core, claim: &Claim, own: Option<LogRecord>, now: Timestamp) -> Option<LogRecord> {
    let theirs = &claim.theirs.record;
    let in_memory = core.lock().catalogue.logs.get(&claim.log()).map(|info| info.record.clone());
    let foreign = |record: &LogRecord| record.writer != theirs.writer;
    if own.as_ref().is_some_and(foreign) || in_memory.as_ref().is_some_and(foreign) {
        return None;
    }
    let head = in_head(core, claim.log(), own.as_ref());
    let mut record = claim.settle(own, &head);
    let mut after = in_memory.unwrap_or_else(|| record.clone());
    join(&mut after, &record, &claim.covered);
    if claim.is_whole(&after) {
        record.complete.add_all(&theirs.complete);
        record.complete.forget_before(core.forgotten_before(now));
    }
    Some(record)
}

/// Batches of a log that this replica has in its head alone; `own` is the log's record on disk.
fn in_head(core: &Core, log: LogId, own: Option<&LogRecord>) -> Batches {
    let state = core.lock();
    let Some(info) = state.catalogue.logs.get(&log) else { return Batches::default() };
    let first = own.map_or(0, |own| own.watermark) + 1;
    Batches::range(first, info.record.watermark).without(&Batches::of_gaps(&info.record.gaps))
}

/// What the record in memory becomes when the one on disk is `durable`.
fn join(record: &mut LogRecord, durable: &LogRecord, covered: &Batches) {
    record.fill(covered);
    for gap in &durable.gaps {
        if gap.to.0 > record.watermark {
            record.add_gap(Some(Gap { from: gap.from.max(BatchSeq(record.watermark + 1)), ..*gap }));
        }
    }
    record.watermark = record.watermark.max(durable.watermark);
    record.complete.add_all(&durable.complete);
}

/// Shows what was copied. Called by the writer thread, between frames; gives the logs that end later now.
pub(crate) fn show(core: &Core, db: &Arc<Db>, copied: Copied) -> Vec<(LogId, u64)> {
    let mut raised = Vec::new();
    let mut state = core.lock();
    for CopiedLog { log, record, covered } in copied.logs {
        if record.watermark == 0 && !state.catalogue.logs.contains_key(&log) {
            continue;
        }
        let info = state.catalogue.entry(log, &record.writer, record.interval_ms);
        let before = info.record.watermark;
        join(&mut info.record, &record, &covered);
        if info.record.watermark > before {
            raised.push((log, info.record.watermark));
        }
        state.catalogue.touch(record.writer);
    }
    if let Some(part) = copied.part {
        let mut parts = state.parts.to_vec();
        parts.push(Arc::new(Part::new(part, Arc::clone(db), core)));
        state.parts = Arc::new(parts);
    }
    raised
}
