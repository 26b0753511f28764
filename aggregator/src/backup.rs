//! `backup DIR`: a copy of the data folder that an aggregator can be started on.
//!
//! The running aggregator makes a snapshot, hard links within its own folder; who asks copies it elsewhere, with the rights
//! that it has. So the aggregator needs none outside its folder.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use vedette_daemon::{clock, data_format};
use vedette_storage::Storage;
use vedette_transport::create_folder;

use crate::admin::{STORAGE, snapshot_name};

/// Snapshots that are being copied, in the data folder.
const FOLDER: &str = "backups";
/// What is copied beside the storage. Tokens are not: one that was used since must not work again.
const BESIDE: [&str; 6] = [
    data_format::FILE,
    "identity.pem",
    "members.json",
    "ca/authority.pem",
    "ca/enrolled.txt",
    "ca/roll.json",
];

/// The running aggregator's part.
pub(crate) struct Snapshots {
    storage: Storage,
    folder: PathBuf,
}

impl Snapshots {
    /// Snapshots that nobody has copied to the end are let go.
    pub(crate) fn new(storage: Storage, data: &Path) -> Self {
        let snapshots = Self { storage, folder: data.join(FOLDER) };
        snapshots.clear();
        snapshots
    }

    fn clear(&self) {
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(path = %self.folder.display(), %error, "what is left of a backup could not be removed");
            }
            _ => {}
        }
    }

    /// Makes one; the one before is let go. Gives its folder.
    pub(crate) fn take(&self) -> Result<PathBuf> {
        self.clear();
        create_folder(&self.folder)?;
        let now = clock::now();
        let folder = self.folder.join(snapshot_name(now, uuid::Uuid::new_v4().as_u128() as u64));
        self.storage.snapshot(&folder, true, now).map_err(|error| anyhow!(error.to_string()))?;
        Ok(folder)
    }

    /// It has been copied.
    pub(crate) fn end(&self) {
        self.clear();
    }
}

/// The asker's part: copies a snapshot and the identity of `data` to `target`, which appears when all of it is durable.
/// Gives its bytes.
pub(crate) fn copy(data: &Path, snapshot: &Path, target: &Path) -> Result<u64> {
    let name = target.file_name().with_context(|| format!("{} names no folder", target.display()))?;
    let mut draft = name.to_owned();
    draft.push(".partial");
    let draft = target.with_file_name(draft);
    match fs::remove_dir_all(&draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| draft.display().to_string());
        }
        _ => {}
    }
    // Keys are in it.
    create_folder(&draft)?;
    let mut bytes = copy_folder(snapshot, &draft.join(STORAGE)).context("copying the storage")?;
    create_folder(&draft.join("ca"))?;
    for file in BESIDE {
        match copy_file(&data.join(file), &draft.join(file)) {
            Ok(copied) => bytes += copied,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| data.join(file).display().to_string()),
        }
    }
    sync_folder(&draft.join("ca"))
        .and_then(|()| sync_folder(&draft))
        .with_context(|| draft.display().to_string())?;
    fs::rename(&draft, target).with_context(|| target.display().to_string())?;
    let above = target.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync_folder(above).with_context(|| above.display().to_string())?;
    Ok(bytes)
}

/// Fails early where [`copy`] would fail late.
pub(crate) fn check_target(target: &Path) -> Result<()> {
    match fs::read_dir(target).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => bail!("{} is not empty: name a folder that is not there yet", target.display()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| target.display().to_string()),
    }
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<u64> {
    fs::create_dir(to)?;
    let mut bytes = 0;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        bytes += match (kind.is_dir(), kind.is_file()) {
            (true, _) => copy_folder(&entry.path(), &target)?,
            (_, true) => copy_file(&entry.path(), &target)?,
            // Root copies what another user has written: a link could lead anywhere.
            _ => return Err(io::Error::other(format!("{} is no file", entry.path().display()))),
        };
    }
    sync_folder(to)?;
    Ok(bytes)
}

fn copy_file(from: &Path, to: &Path) -> io::Result<u64> {
    let bytes = fs::copy(from, to)?;
    File::open(to)?.sync_all()?;
    Ok(bytes)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    }

    #[test]
    fn keys_are_copied_and_tokens_are_not() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let (data, snapshot, target) =
            (folder.path().join("data"), folder.path().join("snapshot"), folder.path().join("backup"));
        write(&snapshot.join("CURRENT"), "x");
        write(&snapshot.join("deeper/000001.sst"), "yy");
        write(&data.join("identity.pem"), "key");
        write(&data.join("ca/authority.pem"), "ca");
        data_format::note(&data, 7).expect("noted");
        write(&data.join("ca/tokens.json"), "secret");
        // What is left of one that was interrupted does not matter.
        write(&folder.path().join("backup.partial/rest"), "z");
        assert_eq!(copy(&data, &snapshot, &target).expect("copied"), 1 + 2 + 3 + 2 + 2);
        let read = |path: &str| fs::read_to_string(target.join(path)).ok();
        assert_eq!(read("storage/deeper/000001.sst").as_deref(), Some("yy"));
        assert_eq!(read("ca/authority.pem").as_deref(), Some("ca"));
        assert_eq!(read("ca/tokens.json"), None);
        assert_eq!(read("rest"), None);
        data_format::check(&target, 6).expect_err("a backup of a newer release is known as one");
        assert!(check_target(&target).is_err(), "a backup is not overwritten");
        check_target(&folder.path().join("other")).expect("not there yet");
    }
}
