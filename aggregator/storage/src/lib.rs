//! Samples on disk: log, head, parts, and one consistent view over them.
//!
//! | Module | Job |
//! |---|---|
//! | `queue`, `writer` | frames from any thread to the one that writes them, many with one sync |
//! | `ingest` | a frame decoded, written to the log, applied to the head; the log read again at the start |
//! | `frames` | frames read from the log for other replicas |
//! | `copy` | parts given to other replicas, and taken from them |
//! | `head` | samples that are in no part yet, row by row |
//! | `freeze`, `part_writer` | the head turned into columns, one part a day, all ingested in one call |
//! | `compact`, `maintain` | parts merged, days past retention deleted, a failed disk waited for |
//! | `part`, `stream`, `view` | reading: postings, columns, series put together in the order of their labels |
//! | `admission` | which series of a writer are stored when it has too many |
//! | `samples`, `absence` | which value wins; what a writer's absence reads as |
//! | `catalogue`, `record`, `keys`, `bytes` | what is known of logs; how all of it is written (`FORMAT.md`) |
//!
//! What always holds:
//!
//! - An append is answered as durable only after its bytes are synced and its samples are visible.
//! - A log's batches are applied in order, each once, whatever crashes in between: a part's record says up to which
//!   batch its logs are in parts, and comes with the part in one atomic step.
//! - `apply` reads no clock and draws no random number: replicas that applied the same logs answer the same, bit for
//!   bit, whenever they froze and merged.
//! - Queries take a view and then no lock that a writer holds for longer than it takes to copy some pointers.
//!
//! This crate knows no HTTP, no socket, and no async runtime.

mod absence;
mod admission;
mod ahead;
mod append;
mod bytes;
mod cache;
mod catalogue;
mod compact;
mod config;
mod copy;
mod db;
mod error;
mod frames;
mod freeze;
mod gathered;
mod group;
mod head;
mod head_index;
mod histograms;
mod ingest;
mod keys;
mod maintain;
mod open;
mod part;
mod part_writer;
mod queue;
mod ranges;
mod record;
mod samples;
mod shared;
mod snapshot;
mod statistics;
mod status;
mod storage;
mod stream;
mod tail;
mod tombstone;
mod view;
mod writer;

pub use admission::SeriesCount;
pub use append::{Append, AppendOutcome, AppendRefusal, Busy, Done, Resume, StorageFault};
pub use config::StorageConfig;
pub use copy::{
    ImportError, Imported, Lack, LogListing, Lot, PartExport, PartListing, PartName, PeerLog, PeerPart,
};
pub use error::{DeleteError, OpenError};
pub use statistics::Statistics;
pub use status::{LogStatus, TimeRange, WriterStatus};
pub use storage::Storage;
pub use view::View;

/// More series than this do not fit into a segment: its frames are refused.
pub const SERIES_PER_SEGMENT_MAX: usize = vedette_wire::SERIES_PER_SEGMENT_MAX;

/// Merge levels of parts.
pub const LEVELS: usize = 4;

/// Reads `bytes` as every record and value there is, and checks that what comes out survives another round. For
/// fuzzing and for replaying its corpus.
#[doc(hidden)]
pub fn check_any_bytes(bytes: &[u8]) {
    if let Ok(found) = tombstone::Tombstone::decode(0, bytes) {
        let written = found.encode();
        let again = tombstone::Tombstone::decode(0, &written).map(|again| again.encode());
        assert_eq!(again, Ok(written));
    }
    if let Ok(found) = record::LogRecord::decode(bytes) {
        assert_eq!(record::LogRecord::decode(&found.encode()), Ok(found));
    }
    if let Ok(found) = record::LogEntry::decode(bytes) {
        assert_eq!(record::LogEntry::decode(&found.encode()), Ok(found));
    }
    if let Ok(found) = record::SegmentEntry::decode(bytes) {
        assert_eq!(record::SegmentEntry::decode(&found.encode()), Ok(found));
    }
    if let Ok(found) = record::PartRecord::decode(bytes) {
        assert_eq!(record::PartRecord::decode(&found.encode()), Ok(found));
    }
    if let Ok(plain) = bytes::open(bytes, "a value") {
        assert_eq!(bytes::open(&bytes::seal(&plain), "a value"), Ok(plain));
    }
    part::check_any_bytes(bytes);
    histograms::check_any_bytes(bytes);
    copy::check_any_bytes(bytes);
}
