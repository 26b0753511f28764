//! Control messages: what agents and replicas say to each other beside the data.
//!
//! This module owns the messages, their bytes (`FORMAT-control.md`) and every bound on them. It knows no
//! socket: a driver hands it bytes. [`codec`] is the only place in the workspace that names the encoding
//! library, so that it can be replaced behind the version byte.
//!
//! | Who speaks | Type | On |
//! |---|---|---|
//! | agent → replica | [`AgentMessage`] | control stream of `vedette/1` |
//! | replica → agent | [`ReplicaMessage`] | control stream of `vedette/1` |
//! | newcomer ↔ replica | [`EnrollRequest`], [`EnrollAnswer`] | one stream of `vedette-enroll/1` |
//! | replica ↔ replica | [`PeerRequest`], [`PeerAnswer`] | one stream per request of `vedette-peer/1` |

mod chunk;
mod codec;
mod enroll;
mod members;
mod messages;
mod peer;
mod roll;
mod targets;

pub use chunk::{CHUNK_BYTES_MAX, CHUNK_HEADER_BYTES, ChunkError, check_chunk, chunk_header, chunk_len};
pub use codec::{
    CONTROL_VERSION, ControlError, ControlMessage, Decoded, LENGTH_PREFIX_BYTES, MESSAGE_BYTES_MAX, decode,
    encode, message_len,
};
pub use enroll::{
    CERTIFICATE_BYTES_MAX, EnrollAnswer, EnrollRefusal, EnrollRequest, Issued, NewcomerKind, Redeem,
    RefusedEnroll, Renew, SIGNING_REQUEST_BYTES_MAX,
};
pub use members::{ADDRESS_BYTES_MAX, ADDRESSES_MAX, MEMBERS_MAX, Member, Members};
pub use messages::{
    Ack, AgentMessage, CloseLog, FEATURE_HISTOGRAMS, FEATURE_TARGETS, FEATURES, Hello, LOGS_MAX, LogOffer,
    PROTOCOL_MAX, PROTOCOL_MIN, Refuse, RefuseReason, ReplicaMessage, Resume, SeriesLimit, TEXT_BYTES_MAX,
    Welcome, Window,
};
pub use peer::{
    DELETION_BYTES_MAX, Deletion, FETCH_BYTES_MAX, FetchFrames, FetchPart, FramesFollow, LISTING_BYTES_MAX,
    ListLogs, ListParts, PartId, PeerAnswer, PeerRequest, WANTED_LOGS_MAX,
};
pub use roll::{REMOVED_MAX, ROLL_PAGE_MAX, RevokedAgent, RollPage};
pub use targets::{
    TARGET_LABELS_MAX, TARGET_TEXT_BYTES_MAX, TARGETS_BYTES_MAX, TARGETS_MAX, TargetReport, Targets,
};
