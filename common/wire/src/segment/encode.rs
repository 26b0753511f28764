use vedette_model::Timestamp;

use crate::ids::BatchSeq;
use crate::row::RowValues;
use crate::table::TargetTable;

/// When a segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentLimits {
    /// Batches of a segment, its key batch included.
    pub batches_max: u32,
    /// Bytes of its frames after which no further batch is added.
    pub bytes_max: usize,
}

impl Default for SegmentLimits {
    fn default() -> Self {
        Self { batches_max: 64, bytes_max: 256 << 10 }
    }
}

/// One scrape of one target, to be encoded.
#[derive(Clone, Copy, Debug)]
pub struct RowInput<'a> {
    /// The target's index, which the writer gives out from 0 and keeps within a segment.
    pub target: u32,
    /// The scrape's time, or the time that the samples carry themselves.
    pub at: Timestamp,
    /// What the indices in `values` mean.
    pub table: &'a TargetTable,
    /// The values: `table.row()`, or an earlier copy of it.
    pub values: &'a RowValues,
}

/// A batch to be encoded.
#[derive(Clone, Copy, Debug)]
pub struct BatchInput<'a> {
    /// Its number: one more than the last batch's.
    pub seq: BatchSeq,
    /// The batch holds all that the writer's targets gave from here (exclusive) …
    pub complete_from: Timestamp,
    /// … to here (inclusive).
    pub complete_through: Timestamp,
    /// In the order in which they will be read; a target may have several.
    pub rows: &'a [RowInput<'a>],
}

/// A batch as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedBatch {
    /// The whole frame.
    pub frame: Vec<u8>,
    /// Whether it starts a segment.
    pub is_key: bool,
}

/// Why a batch cannot be encoded. The encoder goes on with a key batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The frame would be longer than a reader accepts.
    #[error("batch of {bytes} bytes, at most {bytes_max} are allowed")]
    TooLong {
        /// Bytes that it took.
        bytes: usize,
        /// Bytes allowed.
        bytes_max: usize,
    },
}

/// Turns rows into frames.
#[derive(Debug)]
pub struct SegmentEncoder {
    _limits: SegmentLimits,
}

impl SegmentEncoder {
    /// An encoder whose next batch is a key batch.
    pub fn new(limits: SegmentLimits) -> Self {
        Self { _limits: limits }
    }

    /// Encodes one batch.
    pub fn encode(&mut self, _batch: &BatchInput<'_>) -> Result<EncodedBatch, EncodeError> {
        unimplemented!()
    }

    /// The next batch will be a key batch.
    pub fn start_segment(&mut self) {
        unimplemented!()
    }

    /// Whether the next batch will be a key batch.
    pub fn will_start_segment(&self) -> bool {
        unimplemented!()
    }
}
