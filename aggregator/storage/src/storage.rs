use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use uuid::Uuid;
use vedette_model::{Matcher, SelectRequest, SeriesSource as _, Timestamp};
use vedette_wire::{BatchSeq, LogId};

use crate::copy::{self, Target};
use crate::db::Db;
use crate::frames::{first_frame, read_frames};
use crate::maintain::Maintenance;
use crate::open::{Opened, open};
use crate::queue::Queue;
use crate::shared::Core;
use crate::tombstone::{MATCHERS_MAX, Tombstone};
use crate::view::on_error;
use crate::writer::Writer;
use crate::{
    Append, AppendOutcome, Busy, DeleteError, Done, ImportError, Imported, Lack, Lot, OpenError, PartExport,
    PartName, PeerLog, PeerPart, Resume, Statistics, StorageConfig, StorageFault, View, WriterStatus,
};

/// The storage. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Storage {
    inner: Arc<Inner>,
}

struct Inner {
    core: Arc<Core>,
    queue: Arc<Queue>,
    maintenance: Mutex<Maintenance>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Storage {
    /// Opens the folder, makes it when it is not there, and reads the log again.
    pub fn open(config: StorageConfig, now: Timestamp) -> Result<Self, OpenError> {
        let disk =
            |error: std::io::Error| OpenError::Disk { path: config.path.clone(), reason: error.to_string() };
        std::fs::create_dir_all(&config.path).map_err(disk)?;
        let core = Arc::new(Core::new(config.clone()));
        let Opened { state, ingest } = open(&core)?;
        *core.lock() = state;
        let queue = Arc::new(Queue::new(config.queue_frames_max, config.queue_bytes_max));
        let writer = Writer::new(Arc::clone(&core), Arc::clone(&queue), ingest);
        let thread = std::thread::Builder::new().name("storage-writer".to_owned());
        let writer = thread.spawn(|| writer.run()).map_err(disk)?;
        let storage = Self {
            inner: Arc::new(Inner {
                core,
                queue,
                maintenance: Mutex::default(),
                writer: Mutex::new(Some(writer)),
            }),
        };
        // A long log is frozen at once, so that the next start is short.
        storage.maintain(now);
        Ok(storage)
    }

    /// Queues a frame. `done` is called with what became of it, on the writer thread: it must be quick. After the
    /// storage has been closed it is called at once.
    pub fn submit(&self, append: Append, done: Done) -> Result<(), Busy> {
        match self.inner.queue.push_append(append, done) {
            Ok(()) => Ok(()),
            Err(Ok(done)) => {
                done(AppendOutcome::Failed(StorageFault::Closed));
                Ok(())
            }
            Err(Err(busy)) => Err(busy),
        }
    }

    /// How long samples are kept.
    pub fn retention_ms(&self) -> i64 {
        self.inner.core.config.retention_ms
    }

    /// Where a log goes on.
    pub fn resume(&self, log: LogId) -> Resume {
        self.inner.core.lock().catalogue.resume(log)
    }

    /// Frames of a log as they came, from batch `from` to batch `to`, in order, as many as fit `bytes_max` but at least
    /// one. Empty when batch `from` is not in the log: never here, a hole here as well, or in parts for so long that
    /// its generation is gone. Reads the disk.
    pub fn frames(
        &self,
        log: LogId,
        from: BatchSeq,
        to: BatchSeq,
        bytes_max: usize,
    ) -> Result<Vec<Vec<u8>>, StorageFault> {
        let (db, generations) = {
            let state = self.inner.core.lock();
            (state.db.clone().ok_or(StorageFault::Closed)?, Arc::clone(&state.generations))
        };
        read_frames(&db, &generations, log, (from, to), bytes_max)
            .map_err(|error| StorageFault::Disk(error.to_string()))
    }

    /// The first batch of a log that [`Storage::frames`] has. Reads the disk.
    pub fn first_frame(&self, log: LogId) -> Result<Option<BatchSeq>, StorageFault> {
        let (db, generations) = {
            let state = self.inner.core.lock();
            (state.db.clone().ok_or(StorageFault::Closed)?, Arc::clone(&state.generations))
        };
        first_frame(&db, &generations, log).map_err(|error| StorageFault::Disk(error.to_string()))
    }

    /// A page of the logs that are in parts, for [`crate::LogListing::decode`] on another replica. It comes to `bytes_max`
    /// bytes or one log. Reads the disk.
    pub fn list_logs(&self, after: Option<LogId>, bytes_max: usize) -> Result<Vec<u8>, StorageFault> {
        copy::list_logs(&self.inner.core, after, bytes_max)
    }

    /// A page of the parts with one of `logs`, for [`crate::PartListing::decode`] on another replica. To be asked
    /// after the logs, so that every batch of theirs is in a part that is listed.
    pub fn list_parts(
        &self,
        after: Option<PartName>,
        logs: &[LogId],
        bytes_max: usize,
    ) -> Result<Vec<u8>, StorageFault> {
        copy::list_parts(&self.inner.core, after, &sorted(logs), bytes_max)
    }

    /// What a part holds of `logs`, for another replica; `None` when it was merged or deleted.
    pub fn export(&self, part: PartName, logs: &[LogId]) -> Option<PartExport> {
        copy::export(&self.inner.core, part, &sorted(logs))
    }

    /// What this replica lacks of logs that another has listed. Reads the disk.
    pub fn compare(&self, theirs: Vec<PeerLog>, now: Timestamp) -> Result<Vec<Lack>, StorageFault> {
        copy::compare(&self.inner.core, theirs, now)
    }

    /// Takes a page of the parts with the lot's logs into it, as the other replica has listed them.
    pub fn add_parts(&self, lot: &mut Lot, parts: Vec<PeerPart>, now: Timestamp) {
        lot.add_parts(parts, now.minus_millis(self.inner.core.config.retention_ms));
    }

    /// Claims of a lot that has all its parts listed what none of them is needed for. May wait for a merge to end.
    pub fn begin(&self, lot: &mut Lot, now: Timestamp) -> Result<Imported, ImportError> {
        self.target().claim_rest(lot, now)
    }

    /// Takes the lot's next part, as the other replica exports it, and claims what is whole with it. After an error
    /// the lot is of no use; what came before it is here to stay. May wait for a merge to end.
    pub fn import(
        &self,
        lot: &mut Lot,
        chunks: &mut dyn Iterator<Item = Result<Vec<u8>, String>>,
        now: Timestamp,
    ) -> Result<Imported, ImportError> {
        self.target().import(lot, chunks, now)
    }

    fn target(&self) -> Target<'_> {
        let Inner { core, queue, maintenance, .. } = &*self.inner;
        Target { core, queue, maintenance }
    }

    /// What is there now, unchanged as long as the view lives. Take one per query.
    pub fn view(&self, now: Timestamp) -> View {
        let core = &self.inner.core;
        let on_error = on_error(Arc::clone(&core.counters));
        let mut state = core.lock();
        let tombstones = Arc::clone(&state.tombstones);
        let (parts, heads, writers) = match state.db {
            Some(_) => {
                let frozen = state.frozen.as_ref().map(|frozen| Arc::clone(&frozen.head));
                let heads = frozen.into_iter().chain([Arc::clone(&state.active)]).collect();
                (Arc::clone(&state.parts), heads, state.catalogue.times())
            }
            None => Default::default(),
        };
        View {
            parts,
            heads,
            tombstones,
            version: state.version,
            oldest: now.minus_millis(core.config.retention_ms).as_millis(),
            now,
            exemplars_max: core.config.exemplars_max,
            writers,
            absences: OnceLock::new(),
            db: state.db.clone(),
            opened: Arc::clone(&core.opened),
            on_error,
            guard: None,
        }
    }

    /// Writers, by name.
    pub fn writers(&self) -> Vec<WriterStatus> {
        self.inner.core.lock().catalogue.statuses()
    }

    /// Freezes, merges, deletes and recovers, as far as due. To be called every second or so from one thread that
    /// may be busy for long; called while it runs, it returns at once.
    pub fn maintain(&self, now: Timestamp) {
        if let Ok(mut maintenance) = self.inner.maintenance.try_lock() {
            maintenance.run(&self.inner.core, &self.inner.queue, now);
        }
    }

    /// Freezes the head into parts now. Whether it could be done.
    pub fn freeze(&self, now: Timestamp) -> bool {
        let mut maintenance = self.inner.maintenance.lock().unwrap_or_else(PoisonError::into_inner);
        maintenance.freeze_now(&self.inner.core, &self.inner.queue, now)
    }

    /// Deletes the samples from `start` to `end`, both included, of the series that match, as far as they are there or
    /// still to come from the logs that are known now. What is younger than `now` stays.
    pub fn delete_series(
        &self,
        matchers: &[Matcher],
        (start, end): (Timestamp, Timestamp),
        now: Timestamp,
    ) -> Result<(), DeleteError> {
        let end = end.min(now);
        if matchers.len() > MATCHERS_MAX {
            return Err(DeleteError::TooManyMatchers { matchers_max: MATCHERS_MAX });
        }
        let found = self.view(now).series(&SelectRequest { matchers, start, end });
        if found.map_err(|error| StorageFault::Disk(error.to_string()))?.is_empty() {
            return Ok(());
        }
        let core = &self.inner.core;
        let mut maintenance = self.inner.maintenance.lock().unwrap_or_else(PoisonError::into_inner);
        let logs = core.lock().catalogue.logs.keys().copied().collect();
        let tombstone = Tombstone {
            id: Uuid::new_v4().as_u128(),
            created: now,
            start: start.as_millis(),
            end: end.as_millis(),
            matchers: matchers.to_vec(),
            logs,
            parts_through: 0,
        };
        maintenance.delete(core, tombstone)
    }

    /// The deletions that are remembered.
    pub fn deletions(&self) -> Vec<u128> {
        self.inner.core.lock().tombstones.iter().map(|tombstone| tombstone.id).collect()
    }

    /// One of them, for a peer.
    pub fn deletion(&self, id: u128) -> Option<Vec<u8>> {
        let tombstones = Arc::clone(&self.inner.core.lock().tombstones);
        tombstones.iter().find(|tombstone| tombstone.id == id).map(Tombstone::encode)
    }

    /// Takes over a deletion from a peer.
    pub fn take_deletion(&self, id: u128, record: &[u8]) -> Result<(), DeleteError> {
        let tombstone = Tombstone::decode(id, record)
            .map_err(|error| DeleteError::Record { reason: error.to_string() })?;
        let mut maintenance = self.inner.maintenance.lock().unwrap_or_else(PoisonError::into_inner);
        maintenance.delete(&self.inner.core, tombstone)
    }

    /// Frees the room of what was deleted, by writing the parts that hold it again.
    pub fn clean_tombstones(&self, now: Timestamp) -> Result<(), StorageFault> {
        let mut maintenance = self.inner.maintenance.lock().unwrap_or_else(PoisonError::into_inner);
        maintenance.clean(&self.inner.core, &self.inner.queue, now)
    }

    /// The open database; none when closed, and while reopening.
    pub(crate) fn database(&self) -> Option<Arc<Db>> {
        self.inner.core.lock().db.clone()
    }

    /// Takes no more, finishes what is queued, and closes the files once the last view is gone.
    pub fn flush_and_close(&self) {
        self.inner.close();
    }

    /// Numbers for `/metrics`.
    pub fn statistics(&self) -> Statistics {
        let inner = &self.inner;
        let mut statistics = inner.core.counters.read();
        let (frames, bytes) = inner.queue.waiting();
        (statistics.queue_frames, statistics.queue_bytes) = (frames as u64, bytes as u64);
        let state = inner.core.lock();
        let frozen = state.frozen.as_ref().map(|frozen| &frozen.head);
        for head in frozen.into_iter().chain([&state.active]) {
            statistics.head_series += head.series.load(Relaxed);
            statistics.head_samples += head.samples.load(Relaxed);
            statistics.head_bytes += head.bytes.load(Relaxed);
        }
        for part in state.parts.iter() {
            let level = usize::from(part.record.level).min(crate::LEVELS - 1);
            statistics.parts[level] += 1;
            statistics.parts_bytes += part.record.bytes;
            statistics.parts_samples += part.record.samples;
        }
        let opened = &inner.core.opened;
        statistics.opened_cache_bytes = opened.bytes();
        statistics.opened_cache_hits = opened.hits.load(Relaxed);
        statistics.opened_cache_misses = opened.misses.load(Relaxed);
        statistics.logs = state.catalogue.logs.len() as u64;
        statistics.faulted = state.fault.is_some();
        statistics
    }
}

fn sorted(logs: &[LogId]) -> Vec<LogId> {
    let mut logs = logs.to_vec();
    logs.sort_unstable();
    logs
}

impl Inner {
    fn close(&self) {
        self.queue.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The last clone may be dropped by what an append was told to do: the writer itself does not wait for itself.
        if let Some(writer) = writer
            && writer.thread().id() != std::thread::current().id()
            && writer.join().is_err()
        {
            tracing::error!("the storage's writer thread has panicked");
        }
        // Maintenance that runs holds on to the database: wait for it.
        let _maintenance = self.maintenance.lock().unwrap_or_else(PoisonError::into_inner);
        let state = std::mem::take(&mut *self.core.lock());
        drop(state);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}
