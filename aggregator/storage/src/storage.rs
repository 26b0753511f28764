use vedette_model::Timestamp;
use vedette_wire::LogId;

use crate::{Append, Busy, Done, OpenError, Resume, Statistics, StorageConfig, View, WriterStatus};

/// The storage. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Storage {}

impl Storage {
    /// Opens the folder, makes it when it is not there, and reads the log again.
    pub fn open(config: StorageConfig, now: Timestamp) -> Result<Self, OpenError> {
        unimplemented!()
    }

    /// Queues a frame. `done` is called with what became of it, on the writer thread: it must be quick.
    pub fn submit(&self, append: Append, done: Done) -> Result<(), Busy> {
        unimplemented!()
    }

    /// Where a log goes on.
    pub fn resume(&self, log: LogId) -> Resume {
        unimplemented!()
    }

    /// What is there now, unchanged as long as the view lives. Take one per query.
    pub fn view(&self, now: Timestamp) -> View {
        unimplemented!()
    }

    /// Writers, by name.
    pub fn writers(&self) -> Vec<WriterStatus> {
        unimplemented!()
    }

    /// Freezes, merges, deletes and recovers, as far as due. To be called every second or so from one thread that
    /// may be busy for long.
    pub fn maintain(&self, now: Timestamp) {
        unimplemented!()
    }

    /// Takes no more, finishes what is queued, and closes the files once the last view is gone.
    pub fn flush_and_close(&self) {
        unimplemented!()
    }

    /// Numbers for `/metrics`.
    pub fn statistics(&self) -> Statistics {
        unimplemented!()
    }
}
