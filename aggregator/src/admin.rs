//! What `/api/v1/admin/tsdb` does to the storage.

use std::path::{Path, PathBuf};

use vedette_api::Admin;
use vedette_daemon::clock;
use vedette_ingest::Ingest;
use vedette_model::{Matcher, Timestamp};
use vedette_storage::Storage;

/// Copies of the storage, in the data folder.
const SNAPSHOTS: &str = "snapshots";
/// The storage's folder within a data folder, and within a snapshot: so a snapshot is a data folder.
pub(crate) const STORAGE: &str = "storage";

pub(crate) struct StorageAdmin {
    storage: Storage,
    ingest: Ingest,
    snapshots: PathBuf,
}

impl StorageAdmin {
    pub(crate) fn new(storage: Storage, ingest: Ingest, data: &Path) -> Self {
        Self { storage, ingest, snapshots: data.join(SNAPSHOTS) }
    }
}

impl Admin for StorageAdmin {
    fn delete(&self, matchers: &[Matcher], start: Timestamp, end: Timestamp) -> Result<(), String> {
        let show = |matcher: &Matcher| format!("{}{}{:?}", matcher.name(), matcher.op(), matcher.value());
        let shown: Vec<_> = matchers.iter().map(show).collect();
        tracing::info!(matchers = shown.join(","), %start, %end, "series are deleted");
        self.storage
            .delete_series(matchers, (start, end), clock::now())
            .map_err(|error| error.to_string())?;
        self.ingest.tell_deletions();
        Ok(())
    }

    fn clean_tombstones(&self) -> Result<(), String> {
        self.storage.clean_tombstones(clock::now()).map_err(|error| error.to_string())
    }

    fn snapshot(&self, skip_head: bool) -> Result<String, String> {
        let now = clock::now();
        let name = snapshot_name(now, uuid::Uuid::new_v4().as_u128() as u64);
        let folder = self.snapshots.join(&name);
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let made = self.storage.snapshot(&folder.join(STORAGE), !skip_head, now);
        if let Err(error) = made {
            std::fs::remove_dir_all(&folder).ok();
            return Err(error.to_string());
        }
        tracing::info!(path = %folder.display(), "snapshot taken");
        Ok(name)
    }
}

/// As Prometheus names them: the time, and something by chance.
pub(crate) fn snapshot_name(now: Timestamp, chance: u64) -> String {
    let at = jiff::Timestamp::from_millisecond(now.as_millis()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{}-{chance:016x}", at.strftime("%Y%m%dT%H%M%SZ"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_are_named_as_prometheus_names_them() {
        let name = snapshot_name(Timestamp::from_millis(1_795_345_401_000), 0x28f9_7025_ac05_d5e1);
        assert_eq!(name, "20261122T110321Z-28f97025ac05d5e1");
    }
}
