//! When a request goes out again that a node could not serve: a redirect is followed at once, and between rounds there is a
//! pause that grows.

use std::time::{Duration, Instant};

/// Before a request goes again to a node that could not serve it.
const PAUSE_MIN: Duration = Duration::from_millis(4);
const PAUSE_MAX: Duration = Duration::from_millis(100);
/// Redirects that are followed at once, one after another.
const HOPS_MAX: u32 = 4;

/// What one request has tried.
#[derive(Debug, Default)]
pub(super) struct Retry {
    /// Redirects followed since the last pause.
    hops: u32,
    pauses: u32,
    not_before: Option<Instant>,
}

impl Retry {
    /// A node has named another one: the request goes there at once, unless it is sent round in a circle.
    pub(super) fn follow(&mut self, now: Instant) {
        self.hops += 1;
        self.not_before = None;
        if self.hops > HOPS_MAX {
            self.pause(now);
        }
    }

    /// No node can serve it yet.
    pub(super) fn pause(&mut self, now: Instant) {
        self.not_before = Some(now + (PAUSE_MIN * 2u32.saturating_pow(self.pauses.min(10))).min(PAUSE_MAX));
        self.pauses += 1;
        self.hops = 0;
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|at| at <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_followed_at_once_however_often_the_request_has_waited() {
        let (mut retry, start) = (Retry::default(), Instant::now());
        for _ in 0..50 {
            retry.pause(start);
            assert!(!retry.is_due(start + Duration::from_millis(3)));
            assert!(retry.is_due(start + PAUSE_MAX));
            retry.follow(start);
            assert!(retry.is_due(start));
        }
    }

    #[test]
    fn nodes_that_send_a_request_round_in_a_circle_get_it_after_pauses_that_grow() {
        let (mut retry, start) = (Retry::default(), Instant::now());
        for _ in 0..HOPS_MAX {
            retry.follow(start);
            assert!(retry.is_due(start));
        }
        retry.follow(start);
        assert!(!retry.is_due(start) && retry.is_due(start + PAUSE_MIN));
        (0..=HOPS_MAX).for_each(|_| retry.follow(start));
        assert!(!retry.is_due(start + PAUSE_MIN) && retry.is_due(start + PAUSE_MIN * 2));
    }
}
