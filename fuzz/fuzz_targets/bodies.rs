//! `cargo +nightly fuzz run --features libfuzzer bodies`
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| triquest_fuzz::bodies(bytes));
