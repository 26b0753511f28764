use std::io;
use std::path::{Path, PathBuf};

/// Why a collector has nothing, or not everything, to tell. What it wrote before it failed stays.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The host does not have what is collected; nobody needs to act.
    #[error("no data: {what} is not available")]
    NoData {
        /// What is missing.
        what: &'static str,
    },
    /// A file can not be opened or read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file does not look like what the kernel writes.
    #[error("cannot parse {} line {line}: {fault}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Counted from 1; 0 where the whole file is meant.
        line: usize,
        /// What is wrong there.
        fault: Fault,
    },
    /// A system call failed.
    #[error("{call}: {source}")]
    System {
        /// Its name.
        call: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Fewer fields than the format has.
    #[error("too few fields")]
    TooFewFields,
    /// More fields than the format has, or than the line above names.
    #[error("too many fields")]
    TooManyFields,
    /// A field that must be a number is none.
    #[error("not a number")]
    NotANumber,
    /// A separator that the format has is not there.
    #[error("separator missing")]
    NoSeparator,
    /// A unit other than the ones known.
    #[error("unknown unit")]
    UnknownUnit,
    /// Something that must have a name has none.
    #[error("empty name")]
    EmptyName,
    /// What the file is read for is not in it.
    #[error("expected field missing")]
    FieldMissing,
    /// Something that comes in ascending order does not, or comes twice.
    #[error("not in ascending order")]
    NotAscending,
    /// Longer than anything sensible.
    #[error("larger than the limit")]
    TooLong,
    /// Not in the form that the kernel or the manual says.
    #[error("unexpected syntax")]
    Syntax,
}

impl Fault {
    pub(crate) fn at(self, path: &Path, line: usize) -> CollectError {
        CollectError::Malformed { path: path.to_owned(), line, fault: self }
    }
}

impl CollectError {
    /// Whether a file was missing, which for some collectors is no failure.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}
