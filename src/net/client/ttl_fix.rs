//! Asks the server, once per lane, whether its user may run the commands that TTL rules turn writes into.

use std::sync::Arc;

use super::connection::Connection;
use super::permission::PermissionQuery;
use crate::net::findings::stop_ttl_fix;
use crate::net::upstream::call::ask;
use crate::net::upstream::lane::TtlFixPermission;
use respguard_engine::pipeline::permission::Permission;

impl Connection {
    /// The question, if writes have come that want a TTL and nobody knows whether their user may set it.
    ///
    /// A command that is refused within a transaction would cost the write that it goes with.
    pub(super) fn ttl_fix_to_ask(&self) -> Option<Box<PermissionQuery>> {
        if !self.shared.context.policy().has_acting_ttl_rules() {
            return None;
        }
        [Permission::Expire, Permission::Set].into_iter().find_map(|permission| self.permission_to_ask(permission))
    }

    fn permission_to_ask(&self, permission: Permission) -> Option<Box<PermissionQuery>> {
        let bit = 1 << permission as u8;
        let lane = self.exchange.lane();
        if lane.permission(permission).get() != TtlFixPermission::Unknown || self.preparation.has_asked_permission(bit) {
            return None;
        }
        let state = self.exchange.state.borrow();
        let session = &state.session;
        if self.exchange.link().is_down() || !session.transaction.is_idle() || session.subscriptions.any() {
            return None;
        }
        let (policy, table) = (self.shared.context.policy(), self.shared.context.table());
        let (question, rule) = permission.question(&policy, &table, &self.input.batch, &self.input.bytes)?;
        self.preparation.ask_permission(bit);
        Some(Box::new(PermissionQuery { question, permission, rule: Arc::clone(rule) }))
    }

    /// Waits for the answer; the client's next commands are planned with it.
    pub(super) async fn ask_ttl_fix(&mut self, asking: Box<PermissionQuery>) {
        let (link, lane) = (self.exchange.link(), self.exchange.lane());
        let Some(reply) = ask(&link, &asking.question, self.shared.pool.settings.request_timeout).await else { return };
        match asking.permission.read(&reply) {
            Some(true) => lane.permission(asking.permission).set(TtlFixPermission::Able),
            Some(false) => stop_ttl_fix(&self.shared.context, &lane, asking.permission, &asking.rule.name),
            // A server that loads its dataset will answer again.
            None => {}
        }
    }
}
