use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::{CollectError, Fault};

/// Largest file that is read: `/proc/stat` and mountinfo of the largest hosts are well below.
const FILE_BYTES_MAX: usize = 16 << 20;

/// What a read of a whole file asks for at first. seq_file hands out at most a page or so a call anyway.
const CHUNK_BYTES: usize = 16 << 10;

/// What a read of a single value asks for. For `/proc/sys` the kernel zeroes a buffer as large as that, and files in
/// sysfs have at most a page.
const VALUE_BYTES: usize = 256;

/// A file that is read again and again: its descriptor stays open.
///
/// Where the kernel says no to an old descriptor (the device is gone, and came back), the file is opened anew.
pub(crate) struct HotFile {
    path: PathBuf,
    file: Option<File>,
    is_one_record: bool,
}

/// Files of one kind, such as one per core or per disk, that are kept open. Processes are ordinarily allowed 1024.
pub(crate) const KEPT_OPEN_MAX: usize = 128;

#[derive(Clone, Copy)]
enum Extent {
    Whole,
    Value,
}

impl HotFile {
    /// Opens nothing yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, file: None, is_one_record: false }
    }

    /// A file that the kernel makes as a whole, not line by line: a read that gives less than it asked for has given
    /// all, and need not be followed by one that gives nothing.
    pub(crate) fn of_one_record(path: PathBuf) -> Self {
        Self { is_one_record: true, ..Self::new(path) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The whole content.
    pub(crate) fn read<'a>(&mut self, scratch: &'a mut Vec<u8>) -> Result<&'a [u8], CollectError> {
        self.read_extent(Extent::Whole, scratch)
    }

    /// The content of a file that has one short line, without the white space around it.
    pub(crate) fn read_value<'a>(&mut self, scratch: &'a mut Vec<u8>) -> Result<&'a [u8], CollectError> {
        self.read_extent(Extent::Value, scratch).map(<[u8]>::trim_ascii)
    }

    /// A file that has one unsigned number.
    pub(crate) fn read_unsigned(&mut self, scratch: &mut Vec<u8>) -> Result<u64, CollectError> {
        let value = crate::parse::unsigned(self.read_value(scratch)?);
        value.ok_or_else(|| Fault::NotANumber.at(&self.path, 1))
    }

    /// Gives the descriptor back. Where there are very many files, all of them kept open would be too many.
    pub(crate) fn close(&mut self) {
        self.file = None;
    }

    /// What is wrong at a line of this file.
    pub(crate) fn malformed(&self, line: usize, fault: Fault) -> CollectError {
        fault.at(&self.path, line)
    }

    fn read_extent<'a>(
        &mut self,
        extent: Extent,
        scratch: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], CollectError> {
        let result = match self.file.take() {
            Some(file) => {
                self.read_from(file, extent, scratch).or_else(|_| self.open_and_read(extent, scratch))
            }
            None => self.open_and_read(extent, scratch),
        };
        match result {
            Ok(len) if len > FILE_BYTES_MAX => Err(self.malformed(0, Fault::TooLong)),
            Ok(len) => Ok(&scratch[..len]),
            Err(source) => Err(CollectError::Read { path: self.path.clone(), source }),
        }
    }

    fn open_and_read(&mut self, extent: Extent, scratch: &mut Vec<u8>) -> io::Result<usize> {
        let file = File::open(&self.path)?;
        self.read_from(file, extent, scratch)
    }

    /// Keeps the descriptor only where reading worked.
    fn read_from(&mut self, file: File, extent: Extent, scratch: &mut Vec<u8>) -> io::Result<usize> {
        let len = match extent {
            Extent::Whole => read_whole(&file, self.is_one_record, scratch)?,
            Extent::Value => read_once(&file, scratch)?,
        };
        self.file = Some(file);
        Ok(len)
    }
}

/// Stops just above the limit.
fn read_whole(file: &File, is_one_record: bool, scratch: &mut Vec<u8>) -> io::Result<usize> {
    let mut len = 0;
    while len <= FILE_BYTES_MAX {
        if scratch.len() - len < CHUNK_BYTES / 2 {
            scratch.resize(scratch.len().max(CHUNK_BYTES / 2) * 2, 0);
        }
        match file.read_at(&mut scratch[len..], len as u64) {
            Ok(0) => break,
            Ok(count) => {
                len += count;
                if is_one_record && len < scratch.len() {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

fn read_once(file: &File, scratch: &mut Vec<u8>) -> io::Result<usize> {
    if scratch.len() < VALUE_BYTES {
        scratch.resize(CHUNK_BYTES, 0);
    }
    loop {
        match file.read_at(&mut scratch[..VALUE_BYTES], 0) {
            Ok(VALUE_BYTES) => return Ok(FILE_BYTES_MAX + 1),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// The entries of a directory named `prefix` and a digit, sorted as a shell's glob sorts them: `cpu10` before `cpu2`.
pub(crate) fn numbered_entries(directory: &Path, prefix: &str) -> Vec<PathBuf> {
    let numbered = |name: &str| {
        name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(numbered))
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_is_read_in_full() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let mut scratch = Vec::new();
        let mut files = [HotFile::new(path.clone()), HotFile::of_one_record(path.clone())];
        for file in &mut files {
            assert!(file.read(&mut scratch).unwrap_err().is_not_found());
        }
        for len in [10, 0, 100_000, CHUNK_BYTES, 5] {
            std::fs::write(&path, vec![b'x'; len]).unwrap();
            for file in &mut files {
                assert_eq!(file.read(&mut scratch).unwrap().len(), len);
            }
        }
    }

    #[test]
    fn a_value_is_short() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let mut scratch = Vec::new();
        let mut file = HotFile::new(path.clone());
        std::fs::write(&path, " 42\n").unwrap();
        assert_eq!(file.read_unsigned(&mut scratch).unwrap(), 42);
        std::fs::write(&path, [b'1'; VALUE_BYTES]).unwrap();
        assert!(matches!(file.read_value(&mut scratch), Err(CollectError::Malformed { .. })));
    }
}
