//! Counts the replies that nodes still owe to requests which were answered with a timeout, and knows whose they were.
//!
//! Until they have come, or their connection has gone, a node may still run these requests: nothing of their client may
//! overtake them over another connection. Over the same one a node runs what comes in its order.

use std::cell::{Cell, RefCell};

use respguard_engine::link::owed::Owed;
use respguard_engine::pipeline::finding::Fault;

/// `R` is whoever is owed replies.
pub(super) struct LateReplies<R> {
    /// How many nodes still owe.
    frames: Cell<u32>,
    /// Who waits until all have come, and how many of its own replies these stand for.
    waiting: RefCell<Vec<(R, u32)>>,
    /// All have come, and who waits does not know it.
    is_news: Cell<bool>,
}

impl<R> Default for LateReplies<R> {
    fn default() -> Self {
        LateReplies { frames: Cell::new(0), waiting: RefCell::default(), is_news: Cell::new(false) }
    }
}

impl<R> LateReplies<R> {
    /// Takes note of what a node owes that is not waited for any more.
    pub(super) fn note(&self, owed: Owed, fault: Fault) {
        if fault == Fault::Timeout {
            self.frames.set(self.frames.get().saturating_add(owed.frames()));
        }
    }

    /// So many have come, or never will; true when none is left.
    pub(super) fn settle(&self, frames: u32) -> bool {
        self.frames.set(self.frames.get().saturating_sub(frames));
        self.is_news.set(!self.any());
        !self.any()
    }

    #[inline]
    pub(super) fn any(&self) -> bool {
        self.frames.get() > 0
    }

    /// So many of its replies are late, until nothing is owed any more.
    pub(super) fn wait(&self, who: R, frames: u32) {
        self.waiting.borrow_mut().push((who, frames));
        self.is_news.set(!self.any());
    }

    /// Whether such a one waits.
    pub(super) fn is_waited_for(&self, is_such: impl Fn(&R) -> bool) -> bool {
        self.waiting.borrow().iter().any(|(who, _)| is_such(who))
    }

    /// Those who wait no longer, once nothing is owed any more.
    #[inline]
    pub(super) fn take_settled(&self) -> Vec<(R, u32)> {
        if self.is_news.take() && !self.any() { self.waiting.take() } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use respguard_engine::link::owed::Seq;

    #[test]
    fn what_is_late_is_owed_until_it_has_come_and_what_is_lost_is_not() {
        let late = LateReplies::<char>::default();
        late.note(Owed::each(Seq::default(), 3), Fault::Lost);
        late.note(Owed::each(Seq::default(), 3), Fault::Unavailable);
        assert!(!late.any());
        late.note(Owed::each(Seq::default(), 3), Fault::Timeout);
        late.note(Owed::request(Seq::default(), 2), Fault::Timeout);
        assert!(late.any() && !late.settle(4) && late.any());
        assert!(late.settle(1) && !late.any());
        assert!(late.settle(1), "more than was owed leaves nothing owed");
    }

    #[test]
    fn who_waits_does_so_until_nothing_is_owed_any_more() {
        let late = LateReplies::default();
        late.note(Owed::each(Seq::default(), 2), Fault::Timeout);
        late.wait('a', 2);
        late.wait('b', 5);
        assert!(late.is_waited_for(|who| *who == 'a') && !late.is_waited_for(|who| *who == 'c'));
        late.settle(1);
        assert_eq!(late.take_settled(), []);
        late.settle(1);
        assert_eq!(late.take_settled(), [('a', 2), ('b', 5)]);
        assert!(late.take_settled().is_empty() && !late.is_waited_for(|_| true));
    }

    #[test]
    fn who_comes_when_nothing_is_owed_does_not_wait() {
        let late = LateReplies::default();
        late.wait('a', 3);
        assert_eq!(late.take_settled(), [('a', 3)]);
    }

    #[test]
    fn what_becomes_late_meanwhile_is_waited_for_too() {
        let late = LateReplies::default();
        late.note(Owed::answer(), Fault::Timeout);
        late.wait('a', 1);
        late.settle(1);
        late.note(Owed::answer(), Fault::Timeout);
        assert_eq!(late.take_settled(), []);
        late.settle(1);
        assert_eq!(late.take_settled(), [('a', 1)]);
    }
}
