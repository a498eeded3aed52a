//! Lets the replies of several nodes go to their client in one write: what has come of them waits for what is about to.
//!
//! Clients of whom something waits stand in one list for the whole worker, of which one task hands on what has come when the
//! worker's loop has gone round. What a reply completes has gone by then, and leaves nothing to be done.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::{Context as TaskContext, Poll, Waker};

use tracing::debug;

/// What has come waits no longer for what follows it than so many turns of the worker's loop.
const TURNS_MAX: u32 = 2;
/// A list that was not looked at for so many ticks, each of which is a turn of the loop, will not be.
const TICKS_MAX: u32 = 4 * TURNS_MAX;

/// A client of whom something may wait.
pub(super) trait Waits {
    /// What waits goes now.
    fn end_wait(&self);
}

/// Those of whom something waits.
pub(super) struct Together<W> {
    waiting: RefCell<Vec<Rc<W>>>,
    /// The task that hands on what they wait with, once it has run.
    waker: RefCell<Option<Waker>>,
    has_task: Cell<bool>,
    /// Turns since the first of them came.
    turns: Cell<u32>,
    /// Ticks since then.
    ticks: Cell<u32>,
}

impl<W> Default for Together<W> {
    fn default() -> Self {
        let (waiting, waker, has_task, turns, ticks) = Default::default();
        Together { waiting, waker, has_task, turns, ticks }
    }
}

impl<W: Waits + 'static> Together<W> {
    /// What has come for this one goes with what is about to come, or soon by itself.
    pub(super) fn add(self: &Rc<Self>, who: Rc<W>) {
        let is_first = {
            let mut waiting = self.waiting.borrow_mut();
            waiting.push(who);
            waiting.len() == 1
        };
        if !is_first {
            return;
        }
        self.turns.set(0);
        self.ticks.set(0);
        if !self.has_task.replace(true) {
            let together = Rc::downgrade(self);
            tokio::task::spawn_local(std::future::poll_fn(move |cx| poll(&together, cx)));
        } else if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// All that wait have waited for long enough.
    fn hand_on(&self) {
        let mut waiting = self.waiting.take();
        waiting.drain(..).for_each(|who| who.end_wait());
        let mut since = self.waiting.borrow_mut();
        if since.is_empty() {
            *since = waiting;
        }
    }

    /// Hands on what waits where nobody was told to; true if so. Called every few milliseconds.
    pub(super) fn look_for_missed_wakeup(&self) -> bool {
        let is_missed = !self.waiting.borrow().is_empty() && self.ticks.replace(self.ticks.get() + 1) >= TICKS_MAX;
        if is_missed {
            debug!("what had come for clients could have gone, and nobody had been told");
            self.hand_on();
        }
        is_missed
    }

    fn is_over(&self) -> bool {
        self.turns.replace(self.turns.get() + 1) >= TURNS_MAX
    }
}

/// The task of the list.
fn poll<W: Waits + 'static>(together: &Weak<Together<W>>, cx: &mut TaskContext<'_>) -> Poll<()> {
    let Some(together) = together.upgrade() else { return Poll::Ready(()) };
    let some_wait = !together.waiting.borrow().is_empty();
    if some_wait && !together.is_over() {
        // Polled once, it has the task woken when the sockets have been looked at.
        let next_turn = pin!(tokio::task::yield_now());
        return next_turn.poll(cx);
    }
    together.hand_on();
    let mut waker = together.waker.borrow_mut();
    if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
        *waker = Some(cx.waker().clone());
    }
    Poll::Pending
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often it was told to go.
    #[derive(Default)]
    struct Client(Cell<u32>);

    impl Waits for Client {
        fn end_wait(&self) {
            self.0.set(self.0.get() + 1);
        }
    }

    async fn turns(count: u32) {
        for _ in 0..count {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_waits_goes_by_itself_when_the_loop_has_gone_round() {
        let (together, first, second) = (Rc::<Together<Client>>::default(), Rc::<Client>::default(), Rc::<Client>::default());
        tokio::task::LocalSet::new()
            .run_until(async {
                for round in 1..=3 {
                    together.add(Rc::clone(&first));
                    together.add(Rc::clone(&second));
                    assert_eq!((first.0.get(), second.0.get()), (round - 1, round - 1), "others are about to come");
                    turns(2 * TURNS_MAX + 2).await;
                    assert_eq!((first.0.get(), second.0.get()), (round, round));
                    assert_eq!(Rc::strong_count(&first), 1, "it is in no list any more");
                }
            })
            .await;
    }

    #[tokio::test]
    async fn it_goes_even_where_nobody_tells_the_task() {
        let (together, client) = (Rc::<Together<Client>>::default(), Rc::<Client>::default());
        // As if its task had been lost.
        together.has_task.set(true);
        together.add(Rc::clone(&client));
        let missed: Vec<bool> = (0..=TICKS_MAX).map(|_| together.look_for_missed_wakeup()).collect();
        assert_eq!((missed.iter().filter(|missed| **missed).count(), missed.last()), (1, Some(&true)));
        assert_eq!(client.0.get(), 1);
        assert!(!together.look_for_missed_wakeup(), "nothing waits");
    }
}
