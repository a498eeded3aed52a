//! Wakes the task that checks for head-of-line blocking while a connection has replies outstanding.

use std::cell::Cell;

use tokio::sync::Notify;

/// Whether the check runs, and the task to wake when there is something to check.
#[derive(Debug, Default)]
pub struct Watch {
    begun: Cell<bool>,
    finds_still: Cell<bool>,
    wanted: Notify,
}

impl Watch {
    /// A connection may owe something from now on.
    #[inline]
    pub fn begin(&self) {
        if !self.begun.replace(true) {
            self.wanted.notify_one();
        }
    }

    /// Whether there is a head that does not move although the server answers.
    pub fn note_still(&self, is_still: bool) {
        self.finds_still.set(is_still);
    }

    /// True while there is such a head.
    #[inline]
    pub fn finds_still(&self) -> bool {
        self.finds_still.get()
    }

    /// None does any more.
    pub fn end(&self) {
        self.begun.set(false);
        self.finds_still.set(false);
    }

    /// Waits until there is something to look at.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }
}
