//! Encodings of columns: the times of a series, and its values.
//!
//! Pure functions from slices to bytes and back. Every value comes back with the bits it went in with: NaN
//! payloads, staleness markers, -0 and denormals included. This crate knows no series, no file and no clock, and
//! trusts no byte it decodes: counts are bounded by the caller, memory by the counts. The bytes are described in
//! `FORMAT.md`.
//!
//! | Column | Tried, the shortest wins |
//! |---|---|
//! | times | regular grid; grid and small residuals; deltas; deltas of deltas |
//! | values | one constant; decimals as integers (plain, deltas, deltas of deltas); XOR with the value before |
//!
//! Integers are packed in blocks of 128: the least is taken off, the rest written with as many bits as most of
//! them need, and the few that need more are patched ([`integers`]).

#![warn(missing_docs)]

mod decimal;
mod error;
mod integers;
mod times;
mod values;
mod varint;
mod xor;

pub use error::ChunkError;
pub use times::{decode_times, encode_times};
pub use values::{decode_values, encode_values};
pub use varint::{push_signed, push_unsigned, take_signed, take_unsigned};

/// Decodes `bytes` as either kind of column and checks that what comes out survives another round. For fuzzing
/// and for replaying its corpus.
#[doc(hidden)]
pub fn check_any_bytes(bytes: &[u8]) {
    const COUNT_MAX: usize = 1 << 16;
    let (mut times, mut values, mut encoded) = (Vec::new(), Vec::new(), Vec::new());
    if decode_times(bytes, COUNT_MAX, &mut times).is_ok() {
        encode_times(&times, &mut encoded);
        let mut again = Vec::new();
        assert_eq!(decode_times(&encoded, COUNT_MAX, &mut again), Ok(()));
        assert_eq!(times, again);
    }
    encoded.clear();
    if decode_values(bytes, COUNT_MAX, &mut values).is_ok() {
        encode_values(&values, &mut encoded);
        let mut again = Vec::new();
        assert_eq!(decode_values(&encoded, COUNT_MAX, &mut again), Ok(()));
        assert!(values.iter().map(|v| v.to_bits()).eq(again.iter().map(|v| v.to_bits())));
    }
}
