//! The conversation of an agent with a replica.

use super::codec::{ControlError, ControlMessage, bounded, read, write};
use super::members::Members;
use super::targets::Targets;
use crate::{BatchSeq, LogId, ReplicaId};
use bincode::{Decode, Encode};

/// Oldest protocol that this release speaks.
pub const PROTOCOL_MIN: u16 = 1;
/// Newest protocol that this release speaks.
pub const PROTOCOL_MAX: u16 = 1;
/// Reads native histograms and start timestamps in batches. A reader without it refuses a batch that has some.
pub const FEATURE_HISTOGRAMS: u64 = 1;
/// Listens to what an agent says of its targets.
pub const FEATURE_TARGETS: u64 = 2;
/// Optional abilities of this release, one bit each.
pub const FEATURES: u64 = FEATURE_HISTOGRAMS | FEATURE_TARGETS;
/// Logs in one hello. More are offered as earlier ones are finished.
pub const LOGS_MAX: usize = 256;
/// Bytes of a text for people.
pub const TEXT_BYTES_MAX: usize = 1024;

/// What an agent says.
#[derive(Clone, Debug, PartialEq)]
pub enum AgentMessage {
    /// First message of a connection.
    Hello(Hello),
    /// A log that the hello did not name, or that was refused and is tried again.
    OpenLog(LogOffer),
    /// The log ended and all of it is acknowledged.
    CloseLog(CloseLog),
    /// What the agent scrapes, whenever that or how it goes has changed. Only to replicas that listen.
    Targets(Targets),
}

/// What a replica says to an agent.
#[derive(Clone, Debug, PartialEq)]
pub enum ReplicaMessage {
    /// Answer to the hello.
    Welcome(Welcome),
    /// Answer to an opened log.
    Resume(Resume),
    /// Batches that are synced to the replica's disk.
    Ack(Ack),
    /// The group's replicas changed.
    Members(Members),
    /// One log or the whole connection is not wanted now.
    Refuse(Refuse),
    /// Some of the agent's series are not stored. An agent that does not know this message skips it.
    SeriesLimit(SeriesLimit),
}

/// Who the agent is and what it has.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Hello {
    /// Oldest protocol that the agent speaks.
    pub version_min: u16,
    /// Newest protocol that the agent speaks.
    pub version_max: u16,
    /// Optional abilities that the agent has.
    pub features: u64,
    /// Release of the agent, for people.
    pub software: String,
    /// The agent's clock, milliseconds since the epoch.
    pub now_ms: i64,
    /// Interval at which the agent collects.
    pub interval_ms: u32,
    /// Logs with batches that this replica may not have. The one that is not closed is the live one.
    pub logs: Vec<LogOffer>,
}

/// One log and the batches of it that the agent still has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LogOffer {
    /// Which log.
    pub log: LogId,
    /// Oldest batch in the spool; one past `last` when there is none.
    pub first: BatchSeq,
    /// Newest batch.
    pub last: BatchSeq,
    /// Nothing will be appended any more.
    pub closed: bool,
}

/// The end of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CloseLog {
    /// Which log.
    pub log: LogId,
    /// Its last batch.
    pub last: BatchSeq,
}

/// What the replica knows about the agent's logs, and the group's replicas.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Welcome {
    /// Protocol that is spoken from here on.
    pub version: u16,
    /// Abilities that both have.
    pub features: u64,
    /// The replica's own id: cursors are kept per id, never per address.
    pub replica: ReplicaId,
    /// The replica's clock, milliseconds since the epoch.
    pub now_ms: i64,
    /// How much may be on its way unacknowledged.
    pub window: Window,
    /// The group's replicas.
    pub members: Members,
    /// Where each offered log goes on.
    pub resume: Vec<Resume>,
}

/// How much may be sent and not yet acknowledged, over all logs of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Window {
    /// Frames.
    pub frames_max: u32,
    /// Bytes of frames.
    pub bytes_max: u32,
}

/// Where a log goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Resume {
    /// Which log.
    pub log: LogId,
    /// Newest batch that the replica has on disk, all before it included; 0 for none.
    pub through: BatchSeq,
    /// The replica has forgotten the segment's dictionary: send again from the segment's key batch.
    pub needs_key: bool,
}

/// A promise: these batches are synced to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Ack {
    /// Which log.
    pub log: LogId,
    /// Newest batch that is durable, all before it included.
    pub through: BatchSeq,
}

/// The agent has more series than the replica stores of one agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SeriesLimit {
    /// Which log.
    pub log: LogId,
    /// Series of its open segment.
    pub series: u64,
    /// Those of them that are not stored.
    pub masked: u64,
    /// How many would be.
    pub series_max: u64,
}

/// Not now, or not at all.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Refuse {
    /// The log that is refused; none when the whole connection is.
    pub log: Option<LogId>,
    /// Why.
    pub reason: RefuseReason,
    /// Why, for people.
    pub message: String,
    /// When to try again.
    pub retry_after_ms: u32,
}

/// Why a replica refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum RefuseReason {
    /// No common protocol version.
    Version,
    /// The agent broke the protocol; the message says how.
    Protocol,
    /// Too much load or too many logs.
    Overload,
    /// Storage cannot take it now, for instance because the disk is full.
    Storage,
    /// A limit on series or samples is reached.
    Limit,
    /// Another live session has the same agent's name.
    IdentityConflict,
    /// A frame does not decode or does not follow the one before.
    Frame,
    /// The replica is going away.
    ShuttingDown,
}

impl RefuseReason {
    /// Name of the reason in logs and as a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Protocol => "protocol",
            Self::Overload => "overload",
            Self::Storage => "storage",
            Self::Limit => "limit",
            Self::IdentityConflict => "identity_conflict",
            Self::Frame => "frame",
            Self::ShuttingDown => "shutting_down",
        }
    }
}

impl ControlMessage for AgentMessage {
    fn kind(&self) -> u8 {
        match self {
            Self::Hello(_) => 1,
            Self::OpenLog(_) => 2,
            Self::CloseLog(_) => 3,
            Self::Targets(_) => 128,
        }
    }

    fn encode_body(&self, out: &mut Vec<u8>) -> Result<(), ControlError> {
        match self {
            Self::Hello(hello) => write(hello, self.kind(), out),
            Self::OpenLog(offer) => write(offer, self.kind(), out),
            Self::CloseLog(close) => write(close, self.kind(), out),
            Self::Targets(targets) => write(targets, self.kind(), out),
        }
    }

    fn decode_body(kind: u8, body: &[u8]) -> Result<Option<Self>, ControlError> {
        Ok(Some(match kind {
            1 => Self::Hello(read(body, kind)?),
            2 => Self::OpenLog(read(body, kind)?),
            3 => Self::CloseLog(read(body, kind)?),
            128 => Self::Targets(read(body, kind)?),
            _ => return Ok(None),
        }))
    }

    fn check(&self) -> Result<(), ControlError> {
        match self {
            Self::Hello(hello) => {
                bounded("logs", hello.logs.len(), LOGS_MAX)?;
                bounded("bytes of text", hello.software.len(), TEXT_BYTES_MAX)
            }
            Self::OpenLog(_) | Self::CloseLog(_) => Ok(()),
            Self::Targets(targets) => targets.check(),
        }
    }
}

impl ReplicaMessage {
    /// Where the replica goes on with logs, as far as this message says so.
    pub fn resumes(&self) -> &[Resume] {
        match self {
            Self::Welcome(welcome) => &welcome.resume,
            Self::Resume(resume) => std::slice::from_ref(resume),
            Self::Ack(_) | Self::Members(_) | Self::Refuse(_) | Self::SeriesLimit(_) => &[],
        }
    }
}

impl ControlMessage for ReplicaMessage {
    fn kind(&self) -> u8 {
        match self {
            Self::Welcome(_) => 17,
            Self::Resume(_) => 18,
            Self::Ack(_) => 19,
            Self::Members(_) => 20,
            Self::Refuse(_) => 21,
            Self::SeriesLimit(_) => 145,
        }
    }

    fn encode_body(&self, out: &mut Vec<u8>) -> Result<(), ControlError> {
        match self {
            Self::Welcome(welcome) => write(welcome, self.kind(), out),
            Self::Resume(resume) => write(resume, self.kind(), out),
            Self::Ack(ack) => write(ack, self.kind(), out),
            Self::Members(members) => write(members, self.kind(), out),
            Self::Refuse(refuse) => write(refuse, self.kind(), out),
            Self::SeriesLimit(limit) => write(limit, self.kind(), out),
        }
    }

    fn decode_body(kind: u8, body: &[u8]) -> Result<Option<Self>, ControlError> {
        Ok(Some(match kind {
            17 => Self::Welcome(read(body, kind)?),
            18 => Self::Resume(read(body, kind)?),
            19 => Self::Ack(read(body, kind)?),
            20 => Self::Members(read(body, kind)?),
            21 => Self::Refuse(read(body, kind)?),
            145 => Self::SeriesLimit(read(body, kind)?),
            _ => return Ok(None),
        }))
    }

    fn check(&self) -> Result<(), ControlError> {
        match self {
            Self::Welcome(welcome) => {
                bounded("logs", welcome.resume.len(), LOGS_MAX)?;
                welcome.members.check()
            }
            Self::Members(members) => members.check(),
            Self::Refuse(refuse) => bounded("bytes of text", refuse.message.len(), TEXT_BYTES_MAX),
            Self::Resume(_) | Self::Ack(_) | Self::SeriesLimit(_) => Ok(()),
        }
    }
}
