#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vedette_ingest::check_any_bytes(bytes));
