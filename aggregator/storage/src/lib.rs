#![allow(unused_variables, clippy::unimplemented, reason = "bodies follow")]
//! Samples on disk: log, head, parts, and one consistent view over them.

mod append;
mod config;
mod error;
mod statistics;
mod status;
mod storage;
mod view;

pub use append::{Append, AppendOutcome, AppendRefusal, Busy, Done, Resume, StorageFault};
pub use config::StorageConfig;
pub use error::OpenError;
pub use statistics::Statistics;
pub use status::{Gap, LogStatus, TimeRange, WriterStatus};
pub use storage::Storage;
pub use view::View;

/// Merge levels of parts.
pub const LEVELS: usize = 4;
