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

use super::by_command::ByCommand;
use super::compress::CompressRules;
use super::degrade::{DegradeRule, DegradeRules};
use super::expect::Expects;
use super::group::Group;
use super::guard::Guards;
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
    unique_names("group", written.groups.iter().map(|group| &*group.name), &mut errors);
    unique_names("degrade", written.degrades.iter().map(|degrade| &*degrade.name), &mut errors);
    unique_names("ttl", written.ttls.iter().map(|ttl| &*ttl.name), &mut errors);
    unique_names("expect", written.expects.iter().map(|expect| &*expect.name), &mut errors);
    unique_names("relation", written.relations.iter().map(|relation| &*relation.name), &mut errors);
    unique_names("guard", written.guards.iter().map(|guard| &*guard.name), &mut errors);
    let groups = written.groups.iter().enumerate();
    let group = |(place, group)| Some((place, Arc::new(group::compile(&format!("group[{place}]"), group, table, &mut errors)?)));
    let groups: Vec<(usize, Arc<Group>)> = groups.filter_map(group).collect();
    let ttls = written.ttls.iter().enumerate();
    let ttls = ttls.filter_map(|(place, ttl)| compile_ttl(&format!("ttl[{place}]"), ttl, &mut errors)).map(Arc::new).collect();
    let expects = written.expects.iter().enumerate();
    let expects = expects.filter_map(|(place, rule)| guard::expect(&format!("expect[{place}]"), rule, table, &mut errors));
    let expects = expects.map(Arc::new).collect();
    let guards = written.guards.iter().enumerate();
    let guards = guards.filter_map(|(place, rule)| guard::guard(&format!("guard[{place}]"), rule, table, &mut errors));
    let guards = guards.map(Arc::new).collect();
    let degrades = written.degrades.iter().enumerate();
    let degrades = degrades.filter_map(|(place, rule)| compile_degrade(&format!("degrade[{place}]"), rule, &mut errors));
    let degrades = degrades.map(Arc::new).collect();
    let relations = written.relations.iter().enumerate();
    let relations = relations.filter_map(|(place, rule)| relation::relation(&format!("relation[{place}]"), rule, &mut errors));
    let relations = relations.map(Arc::new).collect();
    unique_names("compress", written.compresses.iter().map(|rule| &*rule.name), &mut errors);
    let compresses = written.compresses.iter().enumerate();
    let compresses = compresses.filter_map(|(place, rule)| compress::compress(&format!("compress[{place}]"), rule, &mut errors));
    let compresses: Vec<_> = compresses.map(Arc::new).collect();
    compress::refuse_required_values(&groups, &compresses, table, &mut errors);
    let groups = groups.into_iter().map(|(_, group)| group).collect();
    let policy = Policy {
        mode: written.mode,
        report_pipelines: written.pipeline.report,
        violation_keys: KeyForm::None,
        hold,
        guard_prefix: written.pipeline.guard_prefix.as_str().into(),
        groups: Groups::new(groups, table),
        ttls: TtlRules::new(ttls),
        expects: Expects::new(expects, table),
        guards: Guards::new(guards, table),
        degrades: DegradeRules::new(degrades),
        relations,
        compresses: CompressRules::new(compresses),
        all: ByCommand::default(),
    };
    errors.none_or(()).map(|()| policy.indexed(table))
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
