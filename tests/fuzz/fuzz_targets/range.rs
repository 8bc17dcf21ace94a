//! See `checks/range.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| reelway_fuzz::checks::range::check(input));
