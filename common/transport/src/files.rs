//! Small private files that are replaced whole.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Longest file that is read here.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A file or folder could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}", path = .path.display())]
pub struct FileError {
    /// Which one.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// Makes a folder that only its owner can enter, and those above it as they are by default; what was made is durable. One
/// that is there stays as it is.
pub fn create_folder(path: &Path) -> Result<(), FileError> {
    let made: Vec<&Path> =
        path.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists()).collect();
    let create = || -> io::Result<()> {
        if let Some(above) = path.parent() {
            fs::create_dir_all(above)?;
        }
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        made.iter().try_for_each(|folder| sync_parent(folder))
    };
    create().map_err(|source| at(path, source))
}

/// Makes the name of a file or folder durable.
fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => File::open(".")?.sync_all(),
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Replaces a file by `bytes`, readable by its owner only. After a crash either the old or the new one is there.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let draft = path.with_extension("new");
    let write = || -> io::Result<()> {
        // A draft left by a crash may have other permissions.
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        sync_parent(path)
    };
    write().map_err(|source| at(path, source))
}

/// Appends to a file, readable by its owner only, and syncs it.
pub(crate) fn append(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let write = || -> io::Result<()> {
        let is_new = !path.exists();
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        if is_new { sync_parent(path) } else { Ok(()) }
    };
    write().map_err(|source| at(path, source))
}

/// A file's bytes; none when there is no such file.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    let read = || -> io::Result<Vec<u8>> {
        let length = fs::metadata(path)?.len();
        if length > FILE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{length} bytes are too many")));
        }
        fs::read(path)
    };
    match read() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(at(path, source)),
    }
}

/// The file is there and says nothing that makes sense.
pub(crate) fn invalid(path: &Path, reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> FileError {
    at(path, io::Error::new(io::ErrorKind::InvalidData, reason))
}

fn at(path: &Path, source: io::Error) -> FileError {
    FileError { path: path.to_owned(), source }
}
