//! Lets the replies of several nodes go to their client in one write: what has come of them waits for what is about to.
//!
//! Clients of whom something waits stand in one list for the whole worker, of which one task hands on what has waited for long
//! enough. What a reply completes has gone by then, and leaves nothing to be done.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use tracing::debug;

use crate::net::clock;

/// What has come waits no longer than so for what follows it, and for what the runtime's timer rounds up. Nodes that have
/// nothing else to do answer within a tenth of it of each other.
const LONGEST: Duration = Duration::from_millis(1);
/// What has waited for less when others go waits for the next time.
const SHORTEST: Duration = Duration::from_micros(500);
/// A list that was not looked at for so many ticks will not be.
const TICKS_MAX: u32 = 8;

/// A client of whom something may wait.
pub(super) trait Waits {
    /// What has waited since then goes now; false where it waits for less long.
    fn end_wait(&self, since: Instant) -> bool;
}

/// Those of whom something waits.
pub(super) struct Together<W> {
    waiting: RefCell<Vec<Rc<W>>>,
    /// The task that hands on what they wait with, while none waits.
    waker: RefCell<Option<Waker>>,
    has_task: Cell<bool>,
    /// Ticks since the list was looked at last.
    ticks: Cell<u32>,
}

impl<W> Default for Together<W> {
    fn default() -> Self {
        let (waiting, waker, has_task, ticks) = Default::default();
        Together { waiting, waker, has_task, ticks }
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
        self.ticks.set(0);
        if !self.has_task.replace(true) {
            tokio::task::spawn_local(hand_on_in_time(Rc::downgrade(self)));
        } else if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Hands on what has waited since then.
    fn hand_on(&self, since: Instant) {
        self.ticks.set(0);
        let mut waiting = self.waiting.take();
        waiting.retain(|who| !who.end_wait(since));
        let mut others = self.waiting.borrow_mut();
        waiting.append(&mut others);
        *others = waiting;
    }

    /// Hands on what waits where nobody was told to; true if so. Called every few milliseconds.
    pub(super) fn look_for_missed_wakeup(&self) -> bool {
        let is_missed = !self.waiting.borrow().is_empty() && self.ticks.replace(self.ticks.get() + 1) >= TICKS_MAX;
        if is_missed {
            debug!("what had come for clients could have gone, and nobody had been told");
            self.hand_on(clock::now());
        }
        is_missed
    }
}

/// The task of the list.
async fn hand_on_in_time<W: Waits + 'static>(together: Weak<Together<W>>) {
    loop {
        let some_wait = std::future::poll_fn(|cx| {
            let Some(together) = together.upgrade() else { return Poll::Ready(false) };
            if !together.waiting.borrow().is_empty() {
                return Poll::Ready(true);
            }
            together.waker.replace(Some(cx.waker().clone()));
            Poll::Pending
        });
        if !some_wait.await {
            return;
        }
        tokio::time::sleep(LONGEST).await;
        let now = clock::now();
        together.upgrade().iter().for_each(|together| together.hand_on(now.checked_sub(SHORTEST).unwrap_or(now)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Client {
        /// How often it was told to go.
        gone: Cell<u32>,
        /// It has not waited for long when it is told so the first time.
        is_new: Cell<bool>,
    }

    impl Waits for Client {
        fn end_wait(&self, _since: Instant) -> bool {
            if self.is_new.take() {
                return false;
            }
            self.gone.set(self.gone.get() + 1);
            true
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_goes_by_itself_when_it_has_waited_for_long_enough() {
        let (together, first, second) = (Rc::<Together<Client>>::default(), Rc::<Client>::default(), Rc::<Client>::default());
        tokio::task::LocalSet::new()
            .run_until(async {
                for round in 1..=3 {
                    together.add(Rc::clone(&first));
                    together.add(Rc::clone(&second));
                    tokio::time::sleep(LONGEST / 2).await;
                    assert_eq!((first.gone.get(), second.gone.get()), (round - 1, round - 1), "others are about to come");
                    tokio::time::sleep(2 * LONGEST).await;
                    assert_eq!((first.gone.get(), second.gone.get()), (round, round));
                    assert_eq!(Rc::strong_count(&first), 1, "it is in no list any more");
                }
            })
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_not_waited_for_long_goes_the_next_time() {
        let (together, client) = (Rc::<Together<Client>>::default(), Rc::<Client>::default());
        client.is_new.set(true);
        tokio::task::LocalSet::new()
            .run_until(async {
                together.add(Rc::clone(&client));
                tokio::time::sleep(2 * LONGEST).await;
                assert_eq!((client.gone.get(), client.is_new.get()), (0, false), "it was looked at once");
                tokio::time::sleep(2 * LONGEST).await;
                assert_eq!(client.gone.get(), 1);
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
        assert_eq!(client.gone.get(), 1);
        assert!(!together.look_for_missed_wakeup(), "nothing waits");
    }
}
