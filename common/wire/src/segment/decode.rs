use vedette_model::Timestamp;

use super::dictionary::Dictionary;
use crate::frame::{FrameError, FrameKind};
use crate::ids::{BatchSeq, GapReason};
use crate::row::RowValues;

/// What a decoder accepts. What is beyond is refused before memory is taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Targets of a log.
    pub targets_max: usize,
    /// Series of a target.
    pub series_per_target_max: usize,
    /// Series of all targets of a log.
    pub series_max: usize,
    /// Families of a log.
    pub families_max: usize,
    /// Bytes of one series' labels, and of one family's name, unit and help.
    pub label_bytes_max: usize,
    /// Bytes of the dictionary of one batch, decompressed.
    pub dictionary_bytes_max: usize,
    /// Rows of a batch.
    pub rows_max: usize,
    /// Series of all rows of a batch, present or not.
    pub cells_max: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self {
            targets_max: 1 << 14,
            series_per_target_max: crate::table::SERIES_PER_TARGET_MAX,
            series_max: 1 << 20,
            families_max: 1 << 16,
            label_bytes_max: 64 << 10,
            dictionary_bytes_max: 64 << 20,
            rows_max: 1 << 16,
            cells_max: 1 << 22,
        }
    }
}

/// Batches that the writer no longer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first of them.
    pub from: BatchSeq,
    /// The last of them.
    pub to: BatchSeq,
    /// Why they are gone.
    pub reason: GapReason,
}

/// One row of a decoded batch.
#[derive(Clone, Debug, PartialEq)]
pub struct DecodedRow {
    /// Index into [`Dictionary::targets`].
    pub target: u32,
    /// The time of all its values.
    pub at: Timestamp,
    /// By series index of the target.
    pub values: RowValues,
}

/// A decoded batch; borrowed from the decoder, which reuses its memory.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Its number; of a gap, its first.
    pub seq: BatchSeq,
    /// What its frame is.
    pub kind: FrameKind,
    /// The batch holds all that the writer's targets gave from here (exclusive) …
    pub complete_from: Timestamp,
    /// … to here (inclusive). Of a gap both are [`Timestamp::MIN`].
    pub complete_through: Timestamp,
    /// What the rows' indices stand for.
    pub dictionary: &'a Dictionary,
    /// Whether the dictionary differs in any way from the one that came with the batch decoded before. A
    /// key batch often repeats it, and then it has not changed.
    pub dictionary_changed: bool,
    /// In the order in which they were written.
    pub rows: &'a [DecodedRow],
    /// Set when the frame is a gap.
    pub gap: Option<Gap>,
}

/// Why a frame could not be decoded. The decoder then waits for a key batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not a frame, or damaged.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The batch continues a segment of which this decoder has not seen all before it.
    #[error("batch {seq} needs its segment from key batch {key_seq} on")]
    NeedsKey {
        /// The batch.
        seq: BatchSeq,
        /// Its segment's first.
        key_seq: BatchSeq,
    },
    /// The checksum is right and the content makes no sense: written by something else.
    #[error("batch {seq} is malformed: {what}")]
    Malformed {
        /// The batch.
        seq: BatchSeq,
        /// What was found.
        what: &'static str,
    },
    /// A section that must be understood, of a newer release.
    #[error(
        "batch {seq} has a section of kind {kind} that this release does not know: upgrade the reader first"
    )]
    Section {
        /// The batch.
        seq: BatchSeq,
        /// The section's kind.
        kind: u8,
    },
    /// More of something than the limits allow.
    #[error("batch {seq} has too many or too long {what}, at most {max} are allowed")]
    Limit {
        /// The batch.
        seq: BatchSeq,
        /// Of what.
        what: &'static str,
        /// The limit.
        max: usize,
    },
}

/// Turns frames back into rows.
#[derive(Debug)]
pub struct SegmentDecoder {
    _limits: DecodeLimits,
}

impl SegmentDecoder {
    /// A decoder that waits for a key batch.
    pub fn new(limits: DecodeLimits) -> Self {
        Self { _limits: limits }
    }

    /// Decodes one frame. A key batch or a gap may come at any time; a delta batch must follow the batch
    /// decoded last.
    pub fn decode(&mut self, _frame: &[u8]) -> Result<Batch<'_>, DecodeError> {
        unimplemented!()
    }

    /// The last batch number decoded; `None` when only a key batch or a gap can come.
    pub fn position(&self) -> Option<BatchSeq> {
        unimplemented!()
    }
}
