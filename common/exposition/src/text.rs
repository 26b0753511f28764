//! The text format 0.0.4 (and 1.0.0, which adds quoted names).

use vedette_model::MetricKind;

use crate::entry::{Entry, Escaped, Sample};
use crate::error::ParseError;
use crate::float::parse_float;
use crate::parser::Parser;
use crate::scan::{braces_end, is_name_start, line_end, metric_name_end, skip_blanks};

pub(crate) fn next_entry<'a>(parser: &mut Parser<'a>) -> Result<Option<Entry<'a>>, ParseError> {
    loop {
        let at = skip_blanks(parser.input, parser.at);
        match parser.input.get(at) {
            // A NUL where a line starts ends the input, as in Prometheus.
            None | Some(0) => return Ok(None),
            Some(b'\n') => parser.at = at + 1,
            Some(b'#') => {
                if let Some(entry) = metadata(parser, at)? {
                    return Ok(Some(entry));
                }
            }
            Some(&byte) if byte == b'{' || is_name_start(byte) => {
                return sample(parser, at).map(|sample| Some(Entry::Sample(sample)));
            }
            Some(_) => return parser.expected(at, "metric name, `{` or `#`"),
        }
    }
}

/// A line that starts with `#`; `None` for a mere comment.
fn metadata<'a>(parser: &mut Parser<'a>, hash: usize) -> Result<Option<Entry<'a>>, ParseError> {
    let input = parser.input;
    let word = skip_blanks(input, hash + 1);
    let after = skip_blanks(input, word + 4);
    let is_metadata = word > hash + 1 && matches!(input.get(word + 4), Some(b' ' | b'\t'));
    let is_type = match input.get(word..word + 4) {
        Some(b"TYPE") if is_metadata => true,
        Some(b"HELP") if is_metadata => false,
        _ => {
            parser.at = line_end(input, hash) + 1;
            return Ok(None);
        }
    };
    let (name, name_end) = parser.family_name(after)?;
    let end = line_end(input, name_end);
    parser.at = end + 1;
    // One byte is the separator, whatever it is; the rest is the text, unless it is all blank.
    let start = if skip_blanks(input, name_end) >= end { end } else { name_end + 1 };
    let text = &input[start..end];
    if is_type {
        let Some(kind) = kind(text) else {
            return parser.expected(start, "`counter`, `gauge`, `histogram`, `summary` or `untyped`");
        };
        parser.kind = kind;
        return Ok(Some(Entry::Type { name, kind }));
    }
    match std::str::from_utf8(text) {
        Ok(raw) => Ok(Some(Entry::Help { name, help: Escaped { raw, quotes: false } })),
        Err(error) => parser.expected(start + error.valid_up_to(), "UTF-8 in help text"),
    }
}

fn kind(word: &[u8]) -> Option<MetricKind> {
    match word {
        b"counter" => Some(MetricKind::Counter),
        b"gauge" => Some(MetricKind::Gauge),
        b"histogram" => Some(MetricKind::Histogram),
        b"summary" => Some(MetricKind::Summary),
        b"untyped" => Some(MetricKind::Unknown),
        _ => None,
    }
}

fn sample<'a>(parser: &mut Parser<'a>, start: usize) -> Result<Sample<'a>, ParseError> {
    let input = parser.input;
    let mut series_end = metric_name_end(input, start);
    let mut at = skip_blanks(input, series_end);
    if input.get(at) == Some(&b'{') {
        series_end = braces_end(input, at)?;
        at = skip_blanks(input, series_end);
    }
    let value_end = token_end(input, at);
    let Some(value) = parse_float(&input[at..value_end]) else {
        return parser.expected(at, "number");
    };
    let (timestamp, end) = timestamp(parser, value_end)?;
    parser.at = end + 1;
    Ok(Sample { series: &input[start..series_end], value, timestamp, exemplar: None })
}

/// A value ends at a blank, a line break or `{`.
fn token_end(input: &[u8], at: usize) -> usize {
    let length = input[at..].iter().position(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'{' | 0));
    length.map_or(input.len(), |length| at + length)
}

/// The timestamp behind a value, if there is one, and the end of the line.
fn timestamp(parser: &Parser<'_>, value_end: usize) -> Result<(Option<i64>, usize), ParseError> {
    let input = parser.input;
    let start = skip_blanks(input, value_end);
    if start == input.len() || input[start] == b'\n' {
        return Ok((None, start));
    }
    let length = input[start..].iter().position(|byte| !byte.is_ascii_digit());
    let digits_end = length.map_or(input.len(), |length| start + length);
    if digits_end == start {
        return parser.expected(start, "timestamp in milliseconds or end of line");
    }
    let digits = std::str::from_utf8(&input[start..digits_end]).unwrap_or_default();
    let Ok(millis) = digits.parse() else {
        return parser.expected(start, "timestamp of at most 63 bits");
    };
    let end = skip_blanks(input, digits_end);
    if end < input.len() && input[end] != b'\n' {
        return parser.expected(end, "end of line");
    }
    Ok((Some(millis), end))
}
