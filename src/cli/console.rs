//! Output of the command line: its reader may be gone, and a disk may be full.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

/// The configuration is refused.
pub(super) const REFUSED: u8 = 1;
/// The command line is wrong; clap itself ends with the same.
pub(super) const USAGE: u8 = 2;
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
pub(super) fn print(text: impl AsRef<[u8]>, code: ExitCode) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_ref()).and_then(|()| out.flush()) {
        Ok(()) => code,
        // Whoever has read enough closes the pipe.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => code,
        Err(error) => {
            complain(format_args!("respguard: standard output cannot be written: {error}"));
            ExitCode::from(CANNOT_START)
        }
    }
}

/// A new file, or an old one emptied, for its owner's eyes.
pub(super) fn private_file(file: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file)
}
