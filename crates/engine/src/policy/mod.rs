//! The policy: which commands belong together, which keys must expire, and the other rules.
//!
//! [`compile::compile`] makes it from what a user wrote ([`rule::Written`]); past that step no rule is wrong.

pub mod applicable;
mod bloom_filter;
mod by_command;
pub mod compile;
pub mod compress;
pub mod degrade;
pub mod duration;
pub mod expect;
pub mod group;
pub mod guard;
pub mod index;
pub mod near;
pub mod near_miss;
pub mod once;
pub mod pattern;
pub mod phrase;
mod prefix_trie;
pub mod recognise;
pub mod relation;
pub mod reply;
pub mod requirement;
pub mod rule;
pub mod run;
mod subject;
mod template;
mod templates;
pub mod trace;
pub mod ttl;
mod unordered;
pub mod walk;
pub mod warn;

use std::sync::Arc;
use std::time::Duration;

use crate::command::{CommandId, Table};

pub use by_command::Glance;
pub use compile::slots::{self, Sharing};
pub use compile::{RuleError, compile};
pub use compress::CompressRule;
pub use degrade::{DegradeRule, Fallback};
pub use expect::ExpectRule;
pub use group::Group;
pub use guard::{GuardBreach, GuardRule};
pub use once::OnceRule;
pub use recognise::Recognition;
pub use relation::Relation;
pub use rule::{Agree, Atomic, Between, Mode, OnCrossSlot, OnDuplicate, OnPartial, OnUnsupported, Order, TtlAction};
pub use trace::{Miss, Why};
pub use ttl::TtlRule;
pub use walk::Member;

use by_command::{ByCommand, CommandRule, CommandRules};
use compress::CompressRules;
use degrade::DegradeRules;
use recognise::Groups;
use ttl::TtlRules;

/// The rules that a proxy follows.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Whether rules act or only report, where they do not say so themselves.
    pub mode: Mode,
    /// Whether a partial failure in a plain pipeline is a violation, not only a counter.
    pub report_pipelines: bool,
    /// How violations name the keys that they are about.
    pub violation_keys: rule::KeyForm,
    /// How long the beginning of a group waits for the rest.
    pub hold: Hold,
    /// What the keys of guards begin with.
    pub guard_prefix: Arc<str>,
    groups: Groups,
    ttls: TtlRules,
    expects: CommandRules<ExpectRule>,
    guards: CommandRules<GuardRule>,
    degrades: DegradeRules,
    relations: Vec<Arc<Relation>>,
    compresses: CompressRules,
    /// The rules of all sorts but those of degrading, by what they can be about.
    all: ByCommand,
}

/// How long the prefix of a group waits for the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The longest idle gap between two reads; zero: nothing is held.
    pub gap: Duration,
    /// The longest time over all gaps.
    pub max: Duration,
}

impl Policy {
    /// The policy of an empty configuration: no rules.
    pub fn passive() -> Self {
        let pipeline = rule::WrittenPipeline::default();
        Self {
            mode: Mode::Enforce,
            report_pipelines: pipeline.report,
            violation_keys: rule::KeyForm::None,
            hold: Hold { gap: Duration::from_millis(pipeline.hold_ms), max: Duration::from_millis(pipeline.hold_max_ms) },
            guard_prefix: rule::GUARD_PREFIX.into(),
            groups: Groups::none(),
            ttls: TtlRules::new(Vec::new()),
            expects: CommandRules::default(),
            guards: CommandRules::default(),
            degrades: DegradeRules::new(Vec::new()),
            relations: Vec::new(),
            compresses: CompressRules::default(),
            all: ByCommand::default(),
        }
    }

    /// Whether no rule is about what clients send.
    pub fn is_empty(&self) -> bool {
        self.groups().is_empty()
            && self.ttl_rules().is_empty()
            && self.expects().is_empty()
            && self.guards().is_empty()
            && self.degrade_rules().is_empty()
            && self.compress_rules().is_empty()
    }

    /// All compress rules, in the order in which they were written.
    pub fn compress_rules(&self) -> &[Arc<CompressRule>] {
        self.compresses.as_slice()
    }

    /// The compress rule of a key.
    pub fn compress_rule_for(&self, key: &[u8]) -> Option<&Arc<CompressRule>> {
        self.compresses.rule_for(key)
    }

    /// The compress rule of the first key of a request that has one.
    pub fn compress_rule_of(&self, table: &Table, command: Member<'_>) -> Option<&Arc<CompressRule>> {
        self.compresses.rule_of_keys(table, command)
    }

    /// The compress rule about values that the command would look into, which must not be: while it only observes they may.
    pub fn hidden_from(&self, table: &Table, command: Member<'_>) -> Option<&Arc<CompressRule>> {
        self.compresses.seen_by(table, command).filter(|rule| self.mode_of(rule.mode) == Mode::Enforce)
    }

    /// All expectations of single commands' replies, in the order in which they were written.
    pub fn expects(&self) -> &[Arc<ExpectRule>] {
        self.expects.as_slice()
    }

    /// The same policy, with all its rules found by what they can be about.
    fn indexed(self, table: &Table) -> Self {
        let (groups, ttls, expects, guards) = (self.groups(), self.ttl_rules(), self.expects(), self.guards());
        let compresses = self.compress_rules();
        let count = groups.len() + ttls.len() + expects.len() + guards.len() + compresses.len();
        let about = |subject| {
            let groups = groups.iter().map(move |group| group.is_noticed_by(subject));
            let ttls = ttls.iter().map(move |rule| rule.about(subject));
            let expects = expects.iter().map(move |rule| rule.about(subject));
            let compresses = compresses.iter().map(move |rule| rule.about(subject));
            groups.chain(ttls).chain(expects).chain(guards.iter().map(move |rule| rule.about(subject))).chain(compresses)
        };
        Self { all: ByCommand::new(table, count, about), ..self }
    }

    /// False where no rule has anything to say about the request, of which `argument` gives the one at a place, unless a
    /// group that began before it goes on with it, or there is no server.
    #[inline]
    pub fn may_match<'a>(&self, id: CommandId, argument: impl FnOnce(usize) -> &'a [u8]) -> bool {
        self.all.may_match(id, argument)
    }

    /// What can be said of requests of a command at once; none where that is nothing.
    #[inline]
    pub fn glance(&self, id: CommandId) -> Option<Glance<'_>> {
        self.all.glance(id)
    }

    /// Whether no rule has anything to say about any request.
    #[inline]
    pub fn matches_nothing(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether there are rules that look at each command by itself.
    #[inline]
    pub fn has_rules_of_commands(&self) -> bool {
        let has_any = !(self.expects.as_slice().is_empty() && self.guards.as_slice().is_empty());
        has_any || self.ttls.act() || !self.compress_rules().is_empty()
    }

    /// Whether some TTL rule changes what goes out.
    #[inline]
    pub fn has_acting_ttl_rules(&self) -> bool {
        self.ttls.act()
    }

    /// All guards, in the order in which they were written.
    pub fn guards(&self) -> &[Arc<GuardRule>] {
        self.guards.as_slice()
    }

    /// The guards that are about the command.
    pub fn guards_of<'s>(&'s self, table: &'s Table, command: Member<'s>) -> impl Iterator<Item = &'s Arc<GuardRule>> {
        self.guards.of(table, command)
    }

    /// The expectations of the command's reply.
    pub fn expects_of<'s>(&'s self, table: &'s Table, command: Member<'s>) -> impl Iterator<Item = &'s Arc<ExpectRule>> {
        self.expects.of(table, command)
    }

    /// All groups, in the order in which they were written.
    pub fn groups(&self) -> &[Arc<Group>] {
        self.groups.as_slice()
    }

    /// All TTL rules, in the order in which they were written.
    pub fn ttl_rules(&self) -> &[Arc<TtlRule>] {
        self.ttls.as_slice()
    }

    /// The group that begins at the command `at(0)`: the longest whole one, the first declared among equals.
    ///
    /// `at(i)` is the i-th command from there on, `None` behind the last one that was read. Commands that can begin
    /// no group cost one look-up; nothing is allocated.
    pub fn recognise<'a>(&self, table: &Table, at: &mut dyn FnMut(usize) -> Option<Member<'a>>) -> Recognition {
        self.groups.recognise(table, at)
    }

    /// Whether some request of this command can be a member of a group of templates.
    pub fn may_continue(&self, id: CommandId) -> bool {
        self.groups.may_continue(id)
    }

    /// The group that came nearest to beginning at the command `at(0)` without being whole: the one with the most
    /// commands that fitted, the first declared among equals; `None` where not even the first command fits any. It
    /// allocates: for explanations.
    pub fn nearest_miss<'a>(&self, table: &Table, at: &mut dyn FnMut(usize) -> Option<Member<'a>>) -> Option<Miss<'_, 'a>> {
        trace::nearest_miss(self.groups(), table, at)
    }

    /// The groups that the command, which is in none, was perhaps meant to be in.
    pub fn perhaps_missed<'s>(&'s self, command: Member<'_>) -> impl Iterator<Item = usize> + 's {
        self.groups.perhaps_missed(command)
    }

    /// What the command is in canonical form, whatever its arguments.
    pub(crate) fn canonical_id(&self, id: CommandId) -> CommandId {
        self.groups.canonical_id(id)
    }

    /// Whether some group needs a preflight.
    pub fn has_guarded_groups(&self) -> bool {
        let asks = |atomic| matches!(atomic, Atomic::Guarded | Atomic::Rollback);
        self.groups().iter().any(|group| asks(group.atomic) && self.mode_of(group.mode) == Mode::Enforce)
    }

    /// All degrade rules, in the order in which they were written.
    pub fn degrade_rules(&self) -> &[Arc<DegradeRule>] {
        self.degrades.as_slice()
    }

    /// All relations, in the order in which they were written. They say nothing about what clients send.
    pub fn relations(&self) -> &[Arc<Relation>] {
        &self.relations
    }

    /// The commands that groups and expectations are about, in canonical form, each with its rule's name.
    pub fn commands(&self) -> impl Iterator<Item = (&str, CommandId)> {
        let groups = self.groups().iter().flat_map(|group| {
            let members = match &group.shape {
                group::Shape::Templates(templates) => &*templates.members,
                group::Shape::Keys(_) => &[],
            };
            members.iter().map(|member| (&*group.name, member.id))
        });
        groups.chain(self.expects().iter().map(|rule| (&*rule.name, rule.command.id)))
    }

    /// What a command is answered while there is no server. Degrade rules have no effect where rules only observe.
    pub fn degrade(&self, table: &Table, command: Member<'_>) -> Option<Fallback> {
        (self.mode == Mode::Enforce).then(|| self.degrades.answer(table, command))?
    }

    /// The first TTL rule with a pattern that matches the key, with its place among the rules.
    pub fn ttl_rule_for(&self, key: &[u8]) -> Option<(usize, &Arc<TtlRule>)> {
        self.ttls.rule_for(key)
    }

    /// Whether a rule with this mode of its own acts or only reports: observing wins over enforcing.
    pub fn mode_of(&self, own: Option<Mode>) -> Mode {
        match self.mode {
            Mode::Observe => Mode::Observe,
            Mode::Enforce => own.unwrap_or(Mode::Enforce),
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::passive()
    }
}
