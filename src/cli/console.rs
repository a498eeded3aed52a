//! Output of the command line: its reader may be gone, and a disk may be full.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

/// The configuration is refused.
pub(super) const REFUSED: u8 = 1;
/// Something else that the process needs is missing.
pub(super) const CANNOT_START: u8 = 4;

/// Says it on standard error, if it can be said.
pub(super) fn complain(text: impl Display) {
    // There is nowhere left to say that it failed.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Says what is wrong, and ends as refused.
pub(super) fn refuse(failure: impl Display) -> ExitCode {
    complain(format_args!("respguard: {failure}"));
    ExitCode::from(REFUSED)
}

/// Prints a result to standard output and ends with `code`, or with a failure where the result is lost to somebody
/// who wants it.
pub(super) fn print(text: &str, code: ExitCode) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => code,
        // Whoever has read enough closes the pipe.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => code,
        Err(error) => {
            complain(format_args!("respguard: standard output cannot be written: {error}"));
            ExitCode::from(CANNOT_START)
        }
    }
}
