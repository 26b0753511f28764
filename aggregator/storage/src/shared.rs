//! What the writer thread, maintenance and views share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vedette_wire::LogId;

use crate::StorageConfig;
use crate::catalogue::Catalogue;
use crate::db::Db;
use crate::head::Head;
use crate::part::{Garbage, Part};
use crate::record::LogRecord;
use crate::statistics::Counters;
use crate::tombstone::Tombstone;

/// Fixed for the life of a storage, but for what is behind the lock.
pub(crate) struct Core {
    pub(crate) config: StorageConfig,
    pub(crate) counters: Arc<Counters>,
    pub(crate) garbage: Garbage,
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
        Self { config, counters: Arc::default(), garbage: Garbage::default(), state: Mutex::default() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called at places where a crash is worth testing.
    pub(crate) fn crash_point(&self, name: &'static str) {
        if let Some(hook) = self.config.crash_point {
            hook(name);
        }
    }
}
