//! A client of remote write 1.0, as small as can be, so that tests say just what is sent.

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

/// A native histogram of whole numbers and positive buckets.
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
        Ok(PushReply { status: response.status().as_u16(), text })
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
    let zigzag = |value: i64| (value << 1 ^ value >> 63).cast_unsigned();
    let mut message = vec![1 << 3];
    push_varint(&mut message, histogram.zero_count + histogram.buckets.iter().sum::<u64>());
    message.push(3 << 3 | 1);
    message.extend(histogram.sum.to_bits().to_le_bytes());
    message.push(4 << 3);
    push_varint(&mut message, zigzag(histogram.schema.into()));
    message.push(5 << 3 | 1);
    message.extend(1e-9f64.to_bits().to_le_bytes());
    message.push(6 << 3);
    push_varint(&mut message, histogram.zero_count);
    let mut span = vec![1 << 3];
    push_varint(&mut span, zigzag(histogram.offset.into()));
    span.push(2 << 3);
    push_varint(&mut span, histogram.buckets.len() as u64);
    push_bytes(&mut message, 11, &span);
    let (mut deltas, mut last) = (Vec::new(), 0);
    for bucket in &histogram.buckets {
        push_varint(&mut deltas, zigzag(bucket.cast_signed() - last));
        last = bucket.cast_signed();
    }
    push_bytes(&mut message, 12, &deltas);
    message.push(15 << 3);
    push_varint(&mut message, histogram.at_ms.cast_unsigned());
    message
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
