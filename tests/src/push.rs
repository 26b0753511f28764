//! A client of remote write 1.0, as small as can be, so that tests say just what is sent.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};

/// One series of a request: its labels as they are sent, and its samples as `(value, unix milliseconds)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Pushed {
    /// In the order in which they are sent; bytes, since a bad client sends any.
    pub labels: Vec<(Vec<u8>, Vec<u8>)>,
    /// The samples.
    pub samples: Vec<(f64, i64)>,
    /// Native histograms.
    pub histograms: Vec<PushedHistogram>,
}

/// A native histogram, whose buckets lie side by side.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PushedHistogram {
    /// When, in Unix milliseconds.
    pub at_ms: i64,
    /// Which bounds its buckets have.
    pub schema: i32,
    /// Sum of all observations.
    pub sum: f64,
    /// Observations of about zero.
    pub zero_count: u64,
    /// Index of the first bucket.
    pub offset: i32,
    /// Observations of each bucket.
    pub buckets: Vec<u64>,
    /// The same of what is below zero.
    pub negative: Vec<u64>,
    /// Bounds, where the schema is -53.
    pub custom_values: Vec<f64>,
    /// Whether it goes up and down.
    pub is_gauge: bool,
    /// Whether its counts are sent as floats.
    pub is_float: bool,
}

impl Pushed {
    /// A series with labels in the order given.
    pub fn new(labels: &[(&str, &str)], samples: &[(f64, i64)]) -> Self {
        let labels = labels.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        Self { labels: labels.collect(), samples: samples.to_vec(), histograms: Vec::new() }
    }
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushReply {
    /// The status.
    pub status: u16,
    /// The body.
    pub text: String,
    /// The headers that are not HTTP's own, by name.
    pub extensions: BTreeMap<String, String>,
}

/// Sends requests to one program.
pub struct PushClient {
    url: String,
    client: ureq::Agent,
}

impl PushClient {
    /// Of the program at `url` (`http://host:port`).
    pub fn new(url: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(60)))
            .http_status_as_error(false)
            .build();
        Self { url: format!("{url}/api/v1/write"), client: config.into() }
    }

    /// Sends series as Prometheus does.
    pub fn push(&self, series: &[Pushed]) -> Result<PushReply> {
        self.send(&compress(&encode(series))?, &[])
    }

    /// Sends series in requests of so many samples, all of which have to be taken.
    pub fn push_all(&self, series: &[Pushed], samples_max: usize) -> Result<()> {
        let mut request: Vec<Pushed> = Vec::new();
        let mut samples = 0;
        for one in series {
            for part in one.samples.chunks(samples_max) {
                if samples + part.len() > samples_max {
                    self.push_whole(&request)?;
                    request.clear();
                    samples = 0;
                }
                samples += part.len();
                let (labels, samples) = (one.labels.clone(), part.to_vec());
                request.push(Pushed { labels, samples, histograms: Vec::new() });
            }
            if !one.histograms.is_empty() {
                request.push(Pushed { samples: Vec::new(), ..one.clone() });
            }
        }
        self.push_whole(&request)
    }

    fn push_whole(&self, request: &[Pushed]) -> Result<()> {
        let reply = self.push(request)?;
        ensure!(reply.status == 204, "{}: {reply:?}", self.url);
        Ok(())
    }

    /// Sends a body as it is; `headers` replace those that Prometheus sends, and an empty value leaves one out.
    pub fn send(&self, body: &[u8], headers: &[(&str, &str)]) -> Result<PushReply> {
        const USUAL: [(&str, &str); 3] = [
            ("Content-Type", "application/x-protobuf"),
            ("Content-Encoding", "snappy"),
            ("X-Prometheus-Remote-Write-Version", "0.1.0"),
        ];
        let mut request = self.client.post(&self.url);
        for (name, value) in USUAL {
            let value = headers.iter().find(|(other, _)| *other == name).map_or(value, |(_, value)| value);
            if !value.is_empty() {
                request = request.header(name, value);
            }
        }
        let mut response = request.send(body)?;
        let text = response.body_mut().read_to_string()?;
        let headers = response.headers().iter();
        let extensions = headers
            .filter(|(name, _)| name.as_str().starts_with("x-"))
            .map(|(name, value)| Ok((name.to_string(), value.to_str()?.to_owned())))
            .collect::<Result<_>>()?;
        Ok(PushReply { status: response.status().as_u16(), text, extensions })
    }
}

/// In snappy's block format.
pub fn compress(plain: &[u8]) -> Result<Vec<u8>> {
    Ok(snap::raw::Encoder::new().compress_vec(plain)?)
}

/// A `prometheus.WriteRequest`.
pub fn encode(series: &[Pushed]) -> Vec<u8> {
    let mut request = Vec::new();
    for one in series {
        let mut message = Vec::new();
        for (name, value) in &one.labels {
            let mut label = Vec::new();
            push_bytes(&mut label, 1, name);
            push_bytes(&mut label, 2, value);
            push_bytes(&mut message, 1, &label);
        }
        for (value, at_ms) in &one.samples {
            let mut sample = vec![1 << 3 | 1];
            sample.extend(value.to_bits().to_le_bytes());
            sample.push(2 << 3);
            push_varint(&mut sample, at_ms.cast_unsigned());
            push_bytes(&mut message, 2, &sample);
        }
        for histogram in &one.histograms {
            push_bytes(&mut message, 4, &encode_histogram(histogram));
        }
        push_bytes(&mut request, 1, &message);
    }
    request
}

fn encode_histogram(histogram: &PushedHistogram) -> Vec<u8> {
    const GAUGE: u64 = 3;
    let mut message = Vec::new();
    let PushedHistogram { buckets, negative, zero_count, .. } = histogram;
    let count = zero_count + buckets.iter().chain(negative).sum::<u64>();
    push_count(&mut message, (1, 2), count, histogram.is_float);
    push_double(&mut message, 3, histogram.sum);
    message.push(4 << 3);
    push_varint(&mut message, zigzag(histogram.schema.into()));
    if histogram.custom_values.is_empty() {
        push_double(&mut message, 5, 1e-9);
        push_count(&mut message, (6, 7), *zero_count, histogram.is_float);
    }
    for (buckets, number) in [(negative, 8), (buckets, 11)] {
        if !buckets.is_empty() {
            push_buckets(&mut message, number, histogram.offset, buckets, histogram.is_float);
        }
    }
    if histogram.is_gauge {
        message.push(14 << 3);
        push_varint(&mut message, GAUGE);
    }
    message.push(15 << 3);
    push_varint(&mut message, histogram.at_ms.cast_unsigned());
    if !histogram.custom_values.is_empty() {
        push_varint(&mut message, 16 << 3 | 2);
        push_doubles(&mut message, &histogram.custom_values);
    }
    message
}

/// A span of buckets as field `number`, their differences as the next, or their counts as the one after that.
fn push_buckets(message: &mut Vec<u8>, number: u8, offset: i32, buckets: &[u64], is_float: bool) {
    let mut span = vec![1 << 3];
    push_varint(&mut span, zigzag(offset.into()));
    span.push(2 << 3);
    push_varint(&mut span, buckets.len() as u64);
    push_bytes(message, number, &span);
    if is_float {
        message.push((number + 2) << 3 | 2);
        return push_doubles(message, &buckets.iter().map(|count| *count as f64).collect::<Vec<_>>());
    }
    let (mut deltas, mut last) = (Vec::new(), 0);
    for bucket in buckets {
        push_varint(&mut deltas, zigzag(bucket.cast_signed() - last));
        last = bucket.cast_signed();
    }
    push_bytes(message, number + 1, &deltas);
}

/// A count as the first field, or as a float as the second.
fn push_count(message: &mut Vec<u8>, (whole, float): (u8, u8), count: u64, is_float: bool) {
    if is_float {
        push_double(message, float, count as f64);
    } else {
        message.push(whole << 3);
        push_varint(message, count);
    }
}

fn push_double(message: &mut Vec<u8>, number: u8, value: f64) {
    message.push(number << 3 | 1);
    message.extend(value.to_bits().to_le_bytes());
}

/// Packed, behind a field's key.
fn push_doubles(message: &mut Vec<u8>, values: &[f64]) {
    push_varint(message, 8 * values.len() as u64);
    message.extend(values.iter().flat_map(|value| value.to_bits().to_le_bytes()));
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63).cast_unsigned()
}

/// Adds what is said of a family to a `prometheus.WriteRequest`; `kind` is the number of its type.
pub fn encode_metadata(request: &mut Vec<u8>, family: &str, kind: u8, help: &str, unit: &str) {
    let mut message = vec![1 << 3, kind];
    for (number, text) in [(2, family), (4, help), (5, unit)] {
        push_bytes(&mut message, number, text.as_bytes());
    }
    push_bytes(request, 3, &message);
}

pub(crate) fn push_bytes(message: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    message.push(number << 3 | 2);
    push_varint(message, bytes.len() as u64);
    message.extend_from_slice(bytes);
}

pub(crate) fn push_varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}
