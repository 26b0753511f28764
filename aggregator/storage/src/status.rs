//! What is known of writers and their logs.

use vedette_model::Timestamp;
use vedette_wire::{AgentName, BatchSeq, Gap, LogId};

use crate::SeriesCount;

/// A writer and its logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriterStatus {
    /// The writer.
    pub name: AgentName,
    /// Its logs, by id.
    pub logs: Vec<LogStatus>,
    /// When its data is whole, oldest first, over all its logs. Neighbours less than two intervals apart are one.
    pub complete: Vec<TimeRange>,
    /// Up to when its data is whole.
    pub complete_through: Option<Timestamp>,
    /// Series of the segment that brought what is newest.
    pub series: SeriesCount,
}

/// One log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogStatus {
    /// Its id.
    pub log: LogId,
    /// The last batch that is here.
    pub through: BatchSeq,
    /// The writer's interval in this log.
    pub interval_ms: u32,
    /// When its data is whole, oldest first.
    pub complete: Vec<TimeRange>,
    /// Batches that will never come.
    pub gaps: Vec<Gap>,
}

/// A stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// The first time.
    pub from: Timestamp,
    /// The last time.
    pub through: Timestamp,
}
