use std::fmt;

/// Where in the input: both count from 1, the column in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The byte within the line.
    pub column: usize,
}

impl Position {
    /// Of byte `offset` in `input`.
    pub fn of(input: &[u8], offset: usize) -> Self {
        let before = &input[..offset.min(input.len())];
        let line_start = memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
        let line = memchr::memchr_iter(b'\n', before).count() + 1;
        Self { line, column: before.len() - line_start + 1 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// The exposition is not well formed. The whole scrape is refused, as in Prometheus.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{position}: expected {expected}, got {got}")]
pub struct ParseError {
    /// Where.
    pub position: Position,
    /// What could have come there.
    pub expected: &'static str,
    /// What came instead, quoted and cut.
    pub got: String,
}

impl ParseError {
    /// `offset` is where `expected` was missed.
    pub(crate) fn at(input: &[u8], offset: usize, expected: &'static str) -> Self {
        Self { position: Position::of(input, offset), expected, got: excerpt(input, offset) }
    }
}

/// The raw bytes of a series are not well formed, or do not name one series.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset} of the series: expected {expected}")]
pub struct SeriesError {
    /// Byte within the series.
    pub offset: usize,
    /// What could have come there.
    pub expected: &'static str,
}

/// What stands at `offset`, up to the end of the line, quoted.
fn excerpt(input: &[u8], offset: usize) -> String {
    const BYTES_MAX: usize = 40;
    let rest = input.get(offset..).unwrap_or_default();
    if rest.is_empty() {
        return "end of input".to_owned();
    }
    let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
    if end == 0 {
        return "end of line".to_owned();
    }
    format!("{:?}", String::from_utf8_lossy(&rest[..end.min(BYTES_MAX)]))
}
