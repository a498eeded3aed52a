//! Whether this process should receive traffic, with the reasons why not.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::gauge;
use respguard_engine::words;

words! {
    /// Why a process is not ready.
    NotReady {
        /// The listener is not open yet.
        Starting = "starting",
        /// No worker reaches the upstream.
        UpstreamUnavailable = "upstream unavailable",
        /// No sentinel names a primary that agrees.
        NoPrimary = "no primary is known",
        /// No node of the cluster is there.
        NoCluster = "no node of the cluster serves slots",
        /// Somebody answers at the upstream's address, but not as TLS wants it.
        UpstreamTls = "upstream TLS handshake failed",
        /// The upstream refuses the proxy's credentials.
        UpstreamCredentials = "upstream refuses the credentials",
        /// The server has failed too often of late to be asked.
        BreakerOpen = "breaker open",
        /// The process was told to stop, and answers what it still owes.
        Draining = "draining",
    }
}

/// Shared by everybody who knows something about it. Cheap to clone; changes are rare.
///
/// A new one is starting and has no upstream.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    is_started: bool,
    is_draining: bool,
    is_refusing: bool,
    /// Of a cluster: no node that answers serves a slot, or all of them take the cluster to be down.
    is_without_slots: bool,
    workers_with_upstream: BTreeSet<usize>,
    /// What the last attempt to reach the upstream met, where that says more than that it is not there.
    obstacle: Option<NotReady>,
}

impl Readiness {
    /// The listener is open.
    pub fn started(&self) {
        self.lock().is_started = true;
    }

    /// The process stops; there is no way back.
    pub fn draining(&self) {
        self.lock().is_draining = true;
    }

    /// Whether the breaker refuses requests.
    pub fn breaker(&self, refuses: bool) {
        self.lock().is_refusing = refuses;
    }

    /// Whether a cluster's nodes that answer serve any slots.
    pub fn slots(&self, are_served: bool) {
        self.lock().is_without_slots = !are_served;
    }

    /// What worker number `worker` last knew of the upstream. The upstream is available while one worker reaches it:
    /// a worker without clients has no connection and nothing to say.
    pub fn upstream(&self, worker: usize, is_up: bool) {
        let mut state = self.lock();
        if is_up {
            state.workers_with_upstream.insert(worker);
            state.obstacle = None;
        } else {
            state.workers_with_upstream.remove(&worker);
        }
        // Under the lock, so that the gauge ends where the set does.
        gauge::set_upstream_up(!state.workers_with_upstream.is_empty());
    }

    /// Whether a worker reaches the upstream.
    pub fn has_upstream(&self) -> bool {
        !self.lock().workers_with_upstream.is_empty()
    }

    /// What the last attempt to reach the upstream met: `UpstreamUnavailable`, or what says more.
    pub fn upstream_obstacle(&self, obstacle: NotReady) {
        self.lock().obstacle = Some(obstacle);
    }

    /// Every reason against sending traffic here; none means ready.
    pub fn reasons(&self) -> Vec<NotReady> {
        let state = self.lock();
        let obstacle = state.obstacle.unwrap_or(NotReady::UpstreamUnavailable);
        [
            (NotReady::Starting, !state.is_started),
            (NotReady::NoCluster, state.is_without_slots),
            (obstacle, state.workers_with_upstream.is_empty() && !state.is_without_slots),
            (NotReady::BreakerOpen, state.is_refusing),
            (NotReady::Draining, state.is_draining),
        ]
        .into_iter()
        .filter_map(|(reason, holds)| holds.then_some(reason))
        .collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_once_started_and_one_worker_reaches_the_upstream() {
        let readiness = Readiness::default();
        assert_eq!(readiness.reasons(), [NotReady::Starting, NotReady::UpstreamUnavailable]);
        readiness.upstream(1, true);
        assert_eq!(readiness.reasons(), [NotReady::Starting]);
        readiness.started();
        assert_eq!(readiness.reasons(), []);
    }

    #[test]
    fn the_upstream_is_lost_only_when_the_last_worker_loses_it() {
        let readiness = Readiness::default();
        readiness.started();
        readiness.upstream(0, true);
        readiness.upstream(1, true);
        readiness.upstream(1, true);
        readiness.upstream(1, false);
        assert_eq!(readiness.reasons(), []);
        readiness.upstream(0, false);
        assert_eq!(readiness.reasons(), [NotReady::UpstreamUnavailable]);
    }

    #[test]
    fn what_stands_in_the_way_of_the_upstream_is_told_until_it_is_reached() {
        let readiness = Readiness::default();
        readiness.started();
        readiness.upstream_obstacle(NotReady::UpstreamTls);
        assert_eq!(readiness.reasons(), [NotReady::UpstreamTls]);
        readiness.upstream(0, true);
        assert_eq!(readiness.reasons(), []);
        readiness.upstream(0, false);
        assert_eq!(readiness.reasons(), [NotReady::UpstreamUnavailable]);
    }

    #[test]
    fn before_a_cluster_ready_while_slots_are_served() {
        let readiness = Readiness::default();
        readiness.started();
        readiness.slots(false);
        assert_eq!(readiness.reasons(), [NotReady::NoCluster]);
        readiness.upstream(0, true);
        assert_eq!(readiness.reasons(), [NotReady::NoCluster]);
        readiness.slots(true);
        assert_eq!(readiness.reasons(), []);
    }

    #[test]
    fn not_ready_while_the_breaker_refuses() {
        let readiness = Readiness::default();
        readiness.started();
        readiness.upstream(0, true);
        readiness.breaker(true);
        assert_eq!(readiness.reasons(), [NotReady::BreakerOpen]);
        readiness.breaker(false);
        assert_eq!(readiness.reasons(), []);
    }

    #[test]
    fn draining_stays() {
        let readiness = Readiness::default();
        readiness.draining();
        readiness.started();
        readiness.upstream(0, true);
        assert_eq!(readiness.reasons(), [NotReady::Draining]);
    }
}
