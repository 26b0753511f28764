//! The QUIC driver: identities, enrolment, endpoints, connections and their streams.
//!
//! This crate owns sockets, keys and certificates, and the files that they live in. It holds no rule of the
//! conversation itself: that is `vedette_wire::session`. It knows no storage and no samples.
//!
//! | Step | Where |
//! |---|---|
//! | a group's certificate authority, and who a certificate names | [`Authority`], [`Identity`], [`Role`] |
//! | a newcomer's ticket | [`Token`], [`TokenStore`] |
//! | a replica's standing in its group | [`Group`] |
//! | becoming a member, staying one | [`enroll_agent`], [`enroll_replica`], [`renew`] |
//! | sockets | [`server_endpoint`], [`client_endpoint`], [`Listener`], [`connect`] |
//! | messages and frames on streams | [`ControlReader`], [`ControlWriter`], [`FrameReader`], [`FrameWriter`] |
//! | shipping logs | [`open_control`], [`LogStreams`], [`HangUp`] |
//!
//! All connections are TLS 1.3 within QUIC. Three protocols share one UDP port and are told apart by ALPN:
//! [`Protocol::Data`] and [`Protocol::Peer`] are mutually authenticated, [`Protocol::Enroll`] is open to who
//! holds a token.

#![warn(missing_docs)]

mod authority;
mod backoff;
mod connect;
mod endpoint;
mod enroll;
mod files;
mod group;
mod identity;
mod listener;
mod members;
mod parts;
mod peer;
mod roll;
mod shipping;
mod socket;
mod stream;
mod tls;
mod token;
mod token_store;

pub use authority::{Authority, AuthorityError, CERTIFICATE_LIFE};
pub use backoff::Backoff;
pub use connect::{Caller, ConnectError, Connected, connect};
pub use endpoint::{
    EndpointError, IDLE_TIMEOUT, KEEP_ALIVE, client_endpoint, close, replace_identity, server_endpoint,
};
pub use enroll::{EnrollError, Enrolled, Joined, enroll_agent, enroll_replica, renew, serve_enroll};
pub use files::{FileError, create_folder};
pub use group::{Group, GroupError};
pub use identity::{Certified, Identity, IdentityError, Role};
pub use listener::{AcceptError, Accepted, Handshake, Listener, refusal};
pub use members::{LEASE, MembersStore};
pub use parts::{PartChunks, PartStream, fetch_part, list_logs, list_parts};
pub use peer::{
    PeerError, PeerFrames, PeerStore, exchange_members, exchange_roll, fetch_frames, serve_peer,
    tell_deletion,
};
pub use roll::{REVOKED_MAX, Roll, RollError, RollStore};
pub use shipping::{HangUp, LogStreams, closed_with, open_control};
pub use stream::{ControlReader, ControlWriter, Frame, FrameReader, FrameWriter, StreamError};
pub use tls::Protocol;
pub use token::{SECRET_BYTES, Token, TokenError, TokenKind};
pub use token_store::{TOKENS_MAX, TokenStore, TokenStoreError, USES_MAX};

/// Reads `bytes` as everything that somebody else wrote, and checks that what is accepted survives another round.
/// For fuzzing and for replaying its corpus.
#[doc(hidden)]
pub fn check_any_bytes(bytes: &[u8]) {
    token::check_any_bytes(bytes);
    token_store::check_any_bytes(bytes);
    members::check_any_bytes(bytes);
    roll::check_any_bytes(bytes);
    identity::check_any_bytes(bytes);
    authority::check_any_bytes(bytes);
}
