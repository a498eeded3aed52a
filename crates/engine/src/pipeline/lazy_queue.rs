//! A queue that most clients never use: while it is empty it takes the space of a pointer.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};

/// Reads as an empty queue until it is first changed.
#[derive(Debug)]
#[expect(clippy::box_collection, reason = "an empty queue takes four words, and a client has five of them")]
pub(crate) struct LazyQueue<T: 'static>(Option<Box<VecDeque<T>>>);

impl<T> LazyQueue<T> {
    /// True as long as it takes no room.
    pub(crate) fn is_untouched(&self) -> bool {
        self.0.is_none()
    }
}

impl<T> Default for LazyQueue<T> {
    fn default() -> LazyQueue<T> {
        LazyQueue(None)
    }
}

impl<T> Deref for LazyQueue<T> {
    type Target = VecDeque<T>;

    fn deref(&self) -> &VecDeque<T> {
        self.0.as_deref().unwrap_or(const { &VecDeque::new() })
    }
}

impl<T> DerefMut for LazyQueue<T> {
    fn deref_mut(&mut self) -> &mut VecDeque<T> {
        self.0.get_or_insert_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_comes_out_and_looking_into_it_takes_no_room() {
        let mut queue = LazyQueue::default();
        assert!(queue.is_empty() && queue.front().is_none() && queue.0.is_none());
        queue.push_back(1);
        queue.push_back(2);
        assert_eq!((queue.pop_front(), queue.len()), (Some(1), 1));
        assert_eq!(size_of::<LazyQueue<u8>>(), size_of::<usize>());
    }
}
