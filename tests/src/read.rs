//! A client of remote read, as small as can be.

use std::time::Duration;

use crate::push::{push_bytes, push_varint};

use anyhow::{Result, ensure};

/// How an answer is to be written: the numbers of `prometheus.ReadRequest.ResponseType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseType {
    /// All samples in one message.
    Samples = 0,
    /// Chunks, message by message.
    StreamedXorChunks = 1,
}

/// A matcher: the number of its type, name, value.
pub type ReadMatcher<'a> = (u8, &'a str, &'a str);

/// Status, type of content, and the body, uncompressed where it was compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadReply {
    /// The status.
    pub status: u16,
    /// The content's type.
    pub content_type: String,
    /// The body.
    pub body: Vec<u8>,
}

/// Asks the program at `url` for the series that match, in a range of Unix milliseconds.
pub fn remote_read(
    url: &str,
    matchers: &[ReadMatcher<'_>],
    range: (i64, i64),
    wanted: ResponseType,
) -> Result<ReadReply> {
    let mut query = Vec::new();
    for (number, at) in [(1, range.0), (2, range.1)] {
        query.push(number << 3);
        push_varint(&mut query, at.cast_unsigned());
    }
    for (kind, name, value) in matchers {
        let mut matcher = vec![1 << 3, *kind];
        push_bytes(&mut matcher, 2, name.as_bytes());
        push_bytes(&mut matcher, 3, value.as_bytes());
        push_bytes(&mut query, 3, &matcher);
    }
    let mut request = Vec::new();
    push_bytes(&mut request, 1, &query);
    push_bytes(&mut request, 2, &[wanted as u8]);
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(60)))
        .http_status_as_error(false);
    let client: ureq::Agent = config.build().into();
    let body = snap::raw::Encoder::new().compress_vec(&request)?;
    let mut response = client
        .post(format!("{url}/api/v1/read"))
        .header("Content-Type", "application/x-protobuf")
        .header("Content-Encoding", "snappy")
        .header("X-Prometheus-Remote-Read-Version", "0.1.0")
        .send(&body)?;
    let header =
        |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (content_type, encoding) = (header("content-type").unwrap_or_default(), header("content-encoding"));
    let status = response.status().as_u16();
    let mut body = response.body_mut().with_config().limit(1 << 30).read_to_vec()?;
    // Prometheus names it with its errors as well, which are plain.
    if status == 200 && encoding.as_deref() == Some("snappy") {
        body = snap::raw::Decoder::new().decompress_vec(&body)?;
    }
    ensure!(encoding.is_none() || encoding.as_deref() == Some("snappy"), "{encoding:?}");
    Ok(ReadReply { status, content_type, body })
}
