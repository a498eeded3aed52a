//! Counts the replies that nodes still owe to requests which were answered with a timeout, and knows whose they were.
//!
//! Until they have come, or their connection has gone, a node may still run these requests: nothing of their client may
//! overtake them over another connection. Over the same one a node runs what comes in its order.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::net::upstream::Recipient;
use respguard_engine::link::owed::Owed;
use respguard_engine::pipeline::finding::Fault;

#[derive(Default)]
pub(super) struct LateReplies {
    /// How many nodes still owe.
    frames: Cell<u32>,
    /// Who is told when all have come, and how many of its own replies these stand for.
    waiting: RefCell<Vec<(Rc<dyn Recipient>, u32)>>,
    /// All have come, and nobody was told.
    is_news: Cell<bool>,
}

impl LateReplies {
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

    /// So many of its replies are late; it is told when nothing is owed any more, which may be at once.
    pub(super) fn wait(&self, who: Rc<dyn Recipient>, frames: u32) {
        match self.any() {
            true => self.waiting.borrow_mut().push((who, frames)),
            false => who.settle_late(frames),
        }
    }

    /// Whether it waits.
    pub(super) fn is_waited_for_by(&self, sender: *const ()) -> bool {
        self.waiting.borrow().iter().any(|(who, _)| std::ptr::eq(who.sender(), sender))
    }

    /// Tells those who wait, once nothing is owed any more. They may send at once.
    #[inline]
    pub(super) fn tell(&self) {
        if self.is_news.take() && !self.any() {
            self.tell_all();
        }
    }

    #[cold]
    fn tell_all(&self) {
        for (who, frames) in self.waiting.take() {
            who.settle_late(frames);
            who.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::upstream::Admitted;
    use respguard_engine::link::owed::{ReplyTo, Seq};
    use respguard_engine::pipeline::reading::Part;

    /// What one client was told: replies that are late no more, and how often that this was all.
    #[derive(Default)]
    struct Told {
        settled: Cell<u32>,
        flushed: Cell<u32>,
    }

    impl Recipient for Told {
        fn admit(&self, _to: ReplyTo, _piece: &[u8], _part: Part) -> Admitted {
            Admitted::default()
        }

        fn fault(&self, _owed: Owed, _fault: Fault) {}

        fn settle_late(&self, frames: u32) {
            self.settled.set(self.settled.get() + frames);
        }

        fn flush(&self) {
            self.flushed.set(self.flushed.get() + 1);
        }
    }

    impl Told {
        fn seen(&self) -> (u32, u32) {
            (self.settled.get(), self.flushed.get())
        }
    }

    #[test]
    fn what_is_late_is_owed_until_it_has_come_and_what_is_lost_is_not() {
        let late = LateReplies::default();
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
    fn who_waits_is_told_once_when_nothing_is_owed_any_more() {
        let (late, one, other) = (LateReplies::default(), Rc::new(Told::default()), Rc::new(Told::default()));
        late.note(Owed::each(Seq::default(), 2), Fault::Timeout);
        late.wait(Rc::<Told>::clone(&one), 2);
        late.wait(Rc::<Told>::clone(&other), 5);
        assert!(late.is_waited_for_by(one.sender()) && !late.is_waited_for_by(Told::default().sender()));
        late.settle(1);
        late.tell();
        assert_eq!((one.seen(), other.seen()), ((0, 0), (0, 0)));
        late.settle(1);
        assert_eq!(one.seen(), (0, 0), "whoever reads the reply may not be called back into");
        late.tell();
        late.tell();
        assert_eq!((one.seen(), other.seen()), ((2, 1), (5, 1)));
        assert!(!late.is_waited_for_by(one.sender()));
    }

    #[test]
    fn who_comes_when_nothing_is_owed_is_told_at_once() {
        let (late, who) = (LateReplies::default(), Rc::new(Told::default()));
        late.wait(Rc::<Told>::clone(&who), 3);
        assert_eq!(who.seen(), (3, 0));
    }

    #[test]
    fn what_becomes_late_before_anybody_was_told_is_waited_for_too() {
        let (late, who) = (LateReplies::default(), Rc::new(Told::default()));
        late.note(Owed::answer(), Fault::Timeout);
        late.wait(Rc::<Told>::clone(&who), 1);
        late.settle(1);
        late.note(Owed::answer(), Fault::Timeout);
        late.tell();
        assert_eq!(who.seen(), (0, 0));
        late.settle(1);
        late.tell();
        assert_eq!(who.seen(), (1, 1));
    }
}
