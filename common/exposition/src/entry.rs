use std::borrow::Cow;

use vedette_model::MetricKind;

use crate::error::SeriesError;
use crate::series::{Dialect, parse_exemplar_labels, parse_series_pairs};

/// One thing that an exposition says. Everything is borrowed from the input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Entry<'a> {
    /// A `# TYPE` line.
    Type {
        /// The family's name, without quotes.
        name: &'a [u8],
        /// What it counts.
        kind: MetricKind,
    },
    /// A `# HELP` line.
    Help {
        /// The family's name, without quotes.
        name: &'a [u8],
        /// The text; compare raw, unescape when it changed.
        help: Escaped<'a>,
    },
    /// A `# UNIT` line (OpenMetrics only).
    Unit {
        /// The family's name, without quotes.
        name: &'a [u8],
        /// The unit, a suffix of the name, or empty.
        unit: &'a str,
    },
    /// A sample.
    Sample(Sample<'a>),
}

/// One sample line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample<'a> {
    /// The series as it is written, `name{label="value"}` or `{"name",label="value"}`.
    pub series: &'a [u8],
    /// The value; any NaN is Prometheus' ordinary NaN, so a staleness marker cannot come from outside.
    pub value: f64,
    /// Milliseconds since the epoch, where the line has a timestamp.
    pub timestamp: Option<i64>,
    /// What OpenMetrics allows behind a ` # `.
    pub exemplar: Option<Exemplar<'a>>,
}

impl<'a> Sample<'a> {
    /// The labels as the text format has them, sorted by name, with the labels whose value is empty.
    pub fn label_pairs(&self) -> Result<Vec<LabelPair<'a>>, SeriesError> {
        parse_series_pairs(self.series, Dialect::Text, MetricKind::Unknown)
    }
}

/// An exemplar of an OpenMetrics sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar<'a> {
    /// Its labels as they are written, braces included.
    pub labels: &'a [u8],
    /// Its value.
    pub value: f64,
    /// Milliseconds since the epoch, where it has a timestamp.
    pub timestamp: Option<i64>,
}

/// A label's name and value, unescaped.
pub type LabelPair<'a> = (Cow<'a, str>, Cow<'a, str>);

impl<'a> Exemplar<'a> {
    /// The labels, in the order in which they are written.
    pub fn label_pairs(&self) -> Result<Vec<LabelPair<'a>>, SeriesError> {
        parse_exemplar_labels(self.labels)
    }
}

/// Text in which `\\` and `\n` (in OpenMetrics `\"` as well) stand for a backslash, a line break and a quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Escaped<'a> {
    pub(crate) raw: &'a str,
    pub(crate) quotes: bool,
}

impl<'a> Escaped<'a> {
    /// As it is written.
    pub fn raw(self) -> &'a str {
        self.raw
    }

    /// What it means. An unknown escape stands for itself, as in Prometheus.
    pub fn unescape(self) -> Cow<'a, str> {
        unescape(self.raw, self.quotes)
    }
}

/// Replaces `\\`, `\n` and, when `quotes`, `\"`; leaves any other backslash alone.
pub(crate) fn unescape(raw: &str, quotes: bool) -> Cow<'_, str> {
    let Some(first) = memchr::memchr(b'\\', raw.as_bytes()) else {
        return Cow::Borrowed(raw);
    };
    let mut out = String::with_capacity(raw.len());
    let (head, mut rest) = raw.split_at(first);
    out.push_str(head);
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        let (meant, used) = match rest.as_bytes().get(at + 1) {
            Some(b'\\') => ('\\', 2),
            Some(b'n') => ('\n', 2),
            Some(b'"') if quotes => ('"', 2),
            _ => ('\\', 1),
        };
        out.push(meant);
        rest = &rest[at + used..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn unknown_escapes_stand_for_themselves() {
        assert_eq!(unescape(r#"a\\b\nc\"d\te\"#, true), "a\\b\nc\"d\\te\\");
        assert_eq!(unescape(r#"\"\\n"#, false), "\\\"\\n");
        assert_eq!(unescape("plain", true), "plain");
    }
}
