//! Describes one plan: its steps in order, each with its commands and their effect.

mod groups;

use std::ops::Range;

use super::page::{Page, request, word};
use super::planned::Planned;
use super::text;
use respguard_engine::command::{ConnectionEffect, Lane, Spec, ttl_effects};
use respguard_engine::pipeline::plan::{Note, Step};
use respguard_engine::pipeline::probe::Probe;
use respguard_engine::pipeline::slot::Role;
use respguard_engine::pipeline::violation::Kind;
use respguard_engine::pipeline::wire::Injected;
use respguard_engine::policy::rule::Word;
use respguard_engine::policy::{Agree, Group, Member, Recognition};
use respguard_resp::request::Args;

impl Planned<'_> {
    pub(super) fn write(&self, page: &mut Page) {
        if page.is_brief() {
            return self.write_brief(page);
        }
        let error = |reply: &[u8]| String::from_utf8_lossy(reply).trim_end().to_owned();
        for step in &self.plan.steps {
            self.noted(step).iter().for_each(|noted| page.note(noted));
            match step {
                Step::Send { commands } => {
                    page.line(1, format_args!("unchanged, on {}; replies as the server gives them:", self.connection()));
                    for at in commands.clone() {
                        self.write_sent(at, page);
                        if let Some(Role::Refused(reply)) = self.plan.roles.get(at) {
                            page.line(4, format_args!("in its place: GET without a key, and {}", error(reply)));
                        }
                    }
                }
                Step::Wrap { members, group, added } => {
                    self.write_wrapped(&self.plan.members[members.clone()], *group, page);
                    self.write_injected(added.as_ref().map_or(&[][..], |added| &added.injected[..]), page);
                }
                Step::Guard { members, group, added, .. } => {
                    self.write_guarded(&self.plan.members[members.clone()], *group, page);
                    self.write_injected(added.as_ref().map_or(&[][..], |added| &added.injected[..]), page);
                }
                Step::Span(span) => self.write_span(span, page),
                Step::RefuseGroup { members, group, refusal } => {
                    self.write_refused(&self.plan.members[members.clone()], *group, refusal, page);
                }
                Step::Watch { commands, group, unwrapped } => self.write_watched(commands.clone(), *group, *unwrapped, page),
                Step::Probe(probe) => self.write_probe(probe, page),
                Step::CatchUp => {
                    page.line(1, "by the proxy itself:");
                    page.line(2, "PING");
                    page.line(4, format_args!("reply: {}", text::reply(&Role::Discard)));
                    page.line(4, "why: what follows speaks about the connection's last write");
                }
                Step::Answer { command, by } => {
                    page.line(1, "not sent:");
                    self.write_answered(*command, text::answer(*by), page);
                }
                Step::Refuse { command, reply } => {
                    page.line(1, "not sent:");
                    self.write_answered(*command, error(reply), page);
                }
                Step::TtlFix { command, added } => self.write_ttl_fixed(*command, &added.injected, page),
            }
        }
        self.write_notes(page);
    }

    /// What was found about groups.
    pub(super) fn write_notes(&self, page: &mut Page) {
        for note in &self.plan.notes {
            self.noted_note(note).iter().for_each(|noted| page.note(noted));
            self.write_note(note, page);
        }
    }

    /// What the group's marker is good for, if it carries one.
    fn write_marker(&self, group: &Group, page: &mut Page) {
        if group.resolve && !self.pinned {
            page.line(2, "before EXEC, by the proxy itself: SET marker 1 PX ..");
            page.line(2, format_args!("if the connection is lost: {}", text::SETTLED));
        } else if group.resolve {
            page.line(2, "no marker, because the connection is the client's own: if it is lost, the outcome is unknown");
        }
    }

    fn write_note(&self, note: &Note, page: &mut Page) {
        let told = |group: usize, members: &Range<usize>| {
            (&self.policy.groups()[group].name, self.numbers(&self.plan.members[members.clone()]))
        };
        let text = match note {
            Note::NearMiss { group, members, why, .. } => {
                let (name, members) = told(*group, members);
                format!("{members} would be group {name}, but for one thing, reported as {}: {why}", Kind::NearMiss)
            }
            Note::LeftOut { group, members, why } if !members.is_empty() => {
                let (name, number) = told(*group, &(members.end - 1..members.end));
                format!("{number} belongs to group {name}, but stays outside, reported as {}: {}", Kind::Split, why.as_str())
            }
            Note::Obstructed { group, members, why } => {
                let ((name, members), kind) = (told(*group, members), why.kind());
                format!("{members} make up group {name}, but pass one by one, reported as {kind}: {}", why.as_str())
            }
            Note::Broken { group, members, why: Some(why), .. } => {
                let ((name, members), kind) = (told(*group, members), why.kind());
                format!("{members} begin group {name}, but do not wait for its rest, reported as {kind}: {}", why.as_str())
            }
            _ => return,
        };
        page.line(1, text);
    }

    /// A command, and where its reply comes from.
    pub(super) fn write_answered(&self, at: usize, reply: impl std::fmt::Display, page: &mut Page) {
        if page.is_brief() {
            return page.line(1, format_args!("{:<3} {}  -> {reply}", self.number(at), self.request(at)));
        }
        self.write_command(at, page);
        page.line(4, format_args!("reply: {reply}"));
    }

    /// The number of a command within what was sent, from 1.
    pub(super) fn number(&self, at: usize) -> usize {
        match at < self.batch.len() {
            true => self.batch.number(at) as usize + 1,
            false => self.batch.number(self.batch.len() - 1) as usize + 2,
        }
    }

    pub(super) fn spec(&self, at: usize) -> &Spec {
        self.table.spec(self.batch.id(at))
    }

    pub(super) fn args(&self, at: usize) -> Args<'_> {
        self.batch.args(self.bytes, at)
    }

    fn connection(&self) -> &'static str {
        match (self.pinned, &self.clustered) {
            (false, None) => "a shared connection",
            (false, Some(_)) => "shared connections to the nodes",
            (true, None) => "the client's own connection",
            (true, Some(_)) => "the client's own connection to the cluster",
        }
    }

    /// As it would be typed, but without a password.
    pub(super) fn request(&self, at: usize) -> String {
        let public = match self.spec(at).connection {
            ConnectionEffect::Lane(Lane::Auth) => 1,
            ConnectionEffect::Lane(Lane::Hello) => 2,
            _ => usize::MAX,
        };
        let words: Vec<&[u8]> =
            self.args(at).iter().enumerate().map(|(i, word)| if i < public { word } else { b"***" }).collect();
        request(words.into_iter())
    }

    /// The numbers of commands, in rising order: `2-4, 7`.
    pub(super) fn numbers(&self, commands: &[usize]) -> String {
        let numbers: Vec<_> = commands.iter().map(|&at| self.number(at)).collect();
        let runs = numbers.chunk_by(|a, b| a + 1 == *b);
        runs.map(|run| text::numbers(run[0]..run[0] + run.len())).collect::<Vec<_>>().join(", ")
    }

    fn write_command(&self, at: usize, page: &mut Page) {
        let place = self.place(at, page);
        page.line(2, format_args!("{:<3} {}{place}", self.number(at), self.request(at)));
    }

    fn write_sent(&self, at: usize, page: &mut Page) {
        match self.plan.roles.get(at) {
            None | Some(Role::Plain | Role::Checked(_)) => {
                self.write_command(at, page);
                self.write_rules(at, page);
                self.write_ttls(at, page);
                self.write_why_no_group(at, page);
            }
            Some(role) => {
                self.write_answered(at, text::reply(role), page);
                self.write_rules(at, page);
                self.write_ttls(at, page);
            }
        }
    }

    /// What the members' replies must be.
    fn write_expectations(&self, commands: &[usize], group: &Group, page: &mut Page) {
        let member = |i: usize| commands.get(i).map(|&at| Member { id: self.batch.id(at), args: self.args(at) });
        let wanted = group.wanted(self.table, &mut { member });
        for (at, wanted) in commands.iter().zip(wanted) {
            if let Some(wanted) = wanted {
                page.line(
                    2,
                    format_args!("if the reply to {} is not {wanted}: reported as {}", self.number(*at), Kind::Expectation),
                );
            }
        }
        if group.agree == Some(Agree::All) {
            page.line(2, format_args!("if the replies are not all the same: reported as {}", Kind::Expectation));
        }
    }

    /// A single write in a transaction of the proxy's own.
    fn write_ttl_fixed(&self, at: usize, injected: &[Injected], page: &mut Page) {
        page.line(1, format_args!("in a transaction of the proxy's own, on {}:", self.connection()));
        self.write_command(at, page);
        self.write_rules(at, page);
        self.write_ttls(at, page);
        self.write_injected(injected, page);
    }

    /// Commands of the proxy's own in the transaction.
    fn write_injected(&self, injected: &[Injected], page: &mut Page) {
        for own in injected {
            page.line(2, format_args!("before EXEC, by the proxy itself: {}", text::wire(&own.request)));
        }
    }

    /// The guards and expectations that the command meets, and what goes out in its place.
    fn write_rules(&self, at: usize, page: &mut Page) {
        let command = Member { id: self.batch.id(at), args: self.args(at) };
        for rule in self.policy.guards_of(self.table, command) {
            let (action, mode) = (rule.action.as_str(), self.policy.mode_of(rule.mode).as_str());
            let what = rule.breach(command, self.table).map_or("passes".to_owned(), |breach| breach.to_string());
            page.line(4, format_args!("guard {}: {what} (action = {action}, mode = {mode})", rule.name));
        }
        for rule in self.policy.expects_of(self.table, command) {
            let (action, mode) = (rule.action.as_str(), self.policy.mode_of(rule.mode).as_str());
            page.line(4, format_args!("expect {}: {} (action = {action}, mode = {mode})", rule.name, rule.reply));
        }
        if let Some(rule) = self.policy.compress_rule_of(self.table, command) {
            let mode = self.policy.mode_of(rule.mode).as_str();
            let what = if rule.write {
                "values are stored compressed, and read"
            } else {
                "compressed values are read, none are written"
            };
            page.line(4, format_args!("compress {}: {what} (mode = {mode})", rule.name));
        }
        if let Some((_, request)) = self.plan.rewrites.iter().find(|(rewritten, _)| *rewritten == at) {
            page.line(4, format_args!("on the wire: {}", text::wire(request)));
        }
    }

    fn write_captures(&self, commands: &[usize], group: &Group, page: &mut Page) {
        let member = |i: usize| commands.get(i).map(|&at| Member { id: self.batch.id(at), args: self.args(at) });
        let bound = group.bound(self.table, &mut { member });
        if !bound.is_empty() {
            let bound: Vec<_> = bound.iter().map(|(name, value)| format!("{name} = {}", word(value))).collect();
            page.line(2, format_args!("captures: {}", bound.join(", ")));
        }
    }

    fn write_members(&self, commands: &[usize], group: &Group, page: &mut Page) {
        for &at in commands {
            self.write_command(at, page);
            self.write_rules(at, page);
            if group.is_run() {
                self.write_keys(at, group, page);
            }
            self.write_ttls(at, page);
        }
    }

    /// Why the command is in a run of commands on matching keys.
    fn write_keys(&self, at: usize, group: &Group, page: &mut Page) {
        let args = self.args(at);
        self.spec(at).for_each_key(args, &mut |place, _| {
            if let Some((key, pattern)) = args.get(place).and_then(|key| Some((key, group.pattern_of(key)?))) {
                page.line(4, format_args!("key: {} matches {pattern}", word(key)));
            }
        });
    }

    /// The rule that each written key meets, and what the command does to the key's time to live.
    fn write_ttls(&self, at: usize, page: &mut Page) {
        let (spec, args) = (self.spec(at), self.args(at));
        if !spec.may_write_keys() {
            return;
        }
        ttl_effects(spec, args, &mut |place, effect| {
            let Some(key) = args.get(place) else { return };
            if let Some((_, rule)) = self.policy.ttl_rule_for(key) {
                let (key, pattern, effect) = (word(key), rule.pattern_of(key).unwrap_or_default(), text::ttl_effect(effect));
                page.line(4, format_args!("ttl of {key}: {effect} (rule {}, {pattern})", rule.name));
            }
        });
    }

    fn write_probe(&self, probe: &Probe, page: &mut Page) {
        let (place, rule) = (if probe.before { "before it" } else { "after it" }, &probe.rule);
        let (action, mode) = (rule.action.as_str(), self.policy.mode_of(rule.mode).as_str());
        page.line(1, format_args!("{place}, by the proxy itself:"));
        page.line(2, format_args!("PTTL {}", word(&probe.key)));
        page.line(4, format_args!("reply: {}", "not for the client: the proxy keeps the reply"));
        page.line(
            4,
            format_args!("why: {} (rule {}, action = {action}, mode = {mode})", text::probe(probe, self.table), rule.name),
        );
        if !probe.before {
            page.line(4, format_args!("if it has none: {}", text::without_ttl(rule)));
        }
        if let Some(max) = rule.max.filter(|_| !probe.before) {
            page.line(4, format_args!("if it is above {max:?}: reported as {}", Kind::TtlTooLong));
        }
    }

    /// Why a plain command that begins like a group is not in one.
    pub(super) fn write_why_no_group(&self, at: usize, page: &mut Page) {
        let groups = self.policy.groups();
        if let Recognition::Whole { group, members, .. } = self.policy.recognise(self.table, &mut self.from(at))
            && members > 1
        {
            let name = &groups[group].name;
            return page.line(4, format_args!("group {name} is whole, but the server refuses its members one by one: see above"));
        }
        let Some(miss) = self.policy.nearest_miss(self.table, &mut self.from(at)) else { return };
        let name = &groups[miss.group].name;
        let fitting = self.numbers(&(at..at + miss.members).collect::<Vec<_>>());
        let why = text::why(miss.why, self.number(at + miss.members));
        page.line(4, format_args!("not group {name}: {fitting} would fit, then `{}` is missing: {why}", miss.wanted));
    }

    /// The commands from one of them on, as rules look at them.
    fn from<'s>(&'s self, start: usize) -> impl FnMut(usize) -> Option<Member<'s>> {
        move |i| {
            let at = start + i;
            (at < self.batch.len()).then(|| Member { id: self.batch.id(at), args: self.args(at) })
        }
    }
}
