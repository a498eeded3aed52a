//! What a connection is there for: shared by the clients of a lane, or leased to one. The metrics show it so.

use std::rc::Rc;

use super::{Link, Phase};
use crate::net::upstream::Recipient;
use crate::telemetry::label::UpstreamState;

impl Link {
    /// Whether there is a server is to be seen from this link from now on.
    pub fn represent_server(&self) {
        self.represents_server.set(true);
        if self.stands_for_server() && self.phase() == Phase::Ready {
            self.context.readiness.upstream(self.context.worker, true);
        }
    }

    /// True when it shows whether there is a server.
    pub fn represents_server(&self) -> bool {
        self.represents_server.get()
    }

    /// Whether the server is there or not is to be seen from this connection.
    pub(super) fn stands_for_server(&self) -> bool {
        self.represents_server.get() && self.shared.get() && !self.retired.get()
    }

    /// A leased link becomes its lane's shared one.
    pub fn share(&self) {
        self.shared.set(true);
        self.retired.set(false);
        self.set_owner(None);
    }

    /// Hands the lease to `owner`, or takes it back.
    pub fn set_owner(&self, owner: Option<Rc<dyn Recipient>>) {
        self.owner.replace(owner);
        self.blocked.begin();
        if self.held_up.why().is_some() {
            // It may have stopped for the one before, who is not asked any more.
            self.wake();
        }
        self.show_phase();
    }

    pub(super) fn show_phase(&self) {
        let state = match self.phase() {
            Phase::Closed => return,
            Phase::Connecting => UpstreamState::Connecting,
            Phase::Ready if self.retired.get() => UpstreamState::Retired,
            Phase::Ready if self.shared.get() => UpstreamState::Shared,
            Phase::Ready if self.owner.borrow().is_some() => UpstreamState::Leased,
            Phase::Ready => UpstreamState::Idle,
        };
        self.show(Some(state));
    }

    pub(super) fn show(&self, state: Option<UpstreamState>) {
        // It is no connection to a server.
        if self.settings.nodes.is_some() {
            return;
        }
        let before = self.shown.replace(state);
        if before != state {
            self.context.metrics.upstream_moved(before, state);
        }
    }
}
