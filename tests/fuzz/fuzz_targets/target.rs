//! See `checks/target.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| reelway_fuzz::checks::target::check(input));
