use vedette_model::{Labels, MetricKind};

use crate::entry::{Entry, Sample};
use crate::error::ParseError;
use crate::negotiate::Format;

/// Reads an exposition entry by entry.
#[derive(Clone, Debug)]
pub struct Parser<'a> {
    format: Format,
    input: &'a [u8],
    kind: MetricKind,
}

impl<'a> Parser<'a> {
    /// Over a whole body.
    pub fn new(format: Format, input: &'a [u8]) -> Self {
        Self { format, input, kind: MetricKind::Unknown }
    }

    /// The next entry, `None` at the end. After an error there is nothing more to read.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'a>>, ParseError> {
        let _ = (self.format, self.input, self.kind);
        unimplemented!()
    }

    /// The labels of the sample that was just read, checked in full.
    pub fn labels(&self, _sample: &Sample<'a>) -> Result<Labels, ParseError> {
        unimplemented!()
    }
}

/// Reads a whole exposition and checks every series in it. The number of samples.
pub fn check(format: Format, input: &[u8]) -> Result<usize, ParseError> {
    let _ = Parser::new(format, input);
    unimplemented!()
}
