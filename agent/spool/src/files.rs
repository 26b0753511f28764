//! The seam to the disk: small, so that a test can break it in every way.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use vedette_model::Timestamp;

/// One entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// The last part of its path.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// When it was last written.
    pub modified: Timestamp,
    /// Whether it is a folder.
    pub is_folder: bool,
}

/// What the spool asks of a file system. Paths are whole paths.
pub trait Files: Send + Sync {
    /// The folder's entries, in any order; names that are not UTF-8 are left out.
    fn list(&self, folder: &Path) -> io::Result<Vec<FileEntry>>;
    /// Makes a folder and those above it.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;
    /// Makes the folder's entries durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// Removes an empty folder.
    fn remove_folder(&self, folder: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, file: &Path) -> io::Result<()>;
    /// Puts `from` in the place of `to` at once.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// At most `bytes_max` bytes from `offset`; fewer only at the end of the file.
    fn read(&self, file: &Path, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>>;
    /// Opens a file to append to; makes it when it is not there.
    fn open(&self, file: &Path) -> io::Result<Arc<dyn SpoolFile>>;
}

/// A file open for appending.
pub trait SpoolFile: Send + Sync {
    /// Writes at the end. After an error any part of `bytes` may be there.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;
    /// Cuts the file.
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// Makes the content durable.
    fn sync(&self) -> io::Result<()>;
}

/// The machine's own file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskFiles;

impl Files for DiskFiles {
    fn list(&self, folder: &Path) -> io::Result<Vec<FileEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let metadata = entry.metadata()?;
            entries.push(FileEntry {
                name,
                bytes: metadata.len(),
                modified: modified(&metadata),
                is_folder: metadata.is_dir(),
            });
        }
        Ok(entries)
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        fs::remove_dir(folder)
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        fs::remove_file(file)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn read(&self, file: &Path, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
        let mut file = File::open(file)?;
        if offset > 0 {
            file.seek(SeekFrom::Start(offset))?;
        }
        let left = file.metadata()?.len().saturating_sub(offset).min(bytes_max as u64);
        let mut bytes = Vec::with_capacity(left as usize);
        file.take(bytes_max as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn open(&self, file: &Path) -> io::Result<Arc<dyn SpoolFile>> {
        Ok(Arc::new(OpenOptions::new().append(true).create(true).open(file)?))
    }
}

fn modified(metadata: &fs::Metadata) -> Timestamp {
    let since = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    Timestamp::from_millis(since.map_or(0, |since| since.as_millis() as i64))
}

impl SpoolFile for File {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file: &File = self;
        file.write_all(bytes)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
