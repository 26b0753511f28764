//! Parts on their way from one replica to another: chunk by chunk, as fast as the other side takes them.

use crate::peer::{PeerError, question, unexpected};
use crate::stream::{ChunkReader, ControlWriter};
use quinn::Connection;
use std::time::Duration;
use vedette_wire::control::{
    CHUNK_BYTES_MAX, FetchPart, ListLogs, ListParts, PeerAnswer, PeerRequest, chunk_header,
};
use vedette_wire::session::CloseCode;

/// How long the next chunk may take.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(60);
/// Chunks that were read from disk and not sent yet.
const CHUNKS_MAX: usize = 2;

/// The chunks of a part, read as they are asked for. An error breaks the stream off.
pub type PartChunks = Box<dyn Iterator<Item = Result<Vec<u8>, String>> + Send>;

/// A part that a peer sends.
pub struct PartStream {
    chunks: ChunkReader,
}

impl PartStream {
    /// The next chunk; none at the end. What is not read holds the peer back.
    pub async fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, PeerError> {
        let next = tokio::time::timeout(CHUNK_TIMEOUT, self.chunks.read()).await;
        Ok(next.map_err(|_elapsed| PeerError::Timeout)??)
    }
}

/// Asks the peer for a page of its logs.
pub async fn list_logs(connection: &Connection, list: ListLogs) -> Result<Vec<u8>, PeerError> {
    listing(connection, &PeerRequest::ListLogs(list)).await
}

/// Asks the peer for a page of its parts.
pub async fn list_parts(connection: &Connection, list: ListParts) -> Result<Vec<u8>, PeerError> {
    listing(connection, &PeerRequest::ListParts(list)).await
}

async fn listing(connection: &Connection, request: &PeerRequest) -> Result<Vec<u8>, PeerError> {
    match question(connection, request).await?.0 {
        PeerAnswer::Listing(page) => Ok(page),
        answer => Err(unexpected(answer)),
    }
}

/// Asks the peer for what a part holds of some logs; none when the part is gone.
pub async fn fetch_part(connection: &Connection, wanted: FetchPart) -> Result<Option<PartStream>, PeerError> {
    let part = wanted.part;
    let (answer, reader) = question(connection, &PeerRequest::FetchPart(wanted)).await?;
    match answer {
        PeerAnswer::PartFollows(found) if found == part => {
            Ok(Some(PartStream { chunks: reader.into_chunks() }))
        }
        PeerAnswer::PartGone(_) => Ok(None),
        answer => Err(unexpected(answer)),
    }
}

/// Sends a part. Chunks are read outside the async tasks, and only as fast as the peer takes them.
pub(crate) async fn send_part(writer: &mut ControlWriter, mut chunks: PartChunks) -> Result<(), PeerError> {
    writer.yield_to_others();
    let (ready, mut read) = tokio::sync::mpsc::channel(CHUNKS_MAX);
    let reading = tokio::task::spawn_blocking(move || {
        // Nobody takes them any more when the peer has gone.
        while let Some(chunk) = chunks.next()
            && ready.blocking_send(chunk).is_ok()
        {}
    });
    let mut number = 0;
    while let Some(chunk) = read.recv().await {
        let chunk = match chunk {
            Ok(chunk) if chunk.is_empty() || chunk.len() > CHUNK_BYTES_MAX => {
                Err("a chunk of the wrong size".to_owned())
            }
            other => other,
        };
        match chunk {
            Ok(chunk) => {
                writer.write_bytes(&chunk_header(number, &chunk)).await?;
                writer.write_bytes(&chunk).await?;
                number += 1;
            }
            Err(reason) => {
                writer.reset(CloseCode::Refused);
                return Err(PeerError::Answer { reason });
            }
        }
    }
    // A reader that failed has not read to the end.
    if reading.await.is_err() {
        writer.reset(CloseCode::Refused);
        return Err(PeerError::Answer { reason: "reading the part failed".to_owned() });
    }
    Ok(writer.write_bytes(&chunk_header(number, &[])).await?)
}
