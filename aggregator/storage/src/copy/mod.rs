//! Replicas copy from each other what one of them lacks: logs compared by batches, parts given and taken.
//!
//! | Module | Job |
//! |---|---|
//! | `batches` | sets of batch numbers |
//! | `listing` | which logs and parts there are, as bytes for another replica |
//! | `export` | what a part holds of some logs, as a stream of chunks |
//! | `lot` | what one replica lacks of another, and what may be claimed after each part |
//! | `items`, `import` | the stream checked, and written as a part of this replica's own |
//! | `commit` | part and records brought in at once, then shown |
//!
//! Why it loses nothing: a log's record on disk says which batches are in parts, at the moment at which it is read.
//! Parts that are listed after that hold all of them, whatever was frozen or merged meanwhile. A part's record names,
//! for each log, the first and the last batch that it may hold samples of. So a batch is here as a whole when every
//! listed part whose range it lies in has been copied; only then is it claimed, in one step with the last of these
//! parts. Parts that are gone when they are asked for make the asker list again.
//!
//! Why it repeats nothing: columns stay apart by log, and of one log's samples of one time one is answered, whichever
//! parts they are in. What is here twice goes with the next merge.

mod batches;
mod commit;
mod export;
mod import;
mod items;
mod listing;
mod lot;

pub use export::PartExport;
pub use import::{ImportError, Imported};
pub use listing::{LogListing, PartListing, PartName, PeerLog, PeerPart};
pub use lot::{Lack, Lot};

pub(crate) use batches::Batches;
pub(crate) use commit::{Copied, show};
pub(crate) use export::export;
pub(crate) use import::Target;
pub(crate) use listing::{list_logs, list_parts};
pub(crate) use lot::compare;

/// Reads `bytes` as everything that another replica sends.
pub(crate) fn check_any_bytes(bytes: &[u8]) {
    listing::check_any_bytes(bytes);
    items::check_any_bytes(bytes);
}
