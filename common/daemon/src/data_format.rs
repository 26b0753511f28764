//! The number of the format that a program's data folder is in, by which an older release knows that the data is not
//! for it, before it opens anything.
//!
//! It stands in the file `data-format`, in decimal. Packages read it before they are unpacked (`packaging/deb`,
//! `packaging/rpm`). No file, as in a folder that is new, is format 0. What has a version of its own is checked where it
//! is read; this is for the folder as a whole.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Where it stands, in the data folder.
pub const FILE: &str = "data-format";

/// Why the data is not opened.
#[derive(Debug, thiserror::Error)]
pub enum DataFormatError {
    /// A newer release wrote it.
    #[error(
        "a newer release has written the data in {folder} (format {found}), and this one reads up to format {known}; \
         nothing was changed: use that release or a newer one, or, to begin without this data, move the folder away"
    )]
    Newer {
        /// The data folder.
        folder: PathBuf,
        /// The format that it is in.
        found: u32,
        /// The format of this release.
        known: u32,
    },
    /// It can not be known what the data is.
    #[error("{path} does not hold a number: write the one of the release that has written the data there")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The file can not be read.
    #[error("{path} can not be read{}", as_whom(source))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn as_whom(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => ": this is for root, or for the user of the service",
        _ => "",
    }
}

/// Refuses a folder that a release with a greater format than `known` has written.
pub fn check(folder: &Path, known: u32) -> Result<(), DataFormatError> {
    let path = folder.join(FILE);
    match read(&path) {
        Ok(text) => match text.trim_ascii().parse() {
            Ok(found) if found > known => {
                Err(DataFormatError::Newer { folder: folder.to_owned(), found, known })
            }
            Ok(_) => Ok(()),
            Err(_) => Err(DataFormatError::Malformed { path }),
        },
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(DataFormatError::Malformed { path }),
        Err(source) => Err(DataFormatError::Unreadable { path, source }),
    }
}

/// Notes that the folder is in this format from now on. After a crash the old number or this one stands there.
pub fn note(folder: &Path, format: u32) -> io::Result<()> {
    let (path, text) = (folder.join(FILE), format!("{format}\n"));
    if read(&path)? == text {
        return Ok(());
    }
    let draft = path.with_extension("new");
    let mut file = File::create(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, &path)?;
    File::open(folder)?.sync_all()
}

fn read(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok("0".to_owned()),
        read => read,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_data_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let text = || fs::read_to_string(folder.path().join(FILE)).expect("the file");
        check(folder.path(), 1).expect("a new folder");
        note(folder.path(), 1).expect("notes");
        check(folder.path(), 1).expect("its own");
        note(folder.path(), 12).expect("notes");
        assert_eq!(text(), "12\n");
        check(folder.path(), 12).expect("its own");
        let refused = check(folder.path(), 11).expect_err("older").to_string();
        assert!(refused.contains("(format 12)") && refused.contains("reads up to format 11"), "{refused}");
        assert_eq!(text(), "12\n");
        assert_eq!(fs::read_dir(folder.path()).expect("lists").count(), 1);
    }

    #[test]
    fn what_is_no_number_is_refused() {
        let folder = tempfile::tempdir().expect("temporary folder");
        for text in [&b""[..], b"one", b"-1", b"1 2", b"\xff"] {
            fs::write(folder.path().join(FILE), text).expect("writes");
            let refused = check(folder.path(), 1).expect_err("refused").to_string();
            assert!(refused.contains("does not hold a number"), "{text:?}: {refused}");
        }
    }
}
