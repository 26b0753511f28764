//! Control messages and frames on QUIC streams.
//!
//! Readers keep what they have read between calls, so that a call may be dropped in a `select!` and made
//! again. Their buffers grow with what really came, never with what was announced.

use bytes::BytesMut;
use quinn::{Connection, ConnectionError, ReadError, RecvStream, SendStream, VarInt, WriteError};
use std::time::Duration;
use vedette_wire::control::{self, CHUNK_HEADER_BYTES, ChunkError, ControlError, ControlMessage, Decoded};
use vedette_wire::session::{
    CloseCode, STREAM_HEADER_BYTES, STREAM_VERSION, encode_stream_header, parse_stream_header,
};
use vedette_wire::{FrameError, FrameHeader, LogId};

/// How long the other side may let one write wait. A side that never reads costs no more than that.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes read at once.
const READ_BYTES: usize = 64 << 10;
/// The stream of what happens now goes before all others.
const LIVE_PRIORITY: i32 = 1;
const CONTROL_PRIORITY: i32 = 2;

/// Why a stream cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The connection is gone.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// Reading failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Writing failed.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The other side takes nothing.
    #[error("the other side read nothing for {} s", WRITE_TIMEOUT.as_secs())]
    WriteTimeout,
    /// The stream ended within a message or frame.
    #[error("stream ended after {bytes} bytes of an unfinished message")]
    Truncated {
        /// Bytes left over.
        bytes: usize,
    },
    /// Bytes that are no control message.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Bytes that are no chunk of a part.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// Bytes that are no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A data stream of a later release.
    #[error("data stream has version {found}, this release reads {STREAM_VERSION}")]
    StreamVersion {
        /// What the stream says.
        found: u8,
    },
}

/// Reads control messages.
pub struct ControlReader {
    stream: RecvStream,
    buffer: BytesMut,
}

impl ControlReader {
    /// Reads from `stream`.
    pub fn new(stream: RecvStream) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// The next message; none at the end of the stream. May be dropped and called again.
    pub async fn read<M: ControlMessage>(&mut self) -> Result<Option<M>, StreamError> {
        loop {
            match control::decode(&self.buffer)? {
                Decoded::Message(message, taken) => {
                    drop(self.buffer.split_to(taken));
                    return Ok(Some(message));
                }
                Decoded::Skipped(taken) => drop(self.buffer.split_to(taken)),
                Decoded::Incomplete => {
                    if !fill(&mut self.stream, &mut self.buffer).await? {
                        return ended(&self.buffer);
                    }
                }
            }
        }
    }

    /// What follows the answer with which a part begins.
    pub(crate) fn into_chunks(self) -> ChunkReader {
        ChunkReader { stream: self.stream, buffer: self.buffer, number: 0 }
    }

    /// What follows the messages on this stream.
    pub(crate) fn into_frames(self) -> FrameReader {
        FrameReader { stream: self.stream, buffer: self.buffer }
    }
}

/// Reads the chunks of a part.
pub(crate) struct ChunkReader {
    stream: RecvStream,
    buffer: BytesMut,
    number: u64,
}

impl ChunkReader {
    /// The next chunk; none at the end. A stream that stops before its end is an error.
    pub(crate) async fn read(&mut self) -> Result<Option<Vec<u8>>, StreamError> {
        loop {
            if let Some(header) = self.buffer.first_chunk::<CHUNK_HEADER_BYTES>() {
                let header = *header;
                let whole = CHUNK_HEADER_BYTES + control::chunk_len(&header)?;
                if self.buffer.len() >= whole {
                    let bytes = self.buffer.split_to(whole).split_off(CHUNK_HEADER_BYTES);
                    control::check_chunk(&header, self.number, &bytes)?;
                    self.number += 1;
                    return Ok((!bytes.is_empty()).then(|| bytes.to_vec()));
                }
            }
            if !fill(&mut self.stream, &mut self.buffer).await? {
                return Err(StreamError::Truncated { bytes: self.buffer.len() });
            }
        }
    }
}

/// Writes control messages.
pub struct ControlWriter {
    stream: SendStream,
}

impl ControlWriter {
    /// Writes to `stream`, before all other streams of the connection.
    pub fn new(stream: SendStream) -> Self {
        // Fails only on a stream that is closed already, as the first write will say.
        stream.set_priority(CONTROL_PRIORITY).ok();
        Self { stream }
    }

    /// Writes a message. Not to be dropped half way: what follows would make no sense.
    pub async fn write<M: ControlMessage>(&mut self, message: &M) -> Result<(), StreamError> {
        let bytes = control::encode(message)?;
        write_all(&mut self.stream, &bytes).await
    }

    /// Writes what follows a message.
    pub(crate) async fn write_bytes(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        write_all(&mut self.stream, bytes).await
    }

    /// Lets everything else on the connection go first.
    pub(crate) fn yield_to_others(&mut self) {
        // Fails only on a stream that is closed already, as the next write will say.
        self.stream.set_priority(0).ok();
    }

    /// Ends the stream after all that was written.
    pub fn finish(&mut self) {
        // Fails only on a stream that is closed already.
        self.stream.finish().ok();
    }

    /// Breaks the stream off.
    pub(crate) fn reset(&mut self, code: CloseCode) {
        // Fails only on a stream that is closed already.
        self.stream.reset(VarInt::from_u32(code.code())).ok();
    }

    /// Waits until the other side has everything, or does not want it.
    pub async fn finished(mut self) -> Result<(), StreamError> {
        self.finish();
        match tokio::time::timeout(WRITE_TIMEOUT, self.stream.stopped()).await {
            Ok(_delivered_or_gone) => Ok(()),
            Err(_elapsed) => Err(StreamError::WriteTimeout),
        }
    }
}

/// A frame as it came.
#[derive(Debug)]
pub struct Frame {
    /// What its header says.
    pub header: FrameHeader,
    /// All its bytes, header included.
    pub bytes: Vec<u8>,
}

/// Reads a log's frames.
pub struct FrameReader {
    stream: RecvStream,
    buffer: BytesMut,
}

impl FrameReader {
    /// Reads the header of a data stream: which log it carries.
    pub async fn open(mut stream: RecvStream) -> Result<(Self, LogId), StreamError> {
        let mut buffer = BytesMut::new();
        loop {
            if let Some(header) = buffer.first_chunk::<STREAM_HEADER_BYTES>() {
                let log =
                    parse_stream_header(*header).map_err(|found| StreamError::StreamVersion { found })?;
                drop(buffer.split_to(STREAM_HEADER_BYTES));
                return Ok((Self { stream, buffer }, log));
            }
            if !fill(&mut stream, &mut buffer).await? {
                return Err(StreamError::Truncated { bytes: buffer.len() });
            }
        }
    }

    /// Number of the stream within its connection, for `ReplicaSession`.
    pub fn stream(&self) -> u64 {
        self.stream.id().into()
    }

    /// Bytes of a frame that is not whole yet: a sender that stalls in the middle of one holds on to their memory.
    pub fn unfinished_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// The next frame; none at the end of the stream. May be dropped and called again.
    pub async fn read(&mut self) -> Result<Option<Frame>, StreamError> {
        loop {
            if let Some(header) = FrameHeader::parse(&self.buffer)?
                && self.buffer.len() >= header.frame_len
            {
                let bytes = self.buffer.split_to(header.frame_len).to_vec();
                return Ok(Some(Frame { header, bytes }));
            }
            if !fill(&mut self.stream, &mut self.buffer).await? {
                return ended(&self.buffer);
            }
        }
    }

    /// Tells the other side that nothing more of this stream will be read.
    pub fn stop(&mut self, code: CloseCode) {
        // Fails only on a stream that is closed already.
        self.stream.stop(VarInt::from_u32(code.code())).ok();
    }
}

/// Writes a log's frames.
///
/// A replica that refuses a log stops its stream and says why on the control stream. Which of the two comes
/// first is chance, so what is written to a stopped stream is silently dropped: it will not be acknowledged,
/// and is sent again once the log is open again.
pub struct FrameWriter {
    stream: SendStream,
}

impl FrameWriter {
    /// Opens a data stream for `log`. A live log's frames go before those of logs that drain.
    pub async fn open(connection: &Connection, log: LogId, live: bool) -> Result<Self, StreamError> {
        let opening = tokio::time::timeout(WRITE_TIMEOUT, connection.open_uni()).await;
        let stream = opening.map_err(|_elapsed| StreamError::WriteTimeout)??;
        // Fails only on a stream that is closed already, as the write will say.
        stream.set_priority(if live { LIVE_PRIORITY } else { 0 }).ok();
        let mut writer = Self { stream };
        writer.write(&encode_stream_header(log)).await?;
        Ok(writer)
    }

    /// Writes a frame. Not to be dropped half way.
    pub async fn write(&mut self, frame: &[u8]) -> Result<(), StreamError> {
        match write_all(&mut self.stream, frame).await {
            Err(StreamError::Write(WriteError::Stopped(_))) => Ok(()),
            written => written,
        }
    }

    /// Ends the stream after all that was written.
    pub fn finish(mut self) {
        // Fails only on a stream that is closed already.
        self.stream.finish().ok();
    }

    /// Abandons the stream.
    pub fn reset(mut self, code: CloseCode) {
        // Fails only on a stream that is closed already.
        self.stream.reset(VarInt::from_u32(code.code())).ok();
    }
}

/// Reads a little more; whether there was anything before the end. Nothing is lost when it is dropped.
async fn fill(stream: &mut RecvStream, buffer: &mut BytesMut) -> Result<bool, StreamError> {
    match stream.read_chunk(READ_BYTES, true).await? {
        Some(chunk) => {
            buffer.extend_from_slice(&chunk.bytes);
            Ok(true)
        }
        None => Ok(false),
    }
}

fn ended<T>(buffer: &BytesMut) -> Result<Option<T>, StreamError> {
    match buffer.len() {
        0 => Ok(None),
        bytes => Err(StreamError::Truncated { bytes }),
    }
}

async fn write_all(stream: &mut SendStream, bytes: &[u8]) -> Result<(), StreamError> {
    let mut rest = bytes;
    while !rest.is_empty() {
        // The time is for any progress at all: a slow link is not a dead one.
        let written = tokio::time::timeout(WRITE_TIMEOUT, stream.write(rest)).await;
        rest = &rest[written.map_err(|_elapsed| StreamError::WriteTimeout)??..];
    }
    Ok(())
}
