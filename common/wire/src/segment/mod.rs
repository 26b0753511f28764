//! Segments: a key batch, which needs nothing before it, and the delta batches that follow it.
//!
//! `encode` and `decode` know frames, sections and limits. What is between is written once for both sides:
//! `rows` says how rows follow each other, `series` how values do, `histograms`, `starts` and `exemplars` what some rows
//! have besides; `range` turns bits into bytes.

mod decode;
mod dictionary;
mod encode;
mod exemplars;
mod histograms;
mod layout;
mod range;
mod requests;
mod rows;
mod scale;
mod series;
mod starts;

pub use decode::{
    Batch, DecodeError, DecodeLimits, DecodedRow, Gap, HISTOGRAM_BUCKETS_MAX, SERIES_PER_SEGMENT_MAX,
    SegmentDecoder,
};
pub use dictionary::{Dictionary, DictionarySeries, DictionaryTarget};
pub use encode::{BatchInput, EncodeError, EncodedBatch, RowInput, SegmentEncoder, SegmentLimits};
pub use requests::{requests_of, with_request};

use crate::varint;

/// What a section of a body is.
const SECTION_DICTIONARY: u8 = 1;
const SECTION_ROWS: u8 = 2;
const SECTION_HISTOGRAMS: u8 = 3;
const SECTION_STARTS: u8 = 4;
/// Sections from here on may be skipped by a reader that does not know them.
const SECTION_OPTIONAL_MIN: u8 = 0x80;
const SECTION_EXEMPLARS: u8 = 0x80;
const SECTION_REQUESTS: u8 = 0x81;

fn write_section(body: &mut Vec<u8>, kind: u8, section: &[u8]) {
    body.push(kind);
    varint::write(body, section.len() as u64);
    body.extend_from_slice(section);
}
