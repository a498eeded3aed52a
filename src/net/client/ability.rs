//! Asks a connection, once, whether it can carry guarded groups.

use super::connection::Connection;
use crate::net::clock;
use crate::net::upstream::call::ask;
use crate::net::upstream::connection::Phase;
use respguard_engine::preflight::Ability;

impl Connection {
    /// True when groups may come that need a preflight, and nobody knows whether it can run on this connection.
    pub(super) fn must_ask_ability(&self) -> bool {
        if !self.shared.context.policy().has_guarded_groups() {
            return false;
        }
        let link = self.exchange.link();
        let unknown = match link.ability() {
            Ability::Unknown => true,
            // A server that is not there says nothing the second time either.
            Ability::Silent => link.phase() == Phase::Ready,
            Ability::Able | Ability::Lacking(_) => false,
        };
        let state = self.exchange.state.borrow();
        let session = &state.session;
        unknown
            && link.can_transact()
            && !link.is_down()
            && session.transaction.is_idle()
            && !session.caching
            && !session.subscriptions.any()
            && self.preparation.begins_to_ask_ability()
    }

    /// True when groups may come, and nobody knows yet whether the connection does transactions: it is being opened.
    pub(super) fn must_await_opening(&self) -> bool {
        let link = self.exchange.link_and_lane().0;
        if link.was_open() {
            self.preparation.forget_opening();
            return false;
        }
        if link.phase() != Phase::Connecting || link.is_down() {
            return false;
        }
        let policy = self.shared.context.policy();
        // What guarded groups ask waits for the connection itself, and a lease is taken to do what others do.
        let may_come = !policy.groups().is_empty() && !policy.has_guarded_groups();
        may_come && !self.exchange.state.borrow().session.affinity.is_pinned() && self.preparation.begins_to_await_opening()
    }

    /// Waits for it, once; the time counts for what waits.
    pub(super) async fn await_opening(&self) {
        self.preparation.count_wait_since(clock::now());
        let longest = self.shared.pool.settings.queue_timeout / 2;
        // Without a connection nothing is sent, and what is planned is told so.
        let _ = tokio::time::timeout(longest, self.exchange.link().opened()).await;
    }

    /// Waits for the answer; the client's next commands are planned with it.
    pub(super) async fn ask_ability(&mut self) {
        let link = self.exchange.link();
        let mut request = Vec::new();
        Ability::question(&self.shared.context.policy().guard_prefix, &mut request);
        let longest = self.preparation.left_for_ability(self.shared.pool.settings.request_timeout, clock::now());
        let reply = ask(&link, &request, longest).await;
        let ability = reply.map_or(Ability::Silent, |reply| Ability::read(&reply));
        if let Ability::Lacking(lack) = ability {
            let user = String::from_utf8_lossy(self.exchange.lane().key.user()).into_owned();
            tracing::warn!(%user, lacking = lack.as_str(), "guarded groups cannot run their preflight on this connection");
        }
        link.set_ability(ability);
    }
}
