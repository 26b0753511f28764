use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

/// Holds the spool's folder for this process; given up when dropped, or when the process ends in any way.
#[derive(Debug)]
pub struct SpoolLock {
    _file: File,
}

/// The folder can not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Two agents with one spool would send each other's logs.
    #[error("the spool {path} is in use by another process")]
    InUse {
        /// The folder.
        path: String,
    },
    /// The folder can not be made or written to.
    #[error("can not use the spool {path}: {source}")]
    Unusable {
        /// The folder.
        path: String,
        /// Why.
        source: io::Error,
    },
}

impl SpoolLock {
    /// Takes the folder at `path`, made if it is not there.
    pub fn take(path: &Path) -> Result<Self, LockError> {
        let unusable = |source| LockError::Unusable { path: path.display().to_string(), source };
        create_folder(path).map_err(unusable)?;
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("lock"))
            .map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(LockError::InUse { path: path.display().to_string() }),
            Err(TryLockError::Error(source)) => Err(unusable(source)),
        }
    }
}

/// Makes a folder and those above it, and makes their names durable: what is synced in a folder that is lost is lost.
fn create_folder(path: &Path) -> io::Result<()> {
    let is_missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
    let made: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
    fs::create_dir_all(path)?;
    for above in made.iter().filter_map(|folder| folder.parent()) {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        File::open(above)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let first = SpoolLock::take(folder.path()).expect("free");
        assert!(matches!(SpoolLock::take(folder.path()), Err(LockError::InUse { .. })));
        drop(first);
        assert!(SpoolLock::take(folder.path()).is_ok());
    }
}
