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
        let (routes, times) = (self.nodes.routes(table), self.times());
        let mut pieces = self.nodes.pieces.take();
        let (first, written_at) = (state.first + state.simple.len() as u64, state.input_start + state.parsed as u64);
        let State { streams, simple, .. } = state;
        streams.note_changes(self.nodes.changes());
        let (mut known, mut number, mut parsed) = (None::<SimpleCommand>, first, 0);
        let (map, begin) = (self.nodes.map.borrow(), batch.wire(range.clone()).start);
        for at in range.clone() {
            let id = batch.id(at);
            if known.as_ref().is_none_or(|known| known.id != id) {
                known = SimpleCommand::of(&routes, table, id);
            }
            let Some(SimpleCommand { key, is_read, .. }) = known else { break };
            // What is told of one without a key is not told here.
            let Some(slot) = Some(batch.argument(all, at, key)).filter(|key| !key.is_empty()).map(key_slot) else { break };
            let Some(stream) = map.owner(slot).and_then(|shard| streams.of_shard(shard)) else { break };
            let Some(stream_known) = streams.get(stream) else { break };
            let place = batch.wire(at..at + 1);
            let (start, end) = (place.start - begin, place.end - begin);
            let written = &bytes[start..end];
            pieces.add(stream, stream_known, Collected { number, written, deadline: Some(times.deadline), is_read });
            let (start, end) = (written_at + start as u64, written_at + end as u64);
            simple.requests.push_back(SimpleRequest { start, end, slot, stream, command: id, is_read });
            (number, parsed) = (number + 1, place.end - begin);
        }
        drop(map);
        if number > first {
            simple.read.push_back((number, times));
            (state.next, state.parsed) = (number, state.parsed + parsed);
            self.send_pieces(state, &mut pieces);
        }
        self.nodes.pieces.replace(pieces);
        (number - first) as usize
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
