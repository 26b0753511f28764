use std::path::PathBuf;
use std::time::Duration;

/// How the spool keeps its data. The binary's config fills it in and explains each key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolConfig {
    /// The folder; one process at a time uses it.
    pub path: PathBuf,
    /// The file that keeps the membership last told.
    pub members_file: PathBuf,
    /// When bytes are made durable.
    pub sync: SyncPolicy,
    /// Beyond this many bytes on disk the oldest segments are dropped.
    pub bytes_max: u64,
    /// Segments last written longer ago than this are dropped. Time counts while the process runs, on its monotonic
    /// clock: neither a clock that is set nor a machine that was off makes data overdue.
    pub age_max: Duration,
    /// How many bytes of batches are held in memory while the disk takes none.
    pub memory_bytes_max: usize,
}

/// The least that `bytes_max` may be: a few segments.
pub const BYTES_MAX_LEAST: u64 = 16 << 20;
/// The least that `memory_bytes_max` may be: the largest frame fits several times in most settings.
pub const MEMORY_BYTES_MAX_LEAST: usize = 1 << 20;

impl SpoolConfig {
    /// The shipped limits, for a spool at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self {
            members_file: path.join("members"),
            path,
            sync: SyncPolicy::Interval(Duration::from_secs(1)),
            bytes_max: 1 << 30,
            age_max: Duration::from_secs(7 * 24 * 3600),
            memory_bytes_max: 8 << 20,
        }
    }
}

/// When bytes are made durable: what a loss of power may cost.
///
/// None of them matters for `kill -9`: what was written is in the kernel's hands. And only batches that some
/// replica has not yet acknowledged can be lost at all; those that all have are not synced any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Before `append` returns. A loss of power costs nothing that was appended.
    Always,
    /// At most this long after `append`. A loss of power costs at most so much of the newest data.
    Interval(Duration),
    /// Whenever the kernel does, 30 seconds or so.
    Never,
}
