//! The command line and its exit codes.

mod audit;
mod check;
mod clients;
mod console;
mod decompress;
mod explain;
mod generate;
mod learn;
mod running;
mod table;
mod target;
mod top;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use tracing::{error, info, warn};

use crate::config::Loaded;
use crate::jobs::SAMPLE_KEYS_MAX;
use crate::net::address::Address;
use crate::net::admin::record::SECONDS_MAX;
use crate::remote::Remote;
use crate::server::{self, ServerError};
use crate::telemetry::log;
use console::{CANNOT_START, REFUSED, USAGE, complain, private_file, refuse};
use target::{Running, load, remote};

/// An address cannot be had.
const CANNOT_LISTEN: u8 = 3;
const EXIT_CODES: &str = "\
Exit codes:
  0  success; for `check`: the configuration is good
  1  the configuration, or the input of `explain`, is invalid: the message names file, line and what was expected;
     or a running respguard is not ready, refuses, or differs from the configuration
  2  the command line is wrong
  3  an address to listen on is not available
  4  something else that the process needs is not available";

/// A Redis-protocol proxy that makes the pipelines of unmodified clients all-or-nothing, and says so when they are not.
#[derive(Parser, Debug)]
#[command(name = "respguard", version = env!("RESPGUARD_VERSION"), after_help = EXIT_CODES)]
struct CommandLine {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Serve clients until SIGTERM or SIGINT.
    Run {
        /// The configuration file [default: built-in defaults].
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// The log format [default: text on a terminal, JSON otherwise].
        #[arg(long, value_name = "FORMAT")]
        log_format: Option<log::Format>,
        /// The log level: error, warn, info, debug or trace, or a filter such as `info,respguard::net=debug`.
        #[arg(long, value_name = "LEVEL")]
        log_level: Option<String>,
        /// Share the addresses with a respguard that is already running: both accept clients until the old one is stopped.
        #[arg(long)]
        takeover: bool,
    },
    /// Check a configuration and report every mistake in it.
    Check {
        /// The configuration file to check.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Also connect to its servers and sentinels, and report what they answer.
        #[arg(long)]
        connect: bool,
        /// Also report the differences from the configuration of the running respguard.
        #[arg(long)]
        running: bool,
        /// The admin address of the running respguard, instead of the configuration's.
        #[arg(long, value_name = "HOST:PORT", requires = "running")]
        admin: Option<Address>,
        /// The environment variable with its token, instead of the configuration's.
        #[arg(long, value_name = "VARIABLE", requires = "running")]
        token_env: Option<String>,
    },
    /// Explain what respguard would do with a client's commands, and why; nothing is sent anywhere.
    ///
    /// The input is one command per line, as typed in redis-cli, or requests of the Redis protocol; a blank line ends
    /// a batch that the client sends at once. It assumes that every command succeeds and is answered before the next batch.
    ///
    /// `explain relation NAME` shows what an audit of that relation would walk and ask.
    Explain(explain::ExplainArgs),
    /// Find keys and references that lack what the configured relations say they need.
    ///
    /// The running respguard walks the server's keys, within `[audit] keys_per_second`. Exit code 1: drift was found; 4:
    /// the audit could not be completed.
    Audit(audit::Audit),
    /// Remove what an audit finds, as each relation's `repair` says, or undo a repair.
    ///
    /// Without --apply nothing is removed. Everything is written to `[audit] repair_log` before it is removed. Exit code 1:
    /// something is left to repair.
    Repair(audit::Repair),
    /// Record what the clients of a running respguard send; `explain` and `learn` read the recording.
    ///
    /// It contains keys and values, but no passwords. Traffic never waits for it: what cannot be recorded in time is
    /// dropped and counted.
    Record {
        /// How many seconds to record, from 1 to 600.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX))]
        seconds: u64,
        /// The file for the recording, readable only by its owner [default: standard output].
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        running: Running,
    },
    /// Propose rules from what clients send: groups, TTL rules, guards and relations, as configuration text with counts.
    ///
    /// It watches the clients of a running respguard, or reads a recording. The proposed rules only observe until you
    /// change them. They never contain values.
    Learn {
        /// How long to watch, from 1s to 10m.
        #[arg(long = "for", value_name = "DURATION", value_parser = learn::time)]
        #[arg(required_unless_present = "recording", conflicts_with = "recording")]
        time: Option<Duration>,
        /// Look at this many keys of each kind, to count how often a proposed relation holds.
        #[arg(long, value_name = "N", requires = "time", conflicts_with = "recording", value_parser = clap::value_parser!(u64).range(1..=SAMPLE_KEYS_MAX))]
        sample_keys: Option<u64>,
        /// A recording to read instead, written by `respguard record`.
        #[arg(value_name = "RECORDING")]
        recording: Option<PathBuf>,
        /// The file for the proposals, readable only by its owner [default: standard output].
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        running: Running,
    },
    /// Show the status of a running respguard: ready or why not, mode, clients, server, breaker.
    Status(running::QueryArgs),
    /// Show the outcomes of each group since the start.
    Groups(running::QueryArgs),
    /// Show violations, the newest last.
    Violations(running::ViolationsArgs),
    /// Show the connected clients and what each is doing, or close one.
    Clients(clients::ClientsArgs),
    /// Show slow requests, with their client and where the time went.
    Slow(clients::SlowArgs),
    /// Show a live view of a running respguard: rates, latency, groups, clients, slow requests and violations.
    ///
    /// Keys: q quits, p pauses, s changes the order of clients, / filters all rows, Esc removes the filter.
    Top(top::TopArgs),
    /// Make a running respguard reload its configuration and certificates.
    Reload(running::QueryArgs),
    /// Make a running respguard refuse new clients, answer outstanding requests, and stop.
    Drain(running::QueryArgs),
    /// Switch all rules to observing, or back, until the next reload.
    Mode {
        /// Whether rules only report or are enforced.
        mode: running::Mode,
        #[command(flatten)]
        asked: running::QueryArgs,
    },
    /// Write completions for a shell to standard output.
    ///
    /// For bash: respguard completions bash > /etc/bash_completion.d/respguard
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Write the manual page.
    ///
    /// To read it: respguard man | man -l -
    Man,
    /// Decompress a value that a [[compress]] rule has stored, from standard input to standard output.
    ///
    /// Input without a header is written unchanged: redis-cli --raw GET key | head -c -1 | respguard decompress
    Decompress,
    /// Ask a running respguard whether it is ready; for container health checks.
    Healthcheck {
        /// The configuration file that it runs with [default: built-in defaults].
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    match CommandLine::parse().action {
        Action::Run { config, log_format, log_level, takeover } => {
            run(config.as_deref(), log_format, log_level.as_deref(), takeover)
        }
        Action::Check { config, connect, running, admin, token_env } => {
            let mut code = check::check(&config);
            if connect && code == ExitCode::SUCCESS {
                code = check::connect(&config);
            }
            if running && code == ExitCode::SUCCESS { check::running(&config, admin, token_env) } else { code }
        }
        Action::Explain(asked) => explain::explain(&asked),
        Action::Audit(asked) => audit::audit(&asked),
        Action::Repair(asked) => audit::repair(&asked),
        Action::Completions { shell } => generate::completions(shell, &mut CommandLine::command()),
        Action::Decompress => decompress::decompress(),
        Action::Man => generate::manual(CommandLine::command()),
        Action::Learn { time, sample_keys, recording, out, running } => {
            learn::learn(time.map(|time| (time, sample_keys)), recording.as_deref(), out.as_deref(), &running)
        }
        Action::Status(asked) => running::status(&asked),
        Action::Groups(asked) => running::groups(&asked),
        Action::Violations(wanted) => running::violations(&wanted),
        Action::Clients(wanted) => clients::clients(&wanted),
        Action::Slow(wanted) => clients::slow(&wanted),
        Action::Top(shown) => top::top(&shown),
        Action::Reload(asked) => running::reload(&asked),
        Action::Drain(asked) => running::drain(&asked),
        Action::Mode { mode, asked } => running::mode(mode, &asked),
        Action::Record { seconds, out, running } => record(seconds, out.as_deref(), &running),
        Action::Healthcheck { config } => healthcheck(config.as_deref()),
    }
}

fn run(file: Option<&Path>, format: Option<log::Format>, level: Option<&str>, takeover: bool) -> ExitCode {
    let _ending = match log::init(format, level) {
        Ok(ending) => ending,
        Err(error) => {
            complain(format_args!("respguard: {error}"));
            return ExitCode::from(if error.is_usage() { USAGE } else { CANNOT_START });
        }
    };
    let Some(loaded) = load(file) else { return ExitCode::from(REFUSED) };
    if file.is_none() {
        let config = &loaded.config;
        info!(listen = %config.listen.address, upstream = %config.upstream.topology, "no --config: the defaults apply");
    }
    loaded.warnings.iter().for_each(|warning| warn!(%warning, "a suspicious rule"));
    match server::run(loaded, takeover) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            error!(%failure, "respguard cannot run");
            if log::flush() {
                complain(format_args!("respguard: {failure}"));
            }
            ExitCode::from(if matches!(failure, ServerError::Listen { .. }) { CANNOT_LISTEN } else { CANNOT_START })
        }
    }
}

fn healthcheck(file: Option<&Path>) -> ExitCode {
    let Some(Loaded { config, .. }) = load(file) else { return ExitCode::from(REFUSED) };
    match (Remote { address: config.admin.address, token: None }).is_ready() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => refuse("not ready"),
        Err(failure) => refuse(failure),
    }
}

fn record(seconds: u64, out: Option<&Path>, running: &Running) -> ExitCode {
    let Some(remote) = remote(running) else { return ExitCode::from(REFUSED) };
    let recorded = remote.stream("POST", &format!("/record?seconds={seconds}")).map_err(|refusal| refusal.to_string()).and_then(
        |mut recording| {
            match out {
                Some(file) => private_file(file).and_then(|mut file| io::copy(&mut recording, &mut file)),
                None => io::copy(&mut recording, &mut io::stdout().lock()),
            }
            .map_err(|error| format!("the recording cannot be written to its end: {error}"))
        },
    );
    match recorded {
        Ok(bytes) => {
            complain(format_args!("respguard: recorded {bytes} bytes"));
            ExitCode::SUCCESS
        }
        Err(failure) => refuse(failure),
    }
}
