//! The agent's disk queue: logs of frames, kept until every replica that must have them has them.
//!
//! Owns the folder `spool.path`: its files, their bytes (FORMAT.md), what is freed, what is dropped, and the
//! cursors of the replicas. Refuses to know what is in a frame beyond its header, and who ships it how.
//!
//! - [`Spool`] is the driver: it owns files and does what the shelf decides.
//! - `Shelf` (private) decides: which segment is free, which must go, by the numbers and the time given.
//! - [`Files`] is the seam to the disk.
//!
//! What always holds:
//!
//! - A log's numbers are covered without a hole, from what was freed at its beginning to its end: by frames, or by
//!   a gap that says why they are not there.
//! - A log is only ever written by the process that started it. What is found at start is read, freed or dropped.
//! - Nothing that a member has not acknowledged is removed, but for the limits, which leave a gap.

#![warn(missing_docs)]

mod age;
mod config;
mod files;
mod layout;
mod lock;
mod memory;
mod read;
mod record;
mod recover;
mod shelf;
mod spool;
mod state;
mod statistics;
mod sync;

pub use config::{BYTES_MAX_LEAST, MEMORY_BYTES_MAX_LEAST, SpoolConfig, SyncPolicy};
pub use files::{DiskFiles, FileEntry, Files, SpoolFile};
#[doc(hidden)]
pub use layout::fuzz_files;
pub use lock::{LockError, SpoolLock};
pub use read::{ReadError, StoredFrame};
pub use recover::OpenError;
pub use spool::{AppendError, Appended, LogRange, Spool};
pub use state::write_members;
pub use statistics::{Counters, SpoolStatistics};
pub use sync::{SyncError, SyncTicket};
