//! Numbers for `/metrics`.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use crate::AppendRefusal;

/// What the storage counts. Counters start at zero when the process starts; the rest is how it is now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    /// Samples applied, replay not included.
    pub samples_appended: u64,
    /// Samples not stored because their writer has too many series, replay not included.
    pub samples_masked: u64,
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
    /// Exemplars not kept because their own time is more than a day from their row's.
    pub exemplars_refused: u64,
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
    /// What is kept of parts and heads for queries, in bytes.
    pub opened_cache_bytes: u64,
    /// Times that something was found there.
    pub opened_cache_hits: u64,
    /// Times that it was not.
    pub opened_cache_misses: u64,
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

/// What [`Statistics`] is made of where it counts.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) samples_appended: AtomicU64,
    pub(crate) samples_masked: AtomicU64,
    pub(crate) batches_appended: AtomicU64,
    pub(crate) batches_known: AtomicU64,
    pub(crate) conflicts: AtomicU64,
    pub(crate) gaps: AtomicU64,
    pub(crate) gap_batches: AtomicU64,
    pub(crate) exemplars_refused: AtomicU64,
    pub(crate) refused: [AtomicU64; AppendRefusal::REASONS.len()],
    pub(crate) failed: AtomicU64,
    pub(crate) log_bytes: AtomicU64,
    pub(crate) log_generations: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) sync_micros: AtomicU64,
    pub(crate) freezes: AtomicU64,
    pub(crate) freeze_micros: AtomicU64,
    pub(crate) merges: AtomicU64,
    pub(crate) merge_micros: AtomicU64,
    pub(crate) partitions_deleted: AtomicU64,
    pub(crate) corrupt: AtomicU64,
    pub(crate) disk_faults: AtomicU64,
    pub(crate) reopens: AtomicU64,
    pub(crate) replayed_frames: AtomicU64,
    pub(crate) open_micros: AtomicU64,
}

impl Counters {
    pub(crate) fn refuse(&self, refusal: &AppendRefusal) {
        let reasons = AppendRefusal::REASONS.iter().zip(&self.refused);
        for (_, count) in reasons.filter(|(reason, _)| **reason == refusal.reason()) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Everything that is counted; the rest is left at its default.
    pub(crate) fn read(&self) -> Statistics {
        let count = |counter: &AtomicU64| counter.load(Relaxed);
        let seconds = |counter: &AtomicU64| counter.load(Relaxed) as f64 / 1e6;
        Statistics {
            samples_appended: count(&self.samples_appended),
            samples_masked: count(&self.samples_masked),
            batches_appended: count(&self.batches_appended),
            batches_known: count(&self.batches_known),
            conflicts: count(&self.conflicts),
            gaps: count(&self.gaps),
            gap_batches: count(&self.gap_batches),
            exemplars_refused: count(&self.exemplars_refused),
            refused: AppendRefusal::REASONS.into_iter().zip(self.refused.iter().map(count)).collect(),
            failed: count(&self.failed),
            log_bytes: count(&self.log_bytes),
            log_generations: count(&self.log_generations),
            syncs: count(&self.syncs),
            sync_seconds: seconds(&self.sync_micros),
            freezes: count(&self.freezes),
            freeze_seconds: seconds(&self.freeze_micros),
            merges: count(&self.merges),
            merge_seconds: seconds(&self.merge_micros),
            partitions_deleted: count(&self.partitions_deleted),
            corrupt: count(&self.corrupt),
            disk_faults: count(&self.disk_faults),
            reopens: count(&self.reopens),
            replayed_frames: count(&self.replayed_frames),
            open_seconds: seconds(&self.open_micros),
            ..Statistics::default()
        }
    }
}

/// Adds to a counter of microseconds how long the driver took for something.
pub(crate) struct Stopwatch<'a>(Instant, &'a AtomicU64);

impl<'a> Stopwatch<'a> {
    #[expect(clippy::disallowed_methods, reason = "driver: measures its own work, decides nothing by it")]
    pub(crate) fn start(micros: &'a AtomicU64) -> Self {
        Self(Instant::now(), micros)
    }
}

impl Drop for Stopwatch<'_> {
    fn drop(&mut self) {
        self.1.fetch_add(self.0.elapsed().as_micros() as u64, Relaxed);
    }
}
