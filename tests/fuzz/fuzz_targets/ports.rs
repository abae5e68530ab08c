#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xsk_fuzz::ports::run(data));
