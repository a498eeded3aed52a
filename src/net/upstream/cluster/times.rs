//! Until when a request is waited for.

use std::time::{Duration, Instant};

/// When requests are read, and until when they are waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) now: Instant,
    pub(super) deadline: Instant,
}

impl Times {
    /// Of what is read now.
    pub(super) fn at(now: Instant, request_timeout: Duration) -> Times {
        Times { now, deadline: now + request_timeout }
    }
}
