//! Limits reports of commands that would be a group but for one thing: once a second per group.

use std::sync::Arc;
use std::time::{Duration, Instant};

use respguard_engine::pipeline::violation::Violation;

/// How long nothing more is told of a group.
const PAUSE: Duration = Duration::from_secs(1);
/// Groups of which a client's near misses are remembered.
const GROUPS_MAX: usize = 64;

/// What has been told of one client, and what may have to be.
#[derive(Default)]
pub(super) struct NearMisses {
    told: Vec<(Arc<str>, Instant)>,
    /// By the group's place: some of the commands wait, and their rest may still come.
    waiting: Vec<(usize, Violation)>,
}

impl NearMisses {
    /// Whether it may be told now of the group of this name.
    pub(super) fn admits(&mut self, rule: &Arc<str>, now: Instant) -> bool {
        self.told.retain(|(_, at)| now.saturating_duration_since(*at) < PAUSE);
        let admits = self.told.len() < GROUPS_MAX && self.told.iter().all(|(told, _)| told != rule);
        if admits {
            self.told.push((Arc::clone(rule), now));
        }
        admits
    }

    pub(super) fn wait(&mut self, group: usize, violation: Violation) {
        self.waiting.retain(|(other, _)| *other != group);
        if self.waiting.len() < GROUPS_MAX {
            self.waiting.push((group, violation));
        }
    }

    pub(super) fn take(&mut self, group: usize) -> Option<Violation> {
        let at = self.waiting.iter().position(|(other, _)| *other == group)?;
        Some(self.waiting.swap_remove(at).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use respguard_engine::pipeline::violation::Kind;

    #[test]
    fn each_group_is_told_once_a_second() {
        let (mut near_misses, now) = (NearMisses::default(), Instant::now());
        let (one, other) = (Arc::from("one"), Arc::from("other"));
        assert!(near_misses.admits(&one, now) && !near_misses.admits(&one, now) && near_misses.admits(&other, now));
        let just_before = now + PAUSE - Duration::from_nanos(1);
        assert!(!near_misses.admits(&one, just_before) && near_misses.admits(&one, now + PAUSE));
    }

    #[test]
    fn what_waits_is_taken_once_and_the_newest_of_each_group_counts() {
        let mut near_misses = NearMisses::default();
        near_misses.wait(3, Violation::new(Kind::NearMiss).place(1));
        near_misses.wait(3, Violation::new(Kind::NearMiss).place(2));
        assert_eq!(near_misses.take(1), None);
        assert_eq!(near_misses.take(3).and_then(|violation| violation.place), Some(2));
        assert_eq!(near_misses.take(3), None);
    }
}
