//! The RocksDB database: its options, its column families, and the few ways in which it is written.

use std::path::{Path, PathBuf};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, DBWithThreadMode,
    IngestExternalFileOptions, MultiThreaded, Options, SstFileWriter, WriteBatch, WriteOptions,
};

use crate::bytes::VERSION;
use crate::tail::cut_torn;
use crate::{OpenError, StorageConfig};

pub(crate) type Db = DBWithThreadMode<MultiThreaded>;

/// The column family of parts and of all records.
pub(crate) const PARTS: &str = "parts";
const GENERATION_PREFIX: &str = "log-";
/// In the default column family: one byte, the format of the folder.
const FORMAT_KEY: &[u8] = b"format";
/// Where files are written before they are ingested. Whatever is in it at the start is left over.
const STAGING: &str = "staging";
const BLOCK_BYTES: usize = 16 << 10;
const MEMTABLE_BYTES: usize = 64 << 20;
const WAL_BYTES_MAX: u64 = 512 << 20;

/// Opens the database and gives the log's generations, oldest first. Where a loss of power has torn the last write, which
/// was not acknowledged, that is cut off.
pub(crate) fn open(config: &StorageConfig) -> Result<(Db, Vec<u64>), OpenError> {
    match open_strictly(config) {
        Err(damaged @ OpenError::Corrupt { .. }) => match cut_torn(&config.path) {
            Ok(true) => open_strictly(config),
            Ok(false) => Err(damaged),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                Err(OpenError::Locked { path: config.path.clone() })
            }
            Err(error) => {
                tracing::warn!(path = %config.path.display(), %error, "could not look for what a loss of power has torn");
                Err(damaged)
            }
        },
        opened => opened,
    }
}

fn open_strictly(config: &StorageConfig) -> Result<(Db, Vec<u64>), OpenError> {
    let path = &config.path;
    let disk = |error: std::io::Error| OpenError::Disk { path: path.clone(), reason: error.to_string() };
    let staging = staging(path);
    if staging.exists() {
        std::fs::remove_dir_all(&staging).map_err(disk)?;
    }
    std::fs::create_dir_all(copies(path)).map_err(disk)?;
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_max_total_wal_size(WAL_BYTES_MAX);
    // Only a record that was cut off at the end is passed over: it was never acknowledged. The default takes any bad
    // record for the end, and would lose without a word all that was acknowledged behind it. What else a loss of power may
    // leave at the end, `cut_torn` tells from damage.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    // A file of the log that is gone or too short, and is not the last, is noticed as well.
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    let existing = path.join("CURRENT").exists();
    let mut names = match existing {
        true => Db::list_cf(&options, path).map_err(|error| open_error(path, &error))?,
        false => Vec::new(),
    };
    for needed in [rocksdb::DEFAULT_COLUMN_FAMILY_NAME, PARTS] {
        if !names.iter().any(|name| name == needed) {
            names.push(needed.to_owned());
        }
    }
    let cache = Cache::new_lru_cache(config.block_cache_bytes);
    let families = names.iter().map(|name| ColumnFamilyDescriptor::new(name, family_options(name, &cache)));
    let db = Db::open_cf_descriptors(&options, path, families).map_err(|error| open_error(path, &error))?;
    check_format(&db, config)?;
    let mut generations: Vec<u64> =
        names.iter().filter_map(|name| name.strip_prefix(GENERATION_PREFIX)?.parse().ok()).collect();
    generations.sort_unstable();
    Ok((db, generations))
}

/// Parts are found by their place, so that they need no filters; what is stored is compressed already.
fn family_options(name: &str, cache: &Cache) -> Options {
    let mut options = Options::default();
    options.set_compression_type(DBCompressionType::None);
    if name == PARTS {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_size(BLOCK_BYTES);
        blocks.set_block_cache(cache);
        options.set_block_based_table_factory(&blocks);
    } else {
        options.set_write_buffer_size(MEMTABLE_BYTES);
        options.set_disable_auto_compactions(true);
    }
    options
}

fn check_format(db: &Db, config: &StorageConfig) -> Result<(), OpenError> {
    let path = &config.path;
    match db.get(FORMAT_KEY).map_err(|error| open_error(path, &error))?.as_deref() {
        Some([VERSION]) => Ok(()),
        Some([found]) => {
            Err(OpenError::Newer { path: path.clone(), what: "the folder", found: *found, known: VERSION })
        }
        Some(_) => Err(OpenError::Corrupt { path: path.clone(), what: "the folder's format".to_owned() }),
        None => db.put_opt(FORMAT_KEY, [VERSION], &synced()).map_err(|error| open_error(path, &error)),
    }
}

fn open_error(path: &Path, error: &rocksdb::Error) -> OpenError {
    use rocksdb::ErrorKind;
    let path = path.to_owned();
    let reason = error.to_string();
    match error.kind() {
        ErrorKind::Corruption => OpenError::Corrupt { path, what: reason },
        // A file that the database needs is gone.
        _ if reason.contains("Missing WAL") => OpenError::Corrupt { path, what: reason },
        _ if reason.contains("LOCK") || reason.contains("lock hold") => OpenError::Locked { path },
        _ => OpenError::Disk { path, reason },
    }
}

/// Where files to be ingested are written.
pub(crate) fn staging(path: &Path) -> PathBuf {
    path.join(STAGING)
}

/// Where parts that are copied from other replicas are written. It takes long, and failures of others do not matter.
pub(crate) fn copies(path: &Path) -> PathBuf {
    staging(path).join("copies")
}

/// Deletes what an attempt that failed has left in [`staging`], but for [`copies`]. What can not be deleted goes at the next start.
pub(crate) fn clear_staging(path: &Path) {
    let Ok(entries) = std::fs::read_dir(staging(path)) else { return };
    for entry in entries.flatten() {
        // Fails for the folder of copies, which stays.
        std::fs::remove_file(entry.path()).ok();
    }
}

/// The column family's name of a generation.
pub(crate) fn generation_name(generation: u64) -> String {
    format!("{GENERATION_PREFIX}{generation:016}")
}

/// Starts a generation.
pub(crate) fn create_generation(db: &Db, generation: u64) -> Result<(), rocksdb::Error> {
    let name = generation_name(generation);
    if db.cf_handle(&name).is_some() {
        return Ok(());
    }
    let cache = Cache::new_lru_cache(0);
    db.create_cf(&name, &family_options(&name, &cache))
}

/// Drops a generation.
pub(crate) fn drop_generation(db: &Db, generation: u64) -> Result<(), rocksdb::Error> {
    let name = generation_name(generation);
    if db.cf_handle(&name).is_some() { db.drop_cf(&name) } else { Ok(()) }
}

/// Writes and syncs.
pub(crate) fn write_synced(db: &Db, batch: WriteBatch) -> Result<(), rocksdb::Error> {
    db.write_opt(batch, &synced())
}

fn synced() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(true);
    options
}

/// One change of records: keys with their values, or without one where they go.
pub(crate) type Records = std::collections::BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Brings `files` and `records` in at once: after a crash either all of it is there or nothing.
pub(crate) fn ingest(
    db: &Db,
    path: &Path,
    mut files: Vec<PathBuf>,
    records: &Records,
) -> Result<(), rocksdb::Error> {
    let record_file = staging(path).join("records.sst");
    // RocksDB takes files by hard link: one left from before may be part of the database, and is unlinked, never
    // written over.
    if record_file.exists() {
        std::fs::remove_file(&record_file).ok();
    }
    let options = Options::default();
    let mut writer = SstFileWriter::create(&options);
    writer.open(&record_file)?;
    for (key, value) in records {
        match value {
            Some(value) => writer.put(key, value)?,
            None => writer.delete(key)?,
        }
    }
    writer.finish()?;
    files.insert(0, record_file);
    let mut ingestion = IngestExternalFileOptions::default();
    ingestion.set_move_files(true);
    let Some(parts) = db.cf_handle(PARTS) else { return Ok(()) };
    db.ingest_external_file_cf_opts(&parts, &ingestion, files)
}

#[cfg(test)]
mod tests {
    use rocksdb::statistics::Ticker;

    use super::*;

    #[test]
    fn every_write_is_synced() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut options = Options::default();
        options.create_if_missing(true);
        options.enable_statistics();
        let db = Db::open(&options, folder.path()).expect("opens");
        for count in 1..=3 {
            let mut batch = WriteBatch::default();
            batch.put(b"key", b"value");
            write_synced(&db, batch).expect("writes");
            assert_eq!(options.get_ticker_count(Ticker::WalFileSynced), count);
        }
    }
}
