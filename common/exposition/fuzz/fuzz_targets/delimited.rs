//! Any bytes, read as the protobuf format. `tests/fuzz_corpus.rs` runs the same function over the corpus.

#![no_main]

#[path = "../../tests/fuzzed/mod.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzzed::delimited(bytes));
