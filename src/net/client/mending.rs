//! Asks the server, once for each lane, whether its user may give keys the TTLs that rules fix.

use std::sync::Arc;

use super::ability::ask;
use super::connection::Connection;
use crate::net::findings::stop_mending;
use crate::net::upstream::lane::Mending;
use respguard_engine::pipeline::mend::{key_to_mend, may_mend, question};
use respguard_engine::policy::TtlRule;

/// A question about a user's rights, and the rule that raises it.
pub(super) struct Asking {
    question: Vec<u8>,
    rule: Arc<TtlRule>,
}

impl Connection {
    /// The question, if writes have come that want a TTL and nobody knows whether their user may set it.
    ///
    /// A command that is refused within a transaction would cost the write that it goes with.
    pub(super) fn mending_to_ask(&self) -> Option<Box<Asking>> {
        if self.exchange.lane().mending.get() != Mending::Unknown || self.asked_mending.get() {
            return None;
        }
        let state = self.exchange.state.borrow();
        let session = &state.session;
        if self.exchange.link().is_down() || !session.transaction.is_idle() || session.subscriptions.any() {
            return None;
        }
        let (policy, table) = (self.around.context.policy(), self.around.context.table());
        let (key, rule) = key_to_mend(&policy, &table, &self.batch, &self.input)?;
        self.asked_mending.set(true);
        Some(Box::new(Asking { question: question(key), rule: Arc::clone(rule) }))
    }

    /// Waits for the answer; the client's next commands are planned with it.
    pub(super) async fn ask_mending(&mut self, asking: Box<Asking>) {
        let (link, lane) = (self.exchange.link(), self.exchange.lane());
        let Some(reply) = ask(&link, &asking.question, self.around.pool.settings.request_timeout).await else { return };
        match may_mend(&reply) {
            Some(true) => lane.mending.set(Mending::Able),
            Some(false) => stop_mending(&self.around.context, &lane, &asking.rule.name),
            // A server that loads its dataset will answer again.
            None => {}
        }
    }
}
