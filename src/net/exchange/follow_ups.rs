//! The proxy's own commands that are sent after the reply to a group.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use respguard_engine::lazy::Lazy;
use respguard_engine::pipeline::finding::Finding;

/// What is to go out, and how long it is waited for.
#[derive(Debug, Default)]
pub(super) struct FollowUps(Lazy<QueuedRequests>);

#[derive(Debug, Default)]
struct QueuedRequests {
    /// The commands, and how many there are.
    requests: RefCell<Vec<(Vec<u8>, u32)>>,
    /// How long their answers are waited for.
    timeout: Cell<Duration>,
}

impl FollowUps {
    pub(super) fn are_none(&self) -> bool {
        self.0.get().is_none_or(|queued| queued.requests.borrow().is_empty())
    }

    /// What replies have asked for goes out when the connection is done with what it reads.
    pub(super) fn keep(&self, found: &mut [Finding]) {
        for finding in found {
            if let Finding::FollowUp { request, frames } = finding {
                self.0.make().requests.borrow_mut().push((std::mem::take(request), *frames));
            }
        }
    }

    pub(super) fn take(&self) -> Vec<(Vec<u8>, u32)> {
        self.0.get().map(|queued| queued.requests.take()).unwrap_or_default()
    }

    /// The time of the group that was sent last is theirs.
    pub(super) fn set_timeout(&self, timeout: Duration) {
        self.0.make().timeout.set(timeout);
    }

    pub(super) fn deadline(&self, now: Instant) -> Instant {
        now + self.0.get().map_or(Duration::ZERO, |queued| queued.timeout.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_replies_ask_for_is_kept_once_and_nothing_else() {
        let follow_ups = FollowUps::default();
        let mut found = [Finding::CloseUpstream, Finding::FollowUp { request: b"PING".to_vec(), frames: 1 }];
        follow_ups.keep(&mut found);
        assert_eq!((follow_ups.take(), follow_ups.are_none()), (vec![(b"PING".to_vec(), 1)], true));
    }

    #[test]
    fn they_have_the_time_of_the_group_that_was_sent_last() {
        let (follow_ups, now) = (FollowUps::default(), Instant::now());
        follow_ups.set_timeout(Duration::from_secs(2));
        assert_eq!(follow_ups.deadline(now), now + Duration::from_secs(2));
    }
}
