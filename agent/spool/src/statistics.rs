use std::time::Duration;

use vedette_wire::GapReason;

/// Numbers for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpoolStatistics {
    /// Of all files with batches.
    pub bytes: u64,
    /// How many files.
    pub segments: u64,
    /// How many logs, the live one included.
    pub logs: u64,
    /// How long ago the oldest segment was last written, not counting time when no agent ran.
    pub oldest_age: Option<Duration>,
    /// Batches that are in memory as the disk takes none.
    pub memory_batches: u64,
    /// Their bytes.
    pub memory_bytes: u64,
    /// Whether the disk takes data.
    pub is_disk_good: bool,
    /// What has happened so far.
    pub counters: Counters,
}

/// What has happened since the process started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    dropped: [u64; GapReason::ALL.len()],
    /// Gaps recorded; neighbours that join count each.
    pub gaps: u64,
    /// Failed operations on files.
    pub io_errors: u64,
    /// Syncs asked for.
    pub syncs: u64,
    /// Bytes cut from torn ends at start.
    pub torn_bytes: u64,
}

impl Counters {
    pub(crate) fn dropped(&mut self, reason: GapReason, batches: u64) {
        self.dropped[usize::from(reason.code()) - 1] += batches;
    }

    /// Batches that were dropped, for each reason.
    pub fn dropped_by_reason(&self) -> impl Iterator<Item = (GapReason, u64)> + '_ {
        GapReason::ALL.into_iter().map(|reason| (reason, self.dropped[usize::from(reason.code()) - 1]))
    }
}
