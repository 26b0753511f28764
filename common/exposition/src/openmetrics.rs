//! OpenMetrics 1.0: one blank between tokens, no comments, `# EOF` at the end.

use vedette_model::MetricKind;

use crate::entry::{Entry, Escaped, Exemplar, Sample};
use crate::error::ParseError;
use crate::float::parse_float;
use crate::parser::Parser;
use crate::scan::{braces_end, is_name_start, line_end, metric_name_end};
use crate::series::parse_exemplar_labels;

const END: &str = "`# EOF` at the end";

pub(crate) fn next_entry<'a>(parser: &mut Parser<'a>) -> Result<Option<Entry<'a>>, ParseError> {
    let (input, at) = (parser.input, parser.at);
    match input.get(at) {
        None => parser.expected(at, END),
        Some(b'#') => metadata(parser),
        Some(&byte) if byte == b'{' || is_name_start(byte) => {
            sample(parser).map(|sample| Some(Entry::Sample(sample)))
        }
        Some(_) => parser.expected(at, "metric name, `{`, `# HELP`, `# TYPE`, `# UNIT` or `# EOF`"),
    }
}

fn metadata<'a>(parser: &mut Parser<'a>) -> Result<Option<Entry<'a>>, ParseError> {
    let (input, start) = (parser.input, parser.at);
    let line = &input[start..];
    if line.starts_with(b"# EOF") {
        let end = start + 5 + usize::from(line.get(5) == Some(&b'\n'));
        return if end == input.len() { Ok(None) } else { parser.expected(end, "nothing behind `# EOF`") };
    }
    let Some(word @ (b"HELP" | b"TYPE" | b"UNIT")) = line.strip_prefix(b"# ").and_then(|rest| rest.get(..4))
    else {
        return parser.expected(start, "`# HELP`, `# TYPE`, `# UNIT` or `# EOF`");
    };
    if line.get(6) != Some(&b' ') {
        return parser.expected(start + 6, "blank");
    }
    let (name, name_end) = parser.family_name(start + 7)?;
    if input.get(name_end) != Some(&b' ') {
        return parser.expected(name_end, "blank");
    }
    let text_start = name_end + 1;
    let end = line_end(input, text_start);
    if end == input.len() {
        return parser.expected(end, "end of line");
    }
    parser.at = end + 1;
    let text = &input[text_start..end];
    if word == b"TYPE" {
        return kind(parser, name, text, text_start).map(Some);
    }
    let text = match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => return parser.expected(text_start + error.valid_up_to(), "UTF-8"),
    };
    if word == b"HELP" {
        return Ok(Some(Entry::Help { name, help: Escaped { raw: text, quotes: true } }));
    }
    let stem = name.strip_suffix(text.as_bytes());
    if !text.is_empty() && !stem.is_some_and(|stem| stem.ends_with(b"_")) {
        return parser.expected(text_start, "unit that the metric's name ends with");
    }
    Ok(Some(Entry::Unit { name, unit: text }))
}

fn kind<'a>(
    parser: &mut Parser<'a>,
    name: &'a [u8],
    word: &[u8],
    at: usize,
) -> Result<Entry<'a>, ParseError> {
    let kind = std::str::from_utf8(word).ok().filter(|word| *word != "untyped");
    match kind.and_then(MetricKind::from_word) {
        Some(kind) => {
            parser.kind = kind;
            Ok(Entry::Type { name, kind })
        }
        None => parser.expected(at, "metric type of OpenMetrics"),
    }
}

fn sample<'a>(parser: &mut Parser<'a>) -> Result<Sample<'a>, ParseError> {
    let (input, start) = (parser.input, parser.at);
    let mut series_end = metric_name_end(input, start);
    if input.get(series_end) == Some(&b'{') {
        series_end = braces_end(input, series_end)?;
    }
    let (value, value_end) = number(parser, series_end)?;
    let (timestamp, timestamp_end) = timestamp(parser, value_end)?;
    let (exemplar, end) = exemplar(parser, timestamp_end)?;
    parser.at = line_break(parser, end)?;
    Ok(Sample { series: &input[start..series_end], value, timestamp, exemplar })
}

/// A blank and a number.
fn number(parser: &Parser<'_>, at: usize) -> Result<(f64, usize), ParseError> {
    let input = parser.input;
    if input.get(at) != Some(&b' ') {
        return parser.expected(at, "blank and number");
    }
    let length = input[at + 1..].iter().position(|byte| matches!(byte, b' ' | b'\n'));
    let end = length.map_or(input.len(), |length| at + 1 + length);
    match parse_float(&input[at + 1..end]) {
        Some(value) => Ok((value, end)),
        None => parser.expected(at + 1, "number"),
    }
}

/// A blank and seconds since the epoch, where there are some; in milliseconds.
fn timestamp(parser: &Parser<'_>, at: usize) -> Result<(Option<i64>, usize), ParseError> {
    let rest = &parser.input[at..];
    if !rest.starts_with(b" ") || rest.starts_with(b" # {") {
        return Ok((None, at));
    }
    let (seconds, end) = number(parser, at)?;
    if !seconds.is_finite() {
        return parser.expected(at + 1, "finite timestamp");
    }
    Ok((Some((seconds * 1000.0) as i64), end))
}

fn exemplar<'a>(parser: &Parser<'a>, at: usize) -> Result<(Option<Exemplar<'a>>, usize), ParseError> {
    let input = parser.input;
    if !input[at..].starts_with(b" # {") {
        return Ok((None, at));
    }
    let open = at + 3;
    let close = braces_end(input, open)?;
    let labels = &input[open..close];
    if let Err(error) = parse_exemplar_labels(labels) {
        return parser.expected(open + error.offset, error.expected);
    }
    let (value, value_end) = number(parser, close)?;
    let (timestamp, end) = timestamp(parser, value_end)?;
    Ok((Some(Exemplar { labels, value, timestamp }), end))
}

fn line_break(parser: &Parser<'_>, at: usize) -> Result<usize, ParseError> {
    match parser.input.get(at) {
        Some(b'\n') => Ok(at + 1),
        None => parser.expected(at, END),
        Some(_) => parser.expected(at, "end of line"),
    }
}
