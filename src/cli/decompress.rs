//! `respguard decompress`: decompresses a value that a compress rule has stored.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use super::CANNOT_START;
use super::console::{complain, refuse};
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
    let value = match unpack(&stored, VALUE_BYTES_MAX) {
        Ok(value) => value.unwrap_or(stored),
        Err(why) => return refuse(format_args!("the value cannot be read: {why}")),
    };
    let mut out = io::stdout().lock();
    match out.write_all(&value).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!("respguard: standard output cannot be written: {error}"));
            ExitCode::from(CANNOT_START)
        }
    }
}
