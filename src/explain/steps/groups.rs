//! Groups in a plan: what is sent for each, and how it can end.

use std::ops::Range;

use super::text;
use crate::explain::page::{Page, word};
use crate::explain::planned::Planned;
use respguard_engine::pipeline::finding::Unwrapped;
use respguard_engine::pipeline::plan::Span;
use respguard_engine::pipeline::refusal::Refusal;
use respguard_engine::pipeline::slot::Role;
use respguard_engine::pipeline::violation::Kind;
use respguard_engine::policy::rule::Word;
use respguard_engine::policy::{Atomic, Member};
use respguard_engine::preflight;

impl Planned<'_> {
    pub(super) fn write_wrapped(&self, commands: &[usize], index: usize, page: &mut Page) {
        let group = &self.policy.groups()[index];
        page.line(1, format_args!("group {} ({}), on {}:", group.name, group.atomic.as_str(), self.connection()));
        self.write_captures(commands, group, page);
        let members = self.numbers(commands);
        page.line(2, format_args!("on the wire, in one write: MULTI, {members}, EXEC"));
        self.write_members(commands, group, page);
        page.line(2, format_args!("replies: each member, {}", text::reply(&Role::Member)));
        self.write_expectations(commands, group, page);
        page.line(2, format_args!("if nothing is applied: every member answers an error; reported as {}", Kind::Aborted));
        page.line(2, format_args!("if some members fail: {}", text::on_partial(group.on_partial)));
        self.write_marker(group, page);
    }

    /// Groups in one transaction, with what stands between their members.
    pub(super) fn write_span(&self, span: &Span, page: &mut Page) {
        let commands = &self.plan.members[span.commands.clone()];
        let (count, connection) = (span.groups.len(), self.connection());
        let groups = if count == 1 { "one group".to_owned() } else { format!("{count} groups") };
        page.line(1, format_args!("{groups} in one transaction, nothing changes places, on {connection}:"));
        let numbers = self.numbers(commands);
        let (lead, assertion) = match &span.guard {
            Some(_) => ("WATCH guard keys.., EVAL preflight, ", "EVAL assert_guard, "),
            None => ("", ""),
        };
        page.line(2, format_args!("on the wire, in one write: {lead}MULTI, {assertion}{numbers}, EXEC"));
        let mut is_carried = vec![true; commands.len()];
        for group in &span.groups {
            let rule = &self.policy.groups()[group.group];
            let members: Vec<usize> = group.places.iter().map(|&place| commands[place as usize]).collect();
            group.places.iter().for_each(|&place| is_carried[place as usize] = false);
            let atomic = if group.guarded || rule.atomic != Atomic::Guarded { rule.atomic } else { Atomic::Transaction };
            page.line(2, format_args!("group {} ({}): {}", rule.name, atomic.as_str(), self.numbers(&members)));
            self.write_captures(&members, rule, page);
            self.write_expectations(&members, rule, page);
            page.line(2, format_args!("if some of its members fail: {}", text::on_partial(rule.on_partial)));
            self.write_marker(rule, page);
        }
        for group in &span.observed {
            let members: Vec<usize> = group.places.iter().map(|&place| commands[place as usize]).collect();
            let name = &self.policy.groups()[group.group].name;
            page.line(2, format_args!("group {name} (only observed): {}", self.numbers(&members)));
        }
        for &at in commands {
            self.write_command(at, page);
            self.write_rules(at, page);
            self.write_ttls(at, page);
        }
        let others: Vec<usize> =
            commands.iter().zip(is_carried).filter_map(|(&at, is_carried)| is_carried.then_some(at)).collect();
        if !others.is_empty() {
            page.line(
                2,
                format_args!("{} ride with them: if nothing is applied they are sent again, alone", self.numbers(&others)),
            );
        }
        page.line(2, "replies: each as the server gives it; what the client sends behind it waits until it is answered");
        page.line(
            2,
            format_args!(
                "if a group is the reason that nothing is applied: its members answer an error; reported as {}",
                Kind::Aborted
            ),
        );
        self.write_injected(&span.added.injected, page);
    }

    pub(super) fn write_guarded(&self, commands: &[usize], index: usize, page: &mut Page) {
        let group = &self.policy.groups()[index];
        page.line(1, format_args!("group {} ({}), on {}:", group.name, group.atomic.as_str(), self.connection()));
        self.write_captures(commands, group, page);
        let members = self.numbers(commands);
        let is_rolled_back = group.atomic == Atomic::Rollback;
        let wire = match is_rolled_back {
            false => format!("WATCH guard keys.., EVAL preflight, MULTI, EVAL assert_guard, {members}, EXEC"),
            true => format!("SET guard, WATCH guard keys.., EVAL begin, MULTI, EVAL counted, {members}, EVAL finish, EXEC"),
        };
        page.line(2, format_args!("on the wire, in one write: {wire}"));
        if let Some(once) = &group.once {
            page.line(
                2,
                format_args!(
                    "asked first: whether the same group was applied within {:?}; then {}",
                    once.lifetime,
                    text::on_duplicate(once.on_duplicate)
                ),
            );
            page.line(2, "after assert_guard, by the proxy itself: SET marker .. PX ..");
        }
        let member = |i: usize| commands.get(i).map(|&at| Member { id: self.batch.id(at), args: self.args(at) });
        let required = group.requirements(self.table, &mut { member });
        let members = commands.iter().map(|&at| (self.batch.id(at), self.args(at)));
        let examined = match is_rolled_back {
            false => preflight::examine_required(self.table, members, required),
            true => preflight::only_required(self.table, members, required),
        };
        for check in examined.iter().flatten() {
            let number = self.number(commands[check.member]);
            page.line(2, format_args!("checked, for {number}: {}: {}", word(check.key), check.question.in_words()));
        }
        self.write_members(commands, group, page);
        page.line(2, format_args!("replies: each member, {}", text::reply(&Role::Member)));
        page.line(
            2,
            format_args!("if a check fails: nothing is applied, every member answers an error; reported as {}", Kind::Aborted),
        );
        page.line(2, "if other clients change what is checked: nothing is applied, and it is sent again, 3 times in all");
        if is_rolled_back {
            let most = group.rollback_bytes_max;
            page.line(
                2,
                format_args!(
                    "kept before it: what its keys hold, up to {most} bytes of the server's memory; beyond, nothing is applied"
                ),
            );
            page.line(
                2,
                format_args!(
                    "if a member fails: its keys are restored, every member answers an error; reported as {}",
                    Kind::Aborted
                ),
            );
        } else {
            page.line(2, format_args!("if some members fail all the same: {}", text::on_partial(group.on_partial)));
        }
        self.write_marker(group, page);
    }

    pub(super) fn write_refused(&self, commands: &[usize], index: usize, refusal: &Refusal, page: &mut Page) {
        let group = &self.policy.groups()[index];
        page.line(1, format_args!("group {} ({}), not sent:", group.name, group.atomic.as_str()));
        self.write_captures(commands, group, page);
        let members: Vec<_> = commands.iter().map(|&at| self.batch.id(at)).collect();
        let replies = refusal.replies(&group.name, &members, self.table);
        for (&at, reply) in commands.iter().zip(&replies) {
            self.write_answered(at, String::from_utf8_lossy(reply.trim_ascii()), page);
        }
        page.line(2, format_args!("why: {}; reported as {}", refusal.reason(&members, self.table), refusal.kind()));
    }

    pub(super) fn write_watched(&self, commands: Range<usize>, index: usize, unwrapped: Option<Unwrapped>, page: &mut Page) {
        let group = &self.policy.groups()[index];
        page.line(1, format_args!("group {} ({}), on {}:", group.name, group.atomic.as_str(), self.connection()));
        let commands: Vec<_> = commands.collect();
        self.write_captures(&commands, group, page);
        let because = if let Some(why) = unwrapped {
            format!("{}; reported as {}", why.as_str(), Kind::Unwrapped)
        } else if group.atomic == Atomic::Observe {
            format!("atomic = {}", group.atomic.as_str())
        } else {
            format!("mode = {}", self.policy.mode_of(group.mode).as_str())
        };
        page.line(2, format_args!("on the wire: unchanged, because {because}"));
        self.write_members(&commands, group, page);
        page.line(2, format_args!("replies: each member, {}", text::reply(&Role::Plain)));
        self.write_expectations(&commands, group, page);
        page.line(2, format_args!("if some members fail: reported as {}", Kind::PartialFailure));
    }
}
