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
}

impl Pushed {
    /// A series with labels in the order given.
    pub fn new(labels: &[(&str, &str)], samples: &[(f64, i64)]) -> Self {
        let labels = labels.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        Self { labels: labels.collect(), samples: samples.to_vec() }
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
                request.push(Pushed { labels: one.labels.clone(), samples: part.to_vec() });
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
        push_bytes(&mut request, 1, &message);
    }
    request
}

/// Adds what is said of a family to a `prometheus.WriteRequest`; `kind` is the number of its type.
pub fn encode_metadata(request: &mut Vec<u8>, family: &str, kind: u8, help: &str, unit: &str) {
    let mut message = vec![1 << 3, kind];
    for (number, text) in [(2, family), (4, help), (5, unit)] {
        push_bytes(&mut message, number, text.as_bytes());
    }
    push_bytes(request, 3, &message);
}

fn push_bytes(message: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    message.push(number << 3 | 2);
    push_varint(message, bytes.len() as u64);
    message.extend_from_slice(bytes);
}

fn push_varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}
