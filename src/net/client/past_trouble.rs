//! Commands that may help a server in trouble bypass everything that is stuck, over the spare connection.

use std::rc::Rc;
use std::time::Duration;

use super::connection::Connection;
use crate::net::exchange::End;
use crate::net::upstream::lane::{Lane, LaneKey};
use crate::net::upstream::pool::NoLane;
use crate::net::upstream::spare::Identity;
use respguard_engine::command::{ConnectionEffect, PinReason};
use respguard_engine::link::handshake::{Refusal, Step};
use respguard_engine::pipeline::finding::Fault;
use respguard_resp::encode;

/// SHUTDOWN waits for replicas, and answers only when it fails.
const SHUTDOWN_MAX: Duration = Duration::from_secs(600);

impl Connection {
    /// True when the server is in trouble, a spare connection is there, and the client is owed nothing that a command on
    /// it would overtake.
    pub(super) fn is_troubled(&self) -> bool {
        (self.exchange.link_and_lane().0.is_struggling() || self.shared.context.health.refuses()) && self.can_be_helped()
    }

    #[cold]
    fn can_be_helped(&self) -> bool {
        !self.lease.is_held() && self.shared.pool.spares.is_at_hand() && !self.exchange.state.borrow().slots.is_under_way()
    }

    /// The first command of the batch goes over a spare connection, in its place; what stands behind it waits.
    pub(super) async fn ask_spare(&mut self) {
        let spec = self.shared.context.table().spec(self.id()).clone();
        let is_shutdown = spec.connection == ConnectionEffect::Pin(PinReason::Shutdown);
        let is_urgent = is_shutdown || spec.connection == ConnectionEffect::Spare;
        let longest = if is_shutdown { SHUTDOWN_MAX } else { self.shared.pool.settings.request_timeout };
        let request = self.input.wire(0..1).to_vec();
        let seq = self.exchange.state.borrow_mut().slots.defer();
        let (exchange, identity) = (Rc::downgrade(&self.exchange), self.identity());
        let spares = Rc::clone(&self.shared.pool.spares);
        self.exchange.count_request(self.id());
        self.consume_one();
        tokio::task::spawn_local(async move {
            let answered = spares.ask(&identity, &request, is_urgent, longest).await;
            let Some(exchange) = exchange.upgrade() else { return };
            // It did what it was told to, and says no more.
            if is_shutdown && matches!(answered, Err(Fault::Lost)) {
                return exchange.end(End::LeaseLost);
            }
            match answered {
                // The session goes no further than the connections that it has.
                Ok(answered) if answered.is_refused => exchange.end(End::Revoked),
                Ok(answered) => exchange.fill_deferred(seq, answered.reply),
                Err(fault) => exchange.fill_deferred(seq, encode::error_reply(&fault.of_command(&spec.shown()))),
            }
        });
        self.exchange.deferred_replies_came().await;
    }

    /// What the server says to a request of ours about this client.
    pub(super) async fn past_trouble(&self, request: Vec<u8>, name: &str) -> Vec<u8> {
        let longest = self.shared.pool.settings.request_timeout;
        let answered = self.shared.pool.spares.ask(&self.identity(), &request, true, longest).await;
        match answered {
            Ok(answered) => {
                if answered.is_refused {
                    self.exchange.end(End::Revoked);
                }
                answered.reply
            }
            Err(fault) => encode::error_reply(&fault.of_command(name)),
        }
    }

    /// The lane of a key to which the server agrees although no connection can be had for it now.
    pub(super) async fn accepted_lane(&self, key: LaneKey) -> Result<Rc<Lane>, NoLane> {
        let spares = &self.shared.pool.spares;
        if !spares.is_at_hand() {
            return Err(NoLane::Unavailable);
        }
        let identity = Identity { login: key.login.clone(), protocol: key.protocol };
        match spares.ask(&identity, &[], false, self.shared.pool.settings.queue_timeout).await {
            Ok(answered) if answered.is_refused => {
                Err(NoLane::Refused(Refusal { step: Step::Auth, reply: answered.reply.into() }))
            }
            Ok(_) => self.shared.pool.open_accepted(key).map_err(|full| NoLane::Taken(full.into())),
            Err(_) => Err(NoLane::Unavailable),
        }
    }

    fn identity(&self) -> Identity {
        let lane = self.exchange.lane();
        Identity { login: lane.key.login.clone(), protocol: lane.key.protocol }
    }
}
