//! Requests that go to the node of their only key as they came: nearly all. While a client has nothing else under way, of each is
//! kept no more than where its reply comes, and what it is should it have to be looked at like any other.

use std::collections::VecDeque;

use super::core::Core;
use super::entry::Entry;
use super::intake::Times;
use super::scatter::Collected;
use super::state::State;
use crate::net::upstream::commands::Commands;
use respguard_engine::command::{CommandId, RetryClass, Table, Timeout};
use respguard_engine::route::place::{Route, Routes};
use respguard_engine::route::slots::key_slot;

/// A client that is owed nothing keeps room for no more than so many.
const IDLE_REQUESTS_MAX: usize = 64;

/// Simple requests of one client that have been sent, in their order.
#[derive(Default)]
pub(super) struct SimpleRequests {
    requests: VecDeque<SimpleRequest>,
    /// Up to which number requests were read at these times.
    read: VecDeque<(u64, Times)>,
}

#[derive(Clone, Copy)]
struct SimpleRequest {
    /// Where it stands in what was written.
    start: u64,
    end: u64,
    slot: u16,
    /// Its reply comes in this one.
    stream: u16,
    command: CommandId,
    is_read: bool,
}

/// What commands have in common that go to the node of their only key as they came.
struct SimpleCommand {
    id: CommandId,
    /// Which argument is the key.
    key: usize,
    is_read: bool,
}

impl SimpleCommand {
    /// `None` for a command of another kind.
    fn of(routes: &Routes, table: &Table, id: CommandId) -> Option<SimpleCommand> {
        let spec = table.spec(id);
        let goes_there = matches!(routes.get(id.index()), Route::Keys | Route::Split(_)) && spec.first_argument_is_only_key();
        let is_simple = goes_there && spec.timeout == Timeout::Never && !spec.slow;
        is_simple.then(|| SimpleCommand { id, key: usize::from(spec.name_words), is_read: spec.retry == RetryClass::Read })
    }
}

impl Core {
    /// Takes and sends the simple ones among these commands up to the first that is not, or whose node has no connection that is
    /// known to be ready: how many. `bytes` are theirs, and have been written.
    #[inline]
    pub(super) fn take_simple(&self, state: &mut State, table: &Table, bytes: &[u8], commands: &Commands<'_>) -> usize {
        let Commands { batch, bytes: all, ref range } = *commands;
        let (routes, times, map) = (self.nodes.routes(table), self.times(), self.nodes.map.borrow());
        let mut pieces = self.nodes.pieces.take();
        let State { streams, simple, first, next, input_start, parsed, .. } = state;
        streams.note_changes(self.nodes.changes());
        let (begin, before) = (batch.wire(range.clone()).start, simple.len());
        let (written_at, mut taken, mut known) = (*input_start + *parsed as u64, 0, None::<SimpleCommand>);
        for at in range.clone() {
            let id = batch.id(at);
            if known.as_ref().is_none_or(|known| known.id != id) {
                known = SimpleCommand::of(&routes, table, id);
            }
            let Some(SimpleCommand { key, is_read, .. }) = known else { break };
            let key = batch.argument(all, at, key);
            if key.is_empty() {
                // It may have none.
                break;
            }
            let slot = key_slot(key);
            let Some(stream) = map.owner(slot).and_then(|shard| streams.of_shard(shard)) else { break };
            let Some(way) = streams.get(stream) else { break };
            let place = batch.wire(at..at + 1);
            let (from, through) = (place.start - begin, place.end - begin);
            let (number, deadline) = (*first + simple.len() as u64, Some(times.deadline));
            pieces.add(stream, way, Collected { number, written: &bytes[from..through], deadline, is_read });
            let (start, end) = (written_at + from as u64, written_at + through as u64);
            simple.requests.push_back(SimpleRequest { start, end, slot, stream, command: id, is_read });
            taken = through;
        }
        drop(map);
        let count = simple.len() - before;
        (*next, *parsed) = (*first + simple.len() as u64, *parsed + taken);
        if count > 0 {
            simple.read.push_back((*next, times));
            self.send_pieces(state, &mut pieces);
        }
        self.nodes.pieces.replace(pieces);
        count
    }
}

impl SimpleRequests {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Where the first begins in what was written.
    #[inline]
    pub(super) fn start(&self) -> Option<u64> {
        self.requests.front().map(|request| request.start)
    }

    /// In which streams their replies come.
    #[inline]
    pub(super) fn streams(&self) -> impl Iterator<Item = u16> {
        self.requests.iter().map(|request| request.stream)
    }

    /// So many at the head are answered: the first that is not has this number.
    #[inline]
    pub(super) fn pop_front(&mut self, requests: usize, first: u64) {
        self.requests.drain(..requests.min(self.requests.len()));
        while self.read.pop_front_if(|(end, _)| *end <= first).is_some() {}
    }

    /// The room that a burst has taken goes.
    pub(super) fn shrink(&mut self) {
        if self.requests.capacity() > IDLE_REQUESTS_MAX {
            *self = SimpleRequests::default();
        }
    }
}

impl State {
    /// Simple requests stand in the queue from now on, like any others: something else comes between them or behind them.
    #[inline]
    pub(super) fn queue_simple(&mut self) {
        if !self.simple.is_empty() {
            self.queue_all_simple();
        }
    }

    #[cold]
    fn queue_all_simple(&mut self) {
        debug_assert!(self.queue.is_empty(), "what is not simple stands in the queue with all others");
        let SimpleRequests { requests, read } = &mut self.simple;
        for (number, request) in (self.first..).zip(requests.drain(..)) {
            while read.front().is_some_and(|(end, _)| *end <= number) {
                read.pop_front();
            }
            let Some((_, times)) = read.front() else { break };
            let SimpleRequest { start, end, slot, stream, command, is_read } = request;
            let mut entry = Entry::single(*times, command, start..end, slot, is_read);
            entry.go_in(stream);
            self.queue.push_back(entry);
        }
        read.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::net::upstream::cluster::entry::Phase;

    /// So many bytes each, on three nodes in turn.
    fn send(state: &mut State, requests: u64, times: Times) {
        let before = state.first + state.simple.len() as u64;
        for number in before..before + requests {
            let (start, slot, stream) = (10 * number, number as u16 + 7, (number % 3) as u16);
            let (command, is_read) = (CommandId::UNKNOWN, number % 2 == 0);
            state.simple.requests.push_back(SimpleRequest { start, end: start + 10, slot, stream, command, is_read });
        }
        state.simple.read.push_back((before + requests, times));
    }

    #[test]
    fn those_that_are_not_answered_stand_in_the_queue_as_they_were_sent() {
        let (now, mut state) = (Instant::now(), State::new());
        let [first, second] = [1, 2].map(|seconds| Times::at(now, Duration::from_secs(seconds)));
        send(&mut state, 3, first);
        send(&mut state, 2, second);
        state.pop_front(2);
        assert_eq!((state.requests(), state.simple.start(), state.first), (3, Some(20), 2));
        state.queue_simple();
        let told = state.queue.iter().map(|entry| {
            assert_eq!(entry.phase, Phase::Sent);
            (entry.bytes.clone(), entry.slot, entry.stream, entry.is_read, entry.deadline)
        });
        let [early, late] = [first.deadline, second.deadline].map(Some);
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                (20..30, Some(9), Some(2), true, early),
                (30..40, Some(10), Some(0), false, late),
                (40..50, Some(11), Some(1), true, late),
            ]
        );
        assert!(state.simple.is_empty() && state.simple.read.is_empty());
        assert_eq!(state.requests(), 3);
    }

    #[test]
    fn times_are_kept_as_long_as_one_of_their_requests_is_under_way() {
        let (times, mut state) = (Times::at(Instant::now(), Duration::from_secs(1)), State::new());
        (0..4).for_each(|_| send(&mut state, 2, times));
        let mut kept = Vec::new();
        while !state.simple.is_empty() {
            state.pop_front(1);
            kept.push(state.simple.read.len());
        }
        assert_eq!(kept, [4, 3, 3, 2, 2, 1, 1, 0]);
    }

    #[test]
    fn the_room_of_a_burst_goes() {
        let (times, mut state) = (Times::at(Instant::now(), Duration::from_secs(1)), State::new());
        send(&mut state, 1000, times);
        state.pop_front(1000);
        state.simple.shrink();
        assert_eq!(state.simple.requests.capacity(), 0);
    }
}
