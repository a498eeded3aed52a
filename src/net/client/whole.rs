//! Sends a batch unchanged if one check shows that its client, connection, server and rules require nothing else, which is the
//! usual case. Anything else is done step by step in `sending`.

use super::connection::Connection;
use respguard_engine::pipeline::plan::passes_whole;

impl Connection {
    /// True when the next batch goes out unchanged if its commands may: nothing has to be done before it is read, and nothing
    /// of what came before has to do with it.
    #[inline]
    pub(super) fn has_free_way(&self) -> bool {
        let (context, pool) = (&self.shared.context, &self.shared.pool);
        // Rules may answer for the slots of a cluster that nobody serves.
        let is_in_doubt = context.watch.finds_still() || context.health.refuses() || pool.unserved().is_some();
        let goes_elsewhere = self.exchange.bulk.is_expected() || !context.offenders.is_empty();
        if is_in_doubt || goes_elsewhere || !self.is_at_rest() || self.owes_server_password() {
            return false;
        }
        let has_guarded_groups = context.policy().has_guarded_groups();
        self.exchange.has_way(pool.is_cluster()) && self.exchange.has_plain_link(self.bytes_to_send(), has_guarded_groups)
    }

    /// Nothing of what came before has to do with what is sent now.
    fn is_at_rest(&self) -> bool {
        let has_past =
            self.rules != self.shared.context.policy_number() || self.dialogue.is_over() || self.dialogue.has_expired();
        let batch = &self.input.batch;
        !has_past && !self.input.is_streaming() && self.preparation.is_blank() && batch.all_held().is_empty() && !batch.singly
    }

    /// Behind [`Self::has_free_way`]: true when all commands of the batch have gone out; else nothing has been done.
    #[inline]
    pub(super) fn send_whole(&mut self) -> bool {
        let context = &self.shared.context;
        let (table, policy) = (context.table(), context.policy());
        let (batch, bytes) = (&*self.input.batch, &self.input.bytes[..]);
        let passes = batch.whole_bytes() <= context.limits.shared_request_bytes() && {
            let state = self.exchange.state.borrow();
            passes_whole(&state.session, &state.undecided, (&table, &policy), batch, bytes)
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
}
