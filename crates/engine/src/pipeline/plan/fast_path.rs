//! Lets commands go by that do nothing to their connection, are not long by nature, and that no rule is about: most are such.

use super::{Planner, Rules};

impl Planner<'_> {
    /// Lets the commands from `at` on go out as they are that do nothing to their connection and that no rule is about; gives
    /// the place of the first other one.
    pub(super) fn pass_fast(&mut self, mut at: usize, awaits_login: bool) -> usize {
        if self.run == at {
            self.concerned = false;
        }
        let transaction = &self.session.transaction;
        let is_bound = transaction.is_open() || transaction.is_lost() || self.session.missed.any() || self.session.caching;
        if awaits_login || self.rules.degraded || self.rules.unserved.is_some() || self.rules.troubled || is_bound {
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
        let Rules { table, policy, .. } = self.rules;
        let passes = |id| table.spec(id).is_ordinary();
        if policy.matches_nothing() {
            self.batch.skim(self.bytes, at, |id, _| passes(id))
        } else if self.plan.claims.is_empty() {
            self.batch.skim(self.bytes, at, |id, prefixes| passes(id) && !policy.might_match(id, |place| prefixes.at(place)))
        } else {
            at
        }
    }

    /// Whether the command is without rules.
    fn passes(&self, at: usize) -> bool {
        let (batch, bytes) = (self.batch, self.bytes);
        self.rules.table.spec(batch.id(at)).is_ordinary()
            && !self.is_claimed(at)
            && !self.rules.policy.may_match(batch.id(at), |place| batch.argument(bytes, at, place))
    }
}
