//! Generates shell completions and the manual page from the command line's definition.

use std::process::ExitCode;

use clap::Command;
use clap_complete::Shell;

use super::console::{print, refuse};

/// Completions for a shell, to standard output.
pub(super) fn completions(shell: Shell, command: &mut Command) -> ExitCode {
    let mut text = Vec::new();
    clap_complete::generate(shell, command, "respguard", &mut text);
    print(text, ExitCode::SUCCESS)
}

/// The manual page and those of the subcommands, one behind the other, to standard output.
pub(super) fn manual(command: Command) -> ExitCode {
    let command = command.disable_help_subcommand(true);
    let subcommands: Vec<_> = command.get_subcommands().map(|sub| named(sub, &command)).collect();
    let mut text = Vec::new();
    for page in std::iter::once(command).chain(subcommands) {
        if let Err(error) = clap_mangen::Man::new(page).render(&mut text) {
            return refuse(format_args!("the manual cannot be written: {error}"));
        }
    }
    print(text, ExitCode::SUCCESS)
}

/// The subcommand under the name that it is called by.
fn named(sub: &Command, command: &Command) -> Command {
    let name = format!("{} {}", command.get_name(), sub.get_name());
    sub.clone().display_name(name.clone()).bin_name(name)
}
