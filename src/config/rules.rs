//! Reads the part of a configuration file that a policy is made of.

use crate::engine::policy::rule::{Written, WrittenDegrade, WrittenGroup, WrittenMember, WrittenPipeline, WrittenTtl};

use super::section::{Findings, Section, Value};

/// The rules as they are written. `[pipeline]` is read by the caller, which knows its other keys.
pub(super) fn read(root: &mut Section<'_>, pipeline: WrittenPipeline, findings: &mut Findings) -> Written {
    let mode = root.word("mode", findings).unwrap_or_default();
    let groups = root.sections("group", findings);
    let ttls = root.sections("ttl", findings);
    let degrades = root.sections("degrade", findings);
    Written {
        mode,
        pipeline,
        groups: groups.into_iter().map(|section| group(section, findings)).collect(),
        ttls: ttls.into_iter().map(|section| ttl(section, findings)).collect(),
        degrades: degrades.into_iter().map(|section| degrade(section, findings)).collect(),
        expects: root.sections("expect", findings).len(),
        guards: root.sections("guard", findings).len(),
    }
}

fn group(mut section: Section<'_>, findings: &mut Findings) -> WrittenGroup {
    let commands = section.list("commands", findings);
    let group = WrittenGroup {
        name: section.needed_text("name", findings),
        atomic: section.word("atomic", findings).unwrap_or_default(),
        on_unsupported: section.word("on_unsupported", findings).unwrap_or_default(),
        on_partial: section.word("on_partial", findings).unwrap_or_default(),
        order: section.word("order", findings).unwrap_or_default(),
        resolve: section.truth("resolve", false, findings),
        unlink: section.word("unlink", findings).unwrap_or_default(),
        agree: section.word("agree", findings),
        mode: section.word("mode", findings),
        commands: commands.map(|list| list.into_iter().map(|value| member(&value, findings)).collect()),
        keys: section.texts("keys", findings),
    };
    section.end(findings);
    group
}

fn member(value: &Value<'_>, findings: &mut Findings) -> WrittenMember {
    if value.is_text() {
        let template = value.text(findings).unwrap_or_default();
        return WrittenMember { template, ..WrittenMember::default() };
    }
    let expected = "a string, or { match = \"..\", optional = true, expect = \"..\" }";
    let Some(mut section) = value.section(expected, findings) else {
        return WrittenMember::default();
    };
    let member = WrittenMember {
        template: section.needed_text("match", findings),
        optional: section.truth("optional", false, findings),
        expected: section.text("expect", findings),
    };
    section.end(findings);
    member
}

fn degrade(mut section: Section<'_>, findings: &mut Findings) -> WrittenDegrade {
    let degrade = WrittenDegrade {
        name: section.needed_text("name", findings),
        keys: section.texts("keys", findings).unwrap_or_default(),
        reads: section.word("reads", findings).unwrap_or_default(),
        writes: section.word("writes", findings).unwrap_or_default(),
    };
    section.end(findings);
    degrade
}

fn ttl(mut section: Section<'_>, findings: &mut Findings) -> WrittenTtl {
    let defaults = WrittenTtl::default();
    let ttl = WrittenTtl {
        name: section.needed_text("name", findings),
        keys: section.texts("keys", findings).unwrap_or_default(),
        action: section.word("action", findings).unwrap_or_default(),
        default: section.text("default", findings),
        max: section.text("max", findings),
        grace_ms: section.number("grace_ms", 0..=3_600_000, defaults.grace_ms, findings),
        mode: section.word("mode", findings),
    };
    section.end(findings);
    ttl
}
