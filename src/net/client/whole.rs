//! Sends a batch unchanged if one check shows that its client, connection, server and rules require nothing else, which is the
//! usual case. Anything else is done step by step in `sending`.

use super::connection::Connection;
use crate::net::exchange::State;
use respguard_engine::pipeline::plan::passes_whole;
use respguard_engine::preflight::Ability;
use respguard_engine::session::Session;
use respguard_engine::session::reply_mode::ReplyMode;

impl Connection {
    /// True when all commands of the batch have gone out; else nothing has been done.
    #[inline]
    pub(super) fn send_whole(&mut self) -> bool {
        if !self.is_at_rest() || !self.has_plain_link() {
            return false;
        }
        let context = &self.shared.context;
        let (table, policy) = (context.table(), context.policy());
        let (batch, bytes) = (&*self.input.batch, &self.input.bytes[..]);
        let passes = {
            let state = self.exchange.state.borrow();
            has_way(&state, self.shared.pool.is_cluster())
                && passes_whole(&state.session, &state.undecided, (&table, &policy), batch, bytes)
        };
        if !passes {
            return false;
        }
        let commands = batch.len();
        self.exchange.send_whole(batch, bytes, (&table, &policy), self.shared.pool.settings.request_timeout);
        drop((table, policy));
        self.dialogue.note_whole();
        self.input.consume(commands);
        true
    }

    /// Nothing of what came before has to do with what is sent now.
    fn is_at_rest(&self) -> bool {
        let has_past =
            self.rules != self.shared.context.policy_number() || self.dialogue.is_over() || self.dialogue.has_expired();
        !has_past && self.preparation.is_blank() && self.input.batch.all_held().is_empty()
    }

    /// The batch goes over the connection that the client has now, whose server is there and takes it.
    fn has_plain_link(&self) -> bool {
        let context = &self.shared.context;
        let goes_elsewhere = self.exchange.bulk.is_expected()
            || !context.offenders.is_empty()
            || self.input.batch.whole_bytes() > context.limits.shared_request_bytes();
        // Rules may answer for the slots of a cluster that nobody serves.
        let is_in_doubt = context.watch.finds_still() || context.health.refuses() || self.shared.pool.unserved().is_some();
        if goes_elsewhere || is_in_doubt {
            return false;
        }
        let (link, _) = self.exchange.link_and_lane();
        let is_known = !matches!(link.ability(), Ability::Unknown | Ability::Silent) || !context.policy().has_guarded_groups();
        is_known && link.was_open() && !link.is_struggling() && !link.is_down() && link.replies_owed_max() == usize::MAX
    }
}

/// A batch that is sent whole goes over the shared connection or over one that the client keeps for good, which each client of
/// a cluster has. On one that it has for a while the client's state may decide what a command means.
fn has_way(state: &State, is_cluster: bool) -> bool {
    let Session { affinity, subscriptions, .. } = &state.session;
    let is_own = affinity.is_pinned() && !affinity.is_passing() && !affinity.is_tunnel();
    let is_usual = !subscriptions.any() && state.slots.reply_mode() == ReplyMode::On;
    is_own && is_usual || !affinity.is_pinned() && !is_cluster
}
