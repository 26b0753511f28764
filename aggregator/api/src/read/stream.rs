//! An answer on its way out as a stream of frames.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::{ReadError, Reply, no_memory};

/// Frames written and not yet taken by the connection.
const FRAMES_MAX: usize = 4;
/// How long a client may leave the answer unread before it is given up.
const STALL_MAX: Duration = Duration::from_secs(30);

/// What the connection takes the answer from.
pub(super) struct FrameReceiver {
    frames: mpsc::Receiver<Bytes>,
    whole: oneshot::Receiver<()>,
}

/// Writes frames from a blocking thread. As long as there was none, an error still has a status of its own.
pub(super) struct FrameSender<'a> {
    runtime: &'a Handle,
    frames: mpsc::Sender<Bytes>,
    whole: oneshot::Sender<()>,
    /// Until the answer has begun.
    head: Option<(oneshot::Sender<Reply>, FrameReceiver)>,
}

impl<'a> FrameSender<'a> {
    pub(super) fn new(reply: oneshot::Sender<Reply>, runtime: &'a Handle) -> Self {
        let (frames, receiver) = mpsc::channel(FRAMES_MAX);
        let (whole, is_whole) = oneshot::channel();
        let receiver = FrameReceiver { frames: receiver, whole: is_whole };
        Self { runtime, frames, whole, head: Some((reply, receiver)) }
    }

    pub(super) fn send(&mut self, frame: Vec<u8>) -> Result<(), ReadError> {
        self.begin()?;
        let sending = async { tokio::time::timeout(STALL_MAX, self.frames.send(Bytes::from(frame))).await };
        self.runtime.block_on(sending).map_err(|_| ReadError::Gone)?.map_err(|_| ReadError::Gone)
    }

    /// Whoever asked has gone.
    pub(super) fn is_abandoned(&self) -> bool {
        match &self.head {
            Some((reply, _)) => reply.is_closed(),
            None => self.frames.is_closed(),
        }
    }

    /// The end of a whole answer, or why there is none.
    pub(super) fn finish(mut self, result: Result<(), ReadError>) {
        // Who has gone does not need to know.
        match (result, self.head.take()) {
            (Ok(()), head) => {
                if let Some((reply, receiver)) = head {
                    drop(reply.send(Reply::Stream(receiver)));
                }
                self.whole.send(()).ok();
            }
            (Err(error), Some((reply, _))) => drop(reply.send(Reply::Error(error))),
            (Err(ReadError::Gone), None) => {}
            (Err(ReadError::BadRequest(message) | ReadError::Failed(message)), None) => {
                tracing::warn!(message, "remote read was cut off");
            }
            (Err(ReadError::NoMemory), None) => {
                tracing::warn!(message = no_memory(), "remote read was cut off");
            }
        }
    }

    fn begin(&mut self) -> Result<(), ReadError> {
        let Some((reply, receiver)) = self.head.take() else { return Ok(()) };
        reply.send(Reply::Stream(receiver)).map_err(|_| ReadError::Gone)
    }
}

impl FrameReceiver {
    /// A stream that its writer did not end is cut, so that nobody takes a part for the whole.
    pub(super) fn into_body(self) -> Body {
        Body::from_stream(futures_util::stream::unfold(Some(self), next_frame))
    }
}

async fn next_frame(rest: Option<FrameReceiver>) -> Option<(std::io::Result<Bytes>, Option<FrameReceiver>)> {
    let mut rest = rest?;
    match rest.frames.recv().await {
        Some(frame) => Some((Ok(frame), Some(rest))),
        None if rest.whole.try_recv().is_ok() => None,
        None => Some((Err(std::io::Error::other("the answer was given up")), None)),
    }
}
