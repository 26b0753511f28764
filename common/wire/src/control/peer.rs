//! What replicas of a group ask each other. One stream per request.

use super::codec::{ControlError, ControlMessage, bounded, read, write};
use super::members::Members;
use super::messages::TEXT_BYTES_MAX;
use super::roll::RollPage;
use crate::{BatchSeq, LogId};
use bincode::{Decode, Encode};

/// Bytes of frames in one answer; the asker asks again for the rest.
pub const FETCH_BYTES_MAX: usize = 16 << 20;
/// Logs in one question for parts. Who wants more asks again.
pub const WANTED_LOGS_MAX: usize = 16_384;
/// Bytes of one page of a list.
pub const LISTING_BYTES_MAX: usize = 900 << 10;

/// Bytes of a deletion's record.
pub const DELETION_BYTES_MAX: usize = 900 << 10;

/// A question.
#[derive(Clone, Debug, PartialEq)]
pub enum PeerRequest {
    /// The asker's membership; the answer is the other's, after it has merged.
    Members(Members),
    /// Batches of a log that the asker misses.
    FetchFrames(FetchFrames),
    /// A deletion that the other is to know as well.
    Deletion(Deletion),
    /// The logs that are in parts, behind the one named.
    ListLogs(ListLogs),
    /// The parts with some of the logs named.
    ListParts(ListParts),
    /// What a part holds of the logs named.
    FetchPart(FetchPart),
    /// Who is no member any more, as far as the asker knows.
    Roll(RollPage),
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub enum PeerAnswer {
    /// The membership after merging.
    Members(Members),
    /// Frames follow on this stream, as they came from the agent.
    FramesFollow(FramesFollow),
    /// None of the batches is here.
    NotHere(FetchFrames),
    /// The question cannot be answered now.
    Refused(String),
    /// The deletion is known here, durably.
    Deleted(u128),
    /// A page of the list, as the storage writes it.
    Listing(Vec<u8>),
    /// The part follows on this stream, chunk by chunk.
    PartFollows(PartId),
    /// The part is not here any more: list again.
    PartGone(PartId),
    /// Who is no member any more, after what was told has been taken over.
    Roll(RollPage),
}

/// Samples that are gone, whoever has them.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Deletion {
    /// Drawn where it was asked for.
    pub id: u128,
    /// What it says, as storage writes it, its version included.
    pub record: Vec<u8>,
}

/// A range of batches, ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct FetchFrames {
    /// Which log.
    pub log: LogId,
    /// First batch wanted.
    pub from: BatchSeq,
    /// Last batch wanted.
    pub to: BatchSeq,
}

/// The next page of logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ListLogs {
    /// The last log of the page before.
    pub after: Option<LogId>,
}

/// The next page of parts.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ListParts {
    /// The last part of the page before.
    pub after: Option<PartId>,
    /// Parts without any of these logs are left out.
    pub logs: Vec<LogId>,
}

/// A part, and what is wanted of it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct FetchPart {
    /// Which part.
    pub part: PartId,
    /// What other logs have brought is left out.
    pub logs: Vec<LogId>,
}

/// Names a part of the replica that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct PartId {
    /// The UTC day, counted from 1 = 1970-01-01.
    pub day: u32,
    /// Its number.
    pub number: u64,
}

/// What follows the answer on the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct FramesFollow {
    /// How many frames.
    pub count: u32,
    /// Their bytes together.
    pub bytes: u64,
}

impl ControlMessage for PeerRequest {
    fn kind(&self) -> u8 {
        match self {
            Self::Members(_) => 49,
            Self::FetchFrames(_) => 50,
            Self::Deletion(_) => 129,
            Self::ListLogs(_) => 51,
            Self::ListParts(_) => 52,
            Self::FetchPart(_) => 53,
            Self::Roll(_) => 131,
        }
    }

    fn encode_body(&self, out: &mut Vec<u8>) -> Result<(), ControlError> {
        match self {
            Self::Members(members) => write(members, self.kind(), out),
            Self::FetchFrames(fetch) => write(fetch, self.kind(), out),
            Self::Deletion(deletion) => write(deletion, self.kind(), out),
            Self::ListLogs(list) => write(list, self.kind(), out),
            Self::ListParts(list) => write(list, self.kind(), out),
            Self::FetchPart(fetch) => write(fetch, self.kind(), out),
            Self::Roll(page) => write(page, self.kind(), out),
        }
    }

    fn decode_body(kind: u8, body: &[u8]) -> Result<Option<Self>, ControlError> {
        Ok(Some(match kind {
            49 => Self::Members(read(body, kind)?),
            50 => Self::FetchFrames(read(body, kind)?),
            129 => Self::Deletion(read(body, kind)?),
            51 => Self::ListLogs(read(body, kind)?),
            52 => Self::ListParts(read(body, kind)?),
            53 => Self::FetchPart(read(body, kind)?),
            131 => Self::Roll(read(body, kind)?),
            _ => return Ok(None),
        }))
    }

    fn check(&self) -> Result<(), ControlError> {
        match self {
            Self::Members(members) => members.check(),
            Self::FetchFrames(_) | Self::ListLogs(_) => Ok(()),
            Self::ListParts(list) => bounded("logs", list.logs.len(), WANTED_LOGS_MAX),
            Self::FetchPart(fetch) => bounded("logs", fetch.logs.len(), WANTED_LOGS_MAX),
            Self::Roll(page) => page.check(),
            Self::Deletion(deletion) => {
                bounded("bytes of a deletion", deletion.record.len(), DELETION_BYTES_MAX)
            }
        }
    }
}

impl ControlMessage for PeerAnswer {
    fn kind(&self) -> u8 {
        match self {
            Self::Members(_) => 57,
            Self::FramesFollow(_) => 58,
            Self::NotHere(_) => 59,
            Self::Refused(_) => 60,
            Self::Deleted(_) => 130,
            Self::Listing(_) => 61,
            Self::PartFollows(_) => 62,
            Self::PartGone(_) => 63,
            Self::Roll(_) => 132,
        }
    }

    fn encode_body(&self, out: &mut Vec<u8>) -> Result<(), ControlError> {
        match self {
            Self::Members(members) => write(members, self.kind(), out),
            Self::FramesFollow(follow) => write(follow, self.kind(), out),
            Self::NotHere(fetch) => write(fetch, self.kind(), out),
            Self::Refused(message) => write(message, self.kind(), out),
            Self::Deleted(id) => write(id, self.kind(), out),
            Self::Listing(page) => write(page, self.kind(), out),
            Self::PartFollows(part) | Self::PartGone(part) => write(part, self.kind(), out),
            Self::Roll(page) => write(page, self.kind(), out),
        }
    }

    fn decode_body(kind: u8, body: &[u8]) -> Result<Option<Self>, ControlError> {
        Ok(Some(match kind {
            57 => Self::Members(read(body, kind)?),
            58 => Self::FramesFollow(read(body, kind)?),
            59 => Self::NotHere(read(body, kind)?),
            60 => Self::Refused(read(body, kind)?),
            130 => Self::Deleted(read(body, kind)?),
            61 => Self::Listing(read(body, kind)?),
            62 => Self::PartFollows(read(body, kind)?),
            63 => Self::PartGone(read(body, kind)?),
            132 => Self::Roll(read(body, kind)?),
            _ => return Ok(None),
        }))
    }

    fn check(&self) -> Result<(), ControlError> {
        match self {
            Self::Members(members) => members.check(),
            Self::FramesFollow(follow) => bounded("bytes of frames", follow.bytes as usize, FETCH_BYTES_MAX),
            Self::Refused(message) => bounded("bytes of text", message.len(), TEXT_BYTES_MAX),
            Self::Listing(page) => bounded("bytes of a list", page.len(), LISTING_BYTES_MAX),
            Self::Roll(page) => page.check(),
            Self::NotHere(_) | Self::Deleted(_) | Self::PartFollows(_) | Self::PartGone(_) => Ok(()),
        }
    }
}
