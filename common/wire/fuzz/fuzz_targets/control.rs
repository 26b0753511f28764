//! Bytes from the network through the decoder of control messages.
#![no_main]

#[path = "../../tests/fuzzed/control.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::control(bytes));
