//! Requests that go to the node of their only key as they came: nearly all. While a client has nothing else under way, of each is
//! kept no more than where its reply comes, and what it is should it have to be looked at like any other.

use std::collections::VecDeque;

use super::times::Times;
use respguard_engine::command::CommandId;

/// A client that is owed nothing keeps room for no more than so many.
const IDLE_REQUESTS_MAX: usize = 64;

/// Answered ones that are not worth moving the others for.
const ANSWERED_MAX: usize = 64;

/// Simple requests of one client that have been sent, in their order.
#[derive(Default)]
pub(super) struct SimpleRequests {
    requests: Vec<SimpleRequest>,
    /// So many of them, the first ones, are answered.
    answered: usize,
    /// Up to which number requests were read at these times.
    read: VecDeque<(u64, Times)>,
}

#[derive(Clone, Copy)]
pub(super) struct SimpleRequest {
    /// Where it stands in what was written.
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) slot: u16,
    /// Its reply comes in this one.
    pub(super) stream: u16,
    pub(super) command: CommandId,
    pub(super) is_read: bool,
}

impl SimpleRequests {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.requests.len() - self.answered
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.requests.len() == self.answered
    }

    /// The next one.
    #[inline]
    pub(super) fn push(&mut self, request: SimpleRequest) {
        self.requests.push(request);
    }

    /// Those up to the one before this number that came last were read at these times.
    pub(super) fn note_times(&mut self, end: u64, times: Times) {
        self.read.push_back((end, times));
    }

    /// Takes all of them, of which the first has this number, with the times of each.
    pub(super) fn take(&mut self, first: u64) -> impl Iterator<Item = (SimpleRequest, Times)> {
        let SimpleRequests { requests, answered, read } = self;
        let mut read = read.drain(..).peekable();
        (first..).zip(requests.drain(..).skip(std::mem::take(answered))).map_while(move |(number, request)| {
            while read.next_if(|(end, _)| *end <= number).is_some() {}
            read.peek().map(|(_, times)| (request, *times))
        })
    }

    /// Where the first begins in what was written.
    #[inline]
    pub(super) fn start(&self) -> Option<u64> {
        self.requests.get(self.answered).map(|request| request.start)
    }

    /// In which streams their replies come.
    #[inline]
    pub(super) fn streams(&self) -> impl DoubleEndedIterator<Item = u16> + ExactSizeIterator {
        self.requests[self.answered..].iter().map(|request| request.stream)
    }

    /// So many at the head are answered: the first that is not has this number.
    #[inline]
    pub(super) fn pop_front(&mut self, requests: usize, first: u64) {
        self.answered = (self.answered + requests).min(self.requests.len());
        if self.is_empty() {
            self.requests.clear();
            self.answered = 0;
        } else if self.answered > ANSWERED_MAX.max(self.requests.len() / 2) {
            self.requests.drain(..std::mem::take(&mut self.answered));
        }
        while self.read.pop_front_if(|(end, _)| *end <= first).is_some() {}
    }

    /// The room that a burst has taken goes.
    pub(super) fn shrink(&mut self) {
        if self.requests.capacity() > IDLE_REQUESTS_MAX {
            *self = SimpleRequests::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// So many bytes each, on three nodes in turn.
    fn send(simple: &mut SimpleRequests, first: u64, requests: u64, times: Times) {
        for number in first..first + requests {
            let (start, slot, stream) = (10 * number, number as u16 + 7, (number % 3) as u16);
            let (command, is_read) = (CommandId::UNKNOWN, number % 2 == 0);
            simple.push(SimpleRequest { start, end: start + 10, slot, stream, command, is_read });
        }
        simple.note_times(first + requests, times);
    }

    #[test]
    fn those_that_are_not_answered_are_told_as_they_were_sent() {
        let (now, mut simple) = (Instant::now(), SimpleRequests::default());
        let [first, second] = [1, 2].map(|seconds| Times::at(now, Duration::from_secs(seconds)));
        send(&mut simple, 0, 3, first);
        send(&mut simple, 3, 2, second);
        simple.pop_front(2, 2);
        assert_eq!((simple.len(), simple.start()), (3, Some(20)));
        assert_eq!(simple.streams().collect::<Vec<_>>(), [2, 0, 1]);
        let told = simple.take(2).map(|(request, times)| (request.start, request.slot, request.is_read, times.deadline));
        let [early, late] = [first.deadline, second.deadline];
        assert_eq!(told.collect::<Vec<_>>(), [(20, 9, true, early), (30, 10, false, late), (40, 11, true, late)]);
        assert!(simple.is_empty() && simple.read.is_empty());
    }

    #[test]
    fn times_are_kept_as_long_as_one_of_their_requests_is_under_way() {
        let (times, mut simple) = (Times::at(Instant::now(), Duration::from_secs(1)), SimpleRequests::default());
        (0..4).for_each(|at| send(&mut simple, 2 * at, 2, times));
        let kept = (1..=8).map(|first| {
            simple.pop_front(1, first);
            simple.read.len()
        });
        assert_eq!(kept.collect::<Vec<_>>(), [4, 3, 3, 2, 2, 1, 1, 0]);
    }

    #[test]
    fn where_a_client_always_has_some_under_way_answered_ones_make_room() {
        let (times, mut simple) = (Times::at(Instant::now(), Duration::from_secs(1)), SimpleRequests::default());
        send(&mut simple, 0, 10, times);
        for round in 1..200 {
            send(&mut simple, 10 * round, 10, times);
            simple.pop_front(10, 10 * round);
            assert_eq!((simple.len(), simple.start()), (10, Some(100 * round)));
            assert!(simple.requests.len() <= ANSWERED_MAX + 20);
        }
    }

    #[test]
    fn the_room_of_a_burst_goes() {
        let (times, mut simple) = (Times::at(Instant::now(), Duration::from_secs(1)), SimpleRequests::default());
        send(&mut simple, 0, 1000, times);
        simple.pop_front(1000, 1000);
        simple.shrink();
        assert_eq!(simple.requests.capacity(), 0);
    }
}
