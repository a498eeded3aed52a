//! Takes the commands that a client's batch has cut already.

use super::core::Core;
use super::intake::Request;
use super::pieces::{Collected, Piece, Pieces};
use super::simple::SimpleRequest;
use super::state::State;
use crate::net::upstream::commands::Commands;
use respguard_engine::command::{CommandId, RetryClass, Table, Timeout};
use respguard_engine::route::place::{Route, Routes, Slots};
use respguard_engine::route::slots::key_slot;

impl Core {
    /// True where so many bytes of whole commands may be taken: what was written before ends with a command, and none of them
    /// is too long to be held.
    pub(super) fn may_take_cut(&self, bytes: usize) -> bool {
        self.state.borrow().is_between_requests() && bytes < self.longest_request(0)
    }

    /// Takes commands, of which these are the bytes; true where all have been sent, and nothing else is to be done.
    pub(super) fn take_cut(&self, bytes: &[u8], commands: &Commands<'_>) -> bool {
        let state = &mut *self.state.borrow_mut();
        let table = self.nodes.context.table();
        state.input.extend_from_slice(bytes);
        let is_simple = state.queue.is_empty() && self.goes_at_once(state);
        let taken = if is_simple { self.take_simple(state, &table, bytes, commands) } else { 0 };
        if taken == commands.range.len() {
            return !state.has_unsent();
        }
        state.queue_simple();
        let range = commands.range.start + taken..commands.range.end;
        self.take_others(state, &table, &Commands { range, ..commands.clone() })
    }

    /// Takes and sends the simple ones among these commands up to the first that is not, or whose node has no connection that is
    /// known to be ready: how many. `bytes` are theirs, and have been written.
    fn take_simple(&self, state: &mut State, table: &Table, bytes: &[u8], commands: &Commands<'_>) -> usize {
        let Commands { batch, bytes: all, ref range } = *commands;
        let (routes, times, map) = (self.nodes.routes(table), self.times(), self.nodes.map.borrow());
        // What comes alone needs no piece.
        let (is_alone, mut alone, mut pieces) = (range.len() == 1, None, Pieces::default());
        if !is_alone {
            pieces = self.nodes.pieces.take();
        }
        let State { streams, simple, first, next, input_start, parsed, .. } = state;
        streams.note_changes(self.nodes.changes());
        let (begin, before) = (batch.wire(range.clone()).start, simple.len());
        let (written_at, mut taken, mut known) = (*input_start + *parsed as u64, 0, None::<SimpleCommand>);
        let deadline = Some(times.deadline);
        for command in batch.commands(range.clone()) {
            let id = command.id;
            if known.as_ref().is_none_or(|known| known.id != id) {
                known = SimpleCommand::of(&routes, table, id);
            }
            let Some(SimpleCommand { key, is_read, .. }) = known else { break };
            let key = batch.argument_of(command, all, key);
            if key.is_empty() {
                // It may have none.
                break;
            }
            let slot = key_slot(key);
            let Some((stream, way)) = map.owner(slot).and_then(|shard| streams.way(shard)) else { break };
            let Some(count) = way.replies.push_simple() else { break };
            let place = command.wire();
            let (from, through) = (place.start - begin, place.end - begin);
            if is_alone {
                alone = Some(Piece { stream, first: count, requests: 1, deadline, writes: !is_read, bytes: Vec::new() });
            } else {
                let written = &bytes[from..through];
                pieces.add(stream, &mut way.piece, Collected { count, written, deadline, is_read });
            }
            let (start, end) = (written_at + from as u64, written_at + through as u64);
            simple.push(SimpleRequest { start, end, slot, stream, command: id, is_read });
            taken = through;
        }
        drop(map);
        let count = simple.len() - before;
        (*next, *parsed) = (*first + simple.len() as u64, *parsed + taken);
        if count > 0 {
            simple.note_times(*next, times);
        }
        if let Some(alone) = alone {
            self.send_piece(state, &alone, &bytes[..taken]);
        } else if !is_alone {
            self.send_pieces(state, &mut pieces);
            self.nodes.pieces.replace(pieces);
        }
        count
    }

    /// Takes commands whose bytes are all that was written and has not been looked at; true where all have been sent.
    fn take_others(&self, state: &mut State, table: &Table, commands: &Commands<'_>) -> bool {
        // Taken out, so that the rest of the state can change while a command is looked at.
        let parser = state.parsing.parser.take();
        let input = std::mem::take(&mut state.input);
        let mut pieces = self.nodes.pieces.take();
        let (routes, times, first) = (self.nodes.routes(table), self.times(), state.parsed);
        let mut goes_at_once = self.goes_at_once(state);
        for (place, id, args) in commands.each() {
            let (from, through) = (first + place.start, first + place.end);
            // It went with one before it.
            if from < state.parsed {
                continue;
            }
            let start = state.input_start + from as u64;
            let request = Request::of(routes.get(id.index()), table, id, args);
            if let Some(slot) = only_slot(&request).filter(|_| state.multi.is_none()) {
                let entry = self.entry_at(times, &request, start..state.input_start + through as u64);
                if goes_at_once {
                    goes_at_once = self.collect_last(state, entry, slot, &input[from..through], &mut pieces);
                } else {
                    state.queue.push_back(entry);
                }
                state.parsed = through;
            } else {
                goes_at_once = false;
                state.parsed = from + self.take_request(state, table, &request, &input[from..], start, place.len());
            }
        }
        let are_sent = self.send_pieces(state, &mut pieces);
        self.nodes.pieces.replace(pieces);
        state.parsed = state.parsed.max(input.len());
        state.input = input;
        state.parsing.parser = parser;
        if !goes_at_once {
            state.advance();
        }
        goes_at_once && are_sent
    }
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

/// The slot of a command that goes to the node of its only key as it came.
#[inline]
fn only_slot(request: &Request<'_>) -> Option<u16> {
    let goes_there = matches!(request.route, Route::Keys | Route::Split(_)) && request.spec.timeout == Timeout::Never;
    match request.slots {
        Slots::One { slot, keys: 1 } if goes_there && !request.runs_what_was_loaded() => Some(slot),
        _ => None,
    }
}

impl State {
    fn is_between_requests(&self) -> bool {
        let is_at_end =
            self.parsed == self.input.len() && self.parsing.parser.as_ref().is_some_and(|parser| parser.parsed_bytes() == 0);
        is_at_end && !self.parsing.is_refused && !self.is_closed
    }
}
