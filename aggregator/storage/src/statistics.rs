//! Numbers for `/metrics`.

/// What the storage counts. Counters start at zero when the process starts; the rest is how it is now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    /// Samples applied, replay not included.
    pub samples_appended: u64,
    /// Batches applied, replay not included.
    pub batches_appended: u64,
    /// Batches that were here already.
    pub batches_known: u64,
    /// Samples of one series at one time with different values, seen while freezing and merging.
    pub conflicts: u64,
    /// Gap frames taken.
    pub gaps: u64,
    /// Batches that those skipped.
    pub gap_batches: u64,
    /// Frames refused, by [`crate::AppendRefusal::REASONS`].
    pub refused: Vec<(&'static str, u64)>,
    /// Frames that failed and may come again.
    pub failed: u64,
    /// Frames that wait for the writer thread.
    pub queue_frames: u64,
    /// Their bytes.
    pub queue_bytes: u64,
    /// Series in the head, each once per target that brings it.
    pub head_series: u64,
    /// Samples in the head.
    pub head_samples: u64,
    /// Roughly the head's memory.
    pub head_bytes: u64,
    /// Parts by merge level, freshly frozen first.
    pub parts: [u64; crate::LEVELS],
    /// Their bytes on disk.
    pub parts_bytes: u64,
    /// Samples in parts.
    pub parts_samples: u64,
    /// Frames' bytes in the log's generations.
    pub log_bytes: u64,
    /// Generations of the log.
    pub log_generations: u64,
    /// Logs known.
    pub logs: u64,
    /// Synced writes of the log.
    pub syncs: u64,
    /// Time they took.
    pub sync_seconds: f64,
    /// Freezes done.
    pub freezes: u64,
    /// Time they took.
    pub freeze_seconds: f64,
    /// Merges done.
    pub merges: u64,
    /// Time they took.
    pub merge_seconds: f64,
    /// Partitions deleted because retention has passed.
    pub partitions_deleted: u64,
    /// Records on disk that failed their checks when they were read.
    pub corrupt: u64,
    /// Writes that failed.
    pub disk_faults: u64,
    /// Times the storage reopened itself after that.
    pub reopens: u64,
    /// Whether it can not write at the moment.
    pub faulted: bool,
    /// Frames read again at the last opening.
    pub replayed_frames: u64,
    /// Time the last opening took.
    pub open_seconds: f64,
}
