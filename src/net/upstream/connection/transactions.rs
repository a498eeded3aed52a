//! Whether a connection can do MULTI and EXEC, as is expected of it and as its handshake shows.

use std::rc::Rc;

use tracing::warn;

use super::{Link, LostReply, State};
use respguard_engine::command::{DEFAULT_USER, Login};
use respguard_engine::link::handshake::ServerInfo;

impl Link {
    /// While there is no connection, it is taken to do MULTI and EXEC or not to.
    pub fn expect_transactions(&self, may_transact: bool) {
        self.may_transact.set(may_transact);
    }

    /// What waits on a shared connection was written for one that does MULTI and EXEC, or for one that does not. Groups
    /// that were wrapped for the former must not come to the latter: their members would run apart. Before a server that
    /// wants a password first nothing runs at all.
    pub(super) fn note_transactions(&self, state: &mut State, info: &ServerInfo) -> Vec<LostReply> {
        let mut told = Vec::new();
        let was_expected = self.may_transact.replace(info.transactions);
        if !self.shared.get() || info.transactions || info.wants_password || !was_expected {
            return told;
        }
        let reason = String::from_utf8_lossy(info.no_transactions.as_deref().unwrap_or_default().trim_ascii());
        let user = String::from_utf8_lossy(self.params.login.as_ref().map_or(DEFAULT_USER, Login::user));
        warn!(upstream = %self.server(), %user, %reason, "without MULTI and EXEC groups are sent unwrapped");
        state.inflight.abandon_all(|who, frames, cut| told.push((Rc::clone(who), frames, cut)));
        let end = state.inflight.queued();
        state.forget_before(end);
        told
    }
}
