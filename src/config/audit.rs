//! Reads `[audit]`, and refuses repairs that could not be undone.

use std::time::Duration;

use super::credential::Sources;
use super::section::{Findings, Section};
use crate::jobs::Settings;
use respguard_engine::policy::relation::Topology;
use respguard_engine::policy::rule::{Repair, Word, Written};
use respguard_engine::policy::{Policy, duration};

const KEYS_PER_SECOND_MAX: u64 = 1_000_000;
const GRACE_MS_MAX: u64 = 3_600_000;
const OFF: &str = "off";

pub(super) const EVERY: Duration = Duration::from_secs(24 * 3600);
pub(super) const KEYS_PER_SECOND: u32 = 2000;
pub(super) const GRACE_MS: u64 = 2000;

/// The table, if there is one.
pub(super) fn read(root: &mut Section<'_>, sources: &Sources<'_>, findings: &mut Findings) -> Option<Settings> {
    let (mut section, is_there) = root.optional_section("audit", findings);
    let every = section.text("every", findings);
    let keys_per_second = section.number("keys_per_second", 1..=KEYS_PER_SECOND_MAX, KEYS_PER_SECOND, findings);
    let grace = section.number("grace_ms", 0..=GRACE_MS_MAX, GRACE_MS, findings);
    let repair = section.truth("repair", false, findings);
    let file = section.text("repair_log", findings);
    let (path_of_every, path_of_repair) = (section.path_of("every"), section.path_of("repair"));
    let path_of_file = section.path_of("repair_log");
    section.end(findings);
    let every = match every.as_deref() {
        Some(OFF) => None,
        Some(text) => {
            let every = duration::parse(text);
            if every.is_none() {
                findings.add(&path_of_every, format!("{text:?} is no duration"), format!("{}, or {OFF:?}", duration::EXPECTED));
            }
            every
        }
        None => Some(EVERY),
    };
    if file.as_ref().is_some_and(String::is_empty) {
        findings.add(&path_of_file, "the name is empty", "a file's path, or no such key");
    }
    if repair && file.is_none() {
        findings.add(&path_of_repair, "nothing that is removed could be put back", "`repair_log` beside it");
    }
    is_there.then(|| Settings {
        every,
        keys_per_second,
        grace: Duration::from_millis(grace),
        repair,
        repair_log: file.map(|file| sources.folder.join(file)),
    })
}

/// What a repair removes is written down first.
pub(super) fn refuse_unlogged(audit: Option<&Settings>, written: &Written, findings: &mut Findings) {
    if audit.is_some_and(|audit| audit.repair_log.is_some()) {
        return;
    }
    for (place, relation) in written.relations.iter().enumerate() {
        if relation.repair != Repair::Report {
            let message = format!("{:?} wants a file that removed things can be put back from", relation.repair.as_str());
            findings.add(&format!("relation[{place}].repair"), message, "[audit] repair_log, or \"report\"");
        }
    }
}

/// Keys of different slots cannot be removed together.
pub(super) fn warn_of_reported(policy: &Policy, findings: &mut Findings) {
    for (place, relation) in policy.relations().iter().enumerate() {
        if relation.repair_on(Topology::Cluster) != relation.repair {
            let message = "its keys can lie in different slots of the cluster: what is broken is only reported".to_owned();
            let advice = "the same hash tag in all of its keys, or \"report\"".to_owned();
            findings.warn(&format!("relation[{place}].repair"), message, advice);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{self, Config};
    use respguard_engine::command::Table;

    fn read(text: &str) -> Result<Config, String> {
        config::read(text, Path::new("/etc/f.toml"), &Table::builtin(), &|_| None).map_err(|errors| errors.to_string())
    }

    #[test]
    fn audits_are_off_without_their_table_and_have_defaults_with_it() {
        assert_eq!(read("").expect("good").audit, None);
        let audit = read("[audit]\n").expect("good").audit.expect("on");
        assert_eq!((audit.every, audit.keys_per_second, audit.grace), (Some(EVERY), 2000, Duration::from_secs(2)));
        let audit = read("[audit]\nevery = \"off\"\nrepair_log = \"r.jsonl\"\n").expect("good").audit.expect("on");
        assert_eq!((audit.every, audit.repair_log.as_deref()), (None, Some(Path::new("/etc/r.jsonl"))));
    }

    #[test]
    fn what_cannot_be_is_refused_by_line() {
        let relation = "[[relation]]\nname = \"r\"\nkeys = [\"a:{x}\", \"b:{x}\"]\n";
        for (text, wanted) in [
            ("[audit]\nevery = \"daily\"\n".to_owned(), "f.toml:2:9: audit.every: \"daily\" is no duration"),
            ("[audit]\nrepair = true\n".to_owned(), "audit.repair: nothing that is removed could be put back"),
            ("[audit]\nkeys_per_second = 0\n".to_owned(), "audit.keys_per_second: 0 is out of range"),
            ("[audit]\nrepair_log = \"\"\n".to_owned(), "audit.repair_log: the name is empty"),
            (format!("[audit]\n{relation}repair = \"delete\"\n"), "relation[0].repair: \"delete\" wants a file"),
            (format!("{relation}repair = \"remove\"\n"), "relation[0].repair: \"remove\""),
            ("[[relation]]\nname = \"r\"\nkeys = [\"a:{x}\", \"b:{y}\"]\n".to_owned(), "f.toml:3:9: relation[0].keys[0]"),
        ] {
            let refusal = read(&text).expect_err(&text);
            assert!(refusal.contains(wanted), "{refusal}\n{wanted}");
        }
        assert_eq!(read(relation).expect("good").policy.relations().len(), 1);
    }
}
