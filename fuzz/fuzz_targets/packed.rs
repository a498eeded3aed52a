//! libFuzzer's way into the target `packed`.

#![no_main]

#[path = "../targets.rs"]
#[expect(dead_code, reason = "each binary fuzzes one of the targets")]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::packed(bytes));
