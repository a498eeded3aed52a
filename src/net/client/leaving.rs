//! The end of a client: its outstanding replies are sent, then its connection closes.

use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use super::connection::Connection;
use crate::net::context::READ_BYTES;
use crate::net::exchange::{End, Waiting};

/// After so long a server that still waits with an answer is told once more to end that.
const UNBLOCK_AGAIN: Duration = Duration::from_millis(50);

impl Connection {
    /// Everything that is owed is answered, then the connection ends.
    pub(super) async fn finish(&mut self) {
        let tunnel = self.exchange.state.borrow().session.affinity.is_tunnel() && self.input.ended;
        if let Some(link) = self.lease.link().filter(|_| tunnel) {
            // Nobody but the server knows what is still owed in a tunnel: it is told the end too, and ends.
            link.finish_sending();
        }
        let longest = if tunnel { self.shared.pool.settings.request_timeout } else { Duration::MAX };
        // Who is not told the end by then is told now.
        let _ = tokio::time::timeout(longest, self.last_answers(tunnel)).await;
        if self.exchange.ended().is_none() {
            if self.input.ended && self.waits_for_nobody() {
                // Nothing may be taken out for it while it is being told the end.
                self.drop_lease();
            }
            self.exchange.shutdown().await;
            if !self.shared.context.draining.get() {
                self.exchange.linger(&mut self.input.bytes).await;
            }
        }
    }

    /// Waits until all is answered. While the proxy drains, what blocks is told to end: again, for there may be more than one
    /// such command, and the server may have read it only after it was told.
    async fn last_answers(&mut self, tunnel: bool) {
        loop {
            if self.shared.context.draining.get() {
                self.lease.end_blocking();
            }
            if tokio::time::timeout(UNBLOCK_AGAIN, self.all_answered(tunnel)).await.is_ok() {
                return;
            }
        }
    }

    async fn all_answered(&mut self, tunnel: bool) {
        std::future::poll_fn(|cx| {
            let exchange = Rc::clone(&self.exchange);
            exchange.wait_for(Waiting::Leaving);
            exchange.attach(cx);
            self.discard_input(cx);
            let left = self.input.ended && self.waits_for_nobody();
            let resolved = exchange.is_resolved() && (!tunnel || exchange.lost_lease.get());
            if exchange.ended().is_some() || resolved || left { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Behind its last request the client can only say that it leaves.
    fn discard_input(&mut self, cx: &mut TaskContext<'_>) {
        while !self.input.ended && self.exchange.ended().is_none() {
            self.input.bytes.clear();
            self.input.bytes.reserve(READ_BYTES / 4);
            match self.exchange.poll_read(&mut self.input.bytes, false, cx) {
                Poll::Ready(Ok(read)) => self.input.ended = read == 0,
                Poll::Ready(Err(_)) => self.exchange.end(End::Gone),
                Poll::Pending => return,
            }
        }
    }

    /// The client has left while blocked: as with Redis, nothing comes any more. What did not have to wait is answered.
    pub(super) fn waits_for_nobody(&self) -> bool {
        let exchange = Rc::clone(&self.exchange);
        !self.shared.context.draining.get() && self.lease.waits_at_server(move || exchange.wake())
    }
}
