//! Request targets that nobody has escaped: `curl -g 'http://…/api/v1/query?query=up{job="a"}>0'` is what Prometheus' own
//! manual shows, and Go's server reads. hyper refuses such a target before anybody else sees it, so they are escaped on
//! their way to it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of a header's line that are looked at: enough for those that say how long a body is.
const LINE_BYTES_MAX: usize = 64;

/// Follows the requests of one connection, and escapes their targets. Reads no socket.
#[derive(Debug, Default)]
pub(super) struct Targets {
    place: Place,
    /// Of a header, what is looked at.
    line: Vec<u8>,
    body_bytes: u64,
}

/// Where in a request the next byte stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Method,
    Target,
    Version,
    Headers,
    Body,
    /// Where the next request begins is not known: everything passes as it is.
    Lost,
}

impl Targets {
    /// What `bytes`, the next ones of the connection, have to be replaced by; `None` when they can stay as they are.
    pub(super) fn escape(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut escaped: Option<Vec<u8>> = None;
        let mut at = 0;
        while at < bytes.len() {
            if let Place::Body | Place::Lost = self.place {
                let length = self.skip(bytes.len() - at);
                escaped.as_mut().into_iter().for_each(|out| out.extend(&bytes[at..at + length]));
                at += length;
                continue;
            }
            let byte = bytes[at];
            if self.place == Place::Target && must_be_escaped(byte) {
                let out = escaped.get_or_insert_with(|| bytes[..at].to_vec());
                out.extend(format!("%{byte:02X}").bytes());
            } else {
                escaped.as_mut().into_iter().for_each(|out| out.push(byte));
                self.pass(byte);
            }
            at += 1;
        }
        escaped
    }

    /// How many of the next bytes are not looked at.
    fn skip(&mut self, length: usize) -> usize {
        if self.place == Place::Lost {
            return length;
        }
        let skipped = self.body_bytes.min(length as u64);
        self.body_bytes -= skipped;
        if self.body_bytes == 0 {
            self.place = Place::Method;
        }
        skipped as usize
    }

    fn pass(&mut self, byte: u8) {
        match (self.place, byte) {
            (Place::Method, b' ') => self.place = Place::Target,
            (Place::Target, b' ') => self.place = Place::Version,
            (Place::Target, b'\n') => self.place = Place::Lost,
            (Place::Version, b'\n') => {
                self.line.clear();
                self.body_bytes = 0;
                self.place = Place::Headers;
            }
            (Place::Headers, b'\n') => self.end_header(),
            (Place::Headers, _) if self.line.len() < LINE_BYTES_MAX => {
                self.line.push(byte.to_ascii_lowercase());
            }
            _ => {}
        }
    }

    fn end_header(&mut self) {
        let line = std::mem::take(&mut self.line);
        let line = line.trim_ascii_end();
        if line.is_empty() {
            self.place = if self.body_bytes > 0 { Place::Body } else { Place::Method };
        } else if let Some(length) = line.strip_prefix(b"content-length:") {
            let length = std::str::from_utf8(length.trim_ascii()).ok().and_then(|text| text.parse().ok());
            match length {
                Some(length) => self.body_bytes = length,
                None => self.place = Place::Lost,
            }
        } else if line.starts_with(b"transfer-encoding:") || line.starts_with(b"upgrade:") {
            self.place = Place::Lost;
        }
    }
}

/// What hyper takes for no part of an address.
fn must_be_escaped(byte: u8) -> bool {
    matches!(byte, b'"' | b'<' | b'>' | b'`' | 0x80..)
}

/// A connection whose requests' targets are escaped as they are read.
pub(super) struct EscapedTargets<S> {
    stream: S,
    targets: Targets,
    /// What was read, became longer, and has not been taken yet.
    rest: Vec<u8>,
}

impl<S> EscapedTargets<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, targets: Targets::default(), rest: Vec::new() }
    }

    fn give(&mut self, buffer: &mut ReadBuf<'_>) {
        let given = self.rest.len().min(buffer.remaining());
        buffer.put_slice(&self.rest[..given]);
        self.rest.drain(..given);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for EscapedTargets<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.rest.is_empty() {
            self.give(buffer);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Poll::Ready(Ok(())) = read
            && let Some(escaped) = self.targets.escape(&buffer.filled()[before..])
        {
            buffer.set_filled(before);
            self.rest = escaped;
            self.give(buffer);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for EscapedTargets<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of `sent`, in pieces of so many bytes.
    fn escaped(sent: &str, piece: usize) -> String {
        let mut targets = Targets::default();
        let pieces =
            sent.as_bytes().chunks(piece).map(|bytes| targets.escape(bytes).unwrap_or(bytes.to_vec()));
        String::from_utf8(pieces.collect::<Vec<_>>().concat()).expect("it stays text")
    }

    fn check(sent: &str, expected: &str) {
        for piece in [1, 2, 3, 7, sent.len()] {
            assert_eq!(escaped(sent, piece), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn targets_alone_are_escaped() {
        check(
            "GET /q?query=up{a=\"ü\"}>0 HTTP/1.1\r\nA: \"b\"\r\n\r\nPOST /\"<` HTTP/1.1\r\n\r\n",
            "GET /q?query=up{a=%22%C3%BC%22}%3E0 HTTP/1.1\r\nA: \"b\"\r\n\r\nPOST /%22%3C%60 HTTP/1.1\r\n\r\n",
        );
    }

    #[test]
    fn bodies_are_passed_over() {
        check(
            "POST /\" HTTP/1.1\r\nContent-Length: 14\r\n\r\nGET /\"  x\r\n\r\n\"GET /\" HTTP/1.1\r\n\r\n",
            "POST /%22 HTTP/1.1\r\nContent-Length: 14\r\n\r\nGET /\"  x\r\n\r\n\"GET /%22 HTTP/1.1\r\n\r\n",
        );
    }

    #[test]
    fn what_can_not_be_followed_stays_as_it_is() {
        for header in ["Transfer-Encoding: chunked", "content-length: 1, 1", "Upgrade: x"] {
            let request = format!("POST / HTTP/1.1\r\n{header}\r\n\r\nGET /\" HTTP/1.1\r\n\r\n");
            check(&request, &request);
        }
        check("GET\n \"\n\"\r\n\r\n", "GET\n %22\n\"\r\n\r\n");
    }
}
