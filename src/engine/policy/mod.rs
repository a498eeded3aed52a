//! Says what a policy is: which commands belong together and which keys must expire.
//!
//! [`compile::compile`] makes it from what a user wrote ([`rule::Written`]); past that step no rule is wrong.

pub mod compile;
pub mod degrade;
pub mod duration;
pub mod group;
pub mod index;
pub mod near;
pub mod pattern;
pub mod recognise;
pub mod reply;
pub mod rule;
pub mod trace;
pub mod ttl;
pub mod unordered;

use std::sync::Arc;
use std::time::Duration;

use crate::engine::command::{Blank, CommandId, Spec, Table};
use crate::engine::resp::request::Args;

pub use compile::{RuleError, compile};
pub use degrade::DegradeRule;
pub use group::{Atomic, Group, Member, Order};
pub use recognise::Recognition;
pub use rule::{Agree, Mode, OnPartial, OnUnsupported};
pub use trace::{Miss, Why};
pub use ttl::{TtlAction, TtlRule};

use degrade::DegradeRules;
use recognise::Groups;
use ttl::TtlRules;

/// The rules that a proxy follows.
#[derive(Clone, Debug)]
pub struct Policy {
    pub mode: Mode,
    /// Whether a partial failure in a plain pipeline is a violation, not only a counter.
    pub report_pipelines: bool,
    pub hold: Hold,
    /// What the keys of guards begin with.
    pub guard_prefix: Arc<str>,
    groups: Groups,
    ttls: TtlRules,
    degrades: DegradeRules,
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
            hold: Hold { gap: Duration::from_millis(pipeline.hold_ms), max: Duration::from_millis(pipeline.hold_max_ms) },
            guard_prefix: rule::GUARD_PREFIX.into(),
            groups: Groups::none(),
            ttls: TtlRules::new(Vec::new()),
            degrades: DegradeRules::new(Vec::new()),
        }
    }

    /// Whether there are no rules.
    pub fn is_empty(&self) -> bool {
        self.groups().is_empty() && self.ttl_rules().is_empty() && self.degrade_rules().is_empty()
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

    /// Whether some group needs a preflight.
    pub fn guards(&self) -> bool {
        self.groups().iter().any(|group| group.atomic == Atomic::Guarded && self.mode_of(group.mode) == Mode::Enforce)
    }

    /// All degrade rules, in the order in which they were written.
    pub fn degrade_rules(&self) -> &[Arc<DegradeRule>] {
        self.degrades.as_slice()
    }

    /// What a command is answered while there is no server, and by which of the degrade rules. They have no effect
    /// where rules only observe.
    pub fn degrade(&self, spec: &Spec, args: Args<'_>) -> Option<(usize, Blank)> {
        (self.mode == Mode::Enforce).then(|| self.degrades.answer(spec, args))?
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
