//! What happens beside reading and writing: freezing, merging, deleting, recovering. Run by one driver thread.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, PoisonError};

use vedette_model::Timestamp;

use crate::cache::head_prefix;
use crate::compact::{MergeError, Plan, plan, write_merged};
use crate::db::{self, Db, PARTS, Records};
use crate::freeze::write_parts;
use crate::keys::{self, PartId, Partition};
use crate::part::{Part, ReadError};
use crate::queue::{Command, Queue};
use crate::record::PartRecord;
use crate::shared::{Core, Frozen};
use crate::statistics::Stopwatch;
use crate::tombstone::{TOMBSTONES_MAX, Tombstone};
use crate::{DeleteError, StorageFault};

/// After a fault it is tried again at this pace.
const RETRY_MS: i64 = 2_000;
/// The least room on disk that reopening is tried with; RocksDB writes again what is in the log.
const PROBE_BYTES_MIN: u64 = 8 << 20;
const PROBE_BYTES_MAX: u64 = 1 << 30;
/// Merges in one go, so that freezing does not wait for long.
const MERGES_MAX: usize = 4;

/// What maintenance remembers from one time to the next.
#[derive(Default)]
pub(crate) struct Maintenance {
    /// When the head was first seen with something in it.
    head_since: Option<Timestamp>,
    retry_at: Option<Timestamp>,
    /// Days with a part that can not be read. They are left as they are, so that others go on being merged.
    unmergeable: BTreeSet<Partition>,
}

/// Why maintenance could not go on.
#[derive(Debug, thiserror::Error)]
enum MaintainError {
    #[error(transparent)]
    Disk(#[from] rocksdb::Error),
    #[error(transparent)]
    Write(#[from] crate::part_writer::WriteError),
    #[error(transparent)]
    Merge(#[from] MergeError),
}

impl Maintenance {
    /// Does what is due.
    pub(crate) fn run(&mut self, core: &Core, queue: &Queue, now: Timestamp) {
        if self.retry_at.is_some_and(|at| now < at && now.plus_millis(RETRY_MS) >= at) {
            return;
        }
        self.retry_at = None;
        if core.lock().fault.is_some() && !self.recover(core, queue) {
            self.retry_at = Some(now.plus_millis(RETRY_MS));
            return;
        }
        let Some(db) = core.lock().db.clone() else { return };
        if let Err(error) = self.work(core, queue, &db, now) {
            core.counters.disk_faults.fetch_add(1, Relaxed);
            tracing::error!(%error, "storage maintenance failed and is tried again");
            self.retry_at = Some(now.plus_millis(RETRY_MS));
            // Or every attempt leaves its files on a disk that may be full.
            db::clear_staging(&core.config.path);
        }
    }

    fn work(
        &mut self,
        core: &Core,
        queue: &Queue,
        db: &Arc<Db>,
        now: Timestamp,
    ) -> Result<(), MaintainError> {
        self.delete_garbage(core, db)?;
        if self.freeze_due(core, now) {
            self.freeze(core, queue, db, now)?;
        }
        retain(core, db, now)?;
        for _ in 0..MERGES_MAX {
            let parts = Arc::clone(&core.lock().parts);
            let Some(plan) = plan(&core.config, &parts, now, &self.unmergeable) else { break };
            drop(parts);
            let day = plan.parts.first().map(|part| part.record.id.partition);
            match self.merge(core, db, plan, now) {
                Err(MaintainError::Merge(MergeError::Read(error @ ReadError::Bytes { .. }))) => {
                    core.counters.corrupt.fetch_add(1, Relaxed);
                    tracing::error!(%error, "a part is damaged; its day is not merged any more: restore a backup, or live without that part's samples");
                    self.unmergeable.extend(day);
                    db::clear_staging(&core.config.path);
                }
                merged => merged?,
            }
        }
        Ok(())
    }

    /// Freezes the head now, whatever its size.
    pub(crate) fn freeze_now(&mut self, core: &Core, queue: &Queue, now: Timestamp) -> bool {
        let Some(db) = core.lock().db.clone() else { return false };
        self.freeze(core, queue, &db, now).is_ok()
    }

    fn freeze_due(&mut self, core: &Core, now: Timestamp) -> bool {
        let state = core.lock();
        if state.frozen.is_some() {
            return true;
        }
        if state.is_idle() {
            self.head_since = None;
            return false;
        }
        let since = *self.head_since.get_or_insert(now);
        state.active.weight.load(Relaxed) >= core.config.head_samples_max
            || now.millis_since(since) >= core.config.head_age_max_ms
    }

    fn freeze(
        &mut self,
        core: &Core,
        queue: &Queue,
        db: &Arc<Db>,
        now: Timestamp,
    ) -> Result<(), MaintainError> {
        if core.lock().frozen.is_none() {
            let (answer, answered) = sync_channel(1);
            if !queue.push_control(Command::Rotate(now, answer)) || answered.recv() != Ok(true) {
                return Ok(());
            }
            self.head_since = None;
        }
        let Some(frozen) = core.lock().frozen.clone() else { return Ok(()) };
        let _watch = Stopwatch::start(&core.counters.freeze_micros);
        core.crash_point("freeze_before_write");
        let new = write_parts(core, &frozen, now)?;
        let records = freeze_records(&frozen, &new.records);
        core.crash_point("freeze_before_ingest");
        db::ingest(db, &core.config.path, new.files, &records)?;
        core.crash_point("freeze_after_ingest");
        publish(core, db, new.records, &[], true);
        core.counters.conflicts.fetch_add(new.conflicts, Relaxed);
        core.counters.freezes.fetch_add(1, Relaxed);
        queue.push_control(Command::DropGenerations { through: frozen.generation });
        Ok(())
    }

    fn merge(&mut self, core: &Core, db: &Arc<Db>, plan: Plan, now: Timestamp) -> Result<(), MaintainError> {
        let _watch = Stopwatch::start(&core.counters.merge_micros);
        let merged = write_merged(core, &plan, now)?;
        let mut records = Records::new();
        let replaced: Vec<PartId> = plan.parts.iter().map(|part| part.record.id).collect();
        records.extend(replaced.iter().map(|id| (keys::part_record(*id), None)));
        let (files, new): (Vec<_>, Vec<_>) = merged.part.into_iter().unzip();
        records.extend(new.iter().map(|record| (keys::part_record(record.id), Some(record.encode()))));
        core.crash_point("merge_before_ingest");
        db::ingest(db, &core.config.path, files, &records)?;
        core.crash_point("merge_after_ingest");
        publish(core, db, new, &replaced, false);
        core.counters.conflicts.fetch_add(merged.conflicts, Relaxed);
        core.counters.merges.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Records a deletion and shows it, both at once.
    pub(crate) fn delete(&mut self, core: &Core, mut tombstone: Tombstone) -> Result<(), DeleteError> {
        let Some(db) = core.lock().db.clone() else { return Err(StorageFault::Closed.into()) };
        tombstone.parts_through = core.last_part();
        let known = Arc::clone(&core.lock().tombstones);
        if known.iter().any(|other| other.id == tombstone.id) {
            return Ok(());
        }
        if known.len() >= TOMBSTONES_MAX {
            return Err(DeleteError::TooMany { tombstones_max: TOMBSTONES_MAX });
        }
        let record = (keys::tombstone_record(tombstone.id), Some(tombstone.encode()));
        db::ingest(&db, &core.config.path, Vec::new(), &Records::from([record]))
            .map_err(|error| StorageFault::Disk(error.to_string()))?;
        let mut all = known.to_vec();
        all.push(tombstone);
        core.lock().tombstones = Arc::new(all);
        Ok(())
    }

    /// Writes the parts that hold what was deleted again, without it.
    pub(crate) fn clean(&mut self, core: &Core, queue: &Queue, now: Timestamp) -> Result<(), StorageFault> {
        let tombstones = Arc::clone(&core.lock().tombstones);
        if tombstones.is_empty() {
            return Ok(());
        }
        if !self.freeze_now(core, queue, now) {
            return Err(StorageFault::Disk("the head could not be written to parts".to_owned()));
        }
        let Some(db) = core.lock().db.clone() else { return Err(StorageFault::Closed) };
        let parts = Arc::clone(&core.lock().parts);
        for part in parts.iter() {
            if holds_deleted(part, &tombstones).map_err(|error| StorageFault::Disk(error.to_string()))? {
                self.merge(core, &db, Plan::again(Arc::clone(part)), now)
                    .map_err(|error| StorageFault::Disk(error.to_string()))?;
            }
        }
        db::clear_staging(&core.config.path);
        Ok(())
    }

    /// Deletes the files of parts that nothing refers to any more.
    fn delete_garbage(&mut self, core: &Core, db: &Db) -> Result<(), MaintainError> {
        let garbage = std::mem::take(&mut *core.garbage.lock().unwrap_or_else(PoisonError::into_inner));
        let Some(family) = db.cf_handle(PARTS) else { return Ok(()) };
        for id in garbage {
            core.crash_point("garbage");
            let (from, to) = (id.prefix(), id.end_prefix());
            db.delete_file_in_range_cf(&family, from, to)?;
            let mut rest = db.raw_iterator_cf(&family);
            rest.seek(from);
            // A file that is not at a low level yet stays; its keys go the ordinary way.
            if rest.key().is_some_and(|key| key < &to[..]) {
                let mut batch = rocksdb::WriteBatch::default();
                batch.delete_range_cf(&family, from, to);
                db::write_synced(db, batch)?;
            }
        }
        Ok(())
    }

    /// Reopens the database once the disk takes bytes again.
    fn recover(&self, core: &Core, queue: &Queue) -> bool {
        let log_bytes = core.counters.log_bytes.load(Relaxed);
        let wanted = log_bytes.saturating_mul(2).clamp(PROBE_BYTES_MIN, PROBE_BYTES_MAX);
        if probe(core, wanted).is_err() {
            return false;
        }
        let (answer, answered) = sync_channel(1);
        queue.push_control(Command::Reopen(answer)) && answered.recv() == Ok(true)
    }
}

/// Writes and removes a file of `bytes` bytes.
fn probe(core: &Core, bytes: u64) -> std::io::Result<()> {
    const CHUNK: usize = 1 << 20;
    let path = db::staging(&core.config.path).join("probe");
    let write = || {
        let mut file = std::fs::File::create(&path)?;
        let chunk = vec![0x55; CHUNK];
        for _ in 0..bytes.div_ceil(CHUNK as u64) {
            file.write_all(&chunk)?;
        }
        file.sync_all()
    };
    let written = write();
    std::fs::remove_file(&path)?;
    written
}

fn freeze_records(frozen: &Frozen, parts: &[PartRecord]) -> Records {
    let mut records = Records::new();
    records.extend(frozen.forgotten.iter().map(|log| (keys::log_record(*log), None)));
    records
        .extend(frozen.logs.iter().map(|(log, record, _)| (keys::log_record(*log), Some(record.encode()))));
    records.extend(parts.iter().map(|record| (keys::part_record(record.id), Some(record.encode()))));
    records
}

/// Whether a part that is older than a deletion has series that it concerns.
fn holds_deleted(part: &Arc<Part>, tombstones: &[Tombstone]) -> Result<bool, ReadError> {
    for tombstone in tombstones {
        if part.record.id.number <= tombstone.parts_through
            && part.overlaps(tombstone.start, tombstone.end)
            && !part.matching(&tombstone.matchers)?.is_empty()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Shows new parts instead of the frozen head, or instead of other parts.
fn publish(core: &Core, db: &Arc<Db>, new: Vec<PartRecord>, replaced: &[PartId], frozen: bool) {
    let mut state = core.lock();
    let mut parts: Vec<Arc<Part>> = Vec::with_capacity(state.parts.len() + new.len());
    for part in state.parts.iter() {
        if replaced.contains(&part.record.id) {
            part.retire();
        } else {
            parts.push(Arc::clone(part));
        }
    }
    parts.extend(new.into_iter().map(|record| Arc::new(Part::new(record, Arc::clone(db), core))));
    let old = std::mem::replace(&mut state.parts, Arc::new(parts));
    let head = if frozen { state.frozen.take() } else { None };
    drop(state);
    let mut gone: Vec<_> = replaced.iter().map(|id| id.prefix()).collect();
    gone.extend(head.iter().map(|frozen| head_prefix(frozen.head.number())));
    core.opened.forget(&gone);
    // Freeing a head takes a while, and nobody has to wait for it.
    drop((old, head));
}

/// Deletes the days that retention has passed.
fn retain(core: &Core, db: &Arc<Db>, now: Timestamp) -> Result<(), MaintainError> {
    let oldest = now.minus_millis(core.config.retention_ms);
    let past: Vec<PartId> = {
        let state = core.lock();
        let ids = state.parts.iter().map(|part| part.record.id);
        ids.filter(|id| id.partition.end() <= oldest).collect()
    };
    let forgotten: Vec<u128> = {
        let state = core.lock();
        state.tombstones.iter().filter(|tombstone| tombstone.is_past(oldest)).map(|one| one.id).collect()
    };
    if !forgotten.is_empty() {
        let records = forgotten.iter().map(|id| (keys::tombstone_record(*id), None)).collect();
        db::ingest(db, &core.config.path, Vec::new(), &records)?;
        let mut state = core.lock();
        let left = state.tombstones.iter().filter(|tombstone| !forgotten.contains(&tombstone.id)).cloned();
        state.tombstones = Arc::new(left.collect());
    }
    if past.is_empty() {
        return Ok(());
    }
    let records = past.iter().map(|id| (keys::part_record(*id), None)).collect();
    core.crash_point("retain_before_ingest");
    db::ingest(db, &core.config.path, Vec::new(), &records)?;
    publish(core, db, Vec::new(), &past, false);
    core.counters.partitions_deleted.fetch_add(past.len() as u64, Relaxed);
    Ok(())
}
