//! From a folder to a running state.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use rocksdb::{Direction, IteratorMode};
use vedette_wire::LogId;

use crate::OpenError;
use crate::bytes::BytesError;
use crate::catalogue::Catalogue;
use crate::db::{self, Db, PARTS};
use crate::ingest::{Ingest, ReplayError};
use crate::keys::{self, PartId};
use crate::part::Part;
use crate::record::{LogRecord, PartRecord};
use crate::shared::{Core, State};
use crate::tombstone::Tombstone;

pub(crate) struct Opened {
    pub(crate) state: State,
    pub(crate) ingest: Ingest,
}

/// Opens the database, reads the records, finds what a crash has left over, and reads the log again.
pub(crate) fn open(core: &Arc<Core>) -> Result<Opened, OpenError> {
    let (db, generations) = db::open(&core.config)?;
    let db = Arc::new(db);
    let records = read_part_records(core, &db)?;
    let known: BTreeSet<PartId> = records.iter().map(|record| record.id).collect();
    let left = left_over(core, &db, &known)?;
    known.iter().chain(&left).for_each(|id| core.part_taken(id.number));
    *core.garbage.lock().unwrap_or_else(PoisonError::into_inner) = left;
    let parts = records.into_iter().map(|record| Arc::new(Part::new(record, Arc::clone(&db), core)));
    let state = State {
        db: Some(Arc::clone(&db)),
        parts: Arc::new(parts.collect()),
        catalogue: read_catalogue(core, &db)?,
        tombstones: Arc::new(read_tombstones(core, &db)?),
        ..State::default()
    };
    // Replay applies into the shared state, which nobody sees yet: views find no database.
    *core.lock() = State { db: None, ..state };
    let mut ingest = Ingest::new(Arc::clone(core), &generations);
    ingest.replay(&db).map_err(|error| match error {
        ReplayError::Disk(error) => disk(core, &error),
        ReplayError::Corrupt(what) => OpenError::Corrupt { path: core.config.path.clone(), what },
    })?;
    let state = State { db: Some(db), ..std::mem::take(&mut *core.lock()) };
    Ok(Opened { state, ingest })
}

fn read_part_records(core: &Core, db: &Db) -> Result<Vec<PartRecord>, OpenError> {
    let mut records = Vec::new();
    scan(core, db, &keys::part_records(), |_, value| {
        records.push(PartRecord::decode(value)?);
        Ok(())
    })?;
    Ok(records)
}

fn read_catalogue(core: &Core, db: &Db) -> Result<Catalogue, OpenError> {
    let mut catalogue = Catalogue::default();
    scan(core, db, &keys::log_records(), |rest, value| {
        let id = rest.try_into().map_err(|_| BytesError::damaged("a log's key", "wrong length"))?;
        catalogue.restore(LogId(u128::from_be_bytes(id)), LogRecord::decode(value)?);
        Ok(())
    })?;
    Ok(catalogue)
}

fn read_tombstones(core: &Core, db: &Db) -> Result<Vec<Tombstone>, OpenError> {
    let mut tombstones = Vec::new();
    scan(core, db, &keys::tombstone_records(), |rest, value| {
        let id = rest.try_into().map_err(|_| BytesError::damaged("a deletion's key", "wrong length"))?;
        tombstones.push(Tombstone::decode(u128::from_be_bytes(id), value)?);
        Ok(())
    })?;
    Ok(tombstones)
}

fn scan(
    core: &Core,
    db: &Db,
    prefix: &[u8],
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), BytesError>,
) -> Result<(), OpenError> {
    let Some(parts) = db.cf_handle(PARTS) else { return Ok(()) };
    for item in db.iterator_cf(&parts, IteratorMode::From(prefix, Direction::Forward)) {
        let (key, value) = item.map_err(|error| disk(core, &error))?;
        let Some(rest) = key.strip_prefix(prefix) else { break };
        visit(rest, &value).map_err(|error| bytes_error(core, error))?;
    }
    Ok(())
}

/// Parts whose files are there and whose records are not: a crash came before they were deleted.
fn left_over(core: &Core, db: &Db, known: &BTreeSet<PartId>) -> Result<Vec<PartId>, OpenError> {
    let Some(parts) = db.cf_handle(PARTS) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    let mut iterator = db.raw_iterator_cf(&parts);
    iterator.seek(keys::first_day());
    while let Some(id) = iterator.key().and_then(PartId::from_prefix) {
        if !known.contains(&id) {
            found.push(id);
        }
        iterator.seek(id.end_prefix());
    }
    iterator.status().map_err(|error| disk(core, &error))?;
    Ok(found)
}

fn bytes_error(core: &Core, error: BytesError) -> OpenError {
    let path = core.config.path.clone();
    match error {
        BytesError::Newer { what, found, .. } => {
            OpenError::Newer { path, what, found, known: crate::bytes::VERSION }
        }
        damaged @ BytesError::Damaged { .. } => OpenError::Corrupt { path, what: damaged.to_string() },
    }
}

fn disk(core: &Core, error: &rocksdb::Error) -> OpenError {
    let path = core.config.path.clone();
    match error.kind() {
        rocksdb::ErrorKind::Corruption => OpenError::Corrupt { path, what: error.to_string() },
        _ => OpenError::Disk { path, reason: error.to_string() },
    }
}
