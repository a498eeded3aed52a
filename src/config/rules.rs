//! Reads the rules of a configuration file.

use respguard_engine::policy::rule::{
    Written, WrittenCompress, WrittenDegrade, WrittenExpect, WrittenGroup, WrittenGuard, WrittenMember, WrittenPipeline,
    WrittenRelation, WrittenTtl,
};

use super::section::{Findings, Section, Value};

/// The longest string that Redis takes.
const BYTES_MAX: u64 = 512 * 1024 * 1024;
const ARGUMENTS_MAX: u64 = 1024 * 1024;
/// Of zstd.
const LEVEL_MAX: u64 = 19;

/// The rules as they are written. `[pipeline]` is read by the caller, which knows its other keys.
pub(super) fn read(root: &mut Section<'_>, pipeline: WrittenPipeline, findings: &mut Findings) -> Written {
    Written {
        mode: root.word("mode", findings).unwrap_or_default(),
        pipeline,
        groups: all(root, "group", findings, group),
        ttls: all(root, "ttl", findings, ttl),
        expects: all(root, "expect", findings, expect),
        guards: all(root, "guard", findings, guard),
        degrades: all(root, "degrade", findings, degrade),
        relations: all(root, "relation", findings, relation),
        compresses: all(root, "compress", findings, compress),
    }
}

/// The rules of one kind.
fn all<T>(
    root: &mut Section<'_>,
    kind: &'static str,
    findings: &mut Findings,
    read: fn(&mut Section<'_>, &mut Findings) -> T,
) -> Vec<T> {
    let sections = root.sections(kind, findings);
    let rules = sections.into_iter().map(|mut section| {
        let rule = read(&mut section, findings);
        section.end(findings);
        rule
    });
    rules.collect()
}

fn expect(section: &mut Section<'_>, findings: &mut Findings) -> WrittenExpect {
    WrittenExpect {
        name: section.needed_text("name", findings),
        command: section.needed_text("command", findings),
        reply: section.needed_text("reply", findings),
        action: section.word("action", findings).unwrap_or_default(),
        mode: section.word("mode", findings),
    }
}

fn guard(section: &mut Section<'_>, findings: &mut Findings) -> WrittenGuard {
    WrittenGuard {
        name: section.needed_text("name", findings),
        commands: section.texts("commands", findings),
        value_bytes_max: section.number_if_any("value_bytes_max", 1..=BYTES_MAX, findings),
        arguments_max: section.number_if_any("arguments_max", 1..=ARGUMENTS_MAX, findings),
        keys_allowed: section.texts("keys_allowed", findings),
        reply_bytes_max: section.number_if_any("reply_bytes_max", 1..=BYTES_MAX, findings),
        action: section.word("action", findings).unwrap_or_default(),
        mode: section.word("mode", findings),
    }
}

fn group(section: &mut Section<'_>, findings: &mut Findings) -> WrittenGroup {
    let commands = section.list("commands", findings);
    WrittenGroup {
        name: section.needed_text("name", findings),
        atomic: section.word("atomic", findings).unwrap_or_default(),
        on_unsupported: section.word("on_unsupported", findings).unwrap_or_default(),
        on_cross_slot: section.word("on_cross_slot", findings).unwrap_or_default(),
        on_partial: section.word("on_partial", findings).unwrap_or_default(),
        order: section.word("order", findings).unwrap_or_default(),
        between: section.word("between", findings).unwrap_or_default(),
        resolve: section.truth("resolve", false, findings),
        once: section.text("once", findings),
        once_key: section.text("once_key", findings),
        on_duplicate: section.word("on_duplicate", findings).unwrap_or_default(),
        rollback_bytes_max: section.number_if_any("rollback_bytes_max", 1..=BYTES_MAX, findings),
        unlink: section.word("unlink", findings).unwrap_or_default(),
        agree: section.word("agree", findings),
        mode: section.word("mode", findings),
        commands: commands.map(|list| list.into_iter().map(|value| member(&value, findings)).collect()),
        keys: section.texts("keys", findings),
    }
}

fn member(value: &Value<'_>, findings: &mut Findings) -> WrittenMember {
    if value.is_text() {
        let template = value.text(findings).unwrap_or_default();
        return WrittenMember { template, ..WrittenMember::default() };
    }
    let expected = "a string, or { match = \"..\", optional = true, expect = \"..\", require = \"..\" }";
    let Some(mut section) = value.section(expected, findings) else {
        return WrittenMember::default();
    };
    let member = WrittenMember {
        template: section.needed_text("match", findings),
        optional: section.truth("optional", false, findings),
        expected: section.text("expect", findings),
        require: section.text("require", findings),
    };
    section.end(findings);
    member
}

fn degrade(section: &mut Section<'_>, findings: &mut Findings) -> WrittenDegrade {
    WrittenDegrade {
        name: section.needed_text("name", findings),
        keys: section.texts("keys", findings).unwrap_or_default(),
        reads: section.word("reads", findings).unwrap_or_default(),
        writes: section.word("writes", findings).unwrap_or_default(),
    }
}

fn relation(section: &mut Section<'_>, findings: &mut Findings) -> WrittenRelation {
    WrittenRelation {
        name: section.needed_text("name", findings),
        keys: section.texts("keys", findings),
        from: section.text("from", findings),
        needs: section.texts("needs", findings),
        ttl: section.word("ttl", findings),
        repair: section.word("repair", findings).unwrap_or_default(),
        mode: section.word("mode", findings),
    }
}

fn compress(section: &mut Section<'_>, findings: &mut Findings) -> WrittenCompress {
    let defaults = WrittenCompress::default();
    WrittenCompress {
        name: section.needed_text("name", findings),
        keys: section.texts("keys", findings).unwrap_or_default(),
        min_bytes: section.number("min_bytes", 1..=BYTES_MAX, defaults.min_bytes, findings),
        algorithm: section.word("algorithm", findings).unwrap_or_default(),
        level: section.number_if_any("level", 1..=LEVEL_MAX, findings),
        write: section.truth("write", defaults.write, findings),
        scripts: section.word("scripts", findings).unwrap_or_default(),
        value_bytes_max: section.number("value_bytes_max", 1..=BYTES_MAX, defaults.value_bytes_max, findings),
        mode: section.word("mode", findings),
    }
}

fn ttl(section: &mut Section<'_>, findings: &mut Findings) -> WrittenTtl {
    let defaults = WrittenTtl::default();
    WrittenTtl {
        name: section.needed_text("name", findings),
        keys: section.texts("keys", findings).unwrap_or_default(),
        action: section.word("action", findings).unwrap_or_default(),
        default: section.text("default", findings),
        max: section.text("max", findings),
        keep: section.truth("keep", defaults.keep, findings),
        grace_ms: section.number("grace_ms", 0..=3_600_000, defaults.grace_ms, findings),
        sample: section.ratio("sample", defaults.sample, findings),
        mode: section.word("mode", findings),
    }
}
