//! Sends the single requests that one client has written together, all requests for a node in one piece.
//!
//! Those of one node keep their order. Between requests of different nodes there is none.

use std::time::Instant;

use super::core::Core;
use super::entry::{Entry, Kind};
use super::settings::NodeName;
use super::state::State;
use super::streams::{Stream, address};
use crate::net::clock;
use respguard_engine::link::owed::Owed;
use respguard_engine::link::times::Times;

/// Requests of one piece.
const REQUESTS_MAX: u32 = 256;
/// A buffer that grew beyond this is not kept.
const BUFFER_BYTES_MAX: usize = 256 * 1024;

/// What goes to one node in one piece.
#[derive(Debug, Default)]
struct Piece {
    stream: u16,
    /// Which request of the stream the first is.
    first: u64,
    requests: u32,
    deadline: Option<Instant>,
    /// One of them may write.
    writes: bool,
    bytes: Vec<u8>,
}

/// A request that comes to a piece.
pub(super) struct Collected<'a> {
    /// Its number among all of its client.
    pub(super) number: u64,
    pub(super) written: &'a [u8],
    pub(super) deadline: Option<Instant>,
    pub(super) is_read: bool,
}

impl<'a> Collected<'a> {
    fn of(entry: &Entry, number: u64, written: &'a [u8]) -> Collected<'a> {
        Collected { number, written, deadline: entry.deadline, is_read: entry.is_read }
    }
}

/// Pieces that are being collected; one for all clients of a worker, of whom one sends at a time.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    all: Vec<Piece>,
    used: usize,
}

impl Pieces {
    pub(super) fn is_empty(&self) -> bool {
        self.used == 0
    }

    fn begin(&mut self, stream: u16, deadline: Option<Instant>) -> usize {
        if self.used == self.all.len() {
            self.all.push(Piece::default());
        }
        let piece = &mut self.all[self.used];
        (piece.stream, piece.requests, piece.deadline, piece.writes) = (stream, 0, deadline, false);
        self.used += 1;
        self.used - 1
    }

    /// A request comes to what goes to its node.
    #[inline]
    pub(super) fn add(&mut self, stream: u16, known: &mut Stream, request: Collected<'_>) {
        let Collected { number, written, deadline, is_read } = request;
        let is_next = |at: &usize| self.all[*at].deadline == deadline && self.all[*at].requests < REQUESTS_MAX;
        let at = match known.piece.filter(is_next) {
            Some(at) => at,
            None => self.begin(stream, deadline),
        };
        known.piece = Some(at);
        let count = known.replies.push(number);
        let piece = &mut self.all[at];
        if piece.requests == 0 {
            piece.first = count;
        }
        piece.requests += 1;
        piece.writes |= !is_read;
        piece.bytes.extend_from_slice(written);
    }

    /// Nothing is collected any more.
    fn forget(&mut self) {
        for piece in &mut self.all[..self.used] {
            if piece.bytes.capacity() > BUFFER_BYTES_MAX {
                piece.bytes = Vec::new();
            }
            piece.bytes.clear();
        }
        self.used = 0;
    }
}

impl Core {
    /// Takes the request at this place into the piece for its node, if it can go that way.
    pub(super) fn collect(&self, state: &mut State, place: usize, pieces: &mut Pieces) -> bool {
        let entry = &state.queue[place];
        let is_simple = matches!(entry.kind, Kind::Single) && !entry.blocks_others && entry.again.is_none();
        let Some(slot) = entry.slot.filter(|_| is_simple && !state.is_subscribed() && state.may_go(place)) else { return false };
        let Some(stream) = self.stream_of(state, slot) else { return false };
        let (number, deadline) = (state.first + place as u64, state.deadline(place));
        let State { queue, streams, input, input_start, .. } = state;
        let (entry, Some(known)) = (&mut queue[place], streams.get(stream)) else { return false };
        let offset = |position: u64| usize::try_from(position.saturating_sub(*input_start)).unwrap_or(usize::MAX);
        let written = input.get(offset(entry.bytes.start)..offset(entry.bytes.end));
        let collected = Collected::of(entry, number, written.unwrap_or_default());
        pieces.add(stream, known, Collected { deadline, ..collected });
        entry.go_in(stream);
        true
    }

    /// True while nothing stands against what comes next, if that is a single request.
    pub(super) fn goes_at_once(&self, state: &State) -> bool {
        let is_sent = state.hindrances.is_empty() && state.next == state.first + state.requests() as u64;
        let is_plain = state.multi.is_none() && state.subscriptions.is_none() && state.returning.is_empty();
        is_sent && is_plain && state.version == self.nodes.version()
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
            pieces.add(stream, known, Collected::of(&entry, number, written));
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
        match state.streams.of_shard(shard) {
            Some(known) => Some(known),
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
        for piece in &pieces.all[..pieces.used] {
            let Some(stream) = state.streams.get(piece.stream) else { continue };
            stream.piece = None;
            stream.note_use();
            let owed = Owed::each(address(piece.stream, piece.first), piece.requests);
            if !stream.link.send(
                self.as_recipient(),
                &[&piece.bytes],
                owed,
                Times { read_at: clock::now(), deadline: piece.deadline },
            ) {
                self.not_sent(state, piece);
                are_sent = false;
            } else if piece.writes {
                let node = NodeName::clone(&stream.node);
                state.note_written(&node);
            }
        }
        pieces.forget();
        are_sent
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
