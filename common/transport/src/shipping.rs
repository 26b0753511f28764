//! What whoever ships logs does around an `AgentSession`: its control stream, a stream for each log, and hanging up.

use std::collections::BTreeMap;
use std::time::Duration;

use quinn::{Connection, ConnectionError};
use vedette_wire::session::{CloseCode, Sent};
use vedette_wire::{BatchSeq, LogId};

use crate::{ControlReader, ControlWriter, FrameWriter, StreamError, close};

/// How long opening the control stream may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a conversation is over.
#[derive(Debug)]
pub enum HangUp {
    /// This side ends it, and tells the other why.
    Closed(CloseCode, String),
    /// A stream can not go on.
    Stream(StreamError),
}

impl From<StreamError> for HangUp {
    fn from(error: StreamError) -> Self {
        Self::Stream(error)
    }
}

impl HangUp {
    /// Closes the connection, unless the other side was first, and says why it is closed.
    pub fn close(self, connection: &Connection) -> String {
        let (code, reason) = match (self, connection.close_reason()) {
            (Self::Stream(_), Some(closed)) => return closed.to_string(),
            (Self::Stream(error), None) => (CloseCode::Protocol, error.to_string()),
            (Self::Closed(code, reason), _) => (code, reason),
        };
        close(connection, code, &reason);
        reason
    }
}

/// What the other side hung up with, if it did.
pub fn closed_with(connection: &Connection) -> Option<CloseCode> {
    match connection.close_reason()? {
        ConnectionError::ApplicationClosed(closed) => CloseCode::from_code(closed.error_code.into_inner()),
        _ => None,
    }
}

/// Opens the stream of messages.
pub async fn open_control(connection: &Connection) -> Result<(ControlWriter, ControlReader), HangUp> {
    match tokio::time::timeout(OPEN_TIMEOUT, connection.open_bi()).await {
        Ok(Ok((send, receive))) => Ok((ControlWriter::new(send), ControlReader::new(receive))),
        Ok(Err(error)) => Err(HangUp::Stream(error.into())),
        Err(_elapsed) => Err(HangUp::Closed(CloseCode::Timeout, "no control stream".to_owned())),
    }
}

/// The streams of the logs that are being sent.
pub struct LogStreams {
    connection: Connection,
    streams: BTreeMap<LogId, FrameWriter>,
}

impl LogStreams {
    /// None is open yet.
    pub fn new(connection: Connection) -> Self {
        Self { connection, streams: BTreeMap::new() }
    }

    /// Opens a log's stream. A live log's frames go before those of logs that drain.
    pub async fn open(&mut self, log: LogId, live: bool) -> Result<(), StreamError> {
        let stream = FrameWriter::open(&self.connection, log, live).await?;
        self.streams.insert(log, stream);
        Ok(())
    }

    /// Writes frames, each with its last batch; nothing on a log without a stream.
    pub async fn send(
        &mut self,
        log: LogId,
        frames: impl IntoIterator<Item = (BatchSeq, impl AsRef<[u8]>)>,
    ) -> Result<Sent, StreamError> {
        let mut sent = Sent { through: BatchSeq(0), frames: 0, bytes: 0 };
        let Some(stream) = self.streams.get_mut(&log) else { return Ok(sent) };
        for (last, frame) in frames {
            let frame = frame.as_ref();
            stream.write(frame).await?;
            sent.through = last;
            sent.frames += 1;
            sent.bytes += frame.len() as u64;
        }
        Ok(sent)
    }

    /// Abandons a log's stream.
    pub fn reset(&mut self, log: LogId) {
        if let Some(stream) = self.streams.remove(&log) {
            stream.reset(CloseCode::Done);
        }
    }

    /// Ends a log's stream after all that was written.
    pub fn finish(&mut self, log: LogId) {
        if let Some(stream) = self.streams.remove(&log) {
            stream.finish();
        }
    }
}
