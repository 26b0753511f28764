use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use crate::client::{FetchError, causes};

/// What a body may have when the configuration sets no limit: more than any real target exposes.
const BYTES_MAX: u64 = 256 << 20;

/// Reads a whole body, decompressed, up to `limit` bytes (0 is none of its own).
pub(crate) async fn read(
    mut body: Incoming,
    url: &str,
    is_gzip: bool,
    limit: u64,
) -> Result<Vec<u8>, FetchError> {
    let bytes_max = if limit == 0 { BYTES_MAX } else { limit.min(BYTES_MAX) } as usize;
    let expected = body.size_hint().lower().min(bytes_max as u64) as usize;
    let mut sink = Sink::new(is_gzip, expected, bytes_max);
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| FetchError::Http { url: url.to_owned(), reason: causes(&error) })?;
        if let Ok(data) = frame.into_data() {
            sink.take(&data)?;
        }
    }
    sink.finish()
}

enum Sink {
    Plain(Bounded),
    Gzip(Box<MultiGzDecoder<Bounded>>),
}

impl Sink {
    fn new(is_gzip: bool, expected: usize, bytes_max: usize) -> Self {
        let bounded = Bounded { bytes: Vec::with_capacity(expected), bytes_max, is_full: false };
        if is_gzip { Self::Gzip(Box::new(MultiGzDecoder::new(bounded))) } else { Self::Plain(bounded) }
    }

    fn take(&mut self, data: &Bytes) -> Result<(), FetchError> {
        match self {
            Self::Plain(bounded) => bounded.write_all(data).map_err(|_| FetchError::BodySizeLimit),
            Self::Gzip(decoder) => {
                let written = decoder.write_all(data);
                written.map_err(|error| gzip_error(decoder.get_ref(), &error))
            }
        }
    }

    fn finish(self) -> Result<Vec<u8>, FetchError> {
        match self {
            Self::Plain(bounded) => Ok(bounded.bytes),
            Self::Gzip(mut decoder) => {
                let finished = decoder.try_finish();
                finished.map_err(|error| gzip_error(decoder.get_ref(), &error))?;
                Ok(std::mem::take(&mut decoder.get_mut().bytes))
            }
        }
    }
}

fn gzip_error(bounded: &Bounded, error: &io::Error) -> FetchError {
    if bounded.is_full { FetchError::BodySizeLimit } else { FetchError::Gzip { reason: error.to_string() } }
}

/// Refuses what reaches its limit, so that a small body cannot become a large one.
struct Bounded {
    bytes: Vec<u8>,
    bytes_max: usize,
    is_full: bool,
}

impl Write for Bounded {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        // Prometheus fails a body that has exactly the limit, too.
        if self.is_full || data.len() >= self.bytes_max - self.bytes.len() {
            self.is_full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
