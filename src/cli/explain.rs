//! `respguard explain`: what would be done with a client's commands, or by an audit, and why.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::console::{REFUSED, USAGE, complain, print, refuse};
use super::target::load;
use crate::config::Loaded;
use crate::explain::{self, Form};
use crate::server::reach::who_serves;
use respguard_engine::command::Table;
use respguard_engine::policy::relation::describe;

/// What is explained, and how much is said.
#[derive(Args, Debug)]
pub(super) struct ExplainArgs {
    /// The configuration whose rules apply.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// A file with the commands [default: standard input]; or `relation` and a relation's name.
    #[arg(value_name = "FILE | relation NAME", num_args = 0..=2)]
    what: Vec<PathBuf>,
    /// Show only counts by rule.
    #[arg(long, conflicts_with = "quiet")]
    summary: bool,
    /// Print JSON.
    #[arg(long, conflicts_with_all = ["quiet", "summary"])]
    json: bool,
    /// Leave out commands that are passed on unchanged.
    #[arg(long)]
    quiet: bool,
    /// Explain each command of a recording in full, not in one line.
    #[arg(long, conflicts_with_all = ["quiet", "summary", "json"])]
    whole: bool,
}

/// Explains what is asked for.
pub(super) fn explain(asked: &ExplainArgs) -> ExitCode {
    match asked.what.as_slice() {
        [word, name] if word.as_os_str() == "relation" => explain_relation(&asked.config, &name.to_string_lossy()),
        [_, _] => {
            complain("respguard: two words behind explain are `relation` and a name");
            ExitCode::from(USAGE)
        }
        what => {
            let forms = [
                (asked.summary, Form::Summary),
                (asked.json, Form::Json),
                (asked.quiet, Form::Quiet),
                (asked.whole, Form::Whole),
            ];
            let form = forms.into_iter().find(|(is_asked, _)| *is_asked).map(|(_, form)| form);
            explain_commands(&asked.config, what.first().map(PathBuf::as_path), form)
        }
    }
}

fn explain_commands(file: &Path, commands: Option<&Path>, form: Option<Form>) -> ExitCode {
    let Some(Loaded { config, .. }) = load(Some(file)) else { return ExitCode::from(REFUSED) };
    let source = commands.map_or("standard input".into(), Path::to_string_lossy);
    let explained = read_commands(commands)
        .map_err(|error| format!("{source}: {error} (expected commands, at most {} bytes)", explain::INPUT_BYTES_MAX))
        .and_then(|input| {
            let form = form.unwrap_or_else(|| explain::usual_form(&input));
            explain::explain_before(&config, &Table::builtin(), input, form, who_serves(&config))
                .map_err(|error| format!("{source}:{error}"))
        });
    match explained {
        Ok(text) => print(&text, ExitCode::SUCCESS),
        Err(refusal) => {
            complain(refusal);
            ExitCode::from(REFUSED)
        }
    }
}

fn explain_relation(file: &Path, name: &str) -> ExitCode {
    let Some(Loaded { config, .. }) = load(Some(file)) else { return ExitCode::from(REFUSED) };
    let relations = config.policy.relations();
    match relations.iter().find(|relation| *relation.name == *name) {
        Some(relation) => print(describe(relation), ExitCode::SUCCESS),
        None => {
            let names: Vec<_> = relations.iter().map(|relation| &*relation.name).collect();
            refuse(format_args!("{}: no [[relation]] is named {name:?} (expected one of: {})", file.display(), names.join(", ")))
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
