//! `/api/v1/read`: remote read, as samples in one message or as a stream of chunks.

mod message;
mod xor;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use vedette_exposition::protobuf::push_bytes;
use vedette_model::{Labels, MatchOp, Matcher, Samples, SelectError, SelectRequest, Timestamp};

use crate::Server;
use crate::routes::plain_error;
use message::{Query, ReadRequest, ResponseType, chunk, frame, push_labels, push_series};
use xor::CHUNK_SAMPLES_MAX;

/// The longest request; one of a query with a few matchers has some hundred bytes.
const REQUEST_BYTES_MAX: usize = 10 << 20;
/// How long a request may take to arrive.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest message of a stream, but for a series whose labels alone take more.
const FRAME_BYTES_MAX: usize = 1 << 20;
/// Messages written and not yet taken by the connection.
const FRAMES_MAX: usize = 4;
/// How long a client may leave the answer unread before it is given up.
const STALL_MAX: Duration = Duration::from_secs(30);

/// What remote read may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// The most samples of an answer in one message. A stream has no such limit.
    pub samples_max: usize,
    /// Requests at once; others wait.
    pub concurrency_max: usize,
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self { samples_max: 50_000_000, concurrency_max: 10 }
    }
}

/// Whose turn it is.
pub(crate) struct Readers {
    limits: ReadLimits,
    turns: Arc<Semaphore>,
}

impl Readers {
    pub(crate) fn new(limits: ReadLimits) -> Self {
        let turns = Arc::new(Semaphore::new(limits.concurrency_max));
        Self { limits, turns }
    }
}

/// Why a request is not answered; after the first message of a stream the connection is cut instead.
enum ReadError {
    BadRequest(String),
    Failed(String),
    /// Whoever asked has gone.
    Gone,
}

impl From<SelectError> for ReadError {
    fn from(error: SelectError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// The head of an answer, and where the rest comes from.
enum Reply {
    Samples(Vec<u8>),
    Stream(mpsc::Receiver<Bytes>, oneshot::Receiver<()>),
    Error(ReadError),
}

pub(crate) async fn read(State(server): State<Arc<Server>>, request: Request) -> Response {
    let reading = axum::body::to_bytes(request.into_body(), REQUEST_BYTES_MAX);
    let Ok(Ok(body)) = tokio::time::timeout(REQUEST_TIMEOUT, reading).await else {
        return plain_error(StatusCode::BAD_REQUEST, "the request is too long, or did not arrive in time\n");
    };
    let Ok(turn) = Arc::clone(&server.readers.turns).acquire_owned().await else {
        return plain_error(StatusCode::SERVICE_UNAVAILABLE, "the server is going away\n");
    };
    let (reply, answered) = oneshot::channel();
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || answer(&server, &body, reply, &runtime, turn));
    match answered.await {
        Ok(Reply::Samples(bytes)) => {
            let headers = [
                (header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf")),
                (header::CONTENT_ENCODING, HeaderValue::from_static("snappy")),
            ];
            (headers, bytes).into_response()
        }
        Ok(Reply::Stream(frames, whole)) => {
            const STREAMED: &str = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
            let stream = futures_util::stream::unfold(Some((frames, whole)), next_frame);
            ([(header::CONTENT_TYPE, HeaderValue::from_static(STREAMED))], Body::from_stream(stream))
                .into_response()
        }
        Ok(Reply::Error(ReadError::BadRequest(message))) => {
            plain_error(StatusCode::BAD_REQUEST, format!("{message}\n"))
        }
        Ok(Reply::Error(ReadError::Failed(message))) => {
            plain_error(StatusCode::INTERNAL_SERVER_ERROR, format!("{message}\n"))
        }
        Ok(Reply::Error(ReadError::Gone)) | Err(_) => {
            plain_error(StatusCode::INTERNAL_SERVER_ERROR, "the request's thread was lost\n")
        }
    }
}

type Rest = Option<(mpsc::Receiver<Bytes>, oneshot::Receiver<()>)>;

/// A stream that its writer did not end is cut, so that nobody takes a part for the whole.
async fn next_frame(rest: Rest) -> Option<(std::io::Result<Bytes>, Rest)> {
    let (mut frames, mut whole) = rest?;
    match frames.recv().await {
        Some(frame) => Some((Ok(frame), Some((frames, whole)))),
        None if whole.try_recv().is_ok() => None,
        None => Some((Err(std::io::Error::other("the answer was given up")), None)),
    }
}

/// On a blocking thread. The turn ends with it.
fn answer(
    server: &Server,
    body: &[u8],
    reply: oneshot::Sender<Reply>,
    runtime: &Handle,
    _turn: OwnedSemaphorePermit,
) {
    let decoded = decode(body, &server.state.external_labels);
    let result = decoded.and_then(|(request, kind)| {
        let reader = Reader { server, external_labels: &server.state.external_labels };
        match kind {
            ResponseType::StreamedXorChunks if !reader.has_histograms(&request.queries)? => Ok(Err(request)),
            // Chunks of histograms are not written: a client that asks for chunks reads samples as well.
            ResponseType::StreamedXorChunks | ResponseType::Samples => {
                reader.samples(&request.queries, server.readers.limits.samples_max).map(Ok)
            }
        }
    });
    // Who has gone does not need to know.
    match result {
        Err(error) => drop(reply.send(Reply::Error(error))),
        Ok(Ok(bytes)) => drop(reply.send(Reply::Samples(bytes))),
        Ok(Err(request)) => {
            let (frames, receiver) = mpsc::channel(FRAMES_MAX);
            let (whole, is_whole) = oneshot::channel();
            if reply.send(Reply::Stream(receiver, is_whole)).is_err() {
                return;
            }
            let reader = Reader { server, external_labels: &server.state.external_labels };
            match reader.stream(&request.queries, &frames, runtime) {
                Ok(()) => drop(whole.send(())),
                Err(ReadError::Gone) => {}
                Err(ReadError::BadRequest(message) | ReadError::Failed(message)) => {
                    tracing::warn!(message, "remote read was cut off");
                }
            }
        }
    }
}

fn decode(body: &[u8], external_labels: &Labels) -> Result<(ReadRequest, ResponseType), ReadError> {
    let bad = |message: String| ReadError::BadRequest(message);
    let length = snap::raw::decompress_len(body).map_err(|error| bad(error.to_string()))?;
    if length > REQUEST_BYTES_MAX {
        return Err(bad(format!("a request has at most {REQUEST_BYTES_MAX} bytes")));
    }
    let plain = snap::raw::Decoder::new().decompress_vec(body).map_err(|error| bad(error.to_string()))?;
    let mut request = ReadRequest::decode(&plain).map_err(|error| bad(error.to_string()))?;
    // Series here do not have the labels that answers get.
    let is_external = |matcher: &Matcher| {
        matcher.op() == MatchOp::Equal && external_labels.get(matcher.name()) == Some(matcher.value())
    };
    request.queries.iter_mut().for_each(|query| query.matchers.retain(|matcher| !is_external(matcher)));
    let kind = request.response_type().map_err(|error| bad(error.to_string()))?;
    Ok((request, kind))
}

struct Reader<'a> {
    server: &'a Server,
    external_labels: &'a Labels,
}

impl Reader<'_> {
    fn has_histograms(&self, queries: &[Query]) -> Result<bool, ReadError> {
        let mut found = false;
        for query in queries {
            self.each_series(query, |_, samples| {
                found |= !samples.histograms.is_empty();
                Ok(!found)
            })?;
        }
        Ok(found)
    }

    /// A `prometheus.ReadResponse`, compressed.
    fn samples(&self, queries: &[Query], samples_max: usize) -> Result<Vec<u8>, ReadError> {
        let (mut response, mut count) = (Vec::new(), 0);
        for query in queries {
            let mut result = Vec::new();
            self.each_series(query, |labels, samples| {
                count += samples.len();
                if count > samples_max {
                    let message = format!("exceeded sample limit ({samples_max}) (limits.read_samples_max)");
                    return Err(ReadError::BadRequest(message));
                }
                push_series(&mut result, labels, samples);
                Ok(true)
            })?;
            push_bytes(&mut response, 1, &result);
        }
        let compressed = snap::raw::Encoder::new().compress_vec(&response);
        compressed.map_err(|error| ReadError::Failed(error.to_string()))
    }

    /// Frames of chunks, each series' in one or more.
    fn stream(
        &self,
        queries: &[Query],
        frames: &mpsc::Sender<Bytes>,
        runtime: &Handle,
    ) -> Result<(), ReadError> {
        let send = |bytes: Vec<u8>| {
            let sending = async { tokio::time::timeout(STALL_MAX, frames.send(Bytes::from(bytes))).await };
            runtime.block_on(sending).map_err(|_| ReadError::Gone)?.map_err(|_| ReadError::Gone)
        };
        for (index, query) in queries.iter().enumerate() {
            self.each_series(query, |labels, samples| {
                let mut series = Vec::new();
                push_labels(&mut series, labels);
                let labels_only = series.len();
                let values = samples.values.chunks(CHUNK_SAMPLES_MAX);
                for (at_ms, values) in samples.at_ms.chunks(CHUNK_SAMPLES_MAX).zip(values) {
                    let chunk = chunk(at_ms, values);
                    if series.len() > labels_only && series.len() + chunk.len() > FRAME_BYTES_MAX {
                        send(frame(index, &series))?;
                        series.truncate(labels_only);
                    }
                    push_bytes(&mut series, 2, &chunk);
                }
                send(frame(index, &series))?;
                Ok(true)
            })?;
        }
        Ok(())
    }

    /// Series with their samples, in the order of the labels that they are answered with, until `take` has enough.
    fn each_series(
        &self,
        query: &Query,
        mut take: impl FnMut(&Labels, &Samples) -> Result<bool, ReadError>,
    ) -> Result<(), ReadError> {
        let source = (self.server.state.source)((self.server.state.clock)());
        let (start, end) = (Timestamp::from_millis(query.start_ms), Timestamp::from_millis(query.end_ms));
        let request = SelectRequest { matchers: &query.matchers, start, end };
        let mut stream = source.select(&request)?;
        let mut samples = Samples::default();
        while let Some(labels) = stream.next_into(&mut samples)? {
            if !samples.is_empty() && !take(&self.with_external(&labels), &samples)? {
                break;
            }
        }
        Ok(())
    }

    /// With the external labels that the series does not have itself.
    fn with_external(&self, labels: &Labels) -> Labels {
        if self.external_labels.is_empty() {
            return labels.clone();
        }
        let mut builder = self.external_labels.to_builder();
        for (name, value) in labels {
            builder.set(name, value);
        }
        builder.finish()
    }
}
