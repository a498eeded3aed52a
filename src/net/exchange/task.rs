//! A client's task, as its exchange knows it: what it waits for, and how it is woken.

use std::cell::{Cell, RefCell};
use std::task::{Context as TaskContext, Waker};

use super::waiting::Waiting;

#[derive(Debug, Default)]
pub(super) struct Task {
    waker: RefCell<Option<Waker>>,
    waiting: Cell<Waiting>,
    /// It also wants to know when it may send more.
    wants_room: Cell<bool>,
}

impl Task {
    /// It runs on `cx`: wakes go there.
    pub(super) fn register(&self, cx: &TaskContext<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// Calls `poll` with its context; `None` as long as it has not run.
    pub(super) fn poll_with<R>(&self, poll: impl FnOnce(&mut TaskContext<'_>) -> R) -> Option<R> {
        let waker = self.waker.borrow();
        Some(poll(&mut TaskContext::from_waker(waker.as_ref()?)))
    }

    #[inline]
    pub(super) fn waiting(&self) -> Waiting {
        self.waiting.get()
    }

    /// It waits for this from now on; true if that is for replies, and was not before.
    pub(super) fn wait_for(&self, waiting: Waiting) -> bool {
        let before = self.waiting.replace(waiting);
        waiting.is_for_replies() && !before.is_for_replies()
    }

    #[inline]
    pub(super) fn wants_room(&self) -> bool {
        self.wants_room.get()
    }

    pub(super) fn want_room(&self, wants: bool) {
        self.wants_room.set(wants);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::upstream::tests::Wakes;
    use std::sync::Arc;

    #[test]
    fn it_is_woken_where_it_ran_last() {
        let (task, first, last) = (Task::default(), Arc::<Wakes>::default(), Arc::<Wakes>::default());
        task.wake();
        assert!(task.poll_with(|_| ()).is_none(), "it has not run");
        for wakes in [&first, &last] {
            task.register(&TaskContext::from_waker(&wakes.waker()));
        }
        task.wake();
        task.poll_with(|cx| cx.waker().wake_by_ref());
        assert_eq!((first.count(), last.count()), (0, 2));
    }

    #[test]
    fn that_it_waits_for_replies_is_told_when_it_begins_to() {
        let task = Task::default();
        assert!(!task.wait_for(Waiting::Release) && task.wait_for(Waiting::Resolved));
        assert!(!task.wait_for(Waiting::Resolved) && !task.wait_for(Waiting::Input));
        assert_eq!(task.waiting(), Waiting::Input);
    }
}
