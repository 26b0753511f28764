use vedette_model::{Labels, MetricKind};

use crate::entry::{Entry, LabelPair, Sample};
use crate::error::ParseError;
use crate::negotiate::Format;
use crate::series::{Dialect, parse_series_pairs};
use crate::{openmetrics, text};

/// Reads an exposition entry by entry.
#[derive(Clone, Debug)]
pub struct Parser<'a> {
    pub(crate) input: &'a [u8],
    /// Where the next line starts.
    pub(crate) at: usize,
    /// What the last `# TYPE` said, whatever family it named: Prometheus takes it so too.
    pub(crate) kind: MetricKind,
    format: Format,
    finished: bool,
}

impl<'a> Parser<'a> {
    /// Over a whole body.
    pub fn new(format: Format, input: &'a [u8]) -> Self {
        Self { input, at: 0, kind: MetricKind::Unknown, format, finished: false }
    }

    /// The next entry, `None` at the end. After an error there is nothing more to read.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'a>>, ParseError> {
        if self.finished {
            return Ok(None);
        }
        let next = match self.format {
            Format::Text => text::next_entry(self),
            Format::OpenMetrics => openmetrics::next_entry(self),
        };
        self.finished = !matches!(next, Ok(Some(_)));
        next
    }

    /// The labels of the sample that was just read, checked in full.
    pub fn labels(&self, sample: &Sample<'a>) -> Result<Labels, ParseError> {
        self.label_pairs(sample).map(Labels::from_pairs)
    }

    /// As [`Parser::labels`], sorted by name, with the labels whose value is empty.
    pub fn label_pairs(&self, sample: &Sample<'a>) -> Result<Vec<LabelPair<'a>>, ParseError> {
        let dialect = match self.format {
            Format::Text => Dialect::Text,
            Format::OpenMetrics => Dialect::OpenMetrics,
        };
        parse_series_pairs(sample.series, dialect, self.kind).map_err(|error| {
            let start = self.offset_of(sample.series);
            ParseError::at(self.input, start + error.offset, error.expected)
        })
    }

    /// Where in the input `part` starts, which was borrowed from it.
    fn offset_of(&self, part: &[u8]) -> usize {
        (part.as_ptr() as usize).saturating_sub(self.input.as_ptr() as usize)
    }

    pub(crate) fn expected<T>(&self, at: usize, expected: &'static str) -> Result<T, ParseError> {
        Err(ParseError::at(self.input, at, expected))
    }

    /// The name in a metadata line at `at`, without quotes, and its end.
    pub(crate) fn family_name(&self, at: usize) -> Result<(&'a [u8], usize), ParseError> {
        if self.input.get(at) == Some(&b'"') {
            let end = crate::scan::string_end(self.input, at)
                .map_err(|at| ParseError::at(self.input, at, "closing quote"))?;
            return Ok((&self.input[at + 1..end - 1], end));
        }
        let end = crate::scan::metric_name_end(self.input, at);
        if end == at {
            return self.expected(at, "metric name");
        }
        Ok((&self.input[at..end], end))
    }
}

/// Reads a whole exposition and checks every series in it. The number of samples.
pub fn check(format: Format, input: &[u8]) -> Result<usize, ParseError> {
    let mut parser = Parser::new(format, input);
    let mut samples = 0;
    while let Some(entry) = parser.next_entry()? {
        if let Entry::Sample(sample) = entry {
            parser.labels(&sample)?;
            samples += 1;
        }
    }
    Ok(samples)
}
