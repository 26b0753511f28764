//! The stream of a part, checked and written as a part of this replica's own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rocksdb::Options;
use vedette_model::{Metadata, Timestamp};
use vedette_wire::LogId;

use super::commit::commit;
use super::items::{Item, Items};
use super::lot::Lot;
use crate::bytes::BytesError;
use crate::db::copies;
use crate::keys::PartId;
use crate::maintain::Maintenance;
use crate::part_writer::{PartWriter, WriteError};
use crate::queue::Queue;
use crate::record::PartRecord;
use crate::shared::Core;
use crate::{LEVELS, StorageFault};

/// What a part brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Samples copied, those that were here already included.
    pub samples: u64,
    /// Batches that are here now and were not.
    pub batches: u64,
}

/// Why a part could not be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// The stream broke off.
    #[error("the stream broke off: {0}")]
    Stream(String),
    /// The stream is not what was asked for.
    #[error("the stream is damaged: {0}")]
    Damaged(String),
    /// A freeze that failed has to be done first.
    #[error("storage waits for its disk")]
    Busy,
    /// This replica's storage fails.
    #[error(transparent)]
    Storage(#[from] StorageFault),
}

impl From<BytesError> for ImportError {
    fn from(error: BytesError) -> Self {
        Self::Damaged(error.to_string())
    }
}

impl From<WriteError> for ImportError {
    fn from(error: WriteError) -> Self {
        Self::Storage(StorageFault::Disk(error.to_string()))
    }
}

/// What imports need of the storage.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) core: &'a Core,
    pub(crate) queue: &'a Queue,
    pub(crate) maintenance: &'a Mutex<Maintenance>,
}

impl Target<'_> {
    /// Claims what needs no part: of logs whose batches brought no samples, or only such as retention has dropped.
    pub(crate) fn claim_rest(&self, lot: &mut Lot, now: Timestamp) -> Result<Imported, ImportError> {
        let claims = lot.claim_rest();
        let mut maintenance = self.maintenance.lock().unwrap_or_else(PoisonError::into_inner);
        let batches = commit(self.core, self.queue, &mut maintenance, &claims, None, now)?;
        Ok(Imported { samples: 0, batches })
    }

    /// Takes the lot's next part from `chunks`, and claims what it allows. After an error the lot is of no use: what
    /// is here by then stays, and a new one finds the rest.
    pub(crate) fn import(
        &self,
        lot: &mut Lot,
        chunks: &mut dyn Iterator<Item = Result<Vec<u8>, String>>,
        now: Timestamp,
    ) -> Result<Imported, ImportError> {
        let Some(part) = lot.front() else { return Ok(Imported::default()) };
        let wanted: BTreeSet<LogId> = part.record.logs.iter().map(|batches| batches.log).collect();
        let level = part.record.level.min(LEVELS as u8 - 1);
        let items = Items::new(&part.record, chunks);
        let number = self.core.next_part();
        let id = PartId { number, ..part.record.id };
        let file = copies(&self.core.config.path).join(format!("{number:020}.sst"));
        let written =
            write(&file, id, &wanted, items, level, self.core.config.exemplars_max, now).and_then(|record| {
                let claims = lot.claims_with_front();
                let samples = record.as_ref().map_or(0, |record| record.samples);
                let part = record.map(|record| (file.clone(), record));
                let mut maintenance = self.maintenance.lock().unwrap_or_else(PoisonError::into_inner);
                let batches = commit(self.core, self.queue, &mut maintenance, &claims, part, now)?;
                Ok(Imported { samples, batches })
            });
        lot.pop_front();
        if written.is_err() {
            // What can not be deleted goes at the next start.
            std::fs::remove_file(&file).ok();
        }
        written
    }
}

/// Writes the part; `None` when there is no series of the logs in it.
fn write(
    file: &Path,
    id: PartId,
    wanted: &BTreeSet<LogId>,
    mut items: Items<'_>,
    level: u8,
    exemplars_max: usize,
    now: Timestamp,
) -> Result<Option<PartRecord>, ImportError> {
    let options = Options::default();
    let mut part = PartWriter::create_at(&options, file.to_owned(), id, exemplars_max)?;
    let mut families: BTreeMap<String, BTreeSet<Metadata>> = BTreeMap::new();
    while let Some(item) = items.next()? {
        match item {
            Item::Times(encoded) => drop(part.add_times(encoded.to_vec())),
            Item::Series { labels, columns, exemplars } => {
                if let Some(log) =
                    columns.iter().filter_map(|column| column.log).find(|log| !wanted.contains(log))
                {
                    return Err(ImportError::Damaged(format!("log {log} was not asked for")));
                }
                part.add_encoded(&labels, columns, exemplars)?;
            }
            Item::Family { name, known } => families.entry(name).or_default().extend(known),
        }
    }
    if items.series() == 0 {
        drop(part);
        std::fs::remove_file(file).ok();
        return Ok(None);
    }
    let batches = items.batches();
    let of_log = |log| batches.get(&log).copied().unwrap_or_default();
    let (_, record) = part.finish(level, now, &families, of_log)?;
    Ok(Some(record))
}
