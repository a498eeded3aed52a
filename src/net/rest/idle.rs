//! Conversations of each token that wait for the next request.

use std::cell::RefCell;

/// Conversations of one token that wait, on each worker.
const IDLE_MAX: usize = 256;

/// Those of all tokens.
pub(super) struct Idle<T> {
    tokens: RefCell<Vec<OfToken<T>>>,
}

/// Those of one token: the one that was given back last is taken first.
struct OfToken<T> {
    waiting: Vec<T>,
    /// The fewest that waited since the last [`Idle::trim`].
    fewest: usize,
}

impl<T> Idle<T> {
    /// None yet.
    pub(super) fn new(tokens: usize) -> Idle<T> {
        Idle { tokens: RefCell::new((0..tokens).map(|_| OfToken { waiting: Vec::new(), fewest: 0 }).collect()) }
    }

    /// One of the token's, if there is one.
    pub(super) fn take(&self, token: usize) -> Option<T> {
        let mut tokens = self.tokens.borrow_mut();
        let of = &mut tokens[token];
        let taken = of.waiting.pop()?;
        of.fewest = of.fewest.min(of.waiting.len());
        Some(taken)
    }

    /// Keeps it for the next request, if there is room.
    pub(super) fn give(&self, token: usize, conversation: T) {
        let waiting = &mut self.tokens.borrow_mut()[token].waiting;
        if waiting.len() < IDLE_MAX {
            waiting.push(conversation);
        }
    }

    /// Lets go of those that nobody has needed since the last call.
    pub(super) fn trim(&self) {
        for of in self.tokens.borrow_mut().iter_mut() {
            // Those at the front were given back first, and are taken last.
            of.waiting.drain(..of.fewest.min(of.waiting.len()));
            of.fewest = of.waiting.len();
        }
    }

    /// Lets go of all.
    pub(super) fn clear(&self) {
        self.tokens.borrow_mut().iter_mut().for_each(|of| of.waiting.clear());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(idle: &Idle<u32>, token: usize) -> Vec<u32> {
        std::iter::from_fn(|| idle.take(token)).collect()
    }

    #[test]
    fn what_was_given_back_last_is_taken_first_and_only_by_its_token() {
        let idle = Idle::new(2);
        idle.give(0, 1);
        idle.give(0, 2);
        idle.give(1, 3);
        assert_eq!((idle.take(0), idle.take(0), idle.take(0)), (Some(2), Some(1), None));
        assert_eq!(idle.take(1), Some(3));
    }

    #[test]
    fn what_nobody_needed_since_the_last_trim_goes() {
        let idle = Idle::new(1);
        (1..=4).for_each(|number| idle.give(0, number));
        idle.trim();
        // Two were needed at a time, so that the other two were not.
        let (one, other) = (idle.take(0), idle.take(0));
        one.into_iter().chain(other).for_each(|number| idle.give(0, number));
        idle.trim();
        assert_eq!(left(&idle, 0), [3, 4]);
    }

    #[test]
    fn no_more_are_kept_than_there_is_room_for() {
        let idle = Idle::new(1);
        (0..300).for_each(|number| idle.give(0, number));
        assert_eq!(left(&idle, 0).len(), IDLE_MAX);
        idle.give(0, 1);
        idle.clear();
        assert_eq!(idle.take(0), None);
    }
}
