//! The two ends of an agent's connection, as state machines without sockets, clocks or disks.
//!
//! A driver says what happened and asks what to do. The rules that both ends keep:
//!
//! 1. A replica acknowledges a batch only after [`ReplicaSession::on_durable`] said that it is on disk.
//! 2. A log's batches reach storage in order, each once or recognisably again.
//! 3. The live log goes first; closed logs drain one after the other at a bounded rate.
//! 4. What is sent and not acknowledged is bounded in frames and bytes, over all logs of the connection.
//!
//! Sequence of a connection: agent `Hello` → replica `Welcome` with where each log goes on → the agent opens
//! one data stream per log, when it has something to send → `Ack`s come back. A log that starts later is
//! announced by `OpenLog` and answered by `Resume`; so is a log that was refused, after its time.

mod agent;
mod replica;

pub use agent::{AgentAction, AgentOptions, AgentSession, SendStart, Sent};
pub use replica::{
    AgentInfo, FrameVerdict, ReplicaAction, ReplicaOptions, ReplicaSession, ResumePoint, StreamVerdict,
};

use crate::LogId;
use std::time::Duration;
use vedette_model::Timestamp;

/// Layout of a data stream's header, see `FORMAT-control.md`.
pub const STREAM_VERSION: u8 = 1;

/// The time of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Since any fixed point, never stepping back: all waiting is measured by it.
    pub monotonic: Duration,
    /// The clock on the wall: only told to the other side.
    pub wall: Timestamp,
}

/// Why a connection is closed. The number travels as QUIC's application error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// All is said.
    Done,
    /// The other side broke the protocol.
    Protocol,
    /// The other side was refused; the message before said why.
    Refused,
    /// The other side did not say what it had to in time.
    Timeout,
    /// This side is going away.
    ShuttingDown,
    /// The other side showed no certificate where one is needed.
    NoCertificate,
    /// The other side's certificate is for another role.
    WrongRole,
    /// Too many connections.
    Overload,
    /// The same replica or agent connected anew.
    Superseded,
    /// The other side's certificate was revoked.
    Revoked,
}

impl CloseCode {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Done,
        Self::Protocol,
        Self::Refused,
        Self::Timeout,
        Self::ShuttingDown,
        Self::NoCertificate,
        Self::WrongRole,
        Self::Overload,
        Self::Superseded,
        Self::Revoked,
    ];

    /// The number on the wire.
    pub const fn code(self) -> u32 {
        match self {
            Self::Done => 0,
            Self::Protocol => 1,
            Self::Refused => 2,
            Self::Timeout => 3,
            Self::ShuttingDown => 4,
            Self::NoCertificate => 5,
            Self::WrongRole => 6,
            Self::Overload => 7,
            Self::Superseded => 8,
            Self::Revoked => 9,
        }
    }

    /// From [`CloseCode::code`].
    pub fn from_code(code: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|known| u64::from(known.code()) == code)
    }

    /// As a label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Protocol => "protocol",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::ShuttingDown => "shutting_down",
            Self::NoCertificate => "no_certificate",
            Self::WrongRole => "wrong_role",
            Self::Overload => "overload",
            Self::Superseded => "superseded",
            Self::Revoked => "revoked",
        }
    }
}

/// Bytes of a data stream's header.
pub const STREAM_HEADER_BYTES: usize = 17;

/// First bytes of a data stream: version, then the log id, little endian.
pub fn encode_stream_header(log: LogId) -> [u8; STREAM_HEADER_BYTES] {
    let mut bytes = [STREAM_VERSION; STREAM_HEADER_BYTES];
    bytes[1..].copy_from_slice(&log.0.to_le_bytes());
    bytes
}

/// Which log a data stream carries; the version found when this release cannot read it.
pub fn parse_stream_header(bytes: [u8; STREAM_HEADER_BYTES]) -> Result<LogId, u8> {
    let [version, log @ ..] = bytes;
    if version != STREAM_VERSION {
        return Err(version);
    }
    Ok(LogId(u128::from_le_bytes(log)))
}
