//! Clients that wait for room in the send queue, woken in order.

use std::cell::Cell;
use std::collections::VecDeque;
use std::task::{Context as TaskContext, Waker};

/// So many are woken together: the first of them may use up all the room, and the others wait again, behind those who did
/// all the time.
const WOKEN_AT_ONCE: usize = 8;

/// Where a client stands in the queue of the connection that it waits for: thousands may wait, and each may be asked again
/// before its turn comes.
#[derive(Debug, Default)]
pub struct RoomTicket(Cell<Option<(usize, u64)>>);

/// The queue of one connection.
#[derive(Debug, Default)]
pub(super) struct WaitingForRoom {
    queue: VecDeque<Waker>,
    /// How many have left it at its front.
    left: u64,
}

impl WaitingForRoom {
    /// The client is woken when its turn has come. `connection` tells this queue from others.
    pub(super) fn wait(&mut self, connection: usize, ticket: &RoomTicket, cx: &TaskContext<'_>) {
        let place =
            ticket.0.get().filter(|(known, _)| *known == connection).and_then(|(_, number)| number.checked_sub(self.left));
        match place.and_then(|place| self.queue.get_mut(usize::try_from(place).ok()?)) {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            // Another client's, where a connection has the address of one before it.
            _ => {
                ticket.0.set(Some((connection, self.left + self.queue.len() as u64)));
                self.queue.push_back(cx.waker().clone());
            }
        }
    }

    /// There is room for some.
    pub(super) fn wake_some(&mut self) {
        let some = WOKEN_AT_ONCE.min(self.queue.len());
        self.left += some as u64;
        self.queue.drain(..some).for_each(Waker::wake);
    }

    /// They may go on, or go elsewhere.
    pub(super) fn wake_all(&mut self) {
        self.left += self.queue.len() as u64;
        std::mem::take(&mut self.queue).into_iter().for_each(Waker::wake);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::net::upstream::tests::Wakes;

    #[test]
    fn who_is_asked_again_keeps_its_place_and_a_few_are_woken_at_a_time() {
        let clients: Vec<_> = (0..100).map(|_| (Arc::<Wakes>::default(), RoomTicket::default())).collect();
        let woken = || clients.iter().map(|(wakes, _)| wakes.count()).collect::<Vec<_>>();
        let mut waiting = WaitingForRoom::default();
        for _ in 0..3 {
            for (wakes, ticket) in &clients {
                waiting.wait(1, ticket, &TaskContext::from_waker(&wakes.waker()));
            }
        }
        assert_eq!(waiting.queue.len(), clients.len());
        waiting.wake_some();
        assert_eq!(woken(), [[1; WOKEN_AT_ONCE].as_slice(), &[0; 100 - WOKEN_AT_ONCE]].concat());
        let (first, ticket) = &clients[0];
        waiting.wait(1, ticket, &TaskContext::from_waker(&first.waker()));
        assert_eq!(waiting.queue.len(), 100 - WOKEN_AT_ONCE + 1, "behind the others");
        waiting.wait(2, ticket, &TaskContext::from_waker(&first.waker()));
        assert_eq!(waiting.queue.len(), 100 - WOKEN_AT_ONCE + 2, "its place is that of another connection");
        waiting.wake_all();
        assert!(waiting.is_empty());
        assert_eq!(woken()[1..], [1; 99]);
    }
}
