//! What goes into the storage, and what becomes of it.

use vedette_wire::{AgentName, BatchSeq, LogId};

use crate::SeriesCount;

/// One frame of one log, to be appended.
#[derive(Clone, Debug)]
pub struct Append {
    /// Whose log it is, as its certificate says.
    pub writer: AgentName,
    /// Which log.
    pub log: LogId,
    /// The writer's interval, on whose grid its absence is shown. 0: the writer is no agent, and has no limit of series.
    pub interval_ms: u32,
    /// The whole frame as it came (`vedette-wire`).
    pub frame: Vec<u8>,
}

/// What became of an [`Append`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    /// It is on disk, synced, and can be queried. Everything of the log up to here may be acknowledged.
    Durable {
        /// The log's watermark.
        through: BatchSeq,
        /// Set when samples of it were not stored because its writer has too many series.
        masked: Option<SeriesCount>,
    },
    /// It was here already, synced.
    Known {
        /// The log's watermark.
        through: BatchSeq,
    },
    /// It is not taken, and would not be taken again as it is.
    Refused(AppendRefusal),
    /// It could not be kept for now; nothing of it was. Worth trying again later.
    Failed(StorageFault),
}

/// Why a frame was refused. Each variant is one `reason` of the refusal counter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendRefusal {
    /// Batches before it are missing and no gap was declared.
    #[error("log {log} continues at {expected}, not at {got}")]
    OutOfOrder {
        /// The log.
        log: LogId,
        /// The number it continues at.
        expected: BatchSeq,
        /// The number that came.
        got: BatchSeq,
    },
    /// The segment's key batch is not known here: send again from the key batch on.
    #[error("log {log} has to be sent from the key batch of the segment of {seq}")]
    NeedsKey {
        /// The log.
        log: LogId,
        /// The batch that can not be read without its key.
        seq: BatchSeq,
    },
    /// It does not decode.
    #[error("frame of log {log} is not valid: {reason}")]
    Malformed {
        /// The log.
        log: LogId,
        /// What the decoder says.
        reason: String,
    },
    /// A time in it lies outside of what can be stored.
    #[error("log {log} has a sample at {at_ms} ms, outside the years 1970 to 2500")]
    TimeOutOfRange {
        /// The log.
        log: LogId,
        /// The time.
        at_ms: i64,
    },
    /// The log belongs to another writer.
    #[error("log {log} belongs to {owner}")]
    ForeignLog {
        /// The log.
        log: LogId,
        /// Its writer.
        owner: AgentName,
    },
    /// There are too many logs.
    #[error("limit of {logs_max} logs reached")]
    LogLimit {
        /// The limit.
        logs_max: usize,
    },
}

impl AppendRefusal {
    /// The refusal counter's label value.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::OutOfOrder { .. } => "out_of_order",
            Self::NeedsKey { .. } => "needs_key",
            Self::Malformed { .. } => "malformed",
            Self::TimeOutOfRange { .. } => "time_out_of_range",
            Self::ForeignLog { .. } => "foreign_log",
            Self::LogLimit { .. } => "log_limit",
        }
    }

    /// All label values, for counters that start at zero.
    pub const REASONS: [&'static str; 6] =
        ["out_of_order", "needs_key", "malformed", "time_out_of_range", "foreign_log", "log_limit"];
}

/// Why the storage can not keep anything for now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageFault {
    /// The disk is full or fails. The storage reopens itself when it can write again.
    #[error("storage can not write: {0}")]
    Disk(String),
    /// The head is full because its samples do not get into parts quickly enough.
    #[error("head holds {samples} samples and waits for a freeze")]
    HeadFull {
        /// What it holds.
        samples: u64,
    },
    /// The storage is closing.
    #[error("storage is closed")]
    Closed,
}

/// The queue to the writer thread is full: nothing was taken, `done` was dropped without a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("append queue is full: {frames} frames, {bytes} bytes")]
pub struct Busy {
    /// Frames that wait.
    pub frames: usize,
    /// Their bytes.
    pub bytes: usize,
}

/// Where a log goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The last batch that is here; 0 when the log is new.
    pub through: BatchSeq,
    /// Whether the segment of the next batch has to be sent again from its key batch on.
    pub needs_key: bool,
}

/// Called once with what became of an append, on the writer thread; when the storage is closed, at once. Not called
/// when `submit` fails.
pub type Done = Box<dyn FnOnce(AppendOutcome) + Send>;
