//! One data stream of an agent: reads frames and hands them to the session, which takes them as storage can.

use std::sync::Arc;
use std::time::Duration;

use quinn::RecvStream;
use tokio::sync::{mpsc, oneshot};
use vedette_transport::{Frame, FrameReader, StreamError};
use vedette_wire::session::{CloseCode, StreamVerdict};
use vedette_wire::{AgentName, FrameKind, LogId};

use crate::Shared;

/// How long a stream may be open before it says which log it carries.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// What a stream's task tells its session.
pub(crate) enum StreamEvent {
    /// It carries `log`. Reading goes on when the verdict is to read.
    Opened { stream: u64, log: LogId, verdict: oneshot::Sender<StreamVerdict> },
    /// Batches of a gap that a peer still had, in front of the gap itself.
    Recovered { log: LogId, frames: Vec<Frame> },
    /// A frame came.
    Frame { stream: u64, frame: Frame },
    /// It stopped in the middle of a frame, and is not read any more.
    Stalled { stream: u64 },
    /// It is over; with what went wrong.
    Ended { stream: u64, error: Option<StreamError> },
}

/// Reads a stream until it ends, breaks, stalls, or the session no longer wants it.
pub(crate) async fn read(
    shared: Arc<Shared>,
    agent: AgentName,
    incoming: RecvStream,
    events: mpsc::Sender<StreamEvent>,
) {
    let (mut reader, log) = match tokio::time::timeout(HEADER_TIMEOUT, FrameReader::open(incoming)).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(error @ (StreamError::StreamVersion { .. } | StreamError::Truncated { .. }))) => {
            return shared.refused("stream_header", agent.as_str(), &error.to_string());
        }
        // The connection is gone, or the agent thought better of it.
        Ok(Err(_broken)) => return,
        Err(_elapsed) => {
            return shared.refused(
                "stream_header",
                agent.as_str(),
                "a data stream did not say its log in time",
            );
        }
    };
    let stream = reader.stream();
    let (verdict, decided) = oneshot::channel();
    if events.send(StreamEvent::Opened { stream, log, verdict }).await.is_err() {
        return;
    }
    if decided.await != Ok(StreamVerdict::Read) {
        reader.stop(CloseCode::Refused);
        return;
    }
    let over = loop {
        match read_frame(&mut reader, shared.limits.stall_timeout).await {
            Ok(Ok(Some(frame))) => {
                if !deliver(&shared, stream, log, frame, &events).await {
                    return reader.stop(CloseCode::Refused);
                }
            }
            Ok(Ok(None)) => break StreamEvent::Ended { stream, error: None },
            Ok(Err(error)) => break StreamEvent::Ended { stream, error: Some(error) },
            Err(Stalled) => {
                reader.stop(CloseCode::Timeout);
                break StreamEvent::Stalled { stream };
            }
        }
    };
    // The session may be gone already; then nobody needs to know.
    events.send(over).await.ok();
}

/// No byte came for a while in the middle of a frame.
struct Stalled;

/// The next frame. Between frames a stream may be silent for as long as it likes.
async fn read_frame(
    reader: &mut FrameReader,
    stall_timeout: Duration,
) -> Result<Result<Option<Frame>, StreamError>, Stalled> {
    let mut before = 0;
    loop {
        match tokio::time::timeout(stall_timeout, reader.read()).await {
            Ok(read) => return Ok(read),
            // A slow link is not a stall: what counts is any progress.
            Err(_elapsed) if before > 0 && reader.unfinished_bytes() == before => return Err(Stalled),
            Err(_elapsed) => before = reader.unfinished_bytes(),
        }
    }
}

/// Whether the session still listens.
async fn deliver(
    shared: &Shared,
    stream: u64,
    log: LogId,
    frame: Frame,
    events: &mpsc::Sender<StreamEvent>,
) -> bool {
    shared.metrics.frames.inc();
    shared.metrics.bytes.inc_by(frame.bytes.len() as u64);
    let known = || shared.storage.resume(log).through >= frame.header.last_seq;
    if frame.header.kind == FrameKind::Gap && !known() {
        let frames = shared.recover(log, frame.header.seq, frame.header.last_seq).await;
        if !frames.is_empty() && events.send(StreamEvent::Recovered { log, frames }).await.is_err() {
            return false;
        }
    }
    events.send(StreamEvent::Frame { stream, frame }).await.is_ok()
}
