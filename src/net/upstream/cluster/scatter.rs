//! Sends the single requests that one client has written together, all requests for a node in one piece.
//!
//! Those of one node keep their order. Between requests of different nodes there is none.

use std::time::Instant;

use super::core::Core;
use super::entry::{Entry, Kind};
use super::pieces::{Collected, Piece, Pieces};
use super::state::{State, note_written};
use super::streams::{Stream, address};
use crate::net::clock;
use respguard_engine::link::owed::Owed;
use respguard_engine::link::times::Times;

impl Core {
    /// Takes the request at this place into the piece for its node, if it can go that way.
    pub(super) fn collect(&self, state: &mut State, place: usize, pieces: &mut Pieces) -> bool {
        let entry = &state.queue[place];
        let is_simple = matches!(entry.kind, Kind::Single) && !entry.blocks_others && entry.again.is_none();
        let is_simple = is_simple && !self.nodes.half_moved.has(entry.slot);
        let Some(slot) = entry.slot.filter(|_| is_simple && !state.is_subscribed() && state.may_go(place)) else { return false };
        let Some(stream) = self.stream_of(state, slot) else { return false };
        let (number, deadline) = (state.first + place as u64, state.deadline(place));
        let State { queue, streams, input, input_start, .. } = state;
        let (entry, Some(known)) = (&mut queue[place], streams.get(stream)) else { return false };
        let offset = |position: u64| usize::try_from(position.saturating_sub(*input_start)).unwrap_or(usize::MAX);
        let written = input.get(offset(entry.bytes.start)..offset(entry.bytes.end));
        add(pieces, stream, known, (entry, number, deadline), written.unwrap_or_default());
        entry.go_in(stream);
        true
    }

    /// True while nothing stands against what comes next, if that is a single request.
    pub(super) fn goes_at_once(&self, state: &State) -> bool {
        let is_sent = state.hindrances.is_empty() && state.next == state.first + state.requests() as u64;
        let is_plain = state.multi.is_none() && state.subscriptions.is_none() && state.returning.is_empty();
        is_sent && is_plain && state.version == self.nodes.version() && !self.nodes.half_moved.any()
    }

    /// Takes a request, a single one about this slot before which nothing waits, as the last, and into the piece for its node;
    /// false where that has no connection that is ready.
    #[inline]
    pub(super) fn collect_last(
        &self,
        state: &mut State,
        mut entry: Entry,
        slot: u16,
        written: &[u8],
        pieces: &mut Pieces,
    ) -> bool {
        let number = state.first + state.queue.len() as u64;
        let mut is_collected = false;
        if let Some(stream) = self.stream_of(state, slot)
            && let Some(known) = state.streams.get(stream)
        {
            add(pieces, stream, known, (&entry, number, entry.deadline), written);
            entry.go_in(stream);
            state.next = number + 1;
            is_collected = true;
        }
        state.queue.push_back(entry);
        is_collected
    }

    /// The stream of what is about this slot; `None` where its node has no connection that is ready.
    #[inline]
    fn stream_of(&self, state: &mut State, slot: u16) -> Option<u16> {
        let shard = self.nodes.shard_of(slot)?;
        state.streams.note_changes(self.nodes.changes());
        match state.streams.way(shard) {
            Some((known, _)) => Some(known),
            None => self.open_stream(state, shard, slot),
        }
    }

    #[cold]
    fn open_stream(&self, state: &mut State, shard: usize, slot: u16) -> Option<u16> {
        let name = self.nodes.owner(slot)?;
        if self.nodes.is_given_up(&name) {
            return None;
        }
        let used = self.nodes.used(&name, &self.key.borrow())?;
        let stream = state.streams.open(shard, name, used, &self.as_recipient())?;
        if let Some(known) = state.streams.get(stream) {
            self.note_link(&known.link);
        }
        Some(stream)
    }

    /// Sends what was collected; true when all of it is on its way.
    pub(super) fn send_pieces(&self, state: &mut State, pieces: &mut Pieces) -> bool {
        let mut are_sent = true;
        for piece in pieces.all() {
            are_sent &= self.send_piece(state, piece, &piece.bytes);
        }
        pieces.forget();
        are_sent
    }

    /// Sends these bytes; true when they are on their way.
    pub(super) fn send_piece(&self, state: &mut State, piece: &Piece, bytes: &[u8]) -> bool {
        let Some(stream) = state.streams.get(piece.stream) else { return true };
        stream.piece = None;
        stream.note_use();
        let owed = Owed::each(address(piece.stream, piece.first), piece.requests);
        let times = Times { read_at: clock::now(), deadline: piece.deadline };
        let is_sent = stream.link.send(self.as_recipient(), &[bytes], owed, times);
        if !is_sent {
            self.not_sent(state, piece);
        } else if piece.writes {
            note_written(&mut state.wrote, &stream.node);
        }
        is_sent
    }

    /// The connection has gone: they wait for another one.
    #[cold]
    fn not_sent(&self, state: &mut State, piece: &Piece) {
        state.queue_simple();
        for nth in (0..u64::from(piece.requests)).rev() {
            if let Some(place) = state.forget_in_stream(piece.stream, piece.first + nth) {
                state.wait_again(place);
            }
        }
        self.nodes.doubt(clock::now());
    }
}

/// The request with this number comes to what goes over its stream.
#[inline]
fn add(
    pieces: &mut Pieces,
    stream: u16,
    known: &mut Stream,
    (entry, number, deadline): (&Entry, u64, Option<Instant>),
    written: &[u8],
) {
    let count = known.replies.push(number);
    pieces.add(stream, &mut known.piece, Collected { count, written, deadline, is_read: entry.is_read });
}
