//! One data stream of an agent: reads frames and hands them to the session, which takes them as storage can.

use std::sync::Arc;
use std::time::Duration;

use quinn::RecvStream;
use tokio::sync::{mpsc, oneshot};
use vedette_transport::{Frame, FrameReader, StreamError};
use vedette_wire::session::{CloseCode, StreamVerdict};
use vedette_wire::{FrameKind, LogId};

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
    /// It is over; with what went wrong.
    Ended { stream: u64, error: Option<StreamError> },
}

/// Reads a stream until it ends, breaks, or the session no longer wants it.
pub(crate) async fn read(shared: Arc<Shared>, incoming: RecvStream, events: mpsc::Sender<StreamEvent>) {
    let opened = tokio::time::timeout(HEADER_TIMEOUT, FrameReader::open(incoming)).await;
    let Ok(Ok((mut reader, log))) = opened else { return };
    let stream = reader.stream();
    let (verdict, decided) = oneshot::channel();
    if events.send(StreamEvent::Opened { stream, log, verdict }).await.is_err() {
        return;
    }
    if decided.await != Ok(StreamVerdict::Read) {
        reader.stop(CloseCode::Refused);
        return;
    }
    let error = loop {
        match reader.read().await {
            Ok(Some(frame)) => {
                if !deliver(&shared, stream, log, frame, &events).await {
                    return reader.stop(CloseCode::Refused);
                }
            }
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    // The session may be gone already; then nobody needs to know.
    events.send(StreamEvent::Ended { stream, error }).await.ok();
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
    if frame.header.kind == FrameKind::Gap {
        let frames = shared.recover(log, frame.header.seq, frame.header.last_seq).await;
        if !frames.is_empty() && events.send(StreamEvent::Recovered { log, frames }).await.is_err() {
            return false;
        }
    }
    events.send(StreamEvent::Frame { stream, frame }).await.is_ok()
}
