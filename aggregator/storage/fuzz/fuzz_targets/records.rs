#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vedette_storage::check_any_bytes(bytes));
