//! An answer on its way out: written by a blocking thread in chunks, read by the connection as it can.

use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::error::ApiError;
use crate::json::JsonWriter;

/// An answer below this goes out in one piece, with its length.
const CHUNK_BYTES: usize = 64 * 1024;
/// Chunks written and not yet taken by the connection.
const CHUNKS_MAX: usize = 4;
/// How long a client may leave the answer unread before it is given up: a writer holds one of few threads.
const STALL_MAX: Duration = Duration::from_secs(30);

/// Whoever asked has gone, or does not read.
#[derive(Debug)]
pub(crate) struct Gone;

/// The writing end, on a blocking thread.
pub(crate) struct ReplyWriter {
    pub(crate) json: JsonWriter,
    stage: Stage,
    runtime: Handle,
}

enum Stage {
    /// Nothing has been sent; the answer may still become an error.
    Unsent(oneshot::Sender<Reply>),
    Streaming(mpsc::Sender<Chunk>),
    Failed,
}

/// What the connection gets to see first.
pub(crate) enum Reply {
    Error(ApiError),
    Whole(Vec<u8>),
    Begun(Vec<u8>, mpsc::Receiver<Chunk>),
}

pub(crate) enum Chunk {
    Bytes(Vec<u8>),
    /// Tells an answer that is complete from one whose writer was lost.
    End,
}

impl ReplyWriter {
    pub(crate) fn new(runtime: Handle) -> (Self, oneshot::Receiver<Reply>) {
        let (sender, receiver) = oneshot::channel();
        (Self { json: JsonWriter::default(), stage: Stage::Unsent(sender), runtime }, receiver)
    }

    /// Sends what has gathered, once it is worth it.
    pub(crate) fn checkpoint(&mut self) -> Result<(), Gone> {
        if self.json.len() < CHUNK_BYTES { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), Gone> {
        let bytes = self.json.take();
        match std::mem::replace(&mut self.stage, Stage::Failed) {
            Stage::Unsent(reply) => {
                let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
                reply.send(Reply::Begun(bytes, receiver)).map_err(|_| Gone)?;
                self.stage = Stage::Streaming(sender);
                Ok(())
            }
            Stage::Streaming(sender) => {
                self.send(&sender, Chunk::Bytes(bytes))?;
                self.stage = Stage::Streaming(sender);
                Ok(())
            }
            Stage::Failed => Err(Gone),
        }
    }

    fn send(&self, sender: &mpsc::Sender<Chunk>, chunk: Chunk) -> Result<(), Gone> {
        let sending =
            self.runtime.block_on(async { tokio::time::timeout(STALL_MAX, sender.send(chunk)).await });
        sending.map_err(|_| Gone)?.map_err(|_| Gone)
    }

    /// Ends the answer.
    pub(crate) fn finish(mut self) -> Result<(), Gone> {
        if let Stage::Streaming(_) = self.stage {
            self.flush()?;
        }
        match std::mem::replace(&mut self.stage, Stage::Failed) {
            Stage::Unsent(reply) => reply.send(Reply::Whole(self.json.take())).map_err(|_| Gone),
            Stage::Streaming(sender) => self.send(&sender, Chunk::End),
            Stage::Failed => Err(Gone),
        }
    }

    /// Answers with an error; only before the first checkpoint.
    pub(crate) fn refuse(self, error: ApiError) -> Result<(), Gone> {
        match self.stage {
            Stage::Unsent(reply) => reply.send(Reply::Error(error)).map_err(|_| Gone),
            Stage::Streaming(_) | Stage::Failed => Err(Gone),
        }
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let content_type = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        match self {
            Self::Error(error) => error.into_response(),
            Self::Whole(bytes) => (content_type, bytes).into_response(),
            Self::Begun(first, chunks) => {
                // Fused: compression asks once more after the end.
                let stream = futures_util::stream::unfold(Some((Some(first), chunks)), next_chunk).fuse();
                (content_type, Body::from_stream(stream)).into_response()
            }
        }
    }
}

/// A success whose `data` is short.
pub(crate) fn success(write: impl FnOnce(&mut JsonWriter)) -> Response {
    let mut json = JsonWriter::default();
    json.raw(r#"{"status":"success","data":"#);
    write(&mut json);
    json.raw("}");
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], json.take()).into_response()
}

/// What is left of an answer: the chunk at hand and where the others come from.
type Rest = Option<(Option<Vec<u8>>, mpsc::Receiver<Chunk>)>;

async fn next_chunk(rest: Rest) -> Option<(io::Result<Bytes>, Rest)> {
    let (at_hand, mut chunks) = rest?;
    let chunk = match at_hand {
        Some(bytes) => Some(Chunk::Bytes(bytes)),
        None => chunks.recv().await,
    };
    match chunk {
        Some(Chunk::Bytes(bytes)) => Some((Ok(Bytes::from(bytes)), Some((None, chunks)))),
        Some(Chunk::End) => None,
        // The connection is cut, so that a client cannot take half an answer for a whole one.
        None => Some((Err(io::Error::other("the answer was given up")), None)),
    }
}
