//! The log on standard error: text with colour on a terminal, JSON lines elsewhere.

use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use tracing_subscriber::filter::ParseError;
use tracing_subscriber::{EnvFilter, reload};

/// The environment variable that sets the level where `--log-level` does not.
pub const LEVEL_ENV: &str = "RESPGUARD_LOG";
/// The level where nobody sets one.
pub const LEVEL_DEFAULT: &str = "info";

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
    #[error(
        "log level \"{written}\": {source}; expected error, warn, info, debug, trace or off, \
         or a list such as info,respguard::violation=off"
    )]
    Level { written: String, source: ParseError },
    #[error("this process has a log already")]
    Twice,
    #[error("this process has no log")]
    Missing,
}

/// Sets up the log of this process.
///
/// `level` wins over [`LEVEL_ENV`], which wins over [`LEVEL_DEFAULT`]; `format` wins over what standard error is.
pub fn init(format: Option<Format>, level: Option<&str>) -> Result<(), LogError> {
    let filter = filter(level, std::env::var(LEVEL_ENV).ok().as_deref())?;
    let is_terminal = io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
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
    FILTER.set(filter).map_err(|_| LogError::Twice)
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
    EnvFilter::try_new(written).map_err(|source| LogError::Level { written: written.to_owned(), source })
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
    fn a_terminal_gets_text_and_a_file_gets_json() {
        assert_eq!(format_for(true), Format::Text);
        assert_eq!(format_for(false), Format::Json);
    }
}
