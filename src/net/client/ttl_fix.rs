//! Asks the server, once for each lane, whether its user may give keys the TTLs that rules fix.

use std::sync::Arc;

use super::ability::ask;
use super::connection::Connection;
use crate::net::findings::stop_ttl_fix;
use crate::net::upstream::lane::TtlFixRight;
use respguard_engine::pipeline::ttl_fix::{key_to_fix, may_fix_ttl, question};
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
    pub(super) fn ttl_fix_to_ask(&self) -> Option<Box<Asking>> {
        if self.exchange.lane().ttl_fix.get() != TtlFixRight::Unknown || self.asked_ttl_fix.get() {
            return None;
        }
        let state = self.exchange.state.borrow();
        let session = &state.session;
        if self.exchange.link().is_down() || !session.transaction.is_idle() || session.subscriptions.any() {
            return None;
        }
        let (policy, table) = (self.shared.context.policy(), self.shared.context.table());
        let (key, rule) = key_to_fix(&policy, &table, &self.batch, &self.input)?;
        self.asked_ttl_fix.set(true);
        Some(Box::new(Asking { question: question(key), rule: Arc::clone(rule) }))
    }

    /// Waits for the answer; the client's next commands are planned with it.
    pub(super) async fn ask_ttl_fix(&mut self, asking: Box<Asking>) {
        let (link, lane) = (self.exchange.link(), self.exchange.lane());
        let Some(reply) = ask(&link, &asking.question, self.shared.pool.settings.request_timeout).await else { return };
        match may_fix_ttl(&reply) {
            Some(true) => lane.ttl_fix.set(TtlFixRight::Able),
            Some(false) => stop_ttl_fix(&self.shared.context, &lane, &asking.rule.name),
            // A server that loads its dataset will answer again.
            None => {}
        }
    }
}
