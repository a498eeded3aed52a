//! The log on standard error: coloured text on a terminal, JSON lines elsewhere, written without blocking.

mod writer;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use std::time::Duration;

use tracing_subscriber::filter::ParseError;
use tracing_subscriber::{EnvFilter, reload};

use writer::Lines;

/// The environment variable that sets the level where `--log-level` does not.
pub const LEVEL_ENV: &str = "RESPGUARD_LOG";
/// The level where nobody sets one.
pub const LEVEL_DEFAULT: &str = "info";

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
/// How long the end of the process waits for the last lines.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One line for people.
    Text,
    /// One JSON object per line, the event's fields at its top.
    Json,
}

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("log level \"{written}\": {source}; {}", expected())]
    Level { written: String, source: ParseError },
    #[error("log level \"{written}\": \"{word}\" is no level; {}", expected())]
    Word { written: String, word: String },
    #[error("there is no descriptor or thread for the log: {0}")]
    Start(#[from] io::Error),
    #[error("this process has a log already")]
    Twice,
    #[error("this process has no log")]
    Missing,
}

impl LogError {
    /// Whether what was written is at fault.
    pub fn is_usage(&self) -> bool {
        matches!(self, LogError::Level { .. } | LogError::Word { .. })
    }
}

fn expected() -> String {
    format!("expected one of {}, or a list such as info,respguard::violation=off", LEVELS.join(", "))
}

/// Waits for the last lines when it is dropped, for a moment.
#[derive(Debug)]
#[must_use = "the last lines are waited for when it is dropped"]
pub struct Ending(());

impl Drop for Ending {
    fn drop(&mut self) {
        flush();
    }
}

/// Sets up the log of this process; panics are logged from then on.
///
/// `level` wins over [`LEVEL_ENV`], which wins over [`LEVEL_DEFAULT`]; `format` wins over what standard error is.
pub fn init(format: Option<Format>, level: Option<&str>) -> Result<Ending, LogError> {
    let filter = filter(level, std::env::var(LEVEL_ENV).ok().as_deref())?;
    let is_terminal = io::stderr().is_terminal();
    // A descriptor of its own: nobody else waits for a lock that is held while a reader stands still.
    let lines = writer::start(File::from(io::stderr().as_fd().try_clone_to_owned()?))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(lines.clone()).log_internal_errors(false);
    let (installed, filter): (_, Box<dyn Filter>) = match format.unwrap_or_else(|| format_for(is_terminal)) {
        Format::Text => {
            let log = log.with_ansi(is_terminal && !is_colour_unwanted()).with_filter_reloading();
            let filter = Box::new(log.reload_handle());
            (log.try_init(), filter)
        }
        Format::Json => {
            let log = log.json().flatten_event(true).with_current_span(false).with_filter_reloading();
            let filter = Box::new(log.reload_handle());
            (log.try_init(), filter)
        }
    };
    installed.map_err(|_| LogError::Twice)?;
    FILTER.set(filter).map_err(|_| LogError::Twice)?;
    LINES.set(lines).map_err(|_| LogError::Twice)?;
    // The standard library's own complaint would wait for whoever reads standard error.
    std::panic::set_hook(Box::new(log_panic));
    Ok(Ending(()))
}

/// Whether everything logged so far was written within two seconds. True before [`init`].
pub fn flush() -> bool {
    LINES.get().is_none_or(|lines| lines.flush(END_TIMEOUT))
}

/// Lines that were logged and are not in the log.
pub fn lost() -> u64 {
    LINES.get().map_or(0, Lines::lost)
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| tracing::field::display(backtrace));
    tracing::error!(
        thread = std::thread::current().name(),
        at = panic.location().map(tracing::field::display),
        panic = panic.payload_as_str(),
        backtrace,
        "a thread panicked"
    );
}

/// What is logged now; `None` before [`init`].
pub fn level() -> Option<String> {
    FILTER.get()?.level()
}

/// Logs this from now on.
pub fn set_level(level: &str) -> Result<(), LogError> {
    let new = filter(Some(level), None)?;
    FILTER.get().filter(|filter| filter.replace(new)).map(|_| ()).ok_or(LogError::Missing)
}

/// The filter of this process' log.
static FILTER: OnceLock<Box<dyn Filter>> = OnceLock::new();
/// Where this process' log is written.
static LINES: OnceLock<Lines> = OnceLock::new();

/// A filter that can be replaced, whatever is behind it.
trait Filter: Send + Sync {
    fn level(&self) -> Option<String>;
    /// False when the log is no longer there.
    fn replace(&self, filter: EnvFilter) -> bool;
}

impl<S> Filter for reload::Handle<EnvFilter, S> {
    fn level(&self) -> Option<String> {
        self.with_current(ToString::to_string).ok()
    }

    fn replace(&self, filter: EnvFilter) -> bool {
        self.reload(filter).is_ok()
    }
}

fn filter(level: Option<&str>, from_env: Option<&str>) -> Result<EnvFilter, LogError> {
    let written = [level, from_env].into_iter().flatten().find(|written| !written.trim().is_empty()).unwrap_or(LEVEL_DEFAULT);
    if let Some(word) = unknown_word(written) {
        return Err(LogError::Word { written: written.to_owned(), word: word.to_owned() });
    }
    EnvFilter::try_new(written).map_err(|source| LogError::Level { written: written.to_owned(), source })
}

/// A word that stands alone and is no level. It would be taken for the name of a target, the only one that is logged.
fn unknown_word(written: &str) -> Option<&str> {
    let mut words = written.split(',').map(str::trim).filter(|part| !part.is_empty() && !part.contains(['=', '[']));
    let own = |word: &str| word == "respguard" || word.starts_with("respguard::");
    words.find(|word| !own(word) && !LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word)))
}

fn format_for(is_terminal: bool) -> Format {
    if is_terminal { Format::Text } else { Format::Json }
}

/// <https://no-color.org>
fn is_colour_unwanted() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_wins_over_the_environment_and_the_environment_over_the_default() {
        let chosen = |flag, env| filter(flag, env).expect("a level").to_string();
        assert_eq!(chosen(Some("debug"), Some("warn")), "debug");
        assert_eq!(chosen(None, Some("warn")), "warn");
        assert_eq!(chosen(None, Some("")), "info");
        assert_eq!(chosen(None, None), "info");
    }

    #[test]
    fn a_level_that_is_none_is_refused_with_what_was_expected() {
        let refused = filter(Some("respguard=loud"), None).expect_err("not a level").to_string();
        assert!(refused.contains("respguard=loud") && refused.contains("warn"), "{refused}");
    }

    #[test]
    fn a_word_that_is_no_level_is_refused_with_the_list_of_levels() {
        for wrong in ["loud", "info,loud", "loud,info", " loud ", "informational", "4", "debug;info"] {
            let refused = filter(Some(wrong), None).expect_err(wrong).to_string();
            assert!(refused.contains("is no level; expected one of error, warn, info, debug, trace, off"), "{refused}");
        }
        for right in ["INFO", "off", "info,", "info,respguard=debug", "warn,respguard::net", "info,[span]=debug"] {
            assert!(filter(Some(right), None).is_ok(), "{right}");
        }
    }

    #[test]
    fn a_terminal_gets_text_and_a_file_gets_json() {
        assert_eq!(format_for(true), Format::Text);
        assert_eq!(format_for(false), Format::Json);
    }
}
