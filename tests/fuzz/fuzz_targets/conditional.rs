//! See `checks/conditional.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| reelway_fuzz::checks::conditional::check(input));
