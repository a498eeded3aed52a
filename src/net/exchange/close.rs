//! Closes the connection to a client so that it receives everything that was written.

use std::time::Duration;

use super::Exchange;

/// How long a client that has been told the end may go on to send, and how long it may pause.
const LINGER_MAX: Duration = Duration::from_secs(1);
const LINGER_PAUSE: Duration = Duration::from_millis(200);

impl Exchange {
    /// Takes what still comes from a client that has been told the end: to close over unread bytes could cost it
    /// the last replies.
    pub async fn linger(&self, scratch: &mut bytes::BytesMut) {
        let deadline = tokio::time::Instant::now() + LINGER_MAX;
        loop {
            scratch.clear();
            scratch.reserve(crate::net::context::READ_BYTES / 4);
            let read = std::future::poll_fn(|cx| self.poll_read(scratch, false, cx));
            let pause = deadline.min(tokio::time::Instant::now() + LINGER_PAUSE);
            if !matches!(tokio::time::timeout_at(pause, read).await, Ok(Ok(1..))) {
                return;
            }
        }
    }

    /// Closes the sending side after everything has been written.
    pub async fn shutdown(&self) {
        let closed = std::future::poll_fn(|cx| self.front.borrow_mut().poll_shutdown(cx));
        // The client may have closed first; there is nobody left to tell.
        let _ = tokio::time::timeout(Duration::from_secs(1), closed).await;
    }
}
