use std::path::PathBuf;

/// Why a storage folder could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "{path} is in use by another process: stop it, or give this one a folder of its own (--storage.path)"
    )]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// A newer release wrote it.
    #[error(
        "{path} was written by a newer release: {what} has version {found}, this release reads up to {known}; use that release, or an empty folder"
    )]
    Newer {
        /// The folder.
        path: PathBuf,
        /// What is newer.
        what: &'static str,
        /// Its version.
        found: u8,
        /// What this release knows.
        known: u8,
    },
    /// It holds something that can not be right.
    #[error(
        "{path} is damaged: {what}; restore a backup, or move the folder away and let the replica fill a new one from its agents and peers"
    )]
    Corrupt {
        /// The folder.
        path: PathBuf,
        /// What and where.
        what: String,
    },
    /// The disk is full or fails.
    #[error("{path}: {reason}")]
    Disk {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
}

/// Why nothing was deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// As many deletions are remembered as may be.
    #[error(
        "{tombstones_max} deletions are remembered, which is as many as there may be until retention has passed one"
    )]
    TooMany {
        /// The limit.
        tombstones_max: usize,
    },
    /// The selector is too long.
    #[error("a deletion may have {matchers_max} matchers")]
    TooManyMatchers {
        /// The limit.
        matchers_max: usize,
    },
    /// A peer's record can not be read.
    #[error("{reason}")]
    Record {
        /// What is wrong with it.
        reason: String,
    },
    /// The disk.
    #[error(transparent)]
    Fault(#[from] crate::StorageFault),
}
