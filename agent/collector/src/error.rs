use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

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
    #[error("cannot read {}: {source}{}", path.display(), remedy(source))]
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
    #[error("{call}: {source}{}", remedy(source))]
    System {
        /// Its name.
        call: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// What an administrator can do about a missing right.
pub(crate) fn remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::ACCESS) => {
            "; to grant it, give the agent CAP_DAC_READ_SEARCH (vedette-agent.service says how), or let its user read the \
             file; or turn the collector off"
        }
        Some(Errno::PERM) => {
            "; the service's sandbox or a capability denies it: vedette-agent.service says which settings there are; or \
             turn the collector off"
        }
        Some(Errno::AFNOSUPPORT) => {
            "; add AF_NETLINK to RestrictAddressFamilies= of vedette-agent.service, or turn the collector off"
        }
        _ => "",
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_right_comes_with_what_grants_it() {
        for (errno, expected) in [
            (Errno::ACCESS, "CAP_DAC_READ_SEARCH"),
            (Errno::PERM, "vedette-agent.service says which settings"),
            (Errno::AFNOSUPPORT, "RestrictAddressFamilies="),
        ] {
            let read = CollectError::Read { path: PathBuf::from("/x"), source: errno.into() }.to_string();
            let call = CollectError::System { call: "netlink dump", source: errno.into() }.to_string();
            assert!(read.starts_with("cannot read /x: ") && read.contains(expected), "{read}");
            assert!(call.starts_with("netlink dump: ") && call.contains(expected), "{call}");
        }
        let missing = CollectError::Read { path: PathBuf::from("/x"), source: Errno::NOENT.into() };
        assert!(missing.to_string().ends_with("(os error 2)"), "{missing}");
    }
}
