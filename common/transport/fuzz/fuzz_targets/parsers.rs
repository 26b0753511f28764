//! Tokens, certificates, signing requests and files. `tests/corpus.rs` runs the same function over the corpus.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vedette_transport::check_any_bytes(bytes));
