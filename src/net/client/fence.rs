//! The fence: a client's commands must not overtake its earlier ones on another connection.

use std::time::Instant;

use super::connection::Connection;
use crate::net::clock;
use crate::net::exchange::{End, Waiting};
use respguard_resp::encode;

/// Why a command is not sent that would overtake what was sent before it.
pub(super) const UNANSWERED: &str = "not sent: what was sent before it has not been answered in time";

/// What such a command is answered.
pub(super) fn unsent() -> Vec<u8> {
    encode::error_reply(&format!("ERR respguard: {UNANSWERED}"))
}

impl Connection {
    /// The fence: nothing is owed on the connection that the client leaves. False when what waits is not to be sent, because
    /// its deadline has passed and nothing but late replies has been waited for.
    pub(super) async fn drained(&mut self) -> bool {
        self.drained_by(clock::now() + self.shared.pool.settings.request_timeout).await
    }

    /// What the proxy has asked for the client is answered: by the server, or because it took too long.
    pub(super) async fn await_answers(&mut self) {
        self.drained_by(clock::now()).await;
    }

    async fn drained_by(&mut self, until: Instant) -> bool {
        let mut late_since = None;
        loop {
            // What follows has no part in what was given up; what blocks is its client's own wish.
            if self.exchange.waits_for_late_alone() {
                late_since = late_since.or(Some(clock::now()));
            }
            let waiting = Waiting::Drained { until, input_ended: self.input.ended };
            self.exchange.wait_for(waiting);
            let is_over = self.exchange.is_wait_over() || self.may_take_over && self.exchange.is_stuck_alone();
            if self.exchange.ended().is_some() || is_over || self.exchange.lost_lease.get() {
                break;
            }
            self.wait(None).await;
            if self.input.ended && self.waits_for_nobody() {
                self.exchange.end(End::Gone);
            }
        }
        self.exchange.wait_for(Waiting::Input);
        late_since.into_iter().for_each(|since| self.preparation.count_wait_since(since));
        self.exchange.is_drained() || self.exchange.lost_lease.get()
    }
}
