//! Any bytes, read as a stream of frames. `tests/codec_hostile.rs` runs the same function over the corpus.

#![no_main]

#[path = "../../tests/fuzzed/mod.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzzed::frames(bytes);
});
