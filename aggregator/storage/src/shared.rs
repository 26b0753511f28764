//! What the writer thread, maintenance and views share.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vedette_model::Timestamp;
use vedette_wire::LogId;

use crate::StorageConfig;
use crate::cache::OpenedCache;
use crate::catalogue::Catalogue;
use crate::db::Db;
use crate::head::Head;
use crate::part::{Garbage, Part};
use crate::record::LogRecord;
use crate::statistics::Counters;
use crate::tombstone::Tombstone;

const DAY_MS: i64 = 86_400_000;

/// Fixed for the life of a storage, but for what is behind the lock.
pub(crate) struct Core {
    pub(crate) config: StorageConfig,
    pub(crate) counters: Arc<Counters>,
    pub(crate) garbage: Garbage,
    pub(crate) opened: Arc<OpenedCache>,
    /// The number of the last part.
    last_part: AtomicU64,
    state: Mutex<State>,
}

/// One consistent state: whoever takes the lock sees every batch either wholly or not at all.
#[derive(Default)]
pub(crate) struct State {
    /// `None` when closed, and while reopening.
    pub(crate) db: Option<Arc<Db>>,
    pub(crate) active: Arc<Head>,
    pub(crate) frozen: Option<Arc<Frozen>>,
    pub(crate) parts: Arc<Vec<Arc<Part>>>,
    /// What was deleted.
    pub(crate) tombstones: Arc<Vec<Tombstone>>,
    /// Counts applied batches over all logs.
    pub(crate) version: u64,
    /// The version at the last freeze.
    pub(crate) frozen_version: u64,
    pub(crate) catalogue: Catalogue,
    /// Generations of the log, oldest first.
    pub(crate) generations: Arc<Vec<u64>>,
    /// Why nothing can be written.
    pub(crate) fault: Option<String>,
}

/// A head that takes no more, with what its parts' records will say.
pub(crate) struct Frozen {
    pub(crate) head: Arc<Head>,
    /// Every log with batches in the head: its record, the first and the last batch.
    pub(crate) logs: Vec<(LogId, LogRecord, (u64, u64))>,
    pub(crate) forgotten: Vec<LogId>,
    /// The last generation whose frames are in this head.
    pub(crate) generation: u64,
}

impl State {
    /// Whether nothing has come since the last freeze. Batches without samples count: they are in the log.
    pub(crate) fn is_idle(&self) -> bool {
        self.version == self.frozen_version
    }
}

impl Core {
    pub(crate) fn new(config: StorageConfig) -> Self {
        Self {
            opened: Arc::new(OpenedCache::new(config.opened_cache_bytes)),
            config,
            counters: Arc::default(),
            garbage: Garbage::default(),
            last_part: AtomicU64::new(0),
            state: Mutex::default(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a new part.
    pub(crate) fn next_part(&self) -> u64 {
        self.last_part.fetch_add(1, Relaxed) + 1
    }

    /// The greatest number that a part has been given.
    pub(crate) fn last_part(&self) -> u64 {
        self.last_part.load(Relaxed)
    }

    /// New parts have greater numbers than this one, which is taken.
    pub(crate) fn part_taken(&self, number: u64) {
        self.last_part.fetch_max(number, Relaxed);
    }

    /// What lies wholly before this is forgotten: retention, and a day, since days are deleted whole.
    pub(crate) fn forgotten_before(&self, now: Timestamp) -> Timestamp {
        now.minus_millis(self.config.retention_ms).minus_millis(DAY_MS)
    }

    /// Called at places where a crash is worth testing.
    pub(crate) fn crash_point(&self, name: &'static str) {
        if let Some(hook) = self.config.crash_point {
            hook(name);
        }
    }
}
