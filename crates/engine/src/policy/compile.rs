//! Compiles the user's rules into a policy, or reports every mistake in them.

mod compress;
mod errors;
mod group;
mod guard;
mod key_patterns;
mod member;
mod once;
mod relation;
mod requirement;
pub mod slots;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::command::Table;

use super::by_command::{ByCommand, CommandRules};
use super::compress::CompressRules;
use super::degrade::{DegradeRule, DegradeRules};
use super::recognise::Groups;
use super::rule::{DegradedReads, DegradedWrites, KeyForm, TtlAction, Written, WrittenDegrade, WrittenTtl};
use super::ttl::{Sample, TtlRule, TtlRules};
use super::{Hold, Policy, duration};
use errors::Errors;
use key_patterns::key_patterns;

pub use errors::RuleError;

/// The policy that was written.
///
/// # Errors
/// Every error in what was written.
pub fn compile(written: &Written, table: &Table) -> Result<Policy, Vec<RuleError>> {
    let mut errors = Errors::default();
    let hold = hold(written, &mut errors);
    check_guard_prefix(&written.pipeline.guard_prefix, &mut errors);
    let all = &mut errors;
    let groups = compiled(
        "group",
        &written.groups,
        |rule| &rule.name,
        all,
        |path, rule, errors| group::compile(path, rule, table, errors),
    );
    let ttls = compiled("ttl", &written.ttls, |rule| &rule.name, all, compile_ttl);
    let expects = compiled(
        "expect",
        &written.expects,
        |rule| &rule.name,
        all,
        |path, rule, errors| guard::expect(path, rule, table, errors),
    );
    let guards =
        compiled("guard", &written.guards, |rule| &rule.name, all, |path, rule, errors| guard::guard(path, rule, table, errors));
    let degrades = compiled("degrade", &written.degrades, |rule| &rule.name, all, compile_degrade);
    let relations = compiled("relation", &written.relations, |rule| &rule.name, all, relation::relation);
    let compresses = compiled("compress", &written.compresses, |rule| &rule.name, all, compress::compress);
    compress::refuse_required_values(&groups, &compresses, table, &mut errors);
    let policy = Policy {
        mode: written.mode,
        report_pipelines: written.pipeline.report,
        violation_keys: KeyForm::None,
        hold,
        guard_prefix: written.pipeline.guard_prefix.as_str().into(),
        groups: Groups::new(rules(groups), table),
        ttls: TtlRules::new(rules(ttls)),
        expects: CommandRules::new(rules(expects), table),
        guards: CommandRules::new(rules(guards), table),
        degrades: DegradeRules::new(rules(degrades)),
        relations: rules(relations),
        compresses: CompressRules::new(rules(compresses)),
        all: ByCommand::default(),
    };
    errors.none_or(()).map(|()| policy.indexed(table))
}

/// The rules of one sort that are not wrong, with their places among those that were written.
fn compiled<W, R>(
    section: &str,
    written: &[W],
    name: fn(&W) -> &str,
    errors: &mut Errors,
    mut compile: impl FnMut(&str, &W, &mut Errors) -> Option<R>,
) -> Vec<(usize, Arc<R>)> {
    unique_names(section, written.iter().map(name), errors);
    let rules = written.iter().enumerate();
    rules.filter_map(|(place, rule)| Some((place, Arc::new(compile(&format!("{section}[{place}]"), rule, errors)?)))).collect()
}

fn rules<R>(placed: Vec<(usize, Arc<R>)>) -> Vec<Arc<R>> {
    placed.into_iter().map(|(_, rule)| rule).collect()
}

const HOLD_MAX_MS: u64 = 10_000;

fn hold(written: &Written, errors: &mut Errors) -> Hold {
    let pipeline = &written.pipeline;
    if pipeline.hold_max_ms > HOLD_MAX_MS {
        errors.add(
            "pipeline.hold_max_ms",
            format!("{} is too long to hold a client's commands", pipeline.hold_max_ms),
            format!("at most {HOLD_MAX_MS}"),
        );
    } else if pipeline.hold_ms > pipeline.hold_max_ms {
        errors.add(
            "pipeline.hold_ms",
            format!("{} is more than hold_max_ms", pipeline.hold_ms),
            format!("at most hold_max_ms, which is {}", pipeline.hold_max_ms),
        );
    }
    Hold { gap: Duration::from_millis(pipeline.hold_ms), max: Duration::from_millis(pipeline.hold_max_ms) }
}

const GUARD_PREFIX_BYTES_MAX: usize = 64;

/// The group's hash tag comes behind the prefix: braces in it would be the tag instead.
fn check_guard_prefix(prefix: &str, errors: &mut Errors) {
    let plain = prefix.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'{' && byte != b'}');
    if prefix.is_empty() || prefix.len() > GUARD_PREFIX_BYTES_MAX || !plain {
        let expected = format!("1 to {GUARD_PREFIX_BYTES_MAX} visible ASCII characters without braces");
        errors.add("pipeline.guard_prefix", format!("{prefix:?} cannot begin the keys of guards"), expected);
    }
}

const NAME_BYTES_MAX: usize = 64;

/// Names become metric labels: they are plain, short and not given twice to rules of one sort.
fn unique_names<'n>(section: &str, names: impl Iterator<Item = &'n str>, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (place, name) in names.enumerate() {
        let path = format!("{section}[{place}].name");
        if !is_name(name) {
            let expected = format!("a-z, 0-9, `-` and `_`, beginning with a letter or digit, at most {NAME_BYTES_MAX}");
            errors.add(path, format!("{name:?} is no name for a rule"), expected);
        } else if !seen.insert(name) {
            errors.add(path, format!("there is another [[{section}]] named {name:?}"), "a name of its own");
        }
    }
}

fn is_name(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= NAME_BYTES_MAX
        && name.bytes().next().is_some_and(letter)
        && name.bytes().all(|byte| letter(byte) || byte == b'_' || byte == b'-')
}

const GRACE_MS_MAX: u64 = 3_600_000;

fn compile_ttl(path: &str, written: &WrittenTtl, errors: &mut Errors) -> Option<TtlRule> {
    let before = errors.found.len();
    if written.action == TtlAction::Fix && written.default.is_none() {
        errors.add(format!("{path}.action"), "action = \"fix\" does not know which TTL to set", "default = \"7d\" beside it");
    }
    let keys = key_patterns(&format!("{path}.keys"), &written.keys, errors);
    let default = read_duration(&format!("{path}.default"), written.default.as_deref(), errors);
    let max = read_duration(&format!("{path}.max"), written.max.as_deref(), errors);
    if default.zip(max).is_some_and(|(default, max)| default > max) {
        errors.add(format!("{path}.default"), "it is longer than max", "at most max");
    }
    if written.grace_ms > GRACE_MS_MAX {
        let message = format!("{} is too long to wait for a TTL", written.grace_ms);
        errors.add(format!("{path}.grace_ms"), message, format!("at most {GRACE_MS_MAX}"));
    }
    (errors.found.len() == before).then(|| TtlRule {
        name: written.name.as_str().into(),
        keys,
        action: written.action,
        default,
        max,
        keep: written.keep,
        sample: Sample::of(written.sample),
        grace: Duration::from_millis(written.grace_ms),
        mode: written.mode,
    })
}

fn compile_degrade(path: &str, written: &WrittenDegrade, errors: &mut Errors) -> Option<DegradeRule> {
    let before = errors.found.len();
    let keys = key_patterns(&format!("{path}.keys"), &written.keys, errors);
    let (reads_nil, writes_ok) = (written.reads == DegradedReads::Nil, written.writes == DegradedWrites::Ok);
    if !reads_nil && !writes_ok {
        errors.add(path, "the rule changes nothing", "reads = \"nil\" or writes = \"ok\"");
    }
    (errors.found.len() == before).then(|| DegradeRule { name: written.name.as_str().into(), keys, reads_nil, writes_ok })
}

fn read_duration(path: &str, written: Option<&str>, errors: &mut Errors) -> Option<Duration> {
    let text = written?;
    let read = duration::parse(text);
    if read.is_none() {
        errors.add(path, format!("{text:?} is no duration"), duration::EXPECTED);
    }
    read
}

#[cfg(test)]
mod tests;
