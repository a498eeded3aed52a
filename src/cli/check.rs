//! `respguard check`: whether a configuration is valid, whether its servers answer, and how the running one differs.

use std::path::Path;
use std::process::ExitCode;

use super::console::{REFUSED, complain, print, refuse};
use super::target::{Running, load, remote};
use crate::config::effective::{differences, effective};
use crate::config::{self, Loaded};
use crate::net::address::Address;
use crate::server::reach::reach;
use respguard_engine::command::Table;
use respguard_engine::learn as learning;

/// What is said where relations are never looked at.
const UNAUDITED: &str = "  the relations are not audited: there is no [audit]\n";

/// Says whether the configuration is good, and what is odd about it.
pub(super) fn check(file: &Path) -> ExitCode {
    match load(Some(file)) {
        Some(Loaded { config, text, warnings, .. }) => {
            warnings.iter().for_each(|warning| complain(format_args!("warning: {}", warning.with_excerpt())));
            let text = format!(
                "{}: good: {} groups, {} ttl rules, {} expectations, {} guards, {} degrade rules, {} relations{}\n{}{}",
                file.display(),
                config.policy.groups().len(),
                config.policy.ttl_rules().len(),
                config.policy.expects().len(),
                config.policy.guards().len(),
                config.policy.degrade_rules().len(),
                config.policy.relations().len(),
                compresses(config.policy.compress_rules().len()),
                if config.audit.is_none() && !config.policy.relations().is_empty() { UNAUDITED } else { "" },
                proposed(&text)
            );
            print(&text, ExitCode::SUCCESS)
        }
        None => ExitCode::from(REFUSED),
    }
}

fn compresses(rules: usize) -> String {
    if rules == 0 { String::new() } else { format!(", {rules} compress rules") }
}

/// The relations that follow from the groups and are not declared.
fn proposed(text: &str) -> String {
    let written = config::written(text);
    let relations = learning::relations(&written.groups, &written.relations, &Table::builtin());
    if relations.is_empty() {
        return String::new();
    }
    let texts: String = relations.iter().map(|relation| learning::relation_text(relation, None)).collect();
    format!(
        "\nWhat its groups write belongs together. Each of these relations that is meant can be declared, and audited:\n\n{texts}"
    )
}

/// Says what the servers answer that it names.
pub(super) fn connect(file: &Path) -> ExitCode {
    let Some(loaded) = load(Some(file)) else { return ExitCode::from(REFUSED) };
    match reach(&loaded.config) {
        Ok(reached) => print(&reached.text, if reached.is_good { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) }),
        Err(failure) => refuse(failure),
    }
}

/// Says in what the respguard that runs differs from it.
pub(super) fn running(file: &Path, admin: Option<Address>, token_env: Option<String>) -> ExitCode {
    let running = Running { config: Some(file.to_owned()), admin, token_env };
    let (Some(remote), Some(loaded)) = (remote(&running), load(Some(file))) else { return ExitCode::from(REFUSED) };
    let differences = match remote.config() {
        Ok(config) => differences(&config, &effective(&loaded.text)),
        Err(failure) => return refuse(failure),
    };
    if differences.is_empty() {
        return print(format!("{}: no differences from the running configuration\n", remote.address), ExitCode::SUCCESS);
    }
    let mut text = format!("{}: differences from the running configuration:\n", remote.address);
    for difference in differences {
        let what_helps = if difference.is_live() { "a reload applies it" } else { "needs a restart" };
        let shown = |value: &Option<serde_json::Value>| value.as_ref().map_or("nothing".to_owned(), ToString::to_string);
        let (before, after) = (shown(&difference.before), shown(&difference.after));
        text += &format!("  {}: {what_helps}: running {before}, in the file {after}\n", difference.key);
    }
    print(&text, ExitCode::from(REFUSED))
}
