//! Replicas of a group help each other: the conversation on `vedette-peer/1`.
//!
//! One bidirectional stream per question. Members are exchanged, batches that one replica misses are
//! fetched from another, as they came from the agent, and parts are copied (`parts`).

use crate::group::Group;
use crate::members::MembersStore;
use crate::parts::{PartChunks, send_part};
use crate::roll::RollError;
use crate::stream::{ControlReader, ControlWriter, Frame, StreamError};
use quinn::{Connection, ConnectionError};
use std::sync::Arc;
use std::time::Duration;
use vedette_wire::control::{
    Deletion, FETCH_BYTES_MAX, FetchFrames, FetchPart, FramesFollow, LISTING_BYTES_MAX, ListLogs, ListParts,
    Members, PeerAnswer, PeerRequest, ROLL_PAGE_MAX, RollPage,
};
use vedette_wire::{BatchSeq, FRAME_BYTES_MAX};

/// How long a question and its answer may take.
const PEER_TIMEOUT: Duration = Duration::from_secs(30);

/// What a replica does for its peers.
pub trait PeerStore: Send + Sync {
    /// Frames of the log from the first to the last batch wanted, in order, as many as fit `bytes_max`; none
    /// when the first one wanted is not here. Reads files: called outside the async tasks.
    fn fetch(&self, wanted: &FetchFrames, bytes_max: usize) -> Result<Vec<Vec<u8>>, String>;
    /// Makes a deletion known here, durably; one that is known already is fine. Writes files: called outside the async
    /// tasks.
    fn delete(&self, deletion: &Deletion) -> Result<(), String>;

    /// A page of the logs that are in parts. Reads files, as all of these do.
    fn list_logs(&self, list: &ListLogs, bytes_max: usize) -> Result<Vec<u8>, String>;

    /// A page of the parts with some logs.
    fn list_parts(&self, list: &ListParts, bytes_max: usize) -> Result<Vec<u8>, String>;

    /// What a part holds of some logs; none when it is not here any more.
    fn part(&self, wanted: &FetchPart) -> Result<Option<PartChunks>, String>;
}

/// What a peer has of the batches that were asked for.
#[derive(Debug)]
pub enum PeerFrames {
    /// The first ones, in order; ask again for those behind.
    Frames(Vec<Frame>),
    /// None of them.
    NotHere,
}

/// Why a peer could not be asked or answered.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The stream broke.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The peer did not answer.
    #[error("no answer within {} s", PEER_TIMEOUT.as_secs())]
    Timeout,
    /// The peer cannot answer now.
    #[error("the peer refused: {message}")]
    Refused {
        /// Why, for people.
        message: String,
    },
    /// The answer does not belong to the question.
    #[error("the answer is unusable: {reason}")]
    Answer {
        /// What is wrong with it.
        reason: String,
    },
    /// What the peer told could not be kept.
    #[error(transparent)]
    Members(#[from] crate::FileError),
    /// What the peer told could not be kept.
    #[error(transparent)]
    Roll(#[from] RollError),
}

/// Answers a peer's questions, one after the other, until it hangs up.
pub async fn serve_peer(
    connection: &Connection,
    group: &Group,
    store: Arc<dyn PeerStore>,
) -> Result<(), PeerError> {
    loop {
        let (send, receive) = match connection.accept_bi().await {
            Ok(stream) => stream,
            Err(ConnectionError::ApplicationClosed(_) | ConnectionError::LocallyClosed) => return Ok(()),
            Err(error) => return Err(StreamError::from(error).into()),
        };
        let mut reader = ControlReader::new(receive);
        let mut writer = ControlWriter::new(send);
        let answer = answer(&mut reader, &mut writer, group, store.clone());
        let follows =
            tokio::time::timeout(PEER_TIMEOUT, answer).await.map_err(|_elapsed| PeerError::Timeout)??;
        if let Some(chunks) = follows {
            // Takes as long as it takes: writing notices a peer that stops reading.
            match send_part(&mut writer, chunks).await {
                // The peer sees that the stream broke off, and may go on asking.
                Err(error @ PeerError::Answer { .. }) => tracing::warn!(%error, "a part could not be sent"),
                sent => sent?,
            }
        }
        writer.finish();
    }
}

/// Tells the peer our membership and takes over what it knows. The membership after that.
pub async fn exchange_members(connection: &Connection, members: &MembersStore) -> Result<Members, PeerError> {
    match question(connection, &PeerRequest::Members(members.current())).await?.0 {
        PeerAnswer::Members(theirs) => Ok(members.merge(&theirs)?),
        answer => Err(unexpected(answer)),
    }
}

/// Tells the peer who is no member any more and takes over what it knows. A peer of an older release does not answer.
pub async fn exchange_roll(connection: &Connection, group: &Group) -> Result<(), PeerError> {
    let (mut ours_after, mut theirs_after) = (Some(String::new()), Some(String::new()));
    while ours_after.is_some() || theirs_after.is_some() {
        let mut page = group.roll().current().page(ours_after.as_deref().unwrap_or_default());
        if ours_after.is_none() {
            page.revoked.clear();
        }
        ours_after = next_page(&page);
        page.after = theirs_after.unwrap_or_default();
        match question(connection, &PeerRequest::Roll(page)).await?.0 {
            PeerAnswer::Roll(theirs) => {
                group.take_roll(&theirs)?;
                theirs_after = next_page(&theirs);
            }
            answer => return Err(unexpected(answer)),
        }
    }
    Ok(())
}

/// Behind which name the next page begins, if there is one.
fn next_page(page: &RollPage) -> Option<String> {
    let last = page.revoked.last().filter(|_| page.revoked.len() >= ROLL_PAGE_MAX)?;
    // Names only rise: a peer that does otherwise does not keep us here.
    (last.name > page.after).then(|| last.name.clone())
}

/// Asks the peer for batches that are missing here.
pub async fn fetch_frames(connection: &Connection, wanted: FetchFrames) -> Result<PeerFrames, PeerError> {
    let fetch = async {
        let (answer, reader) = question(connection, &PeerRequest::FetchFrames(wanted)).await?;
        match answer {
            PeerAnswer::NotHere(_) => Ok(PeerFrames::NotHere),
            PeerAnswer::FramesFollow(follow) => {
                read_frames(reader, follow, &wanted).await.map(PeerFrames::Frames)
            }
            answer => Err(unexpected(answer)),
        }
    };
    tokio::time::timeout(PEER_TIMEOUT, fetch).await.map_err(|_elapsed| PeerError::Timeout)?
}

/// Tells the peer of a deletion. Whether it keeps it now: a peer of an older release does not answer.
pub async fn tell_deletion(connection: &Connection, deletion: Deletion) -> Result<(), PeerError> {
    let id = deletion.id;
    match question(connection, &PeerRequest::Deletion(deletion)).await?.0 {
        PeerAnswer::Deleted(kept) if kept == id => Ok(()),
        answer => Err(unexpected(answer)),
    }
}

/// Answers a question; gives the chunks that are to follow the answer.
async fn answer(
    reader: &mut ControlReader,
    writer: &mut ControlWriter,
    group: &Group,
    store: Arc<dyn PeerStore>,
) -> Result<Option<PartChunks>, PeerError> {
    let Some(request) = reader.read().await? else { return Ok(None) };
    let answered = match request {
        PeerRequest::Members(theirs) => Ok(PeerAnswer::Members(group.members().merge(&theirs)?)),
        PeerRequest::Roll(theirs) => {
            group.take_roll(&theirs)?;
            Ok(PeerAnswer::Roll(group.roll().current().page(&theirs.after)))
        }
        PeerRequest::FetchFrames(wanted) => {
            match look_up(move || store.fetch(&wanted, FETCH_BYTES_MAX - FRAME_BYTES_MAX)).await? {
                Ok(frames) if frames.is_empty() => Ok(PeerAnswer::NotHere(wanted)),
                Ok(frames) => return write_frames(writer, &frames).await.map(|()| None),
                Err(message) => Err(message),
            }
        }
        PeerRequest::Deletion(deletion) => {
            let id = deletion.id;
            look_up(move || store.delete(&deletion)).await?.map(|()| PeerAnswer::Deleted(id))
        }
        PeerRequest::ListLogs(list) => {
            look_up(move || store.list_logs(&list, LISTING_BYTES_MAX)).await?.map(PeerAnswer::Listing)
        }
        PeerRequest::ListParts(list) => {
            look_up(move || store.list_parts(&list, LISTING_BYTES_MAX)).await?.map(PeerAnswer::Listing)
        }
        PeerRequest::FetchPart(wanted) => {
            let part = wanted.part;
            match look_up(move || store.part(&wanted)).await? {
                Ok(Some(chunks)) => {
                    writer.write(&PeerAnswer::PartFollows(part)).await?;
                    return Ok(Some(chunks));
                }
                Ok(None) => Ok(PeerAnswer::PartGone(part)),
                Err(message) => Err(message),
            }
        }
    };
    writer.write(&answered.unwrap_or_else(PeerAnswer::Refused)).await?;
    Ok(None)
}

/// Reads files outside the async tasks.
async fn look_up<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> Result<T, PeerError> {
    let looking = tokio::task::spawn_blocking(look);
    looking.await.map_err(|error| PeerError::Answer { reason: error.to_string() })
}

async fn write_frames(writer: &mut ControlWriter, frames: &[Vec<u8>]) -> Result<(), PeerError> {
    let bytes = frames.iter().map(|frame| frame.len() as u64).sum();
    let count = u32::try_from(frames.len()).unwrap_or(u32::MAX);
    writer.write(&PeerAnswer::FramesFollow(FramesFollow { count, bytes })).await?;
    for frame in frames {
        writer.write_bytes(frame).await?;
    }
    Ok(())
}

pub(crate) async fn question(
    connection: &Connection,
    request: &PeerRequest,
) -> Result<(PeerAnswer, ControlReader), PeerError> {
    let ask = async {
        let (send, receive) = connection.open_bi().await.map_err(StreamError::from)?;
        let mut writer = ControlWriter::new(send);
        writer.write(request).await?;
        writer.finish();
        let mut reader = ControlReader::new(receive);
        match reader.read().await? {
            Some(answer) => Ok((answer, reader)),
            None => Err(PeerError::Answer { reason: "the peer said nothing".to_owned() }),
        }
    };
    tokio::time::timeout(PEER_TIMEOUT, ask).await.map_err(|_elapsed| PeerError::Timeout)?
}

/// Reads the frames that were announced, and checks that they are a run that begins with the first wanted.
async fn read_frames(
    reader: ControlReader,
    follow: FramesFollow,
    wanted: &FetchFrames,
) -> Result<Vec<Frame>, PeerError> {
    let mut reader = reader.into_frames();
    let mut frames = Vec::new();
    let (mut bytes, mut expected) = (0, wanted.from);
    for _ in 0..follow.count {
        let Some(frame) = reader.read().await? else {
            return Err(PeerError::Answer {
                reason: format!("only {} of {} frames came", frames.len(), follow.count),
            });
        };
        bytes += frame.bytes.len() as u64;
        if bytes > follow.bytes {
            return Err(PeerError::Answer {
                reason: format!("more than the {} bytes announced", follow.bytes),
            });
        }
        let last: BatchSeq = frame.header.last_seq;
        if frame.header.seq != expected || last < expected || last > wanted.to {
            return Err(PeerError::Answer {
                reason: format!("batch {} instead of {expected}", frame.header.seq),
            });
        }
        expected = last.next();
        frames.push(frame);
    }
    Ok(frames)
}

pub(crate) fn unexpected(answer: PeerAnswer) -> PeerError {
    match answer {
        PeerAnswer::Refused(message) => PeerError::Refused { message },
        answer => PeerError::Answer { reason: format!("unexpected {answer:?}") },
    }
}
