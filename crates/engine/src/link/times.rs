//! When requests were read, and how long their replies are waited for.

use std::time::{Duration, Instant};

/// The times of requests that are queued together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// When they were read from their client.
    pub read_at: Instant,
    /// Until when their replies are waited for; `None` for ever.
    pub deadline: Option<Instant>,
}

impl Times {
    /// Replies are waited for as long as it takes.
    pub fn unlimited(read_at: Instant) -> Times {
        Times { read_at, deadline: None }
    }

    /// Replies are waited for until `deadline`.
    pub fn until(read_at: Instant, deadline: Instant) -> Times {
        Times { read_at, deadline: Some(deadline) }
    }

    /// Replies are waited for so long.
    pub fn within(read_at: Instant, longest: Duration) -> Times {
        Times::until(read_at, read_at + longest)
    }
}
