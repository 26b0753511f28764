//! What goes from writers to replicas: batches in segments, and the session around them.
//!
//! A writer keeps a [`TargetTable`] per target, fills one row per scrape, and gives the rows to a
//! [`SegmentEncoder`], which returns a frame. The same bytes serve the spool, every replica and a replica's
//! log; a [`SegmentDecoder`] turns them back into rows. `FORMAT.md` has the bytes.
//!
//! This crate knows no socket, no file and no clock.

#![warn(missing_docs)]

pub mod control;
mod frame;
mod ids;
mod row;
mod segment;
pub mod session;
mod table;
mod varint;

pub use frame::{
    FRAME_BYTES_MAX, FRAME_VERSION, FrameError, FrameHeader, FrameKind, check_frame, encode_gap, seal_frame,
};
pub use ids::{AGENT_NAME_BYTES_MAX, AgentName, BatchSeq, GapReason, IdError, LogId, ReplicaId, WriterKind};
pub use row::RowValues;
pub use segment::{
    Batch, BatchInput, DecodeError, DecodeLimits, DecodedRow, Dictionary, DictionarySeries, DictionaryTarget,
    EncodeError, EncodedBatch, Gap, HISTOGRAM_BUCKETS_MAX, RowInput, SERIES_PER_SEGMENT_MAX, SegmentDecoder,
    SegmentEncoder, SegmentLimits, requests_of, with_request,
};
pub use table::{Family, RowSummary, SERIES_PER_TARGET_MAX, SeriesDescription, SetOutcome, TargetTable};
