//! Which requests of an HTTP connection are being answered, and since when none is.

use std::cell::Cell;
use std::rc::Rc;

use tokio::time::Instant;

/// What a connection is doing.
#[derive(Debug)]
pub(super) struct Activity {
    requests: Cell<usize>,
    since: Cell<Instant>,
}

impl Activity {
    /// Nothing is answered yet.
    pub(super) fn new() -> Rc<Activity> {
        Rc::new(Activity { requests: Cell::new(0), since: Cell::new(Instant::now()) })
    }

    /// Whether a request is being answered.
    pub(super) fn is_busy(&self) -> bool {
        self.requests.get() > 0
    }

    /// Since when none is, unless one is.
    pub(super) fn idle_since(&self) -> Instant {
        self.since.get()
    }
}

/// A request that is being answered, until all of its answer has been given out.
pub struct Busy(Rc<Activity>);

impl Busy {
    pub(super) fn new(activity: &Rc<Activity>) -> Busy {
        activity.requests.set(activity.requests.get() + 1);
        Busy(Rc::clone(activity))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.requests.set(self.0.requests.get() - 1);
        self.0.since.set(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_from_the_end_of_its_last_request_on() {
        let activity = Activity::new();
        let (first, second) = (Busy::new(&activity), Busy::new(&activity));
        tokio::time::advance(Duration::from_secs(1)).await;
        drop(first);
        assert!(activity.is_busy());
        tokio::time::advance(Duration::from_secs(1)).await;
        drop(second);
        assert!(!activity.is_busy());
        assert_eq!(activity.idle_since(), Instant::now());
    }
}
