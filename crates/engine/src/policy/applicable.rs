//! Finds the rules that may apply to a command by itself, for commands that are too large to be checked.

use std::sync::Arc;

use super::group::{Group, Shape};
use super::guard::GuardRule;
use super::run::KeyMatch;
use super::walk::Member;
use super::{Mode, Policy};
use crate::command::Table;
use crate::policy::rule::GuardAction;
use respguard_resp::request::Args;

/// A rule that a command comes under.
#[derive(Clone, Copy, Debug)]
pub struct ApplicableRule<'p> {
    /// The rule's name.
    pub rule: &'p Arc<str>,
    /// The rule itself, where it is a guard.
    pub guard: Option<&'p GuardRule>,
}

impl Policy {
    /// The groups that have such a member, the guards and expectations that are about the command, and the rules about the
    /// TTLs of its keys, each once.
    pub fn applicable_rules<'s>(&'s self, table: &'s Table, command: Member<'s>) -> Vec<ApplicableRule<'s>> {
        let plain = |rule| ApplicableRule { rule, guard: None };
        let groups = self.groups().iter().filter(|group| group.has_member(table, command)).map(|group| plain(&group.name));
        let guards = self.guards_of(table, command).map(|rule| ApplicableRule { rule: &rule.name, guard: Some(rule) });
        let expects = self.expects_of(table, command).map(|rule| plain(&rule.name));
        let mut all: Vec<_> = groups.chain(guards).chain(expects).collect();
        let mut ttls = Vec::new();
        let spec = table.spec(command.id);
        if spec.may_write_keys() && !self.ttl_rules().is_empty() {
            spec.for_each_key(command.args, &mut |place, _| {
                let key = command.args.get(place).filter(|key| !key.is_empty());
                ttls.extend(key.and_then(|key| self.ttl_rule_for(key)).map(|(rule, _)| rule));
            });
            ttls.sort_unstable();
            ttls.dedup();
        }
        all.extend(ttls.into_iter().map(|rule| plain(&self.ttl_rules()[rule].name)));
        all
    }

    /// Whether a rule of any sort but of degrading may be about a request that has begun, as far as its arguments have come.
    pub fn may_match_command(&self, request: Member<'_>) -> bool {
        self.all.may_match_command(request)
    }

    /// Whether a degrade rule is about one of the arguments that have come.
    pub fn may_degrade(&self, args: Args<'_>) -> bool {
        self.mode == Mode::Enforce && self.degrades.is_about_any(args)
    }

    /// Whether what trips the guard is answered with an error.
    pub fn rejects(&self, rule: &GuardRule) -> bool {
        rule.action == GuardAction::Reject && self.mode_of(rule.mode) == Mode::Enforce
    }
}

impl Group {
    fn has_member(&self, table: &Table, command: Member<'_>) -> bool {
        match &self.shape {
            Shape::Templates(templates) => templates.members.iter().any(|member| member.matches(command, table)),
            Shape::Keys(keys) => keys.fit(command, table) == Some(KeyMatch::Keys),
        }
    }
}
