//! The fast path for commands that do nothing to their connection, are not long by nature, and match no rule: most commands.

use super::{Batch, Planner, Rules, Session, Undecided};
use crate::command::Table;
use crate::policy::Policy;
use crate::session::Admission;

/// Whether all of the batch goes out as it is, where its server is there: nothing in it needs more than a look. Its plan is one
/// step then.
pub fn passes_whole(
    session: &Session,
    undecided: &Undecided,
    (table, policy): (&Table, &Policy),
    batch: &Batch,
    bytes: &[u8],
) -> bool {
    let is_free = session.admission != Admission::Awaited && !is_engaged(session) && undecided.is_empty();
    is_free && !batch.is_empty() && pass(table, policy, batch, bytes) == batch.len()
}

/// The first command that does something to its connection or that a rule is about.
fn pass(table: &Table, policy: &Policy, batch: &Batch, bytes: &[u8]) -> usize {
    let mut at = skim(table, policy, batch, bytes, 0);
    while at < batch.len() && is_without_rules(table, policy, batch, bytes, at) {
        at = skim(table, policy, batch, bytes, at + 1);
    }
    at
}

/// Each command must be looked at, for what was sent before it or because of how its server is.
fn is_bound(session: &Session, rules: &Rules<'_>) -> bool {
    is_server_in_doubt(rules) || is_engaged(session)
}

/// Rules may have to answer, or an operator to be let through, in the place of a server that is not there.
pub(super) fn is_server_in_doubt(rules: &Rules<'_>) -> bool {
    rules.degraded || rules.unserved.is_some() || rules.troubled
}

/// What was sent before says what a command means.
fn is_engaged(session: &Session) -> bool {
    let transaction = &session.transaction;
    transaction.is_open() || transaction.is_lost() || session.missed.any() || session.caching
}

/// The first command from `at` on of which more than a look has to tell whether it is without rules.
fn skim(table: &Table, policy: &Policy, batch: &Batch, bytes: &[u8], at: usize) -> usize {
    let is_ordinary = |id| table.spec(id).is_ordinary();
    if policy.matches_nothing() {
        return batch.skim(bytes, at, |id| is_ordinary(id).then_some(()), |(), _| true);
    }
    let glance = |id| if is_ordinary(id) { policy.glance(id) } else { None };
    batch.skim(bytes, at, glance, |glance, prefixes| !glance.might_match(|place| prefixes.at(place)))
}

/// Whether the command does nothing to its connection, and no rule is about it.
fn is_without_rules(table: &Table, policy: &Policy, batch: &Batch, bytes: &[u8], at: usize) -> bool {
    let id = batch.id(at);
    table.spec(id).is_ordinary() && !policy.may_match(id, |place| batch.argument(bytes, at, place))
}

impl Planner<'_> {
    /// Lets the commands from `at` on go out as they are that do nothing to their connection and that no rule is about; gives
    /// the place of the first other one.
    pub(super) fn pass_fast(&mut self, mut at: usize, awaits_login: bool) -> usize {
        if self.run == at {
            self.concerned = false;
        }
        if awaits_login || is_bound(self.session, &self.rules) {
            return at;
        }
        let first = at;
        at = self.skim(at);
        while at < self.batch.len() && self.passes(at) {
            at = self.skim(at + 1);
        }
        self.plan.roles.push_plain(at - first);
        at
    }

    /// The first command from `at` on of which more than a look has to tell whether it is without rules.
    fn skim(&self, at: usize) -> usize {
        let is_claimed = !self.plan.claims.is_empty() && !self.rules.policy.matches_nothing();
        if is_claimed { at } else { skim(self.rules.table, self.rules.policy, self.batch, self.bytes, at) }
    }

    /// Each command must be looked at.
    pub(in super::super) fn is_bound(&self) -> bool {
        is_bound(self.session, &self.rules)
    }

    /// Whether the command is without rules.
    pub(in super::super) fn passes(&self, at: usize) -> bool {
        !self.is_claimed(at) && is_without_rules(self.rules.table, self.rules.policy, self.batch, self.bytes, at)
    }
}
