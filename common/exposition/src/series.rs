use std::borrow::Cow;

use vedette_model::{BUCKET_LABEL, Labels, METRIC_NAME, MetricKind, QUANTILE_LABEL};

use crate::entry::{LabelPair, unescape};
use crate::error::SeriesError;
use crate::float::{format_bound, parse_float};
use crate::scan::{label_name_end, metric_name_end, skip_blanks, string_end};

/// Which rules the raw bytes of a series follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Text format 0.0.4: blanks between tokens, the comma between labels may be left out.
    Text,
    /// OpenMetrics 1.0: no blanks.
    OpenMetrics,
}

/// The labels of a series in the text format, `name{label="value"}`, metric name included.
pub fn parse_series(raw: &[u8]) -> Result<Labels, SeriesError> {
    parse_series_as(raw, Dialect::Text, MetricKind::Unknown)
}

/// The labels of a series. Prometheus writes `le` of histograms and `quantile` of summaries in one form (`1` becomes
/// `1.0`), so the kind that the last `# TYPE` line named is needed.
pub fn parse_series_as(raw: &[u8], dialect: Dialect, kind: MetricKind) -> Result<Labels, SeriesError> {
    Ok(Labels::from_pairs(parse_series_pairs(raw, dialect, kind)?))
}

/// As [`parse_series_as`], sorted by name, with the labels whose value is empty: a scrape that honours labels takes
/// such a one as the wish not to have the label.
pub(crate) fn parse_series_pairs(
    raw: &[u8],
    dialect: Dialect,
    kind: MetricKind,
) -> Result<Vec<LabelPair<'_>>, SeriesError> {
    let mut pairs = Reader { raw, at: 0, dialect, exemplar: false }.series()?;
    for pair in &mut pairs {
        let bound = match kind {
            MetricKind::Histogram => BUCKET_LABEL,
            MetricKind::Summary => QUANTILE_LABEL,
            _ => break,
        };
        if pair.name == bound
            && let Some(value) = parse_float(pair.value.as_bytes())
        {
            pair.value = Cow::Owned(format_bound(value));
        }
    }
    pairs.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(twice) = pairs.windows(2).find(|two| two[0].name == two[1].name) {
        let offset = twice[0].offset.max(twice[1].offset);
        return Err(SeriesError { offset, expected: "label that was not there before" });
    }
    Ok(pairs.into_iter().map(|pair| (pair.name, pair.value)).collect())
}

/// The labels of an exemplar, braces included, in the order in which they are written.
pub(crate) fn parse_exemplar_labels(raw: &[u8]) -> Result<Vec<LabelPair<'_>>, SeriesError> {
    let mut reader = Reader { raw, at: 1, dialect: Dialect::OpenMetrics, exemplar: true };
    let mut pairs = Vec::new();
    reader.labels(&mut pairs)?;
    Ok(pairs.into_iter().map(|pair| (pair.name, pair.value)).collect())
}

struct Pair<'a> {
    name: Cow<'a, str>,
    value: Cow<'a, str>,
    /// Whether it is the metric's name, rather than a label that happens to be called so.
    is_metric: bool,
    /// Where the name stands.
    offset: usize,
}

struct Reader<'a> {
    raw: &'a [u8],
    at: usize,
    dialect: Dialect,
    exemplar: bool,
}

impl<'a> Reader<'a> {
    fn series(mut self) -> Result<Vec<Pair<'a>>, SeriesError> {
        let mut pairs = Vec::new();
        let name_end = metric_name_end(self.raw, 0);
        if name_end > 0 {
            pairs.push(metric(self.utf8(0, name_end)?, 0));
        }
        self.at = name_end;
        self.skip_blanks();
        if self.peek() == Some(b'{') {
            self.at += 1;
            self.labels(&mut pairs)?;
        }
        if self.at != self.raw.len() {
            return self.expected("end of the series");
        }
        let Some(name) = pairs.iter().find(|pair| pair.is_metric) else {
            return self.expected("metric name before or within the braces");
        };
        if name.value.is_empty() {
            self.at = name.offset;
            return self.expected("metric name that is not empty");
        }
        Ok(pairs)
    }

    /// What is between braces, up to and with `}`. A quoted string without a value is the metric's name.
    fn labels(&mut self, pairs: &mut Vec<Pair<'a>>) -> Result<(), SeriesError> {
        loop {
            self.skip_blanks();
            if self.peek() == Some(b'}') {
                self.at += 1;
                return Ok(());
            }
            let offset = self.at;
            let quoted = self.peek() == Some(b'"');
            let name = if quoted { self.quoted_name()? } else { self.label_name()? };
            self.skip_blanks();
            match self.peek() {
                Some(b',' | b'}') if quoted && !self.exemplar => {
                    if pairs.iter().any(|pair| pair.is_metric) {
                        self.at = offset;
                        return self.expected("only one metric name");
                    }
                    pairs.push(metric(name, offset));
                    self.at += usize::from(self.peek() == Some(b','));
                }
                Some(b'=') if name.is_empty() => {
                    self.at = offset;
                    return self.expected("label name that is not empty");
                }
                Some(b'=') => {
                    self.at += 1;
                    pairs.push(Pair { name, value: self.value()?, is_metric: false, offset });
                    self.after_value()?;
                }
                _ => return self.expected("`=`"),
            }
        }
    }

    fn label_name(&mut self) -> Result<Cow<'a, str>, SeriesError> {
        let start = self.at;
        let end = label_name_end(self.raw, start);
        if end == start {
            return self.expected("label name or `}`");
        }
        self.at = end;
        self.utf8(start, end)
    }

    /// Prometheus' lexer takes NULs in values only.
    fn quoted_name(&mut self) -> Result<Cow<'a, str>, SeriesError> {
        let start = self.at;
        let name = self.string()?;
        if let Some(found) = memchr::memchr(0, name.as_bytes()) {
            self.at = start + 1 + found;
            return self.expected("name without NUL");
        }
        Ok(name)
    }

    fn value(&mut self) -> Result<Cow<'a, str>, SeriesError> {
        self.skip_blanks();
        if self.peek() != Some(b'"') {
            return self.expected("label value in quotes");
        }
        let start = self.at;
        let value = self.string()?;
        let line_break = memchr::memchr(b'\n', &self.raw[start..self.at]);
        if let (Dialect::OpenMetrics, Some(line_break)) = (self.dialect, line_break) {
            self.at = start + line_break;
            return self.expected("closing quote before the end of the line");
        }
        Ok(value)
    }

    /// Text lets the comma between labels out; both let one stand before `}`.
    fn after_value(&mut self) -> Result<(), SeriesError> {
        self.skip_blanks();
        match self.peek() {
            Some(b',') => self.at += 1,
            Some(b'}') => {}
            _ if self.dialect == Dialect::Text => {}
            _ => return self.expected("`,` or `}`"),
        }
        Ok(())
    }

    /// A quoted string at the current place, unescaped.
    fn string(&mut self) -> Result<Cow<'a, str>, SeriesError> {
        let start = self.at;
        let end = string_end(self.raw, start)
            .map_err(|offset| SeriesError { offset, expected: "closing quote" })?;
        self.at = end;
        match self.utf8(start + 1, end - 1)? {
            Cow::Borrowed(text) => Ok(unescape(text, true)),
            owned => Ok(owned),
        }
    }

    fn utf8(&self, start: usize, end: usize) -> Result<Cow<'a, str>, SeriesError> {
        let raw: &'a [u8] = self.raw;
        std::str::from_utf8(&raw[start..end])
            .map(Cow::Borrowed)
            .map_err(|error| SeriesError { offset: start + error.valid_up_to(), expected: "UTF-8" })
    }

    fn peek(&self) -> Option<u8> {
        self.raw.get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        if self.dialect == Dialect::Text {
            self.at = skip_blanks(self.raw, self.at);
        }
    }

    fn expected<T>(&self, expected: &'static str) -> Result<T, SeriesError> {
        Err(SeriesError { offset: self.at, expected })
    }
}

fn metric(name: Cow<'_, str>, offset: usize) -> Pair<'_> {
    Pair { name: Cow::Borrowed(METRIC_NAME), value: name, is_metric: true, offset }
}
