//! What the rest of the program asks of a connection: how far it has come, and what it can do.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{BlockedInquiry, Link, Phase};
use crate::net::address::Address;
use crate::net::clock;
use crate::net::health::Health;
use crate::net::last_answered::LastAnswered;
use crate::net::upstream::cluster::BlockedAt;
use crate::net::upstream::lane::Lane;
use respguard_engine::link::handshake::ServerInfo;
use respguard_engine::preflight::Ability;

impl Link {
    /// How far the link has come.
    pub fn phase(&self) -> Phase {
        self.state.borrow().phase
    }

    /// What is told of the server: of a cluster's nodes each is only one of several.
    #[inline]
    pub(in super::super) fn health(&self) -> &Health {
        match &self.settings.health {
            Some(health) => health,
            None if self.settings.nodes.is_some() => &self.context.nodes_health,
            None => &self.context.health,
        }
    }

    /// When the server was last seen to answer. What another node of its cluster answers says nothing about it.
    pub(super) fn server_answered(&self) -> &LastAnswered {
        self.settings.last_answered.as_ref().unwrap_or(&self.context.last_answered)
    }

    /// Since when it can be used.
    pub fn opened_at(&self) -> Option<Instant> {
        self.opened_at.get()
    }

    /// True from the first connection on.
    pub fn was_open(&self) -> bool {
        self.opened_at.get().is_some()
    }

    /// What the server reported in the handshake.
    pub fn info(&self) -> ServerInfo {
        self.state.borrow().info.clone()
    }

    /// True when the server requires a password.
    pub fn wants_password(&self) -> bool {
        self.state.borrow().info.wants_password
    }

    /// True when the connection can do MULTI and EXEC. While there is none, it is taken to do what the last one did.
    pub fn can_transact(&self) -> bool {
        let state = self.state.borrow();
        if state.phase == Phase::Ready { state.info.transactions } else { self.may_transact.get() }
    }

    /// Whether it can carry guarded groups.
    pub fn ability(&self) -> Ability {
        self.ability.get()
    }

    /// Records whether it can run guarded groups, or that this has to be asked again.
    pub fn set_ability(&self, ability: Ability) {
        self.ability.set(ability);
    }

    /// True when attempts to connect have failed for longer than requests wait.
    #[inline]
    pub fn is_down(&self) -> bool {
        self.down.get().is_some_and(|since| self.is_down_since(since))
    }

    #[cold]
    pub(super) fn is_down_since(&self, since: Instant) -> bool {
        clock::now().saturating_duration_since(since) >= self.settings.patience()
    }

    /// For how long attempts to connect have failed.
    pub fn down_for(&self) -> Option<Duration> {
        self.down.get().map(|since| clock::now().saturating_duration_since(since))
    }

    /// True while there is no connection to be had, or the server takes long: what may be the cure goes elsewhere.
    pub fn is_struggling(&self) -> bool {
        self.struggling.get()
    }

    /// There is none to be had now.
    pub fn set_struggling(&self) {
        self.struggling.set(true);
    }

    /// True when it is there, has room for so many bytes more, and nothing is known that speaks against sending them.
    pub fn is_plain(&self, bytes: usize) -> bool {
        let is_there = self.was_open() && !self.is_struggling() && !self.is_down();
        is_there && self.replies_owed_max() == usize::MAX && self.has_room(bytes)
    }

    /// True when the request at the head may wait longer than requests do: it blocks.
    pub fn is_blocked(&self) -> bool {
        self.state.borrow().inflight.head_blocks()
    }

    /// Whether the server waits with its answer to that, as far as it was asked.
    pub fn blocked(&self) -> &BlockedInquiry {
        &self.blocked
    }

    /// Before a cluster: at which nodes that command waits; empty while it has not been sent.
    pub fn blocked_at(&self) -> Option<Vec<BlockedAt>> {
        self.at_once.borrow().as_ref().map(|cluster| cluster.blocked())
    }

    /// Before a cluster: the lane of its client's login to this node, as long as that is one of its primaries.
    pub fn lane_at(&self, node: &Address) -> Option<Rc<Lane>> {
        self.at_once.borrow().as_ref()?.lane_at(node)
    }

    /// The id by which the server unblocks the lease. From now on it serves nobody else: the word may come late, and
    /// must find no other client there.
    pub fn to_be_unblocked(&self) -> Option<i64> {
        self.unclean.set(true);
        self.state.borrow().info.client_id
    }

    /// True when no reply is outstanding, nothing waits to be written, and the state is that after the handshake.
    pub fn is_clean(&self) -> bool {
        let state = self.state.borrow();
        !self.unclean.get() && state.inflight.is_empty() && state.is_written()
    }

    /// True when nobody waits for anything on it, not even for the end of a connection that was lost.
    pub fn is_done(&self) -> bool {
        self.over.get() || self.phase() == Phase::Ready && self.is_clean() && self.may_be_left()
    }

    /// True when the server may still take it for a large client.
    pub fn has_carried_large(&self) -> bool {
        self.has_carried_large.get()
    }
}
