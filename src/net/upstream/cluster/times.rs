//! Until when a request is waited for.

use std::time::{Duration, Instant};

/// What waits for a node is told so before its link gives up on it.
const TOLD_BEFORE: Duration = Duration::from_millis(100);

/// When requests are read, and until when they are waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) now: Instant,
    pub(super) deadline: Instant,
    /// For a node that takes them.
    pub(super) unsent_by: Instant,
}

impl Times {
    /// Of what is read now.
    pub(super) fn at(now: Instant, request_timeout: Duration) -> Times {
        let unsent_by = now + request_timeout.saturating_sub(TOLD_BEFORE.min(request_timeout / 4));
        Times { now, deadline: now + request_timeout, unsent_by }
    }
}
