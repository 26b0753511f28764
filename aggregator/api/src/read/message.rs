//! Prometheus' messages of remote read.

use vedette_exposition::protobuf::{
    Fields, FieldsError, Value, numbers, push_bytes, push_deltas, push_double, push_floats, push_integer,
    push_signed, push_spans, push_varint,
};
use vedette_model::{CountKind, CounterReset, Histogram, HistogramSample, Labels, MatchOp, Matcher, Samples};

/// `prometheus.ReadRequest`.
#[derive(Debug, Default)]
pub(super) struct ReadRequest {
    pub(super) queries: Vec<Query>,
    /// What the client can read, best first; it can always read samples.
    accepted: Vec<u64>,
}

/// `prometheus.Query`.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    pub(super) matchers: Vec<Matcher>,
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResponseType {
    Samples,
    StreamedXorChunks,
}

/// Why bytes are no request.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("not a prometheus.ReadRequest: {0}")]
    Protobuf(#[from] FieldsError),
    #[error("invalid matcher: {0}")]
    Matcher(String),
    #[error("none of the requested response types are supported: {0:?}")]
    ResponseType(Vec<u64>),
}

impl ReadRequest {
    pub(super) fn decode(message: &[u8]) -> Result<Self, RequestError> {
        let mut request = Self::default();
        for field in Fields::of(message) {
            match field? {
                (1, Value::Bytes(query)) => request.queries.push(Query::decode(query)?),
                (2, value) => request.accepted.extend(numbers(value)?),
                _ => {}
            }
        }
        Ok(request)
    }

    /// The first type that both know.
    pub(super) fn response_type(&self) -> Result<ResponseType, RequestError> {
        if self.accepted.is_empty() {
            return Ok(ResponseType::Samples);
        }
        let known = self.accepted.iter().find_map(|number| match number {
            0 => Some(ResponseType::Samples),
            1 => Some(ResponseType::StreamedXorChunks),
            _ => None,
        });
        known.ok_or_else(|| RequestError::ResponseType(self.accepted.clone()))
    }
}

impl Query {
    fn decode(message: &[u8]) -> Result<Self, RequestError> {
        let mut query = Self { start_ms: 0, end_ms: 0, matchers: Vec::new() };
        for field in Fields::of(message) {
            match field? {
                (1, Value::Varint(start)) => query.start_ms = start.cast_signed(),
                (2, Value::Varint(end)) => query.end_ms = end.cast_signed(),
                (3, Value::Bytes(matcher)) => query.matchers.push(decode_matcher(matcher)?),
                _ => {}
            }
        }
        Ok(query)
    }
}

fn decode_matcher(message: &[u8]) -> Result<Matcher, RequestError> {
    let (mut op, mut name, mut value) = (MatchOp::Equal, String::new(), String::new());
    let text = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).map_err(|error| RequestError::Matcher(error.to_string()));
        text.map(str::to_owned)
    };
    for field in Fields::of(message) {
        match field? {
            (1, Value::Varint(number)) => {
                op = match number {
                    0 => MatchOp::Equal,
                    1 => MatchOp::NotEqual,
                    2 => MatchOp::Regex,
                    3 => MatchOp::NotRegex,
                    other => return Err(RequestError::Matcher(format!("unknown type {other}"))),
                }
            }
            (2, Value::Bytes(bytes)) => name = text(bytes)?,
            (3, Value::Bytes(bytes)) => value = text(bytes)?,
            _ => {}
        }
    }
    Matcher::new(op, &name, &value).map_err(|error| RequestError::Matcher(error.to_string()))
}

/// Adds a `prometheus.TimeSeries` to a `prometheus.QueryResult`.
pub(super) fn push_series(result: &mut Vec<u8>, labels: &Labels, samples: &Samples) {
    let mut series = Vec::new();
    push_labels(&mut series, labels);
    let mut message = Vec::new();
    for (at, value) in samples.at_ms.iter().zip(&samples.values) {
        message.clear();
        push_double(&mut message, 1, *value);
        push_integer(&mut message, 2, *at);
        push_bytes(&mut series, 2, &message);
    }
    for histogram in &samples.histograms {
        push_bytes(&mut series, 4, &histogram_message(histogram));
    }
    push_bytes(result, 1, &series);
}

/// The fields of a `prometheus.ChunkedSeries` that name it.
pub(super) fn push_labels(series: &mut Vec<u8>, labels: &Labels) {
    for (name, value) in labels {
        let mut label = Vec::new();
        push_bytes(&mut label, 1, name.as_bytes());
        push_bytes(&mut label, 2, value.as_bytes());
        push_bytes(series, 1, &label);
    }
}

/// A `prometheus.Chunk`.
pub(super) fn chunk(encoding: i64, first_ms: i64, last_ms: i64, data: &[u8]) -> Vec<u8> {
    let mut chunk = Vec::with_capacity(data.len() + 32);
    push_integer(&mut chunk, 1, first_ms);
    push_integer(&mut chunk, 2, last_ms);
    push_integer(&mut chunk, 3, encoding);
    push_bytes(&mut chunk, 4, data);
    chunk
}

/// A `prometheus.ChunkedReadResponse` of one series, as it stands in the stream: its length, the CRC-32C of its bytes,
/// its bytes.
pub(super) fn frame(query: usize, series: &[u8]) -> Vec<u8> {
    let mut response = Vec::new();
    push_bytes(&mut response, 1, series);
    push_integer(&mut response, 2, query as i64);
    let mut frame = Vec::with_capacity(response.len() + 16);
    push_varint(&mut frame, response.len() as u64);
    frame.extend(crc32c::crc32c(&response).to_be_bytes());
    frame.extend(response);
    frame
}

/// `prometheus.Histogram`, with counts as they were written: whole numbers, with differences in buckets, or floats.
fn histogram_message(sample: &HistogramSample) -> Vec<u8> {
    let histogram = &*sample.histogram;
    let mut message = Vec::new();
    let whole = histogram.counts == CountKind::Integer;
    push_count(&mut message, [1, 2], histogram.count, whole);
    push_double(&mut message, 3, histogram.sum);
    push_signed(&mut message, 4, histogram.schema.into());
    push_double(&mut message, 5, histogram.zero_threshold);
    push_count(&mut message, [6, 7], histogram.zero_count, whole);
    push_spans(&mut message, 8, &histogram.negative_spans);
    push_buckets(&mut message, [9, 10], &histogram.negative_buckets, whole);
    push_spans(&mut message, 11, &histogram.positive_spans);
    push_buckets(&mut message, [12, 13], &histogram.positive_buckets, whole);
    push_integer(&mut message, 14, reset_hint(histogram));
    push_integer(&mut message, 15, sample.at_ms);
    push_floats(&mut message, 16, &histogram.custom_values);
    message
}

/// One of two fields: which one is there says what all counts are, so that 0 is said as well.
fn push_count(message: &mut Vec<u8>, [integer, float]: [u64; 2], count: f64, whole: bool) {
    if whole {
        push_varint(message, integer << 3);
        push_varint(message, count as u64);
    } else {
        const FIXED64: u64 = 1;
        push_varint(message, float << 3 | FIXED64);
        message.extend_from_slice(&count.to_bits().to_le_bytes());
    }
}

fn reset_hint(histogram: &Histogram) -> i64 {
    match histogram.counter_reset {
        CounterReset::Unknown => 0,
        CounterReset::Reset => 1,
        CounterReset::NotReset => 2,
        CounterReset::Gauge => 3,
    }
}

fn push_buckets(message: &mut Vec<u8>, [deltas, counts]: [u32; 2], buckets: &[f64], whole: bool) {
    if whole {
        push_deltas(message, deltas, buckets);
    } else {
        push_floats(message, counts, buckets);
    }
}
