//! A coarse clock: read once per turn of a worker's loop, not per command.

use std::cell::Cell;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

thread_local! {
    static NOW: Cell<Instant> = Cell::new(Instant::now());
}

/// When this thread last looked at the clock: the beginning of the loop's turn, or later.
pub fn now() -> Instant {
    NOW.get()
}

/// Looks at the clock: at the runtime's, which a simulation moves on by itself.
pub fn tick() {
    NOW.set(tokio::time::Instant::now().into_std());
}

/// Milliseconds since the epoch, by this machine's clock.
pub fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
