//! What one worker has left of the retry budget.

use std::cell::{Cell, RefCell, RefMut};
use std::time::Instant;

use respguard_engine::link::budget::{Allowance, Budget};

/// A budget, and what was answered since it was last told: an addition on the way of replies.
#[derive(Debug)]
pub struct Retries {
    budget: RefCell<Budget>,
    answered: Cell<u32>,
}

impl Default for Retries {
    /// Nothing may be sent once more.
    fn default() -> Retries {
        let budget = RefCell::new(Budget::new(Allowance { share: 0.0, per_second: 0.0 }));
        Retries { budget, answered: Cell::new(0) }
    }
}

impl Retries {
    /// From now on so much is allowed.
    pub fn allow(&self, allowance: Allowance) {
        self.budget.replace(Budget::new(allowance));
    }

    /// Replies came.
    pub fn answered(&self, replies: u32) {
        self.answered.set(self.answered.get().saturating_add(replies));
    }

    /// Tells the budget what was answered; called every few milliseconds.
    pub fn report(&self, now: Instant) {
        let answered = self.answered.take();
        if answered > 0 {
            self.budget.borrow_mut().record(answered, now);
        }
    }

    /// The budget, which knows of everything that was answered.
    pub fn budget(&self, now: Instant) -> RefMut<'_, Budget> {
        self.report(now);
        self.budget.borrow_mut()
    }
}
