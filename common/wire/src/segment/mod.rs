mod decode;
mod dictionary;
mod encode;

pub use decode::{Batch, DecodeError, DecodeLimits, DecodedRow, Gap, SegmentDecoder};
pub use dictionary::{Dictionary, DictionarySeries, DictionaryTarget};
pub use encode::{BatchInput, EncodeError, EncodedBatch, RowInput, SegmentEncoder, SegmentLimits};
