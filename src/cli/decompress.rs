//! `respguard decompress`: decompresses a value that a compress rule has stored.

use std::io::{self, Read};
use std::process::ExitCode;

use super::console::{print, refuse};
use respguard_engine::packed::{HEADER_BYTES, VALUE_BYTES_MAX, unpack};

pub(super) fn decompress() -> ExitCode {
    let mut stored = Vec::new();
    let most = VALUE_BYTES_MAX + HEADER_BYTES as u64;
    if let Err(error) = io::stdin().take(most + 1).read_to_end(&mut stored) {
        return refuse(format_args!("standard input cannot be read: {error}"));
    }
    if stored.len() as u64 > most {
        return refuse(format_args!("more than the {VALUE_BYTES_MAX} bytes that a value may have"));
    }
    match unpack(&stored, VALUE_BYTES_MAX) {
        Ok(value) => print(value.unwrap_or(stored), ExitCode::SUCCESS),
        Err(why) => refuse(format_args!("the value cannot be read: {why}")),
    }
}
