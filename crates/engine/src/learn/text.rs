//! Writes proposals as configuration text, with the supporting counts as comments.

use std::fmt::Write;

use super::compress::Compressing;
use super::group::{Groups, Proposal};
use super::single::{Expiring, Guarding, Lifetimes};
use crate::policy::rule::{WrittenGroup, WrittenGuard, WrittenRelation};

/// A group between whose members others' commands stand so often, in a hundred, is one of callers that share connections.
const INTERLEAVED_PERCENT: u64 = 10;

/// What was watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Watched {
    pub(super) clients: u64,
    pub(super) commands: u64,
    pub(super) bursts: u64,
    /// Bursts, bytes and keys that no proposal takes into account.
    pub(super) bursts_beyond: u64,
    pub(super) bytes_lost: u64,
    pub(super) keys_beyond: u64,
    pub(super) long: u64,
    pub(super) forgotten: u64,
}

/// A relation that holds in so many of a hundred cases is proposed.
const HOLDS_PERCENT: u64 = 99;

/// What is known of how often a relation holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the sentence above each variant names its fields")]
pub enum Counted<'r> {
    /// Nothing was looked at.
    Not,
    /// So many cases were looked at, of which so many are broken.
    Cases { all: u64, broken: u64 },
    /// It could not be found out.
    Unknown(&'r str),
}

/// What the first line of all proposals begins with.
pub const BEGINNING: &str = "# Proposed by `respguard learn`";

/// The whole text.
pub(super) fn write(
    watched: &Watched,
    groups: &Groups,
    lifetimes: &Lifetimes,
    guards: &[Guarding],
    compressing: &[Compressing],
) -> String {
    let mut out = String::new();
    head(watched, &mut out);
    if groups.proposed.is_empty() {
        line(&mut out, "# No group: no two writes of one client came again and again without a pause between them.\n");
    }
    groups.proposed.iter().for_each(|proposal| group(proposal, &mut out));
    if groups.more > 0 {
        line(&mut out, &format!("# Not written: {} more that recur.\n", groups.more));
    }
    groups.one_by_one.iter().for_each(|proposal| one_by_one(proposal, &mut out));
    lifetimes.rules.iter().for_each(|rule| ttl(rule, &mut out));
    endless(lifetimes, &mut out);
    guards.iter().for_each(|rule| guard(rule, &mut out));
    compressing.iter().for_each(|rule| compress(rule, &mut out));
    out
}

fn head(watched: &Watched, out: &mut String) {
    let Watched { clients, commands, bursts, .. } = *watched;
    let (clients, commands, bursts) = (number(clients), number(commands), number(bursts));
    line(out, &format!("{BEGINNING}. Clients: {clients}, commands: {commands}, bursts of two commands and more: {bursts}."));
    let left_out = [
        (watched.bursts_beyond, "bursts like others before them, or beyond what is kept; groups are counted without them"),
        (watched.bytes_lost, "bytes that could not be taken in time"),
        (watched.keys_beyond, "uses of keys beyond what is kept"),
        (watched.long, "requests longer than 1 MiB"),
        (watched.forgotten, "clients beyond what is kept, or that sent no requests"),
    ];
    for (count, what) in left_out.into_iter().filter(|(count, _)| *count > 0) {
        line(out, &format!("# Left out: {what}: {}.", number(count)));
    }
    line(
        out,
        "# Nothing here changes traffic: groups only look on (mode = \"observe\"), other rules only flag. Read each, rename it,",
    );
    line(out, "# and take the line `mode` out of a group to have it applied as a whole.\n");
}

fn group(proposal: &Proposal, out: &mut String) {
    let Proposal { rule, count, together, interleaved, distinct } = proposal;
    let pieces = match count - together {
        0 => "each in one piece".to_owned(),
        more => format!("{} in more than one piece", number(more)),
    };
    line(out, &format!("# Seen {}, about {} different things, {pieces}.", times(*count), number(*distinct as u64)));
    let WrittenGroup { name, commands, .. } = rule;
    let shares = *interleaved * 100 >= *count * INTERLEAVED_PERCENT && *interleaved > 0;
    if shares {
        line(
            out,
            &format!(
                "# Others' commands between the members: {}, as where several callers share a connection. If those do not",
                times(*interleaved)
            ),
        );
        line(out, "# rely on each other's order, \"pass\" spares them the wait; docs/atomicity.md says what can be seen then.");
    }
    line(out, &format!("[[group]]\nname = {name:?}\natomic = \"transaction\"\nmode = \"observe\""));
    line(out, if shares { "# between = \"pass\"\ncommands = [" } else { "commands = [" });
    for member in commands.iter().flatten() {
        let text = &member.template;
        match member.optional {
            true => line(out, &format!("  {{ match = {text:?}, optional = true }},")),
            false => line(out, &format!("  {text:?},")),
        }
    }
    line(out, "]\n");
}

fn one_by_one(proposal: &Proposal, out: &mut String) {
    line(
        out,
        &format!(
            "# No group: seen {}, but each of these came in a read of its own, as from a client that waits for",
            times(proposal.count)
        ),
    );
    line(out, "# each reply. Only the client itself can make one of them, with a pipeline or MULTI:");
    proposal.rule.commands.iter().flatten().for_each(|member| line(out, &format!("#   {}", member.template)));
    line(out, "");
}

fn ttl(expiring: &Expiring, out: &mut String) {
    let Expiring { rule, fate } = expiring;
    let range = match fate.range() {
        Some((shortest, longest)) if shortest == longest => format!(" after {shortest}"),
        Some((shortest, longest)) => format!(" after {shortest} to {longest}"),
        None => String::new(),
    };
    if fate.ends > 0 {
        line(out, &format!("# Expiring{range}: {}.", keys(fate.ends)));
    }
    if fate.endless > 0 {
        line(out, &format!("# Written and never given a TTL: {}. Look at these first.", keys(fate.endless)));
    }
    if fate.dropped > 0 {
        line(out, &format!("# Robbed of their TTL by a later write: {}. Look at these first.", keys(fate.dropped)));
    }
    line(out, &format!("[[ttl]]\nname = {:?}\nkeys = {:?}\naction = \"flag\"", rule.name, rule.keys));
    if let Some(default) = &rule.default {
        line(out, &format!("default = {default:?}"));
    }
    line(out, "");
}

fn endless(lifetimes: &Lifetimes, out: &mut String) {
    if lifetimes.endless.is_empty() {
        return;
    }
    line(out, "# No TTL rule: of these no key ever got a TTL.");
    for (pattern, count) in &lifetimes.endless {
        line(out, &format!("#   {pattern} ({})", keys(*count)));
    }
    line(out, "");
}

fn guard(guarding: &Guarding, out: &mut String) {
    let WrittenGuard { name, commands, value_bytes_max, keys_allowed, .. } = &guarding.rule;
    line(out, &format!("# {}\n[[guard]]\nname = {name:?}", guarding.evidence));
    if let Some(commands) = commands {
        line(out, &format!("commands = {commands:?}"));
    }
    if let Some(bytes) = value_bytes_max {
        line(out, &format!("value_bytes_max = {bytes}"));
    }
    if let Some(keys) = keys_allowed {
        line(out, &format!("keys_allowed = {keys:?}"));
    }
    line(out, "action = \"flag\"\n");
}

fn compress(compressing: &Compressing, out: &mut String) {
    let Compressing { rule, values, original, stored } = compressing;
    let percent = stored * 100 / (*original).max(1);
    line(
        out,
        &format!(
            "# {} values of {} bytes and more were tried: zstd makes {percent} % of them. Observed, it is only counted what would be",
            number(u64::from(*values)),
            number(rule.min_bytes)
        ),
    );
    line(out, "# saved; docs/compression.md says what changes without `mode`.");
    line(out, &format!("[[compress]]\nname = {:?}\nkeys = {:?}\nmode = \"observe\"\n", rule.name, rule.keys));
}

/// A relation, with what speaks for it if that is wanted; what holds too rarely is a comment.
pub fn relation(rule: &WrittenRelation, counted: Option<Counted<'_>>) -> String {
    let mut out = String::new();
    let holds = |all: u64, broken: u64| {
        let (held, percent) = (all - broken.min(all), 100.0 * (1.0 - broken as f64 / all as f64));
        format!("{} of {} that were looked at ({percent:.1} %)", number(held), number(all))
    };
    let is_rule = match counted {
        None => true,
        Some(Counted::Not) => {
            line(&mut out, "# Follows from what a group writes; --sample-keys 10000 counts in how many cases it holds.");
            true
        }
        Some(Counted::Cases { all: 0, .. }) => {
            line(&mut out, "# No relation: nothing of it was among the keys that were looked at.");
            false
        }
        Some(Counted::Cases { all, broken }) if broken * 100 <= all * (100 - HOLDS_PERCENT) => {
            line(&mut out, &format!("# Holds in {}.", holds(all, broken)));
            true
        }
        Some(Counted::Cases { all, broken }) => {
            line(&mut out, &format!("# No relation: holds in {} only.", holds(all, broken)));
            false
        }
        Some(Counted::Unknown(why)) => {
            line(&mut out, &format!("# Follows from what a group writes; how often it holds could not be found out: {why}."));
            true
        }
    };
    let WrittenRelation { name, keys, from, needs, .. } = rule;
    let mut body = vec!["[[relation]]".to_owned(), format!("name = {name:?}")];
    body.extend(keys.iter().map(|keys| format!("keys = {keys:?}")));
    body.extend(from.iter().map(|from| format!("from = {from:?}")));
    body.extend(needs.iter().map(|needs| format!("needs = {needs:?}")));
    for text in body {
        line(&mut out, &if is_rule { text } else { format!("#   {text}") });
    }
    line(&mut out, "");
    out
}

fn keys(count: usize) -> String {
    if count == 1 { "1 key".to_owned() } else { format!("{} keys", number(count as u64)) }
}

/// A count of times in words.
pub(super) fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{} times", number(count)) }
}

/// A number with its thousands apart.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn line(out: &mut String, text: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{text}");
}
