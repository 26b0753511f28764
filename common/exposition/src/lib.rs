//! The exposition formats: Prometheus' text 0.0.4, OpenMetrics 1.0 and protobuf, read; text 0.0.4 and protobuf,
//! written.
//!
//! Pure functions over bytes: no socket, no clock. What is accepted and refused is what Prometheus' own
//! parsers accept and refuse. [`DelimitedReader`] reads the protobuf format, and [`protobuf`] has the wire format of Prometheus' messages.
//!
//! A scrape is read again and again and hardly changes, so reading is split in two:
//!
//! - [`Parser::next_entry`] finds lines, values and the *raw bytes* of a series (`name{a="b"}`), at memory speed
//!   and without allocating. A series that was seen before is known by those bytes.
//! - [`Parser::labels`] (or [`parse_series`]) checks these bytes in full and makes a label set of them. Run it
//!   once for every raw series that is new; [`check`] runs it for all.

#![warn(missing_docs)]

mod delimited;
mod entry;
mod error;
mod float;
mod negotiate;
mod openmetrics;
mod parser;
mod printer;
pub mod protobuf;
mod scan;
mod series;
mod text;

pub use delimited::{
    DelimitedEntry, DelimitedError, DelimitedPrinter, DelimitedReader, HistogramEntry, Histograms,
};
pub use entry::{Entry, Escaped, Exemplar, LabelPair, Sample};
pub use error::{ParseError, Position, SeriesError};
pub use float::parse_float;
pub use negotiate::{
    BodyFormat, DELIMITED_CONTENT_TYPE, Format, Negotiated, TextVersion, UnknownContentType,
    choose_for_accept, format_of_content_type, negotiate,
};
pub use parser::{Parser, check};
pub use printer::{TextPrinter, series_key};
pub use series::{Dialect, parse_series, parse_series_as};
