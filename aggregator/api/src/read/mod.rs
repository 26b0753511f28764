//! `/api/v1/read`: remote read, as samples in one message or as a stream of chunks.

mod bits;
mod chunks;
mod histogram;
mod message;
mod stream;
#[cfg(test)]
mod tests;
mod xor;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use vedette_exposition::protobuf::push_bytes;
use vedette_model::{
    Histogram, HistogramSample, Labels, MatchOp, Matcher, MatcherError, Samples, SelectError, SelectRequest,
    Timestamp,
};
use vedette_promql::QueryError;

use crate::Server;
use crate::routes::plain_error;
use crate::run::{MEMORY_HINT, MemoryShare};
use chunks::Chunks;
use message::{Query, ReadRequest, RequestError, ResponseType, frame, push_labels, push_series};
use stream::{FrameReceiver, FrameSender};

/// The longest request; one of a query with a few matchers has some hundred bytes.
const REQUEST_BYTES_MAX: usize = 10 << 20;
/// How long a request may take to arrive.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest message of a stream, but for a series whose labels alone take more.
const FRAME_BYTES_MAX: usize = 1 << 20;
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
    /// Queries take all the memory that they may.
    NoMemory,
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
    Stream(FrameReceiver),
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
        Ok(Reply::Stream(frames)) => {
            const STREAMED: &str = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
            ([(header::CONTENT_TYPE, HeaderValue::from_static(STREAMED))], frames.into_body()).into_response()
        }
        Ok(Reply::Error(ReadError::BadRequest(message))) => {
            plain_error(StatusCode::BAD_REQUEST, format!("{message}\n"))
        }
        Ok(Reply::Error(ReadError::Failed(message))) => {
            plain_error(StatusCode::INTERNAL_SERVER_ERROR, format!("{message}\n"))
        }
        Ok(Reply::Error(ReadError::NoMemory)) => {
            plain_error(StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", no_memory()))
        }
        Ok(Reply::Error(ReadError::Gone)) | Err(_) => {
            plain_error(StatusCode::INTERNAL_SERVER_ERROR, "the request's thread was lost\n")
        }
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
    let external_labels = &server.state.external_labels;
    let reader = Reader { server, external_labels, memory: server.runner.memory_share() };
    // Who has gone does not need to know.
    let (request, kind) = match decode(body, external_labels) {
        Ok(decoded) => decoded,
        Err(error) => return drop(reply.send(Reply::Error(error))),
    };
    match kind {
        ResponseType::Samples => {
            let samples_max = server.readers.limits.samples_max;
            let bytes = reader.samples(&request.queries, samples_max, &|| reply.is_closed());
            drop(reply.send(bytes.map_or_else(Reply::Error, Reply::Samples)));
        }
        ResponseType::StreamedXorChunks => {
            let mut frames = FrameSender::new(reply, runtime);
            let result = reader.stream(&request.queries, &mut frames);
            frames.finish(result);
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
    let mut request = ReadRequest::decode(&plain).map_err(|error| match error {
        // As Prometheus answers it: a matcher is looked at when it is about to be used.
        RequestError::Matcher(_) => ReadError::Failed(error.to_string()),
        RequestError::Protobuf(_) | RequestError::ResponseType(_) => bad(error.to_string()),
    })?;
    for matcher in request.queries.iter_mut().flat_map(|query| &mut query.matchers) {
        if matcher.op() == MatchOp::Equal && external_labels.get(matcher.name()) == Some(matcher.value()) {
            // Series that do not have an external label are answered with it.
            *matcher = equal_or_missing(matcher).map_err(|error| bad(error.to_string()))?;
        }
    }
    let kind = request.response_type().map_err(|error| bad(error.to_string()))?;
    Ok((request, kind))
}

/// Matches the same value, and where there is none.
fn equal_or_missing(matcher: &Matcher) -> Result<Matcher, MatcherError> {
    let mut pattern = String::new();
    for char in matcher.value().chars() {
        if char.is_ascii_punctuation() {
            pattern.push('\\');
        }
        pattern.push(char);
    }
    Matcher::new(MatchOp::Regex, matcher.name(), format!("|{pattern}"))
}

fn no_memory() -> String {
    QueryError::NoBudget.to_string() + MEMORY_HINT
}

struct Reader<'a> {
    server: &'a Server,
    external_labels: &'a Labels,
    memory: MemoryShare,
}

impl Reader<'_> {
    /// A `prometheus.ReadResponse`, compressed.
    fn samples(
        &self,
        queries: &[Query],
        samples_max: usize,
        is_abandoned: &dyn Fn() -> bool,
    ) -> Result<Vec<u8>, ReadError> {
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
                if is_abandoned() {
                    return Err(ReadError::Gone);
                }
                // As it is, and compressed.
                self.hold(2 * (response.len() + result.len()) + bytes_of(samples))
            })?;
            push_bytes(&mut response, 1, &result);
        }
        let compressed = snap::raw::Encoder::new().compress_vec(&response);
        compressed.map_err(|error| ReadError::Failed(error.to_string()))
    }

    /// Frames of chunks, each series' in one or more.
    fn stream(&self, queries: &[Query], frames: &mut FrameSender<'_>) -> Result<(), ReadError> {
        for (index, query) in queries.iter().enumerate() {
            self.each_series(query, |labels, samples| {
                if frames.is_abandoned() {
                    return Err(ReadError::Gone);
                }
                self.hold(bytes_of(samples))?;
                let mut series = Vec::new();
                push_labels(&mut series, labels);
                let labels_only = series.len();
                for chunk in Chunks::of(samples) {
                    if series.len() > labels_only && series.len() + chunk.len() > FRAME_BYTES_MAX {
                        frames.send(frame(index, &series))?;
                        series.truncate(labels_only);
                    }
                    push_bytes(&mut series, 2, &chunk);
                }
                frames.send(frame(index, &series))
            })?;
        }
        Ok(())
    }

    fn hold(&self, bytes: usize) -> Result<(), ReadError> {
        if self.memory.hold_bytes(bytes as u64) { Ok(()) } else { Err(ReadError::NoMemory) }
    }

    /// Series with their samples, in the order of the labels that they are stored with.
    fn each_series(
        &self,
        query: &Query,
        mut take: impl FnMut(&Labels, &Samples) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let source = (self.server.state.source)((self.server.state.clock)());
        let (start, end) = (Timestamp::from_millis(query.start_ms), Timestamp::from_millis(query.end_ms));
        let request = SelectRequest { matchers: &query.matchers, start, end };
        let mut stream = source.select(&request)?;
        let mut samples = Samples::default();
        while let Some(labels) = stream.next_into(&mut samples)? {
            if !samples.is_empty() {
                take(&self.with_external(&labels), &samples)?;
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

/// The memory that a series' samples take.
fn bytes_of(samples: &Samples) -> usize {
    const FLOAT_BYTES: usize = size_of::<i64>() + size_of::<f64>();
    let buckets = |sample: &HistogramSample| {
        let histogram = &*sample.histogram;
        histogram.positive_buckets.len() + histogram.negative_buckets.len()
    };
    let buckets: usize = samples.histograms.iter().map(buckets).sum();
    samples.at_ms.len() * FLOAT_BYTES
        + samples.histograms.len() * size_of::<Histogram>()
        + buckets * size_of::<f64>()
}
