//! Asks the server, once per lane, whether its user may run the commands that TTL rules turn writes into.

use std::sync::Arc;

use super::connection::Connection;
use super::permission::{Permission, PermissionQuery};
use crate::net::findings::{stop_setnx_fix, stop_ttl_fix};
use crate::net::upstream::call::ask;
use crate::net::upstream::lane::TtlFixPermission;
use respguard_engine::pipeline::setnx;
use respguard_engine::pipeline::ttl_fix::{key_to_fix, may_fix_ttl, question, setnx_to_fix};

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
        if permission.of(&lane).get() != TtlFixPermission::Unknown || self.preparation.has_asked_permission(bit) {
            return None;
        }
        let state = self.exchange.state.borrow();
        let session = &state.session;
        if self.exchange.link().is_down() || !session.transaction.is_idle() || session.subscriptions.any() {
            return None;
        }
        let (policy, table) = (self.shared.context.policy(), self.shared.context.table());
        let (question, rule) = match permission {
            Permission::Expire => {
                let (key, rule) = key_to_fix(&policy, &table, &self.input.batch, &self.input.bytes)?;
                (question(key), rule)
            }
            Permission::Set => {
                let (key, rule) = setnx_to_fix(&policy, &table, &self.input.batch, &self.input.bytes)?;
                (setnx::question(key), rule)
            }
        };
        self.preparation.ask_permission(bit);
        Some(Box::new(PermissionQuery { question, permission, rule: Arc::clone(rule) }))
    }

    /// Waits for the answer; the client's next commands are planned with it.
    pub(super) async fn ask_ttl_fix(&mut self, asking: Box<PermissionQuery>) {
        let (link, lane) = (self.exchange.link(), self.exchange.lane());
        let Some(reply) = ask(&link, &asking.question, self.shared.pool.settings.request_timeout).await else { return };
        let may = match asking.permission {
            Permission::Expire => may_fix_ttl(&reply),
            Permission::Set => setnx::may_set(&reply),
        };
        match (may, asking.permission) {
            (Some(true), permission) => permission.of(&lane).set(TtlFixPermission::Able),
            (Some(false), Permission::Expire) => stop_ttl_fix(&self.shared.context, &lane, &asking.rule.name),
            (Some(false), Permission::Set) => stop_setnx_fix(&self.shared.context, &lane, &asking.rule.name),
            // A server that loads its dataset will answer again.
            (None, _) => {}
        }
    }
}
