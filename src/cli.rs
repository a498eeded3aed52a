//! The command line: what is asked for, and with which exit code it ends.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing::{error, info};

use crate::config::{self, Config};
use crate::engine::command::Table;
use crate::explain;
use crate::server::{self, ServerError};
use crate::telemetry::log;

/// The configuration is refused.
const REFUSED: u8 = 1;
/// The command line is wrong; clap itself ends with the same.
const USAGE: u8 = 2;
/// An address cannot be had.
const CANNOT_LISTEN: u8 = 3;
/// Something else that the process needs is missing.
const CANNOT_START: u8 = 4;

const EXIT_CODES: &str = "\
Exit codes:
  0  ended in good order; for `check`: the configuration is good
  1  the configuration, or what was to be explained, is refused: file, line and what was expected are named
  2  the command line is wrong
  3  an address to listen on cannot be had
  4  something else that the process needs cannot be had";

/// A Redis-protocol proxy that makes the pipelines of unmodified clients all-or-nothing, and says so when they are not.
#[derive(Parser, Debug)]
#[command(name = "respguard", version, after_help = EXIT_CODES)]
struct CommandLine {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Serve clients until SIGTERM or SIGINT.
    Run {
        /// The configuration; without it the defaults apply.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// How the log is written; text on a terminal, JSON otherwise.
        #[arg(long, value_name = "FORMAT")]
        log_format: Option<log::Format>,
        /// What is logged: error, warn, info, debug or trace, or a filter such as `info,respguard::net=debug`.
        #[arg(long, value_name = "LEVEL")]
        log_level: Option<String>,
    },
    /// Say whether a configuration is good, and if not, everything that is wrong with it.
    Check {
        /// The configuration to look at.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Say what would be done with the commands of a client, and why; nothing is sent anywhere.
    ///
    /// One command per line, as typed in redis-cli, or requests of the Redis protocol; a blank line ends what the
    /// client sends in one go. The server is taken to do what it is asked, and to answer before the next batch.
    Explain {
        /// The configuration whose rules apply.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The commands; without it they are read from standard input.
        #[arg(value_name = "FILE")]
        commands: Option<PathBuf>,
    },
    /// Ask a running respguard whether it is ready; for container health checks.
    Healthcheck {
        /// The configuration that it runs with; without it the defaults apply.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    match CommandLine::parse().action {
        Action::Run { config, log_format, log_level } => run(config.as_deref(), log_format, log_level.as_deref()),
        Action::Check { config } => check(&config),
        Action::Explain { config, commands } => explain(&config, commands.as_deref()),
        Action::Healthcheck { config } => healthcheck(config.as_deref()),
    }
}

fn run(file: Option<&Path>, format: Option<log::Format>, level: Option<&str>) -> ExitCode {
    if let Err(error) = log::init(format, level) {
        eprintln!("respguard: {error}");
        return ExitCode::from(USAGE);
    }
    let Some(config) = load(file) else { return ExitCode::from(REFUSED) };
    if file.is_none() {
        info!(listen = %config.listen.address, upstream = %config.upstream.address, "no --config: the defaults apply");
    }
    match server::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            error!(%failure, "respguard cannot run");
            eprintln!("respguard: {failure}");
            ExitCode::from(if matches!(failure, ServerError::Listen { .. }) { CANNOT_LISTEN } else { CANNOT_START })
        }
    }
}

fn check(file: &Path) -> ExitCode {
    match load(Some(file)) {
        Some(config) => {
            println!(
                "{}: good: {} groups, {} ttl rules, {} degrade rules",
                file.display(),
                config.policy.groups().len(),
                config.policy.ttl_rules().len(),
                config.policy.degrade_rules().len()
            );
            ExitCode::SUCCESS
        }
        None => ExitCode::from(REFUSED),
    }
}

fn explain(file: &Path, commands: Option<&Path>) -> ExitCode {
    let Some(config) = load(Some(file)) else { return ExitCode::from(REFUSED) };
    let source = commands.map_or("standard input".into(), Path::to_string_lossy);
    let explained = read_commands(commands)
        .map_err(|error| format!("{source}: {error} (expected commands, at most {} bytes)", explain::INPUT_BYTES_MAX))
        .and_then(|input| explain::explain(&config, &Table::builtin(), input).map_err(|error| format!("{source}:{error}")));
    match explained {
        Ok(text) => {
            // Whoever has read enough closes the pipe.
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(refusal) => {
            eprintln!("{refusal}");
            ExitCode::from(REFUSED)
        }
    }
}

fn read_commands(file: Option<&Path>) -> io::Result<Vec<u8>> {
    let source: Box<dyn Read> = match file {
        Some(file) => Box::new(File::open(file)?),
        None => Box::new(io::stdin()),
    };
    let mut input = Vec::new();
    source.take(explain::INPUT_BYTES_MAX + 1).read_to_end(&mut input)?;
    if input.len() as u64 > explain::INPUT_BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(input)
}

fn healthcheck(file: Option<&Path>) -> ExitCode {
    let Some(config) = load(file) else { return ExitCode::from(REFUSED) };
    match server::ask_ready(&config.admin.address) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("respguard: not ready");
            ExitCode::from(REFUSED)
        }
        Err(failure) => {
            eprintln!("respguard: {} does not answer: {failure}", config.admin.address);
            ExitCode::from(REFUSED)
        }
    }
}

/// The configuration, or `None` after everything that is wrong with it has been written to standard error.
fn load(file: Option<&Path>) -> Option<Config> {
    let Some(file) = file else { return Some(Config::default()) };
    match config::load(file, &Table::builtin()) {
        Ok(config) => Some(config),
        Err(errors) => {
            eprintln!("{errors}");
            None
        }
    }
}
