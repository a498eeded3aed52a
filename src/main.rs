//! The respguard program.

use std::process::ExitCode;

fn main() -> ExitCode {
    respguard::cli::main()
}
