//! Requests as they are on the wire: any method, nothing followed, nothing decoded but chunks.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context as _, Result, bail};

use crate::{Api, GENEROUS};

/// Status, headers by their small names (repeated ones joined), and body.
pub type RawAnswer = (u16, BTreeMap<String, String>, Vec<u8>);

impl Api {
    /// Sends exactly this, over a connection of its own.
    pub fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<RawAnswer> {
        let host = self.url().trim_start_matches("http://");
        let mut stream = TcpStream::connect(host).with_context(|| host.to_owned())?;
        stream.set_read_timeout(Some(GENEROUS))?;
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || ["POST", "PUT", "PATCH"].contains(&method) {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        stream.write_all(&[request.as_bytes(), body].concat())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        parse(&answer)
    }
}

fn parse(answer: &[u8]) -> Result<RawAnswer> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").context("an answer has a head")?;
    let head = std::str::from_utf8(&answer[..end])?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("a head has a status")?;
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for line in lines {
        let (name, value) = line.split_once(':').context("a header has a value")?;
        let known = headers.entry(name.to_lowercase()).or_default();
        if !known.is_empty() {
            known.push_str(", ");
        }
        known.push_str(value.trim());
    }
    let body = &answer[end + 4..];
    let chunked = headers.get("transfer-encoding").is_some_and(|encoding| encoding == "chunked");
    let body = if chunked && !body.is_empty() { unchunk(body)? } else { body.to_vec() };
    Ok((status.parse()?, headers, body))
}

fn unchunk(mut chunks: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = chunks.windows(2).position(|bytes| bytes == b"\r\n").context("a chunk has a size")?;
        let size = usize::from_str_radix(std::str::from_utf8(&chunks[..end])?.trim(), 16)?;
        if size == 0 {
            return Ok(body);
        }
        let Some(chunk) = chunks.get(end + 2..end + 2 + size) else { bail!("the answer was cut off") };
        body.extend_from_slice(chunk);
        chunks = chunks.get(end + 2 + size + 2..).context("a chunk ends with a new line")?;
    }
}
