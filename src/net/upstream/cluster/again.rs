//! Whether a request may go once more: not where its node has run what was sent behind it.
//!
//! A node that refuses a request, for its slot is elsewhere or the cluster is down, refuses what stands behind it on the same
//! slot, too, unless that changes between the two. Sent once more, the first would then run behind the second.

use super::core::State;
use super::entry::{Entry, Kind, Phase};

/// What is known of the requests that were sent behind one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// None of them has run.
    Kept,
    /// One of them may run.
    Open,
    /// One of them may have run.
    Lost,
}

impl State {
    /// What has become of those behind the request at this place that are about its slot, if it is to be sent once more. A read
    /// changes nothing for them, one that goes behind ASKING is about keys that its node has not, and one whose script is loaded
    /// first was refused for that alone.
    pub(super) fn order_behind(&self, place: usize) -> Order {
        let entry = &self.queue[place];
        let goes_again = entry.again.as_ref().is_some_and(|again| again.asks.is_none() && again.loads.is_none());
        let Some(slot) = entry.slot.filter(|_| goes_again && !entry.is_read && matches!(entry.kind, Kind::Single)) else {
            return Order::Kept;
        };
        self.order_on(slot, place)
    }

    #[cold]
    fn order_on(&self, slot: u16, place: usize) -> Order {
        let State { queue, streams, first, .. } = self;
        for (at, behind) in queue.iter().enumerate().skip(place + 1).filter(|(_, behind)| is_about(behind, slot)) {
            match behind.phase {
                Phase::Waiting => {}
                Phase::Sent => {
                    let stream = behind.stream.and_then(|stream| streams.replies(stream));
                    let number = *first + at as u64;
                    return if stream.is_some_and(|replies| !replies.owes(number)) { Order::Lost } else { Order::Open };
                }
                Phase::Done | Phase::Failed(_) => return Order::Lost,
            }
        }
        Order::Kept
    }
}

/// What the proxy itself answers is about no slot.
fn is_about(entry: &Entry, slot: u16) -> bool {
    entry.slot == Some(slot) && !matches!(entry.kind, Kind::ProxyReply)
}
