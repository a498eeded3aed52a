//! Turns what a user wrote into a policy, or says everything that is wrong with it.

mod group;
mod member;

use std::collections::HashSet;
use std::time::Duration;

use crate::engine::command::Table;

use super::pattern::{Names, Pattern};
use super::recognise::Groups;
use super::rule::{Written, WrittenTtl, WrittenTtlAction};
use super::ttl::{TtlAction, TtlRule, TtlRules};
use super::{Hold, Policy, duration};

/// Something that a rule cannot mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    /// Where it is written: `group[0].commands[2]`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub expected: String,
}

/// The policy, or every error in what was written.
pub fn compile(written: &Written, table: &Table) -> Result<Policy, Vec<RuleError>> {
    let mut errors = Errors::default();
    let hold = hold(written, &mut errors);
    unique_names(
        "group",
        written.groups.iter().map(|group| &*group.name),
        &mut errors,
    );
    unique_names(
        "ttl",
        written.ttls.iter().map(|ttl| &*ttl.name),
        &mut errors,
    );
    let groups = written.groups.iter().enumerate();
    let groups = groups.filter_map(|(place, group)| {
        group::compile(&format!("group[{place}]"), group, table, &mut errors)
    });
    let groups = groups.collect();
    let ttls = written.ttls.iter().enumerate();
    let ttls = ttls
        .filter_map(|(place, ttl)| compile_ttl(&format!("ttl[{place}]"), ttl, &mut errors))
        .collect();
    not_available_tables("expect", written.expects, &mut errors);
    not_available_tables("guard", written.guards, &mut errors);
    errors.none_or(Policy {
        mode: written.mode,
        report_pipelines: written.pipeline.report,
        hold,
        groups: Groups::new(groups, table),
        ttls: TtlRules::new(ttls),
    })
}

/// The errors found so far.
#[derive(Default)]
struct Errors {
    found: Vec<RuleError>,
}

impl Errors {
    fn add(
        &mut self,
        path: impl Into<String>,
        message: impl Into<String>,
        expected: impl Into<String>,
    ) {
        self.found.push(RuleError {
            path: path.into(),
            message: message.into(),
            expected: expected.into(),
        });
    }

    /// The value, unless there was an error.
    fn none_or<T>(self, value: T) -> Result<T, Vec<RuleError>> {
        if self.found.is_empty() {
            Ok(value)
        } else {
            Err(self.found)
        }
    }
}

const HOLD_MAX_MS: u64 = 10_000;

fn hold(written: &Written, errors: &mut Errors) -> Hold {
    let pipeline = &written.pipeline;
    if pipeline.hold_max_ms > HOLD_MAX_MS {
        errors.add(
            "pipeline.hold_max_ms",
            format!(
                "{} is too long to hold a client's commands",
                pipeline.hold_max_ms
            ),
            format!("at most {HOLD_MAX_MS}"),
        );
    } else if pipeline.hold_ms > pipeline.hold_max_ms {
        errors.add(
            "pipeline.hold_ms",
            format!("{} is more than hold_max_ms", pipeline.hold_ms),
            format!("at most hold_max_ms, which is {}", pipeline.hold_max_ms),
        );
    }
    Hold {
        gap: Duration::from_millis(pipeline.hold_ms),
        max: Duration::from_millis(pipeline.hold_max_ms),
    }
}

const NAME_BYTES_MAX: usize = 64;

/// Names become metric labels: they are plain, short and not given twice to rules of one sort.
fn unique_names<'n>(section: &str, names: impl Iterator<Item = &'n str>, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (place, name) in names.enumerate() {
        let path = format!("{section}[{place}].name");
        if !is_name(name) {
            let expected = format!(
                "a-z, 0-9, `-` and `_`, beginning with a letter or digit, at most {NAME_BYTES_MAX}"
            );
            errors.add(path, format!("{name:?} is no name for a rule"), expected);
        } else if !seen.insert(name) {
            errors.add(
                path,
                format!("there is another [[{section}]] named {name:?}"),
                "a name of its own",
            );
        }
    }
}

fn is_name(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= NAME_BYTES_MAX
        && name.bytes().next().is_some_and(letter)
        && name
            .bytes()
            .all(|byte| letter(byte) || byte == b'_' || byte == b'-')
}

/// Refuses a known word whose meaning does not exist yet; nothing is ever silently ignored.
fn not_available(path: String, what: &str, instead: &str, errors: &mut Errors) {
    errors.add(path, format!("{what} is not available yet"), instead);
}

fn not_available_tables(section: &str, count: usize, errors: &mut Errors) {
    for place in 0..count {
        not_available(
            format!("{section}[{place}]"),
            &format!("[[{section}]]"),
            "no such table",
            errors,
        );
    }
}

/// The patterns of a `keys` list; they have no captures.
fn key_patterns(path: &str, written: &[String], errors: &mut Errors) -> Box<[Pattern]> {
    if written.is_empty() {
        errors.add(
            path,
            "the list is empty",
            "at least one key pattern such as \"sess:*\"",
        );
    }
    let mut patterns = Vec::new();
    for (place, text) in written.iter().enumerate() {
        let path = format!("{path}[{place}]");
        match Pattern::parse(text, &mut Names::default()) {
            _ if text.is_empty() => errors.add(
                path,
                "the pattern is empty",
                "a key pattern such as \"sess:*\"",
            ),
            Err(error) => errors.add(path, error.to_string(), error.expected()),
            Ok(pattern) if pattern.has_captures() => {
                errors.add(
                    path,
                    "a key pattern has no captures",
                    "`*`, or `{{` and `}}` for the braces of a hash tag",
                );
            }
            Ok(pattern) => patterns.push(pattern),
        }
    }
    patterns.into()
}

const GRACE_MS_MAX: u64 = 3_600_000;

fn compile_ttl(path: &str, written: &WrittenTtl, errors: &mut Errors) -> Option<TtlRule> {
    let before = errors.found.len();
    if written.action != WrittenTtlAction::Flag {
        let action = super::rule::Word::as_str(written.action);
        not_available(
            format!("{path}.action"),
            &format!("action = {action:?}"),
            "\"flag\"",
            errors,
        );
    }
    let keys = key_patterns(&format!("{path}.keys"), &written.keys, errors);
    let default = read_duration(
        &format!("{path}.default"),
        written.default.as_deref(),
        errors,
    );
    let max = read_duration(&format!("{path}.max"), written.max.as_deref(), errors);
    if default.zip(max).is_some_and(|(default, max)| default > max) {
        errors.add(
            format!("{path}.default"),
            "it is longer than max",
            "at most max",
        );
    }
    if written.grace_ms > GRACE_MS_MAX {
        let message = format!("{} is too long to wait for a TTL", written.grace_ms);
        errors.add(
            format!("{path}.grace_ms"),
            message,
            format!("at most {GRACE_MS_MAX}"),
        );
    }
    (errors.found.len() == before).then(|| TtlRule {
        name: written.name.as_str().into(),
        keys,
        action: TtlAction::Flag,
        default,
        max,
        grace: Duration::from_millis(written.grace_ms),
        mode: written.mode,
    })
}

fn read_duration(path: &str, written: Option<&str>, errors: &mut Errors) -> Option<Duration> {
    let text = written?;
    let read = duration::parse(text);
    if read.is_none() {
        errors.add(path, format!("{text:?} is no duration"), duration::EXPECTED);
    }
    read
}
