//! A client's requests that could not go, and are looked at again.

use std::collections::VecDeque;

/// With so many under way what comes behind them waits,
pub(super) const UNDER_WAY_MAX: u64 = 1024;
/// until there are fewer than these: their nodes are to answer before the time of the last is over.
pub(super) const UNDER_WAY_FEW: u64 = UNDER_WAY_MAX / 2;

/// Requests that could not go, and are to be looked at again.
#[derive(Debug, Default)]
pub(super) struct WaitingRequests {
    /// What they have waited for has gone.
    pub(super) ready: VecDeque<u64>,
    /// They wait for a node, or for their time.
    pub(super) stuck: VecDeque<u64>,
    /// So many were under way that no more are looked at.
    pub(super) is_full: bool,
}

impl WaitingRequests {
    pub(super) fn most_under_way(&self) -> u64 {
        if self.is_full { UNDER_WAY_FEW } else { UNDER_WAY_MAX }
    }

    /// One of those that are ready, or else of those that are not, of which so many are left.
    pub(super) fn pop(&mut self, stuck: &mut usize) -> Option<u64> {
        let ready = self.ready.pop_front();
        if ready.is_some() || *stuck == 0 {
            return ready;
        }
        *stuck -= 1;
        self.stuck.pop_front()
    }
}
