//! `cargo +nightly fuzz run --features libfuzzer license`
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| triquest_fuzz::license(bytes));
