//! Which configuration, and which running respguard, a command is about.

use std::path::{Path, PathBuf};

use clap::Args;

use super::console::complain;
use crate::config::{self, Loaded, Secret};
use crate::net::address::Address;
use crate::remote::Remote;
use respguard_engine::command::Table;

/// Selects the running respguard.
#[derive(Args, Debug)]
pub(super) struct Running {
    /// The configuration file that it runs with [default: built-in defaults].
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Its admin address, instead of the configuration's.
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) admin: Option<Address>,
    /// The environment variable with its token, instead of the configuration's.
    #[arg(long, value_name = "VARIABLE")]
    pub(super) token_env: Option<String>,
}

/// The respguard that is meant, or `None` after it has been said why it cannot be known.
pub(super) fn remote(running: &Running) -> Option<Remote> {
    let admin = match running.config.as_deref().map(config::load_admin).transpose() {
        Ok(admin) => admin.unwrap_or_default(),
        Err(errors) => {
            complain(errors.with_excerpt());
            return None;
        }
    };
    let token = match &running.token_env {
        Some(variable) => match std::env::var(variable) {
            Ok(token) => Some(Secret::new(token)),
            Err(error) => {
                complain(format_args!("respguard: --token-env {variable}: {error}"));
                return None;
            }
        },
        None => admin.token,
    };
    Some(Remote { address: running.admin.clone().unwrap_or(admin.address), token })
}

/// The configuration, or `None` after everything that is wrong with it has been written to standard error.
pub(super) fn load(file: Option<&Path>) -> Option<Loaded> {
    let Some(file) = file else { return Some(Loaded::default()) };
    match config::load(file, &Table::builtin()) {
        Ok(loaded) => Some(loaded),
        Err(errors) => {
            complain(errors.with_excerpt());
            None
        }
    }
}
