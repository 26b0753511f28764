//! A copy of everything, beside the data: hard links to files that never change, so it takes neither time nor room.

use std::path::Path;

use rocksdb::checkpoint::Checkpoint;
use vedette_model::Timestamp;

use crate::{Storage, StorageFault};

impl Storage {
    /// Makes `target`, which must not exist but whose parent must, a folder that [`Storage::open`] opens. With
    /// `freeze` the head is written to parts first; without, the copy finds it in the log.
    pub fn snapshot(&self, target: &Path, freeze: bool, now: Timestamp) -> Result<(), StorageFault> {
        if freeze && !self.freeze(now) {
            return Err(StorageFault::Disk("the head could not be written to parts".to_owned()));
        }
        let db = self.database().ok_or(StorageFault::Closed)?;
        let fault = |error: rocksdb::Error| StorageFault::Disk(error.to_string());
        Checkpoint::new(&db).and_then(|checkpoint| checkpoint.create_checkpoint(target)).map_err(fault)
    }
}
