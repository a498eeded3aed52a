//! What is under way on one connection to the cluster: what was written and not answered, and replies that wait to be read.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use super::connection::HeadFault;
use super::entry::{Entry, Kind, Lease, OpenTransaction, Phase};
use super::hindrances::Hindrances;
use super::scripts::ScriptNeeds;
use super::settings::NodeName;
use super::simple::{SimpleRequest, SimpleRequests};
use super::streams::Streams;
use super::subscriptions::{Name, Subscriptions};
use super::waiting_requests::WaitingRequests;
use super::written_request::WrittenRequest;
use crate::net::clock;
use crate::net::memory_budget::LITTLE;
use respguard_engine::link::owed::Seq;
use respguard_engine::pipeline::finding::Fault;
use respguard_resp::request::{Limits, RequestParser, Span};

/// Bytes of replies that wait to be read before the nodes are no longer read from.
const OUT_BYTES: usize = 1024 * 1024;
/// And beyond which the client is closed, if others wait behind it.
const OUT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// A buffer that grew beyond this is not kept.
const BUFFER_BYTES_MAX: usize = 256 * 1024;
/// Answered bytes at the front of the input that are not worth moving the others for.
const ANSWERED_BYTES_MAX: usize = 64 * 1024;

#[derive(Default)]
pub(super) struct Parsing {
    pub(super) parser: Option<RequestParser>,
    pub(super) spans: Vec<Span>,
    pub(super) arena: Vec<u8>,
    /// The request at hand is too long to be held: it was refused, and the rest of it is passed over.
    pub(super) is_refused: bool,
}

/// A request waits for room.
#[derive(Debug, Clone, Copy)]
pub(super) struct RoomWanted {
    pub(super) since: Instant,
    /// So long it is at least, as far as its lengths have come.
    pub(super) bytes: usize,
}

pub(super) struct State {
    /// What was written and is not answered, and what is no whole request yet.
    pub(super) input: Vec<u8>,
    /// Position of the first byte of it.
    pub(super) input_start: u64,
    /// Bytes of it that have been cut into requests.
    pub(super) parsed: usize,
    pub(super) parsing: Parsing,
    /// The request that is being cut waits for room.
    pub(super) room_wanted: Option<RoomWanted>,
    /// All that is under way, while that are simple requests;
    pub(super) simple: SimpleRequests,
    /// or else here.
    pub(super) queue: VecDeque<Entry>,
    /// Where single requests go, and what they are answered.
    pub(super) streams: Streams,
    /// Number of the first request under way.
    pub(super) first: u64,
    /// Number of the first that has not been looked at for sending.
    pub(super) next: u64,
    /// Those before that which are to be looked at again.
    pub(super) waiting: WaitingRequests,
    /// Requests that keep others waiting.
    pub(super) hindrances: Hindrances,
    /// When a node has answered a request last,
    pub(super) answered_at: Instant,
    /// and when another request has become the first.
    pub(super) head_at: Instant,
    /// The number of what was known of the cluster when something was sent last.
    pub(super) version: u64,
    /// Replies that have yet to be read.
    pub(super) out: Vec<u8>,
    pub(super) out_at: usize,
    /// How many of them, from the first on, are plain.
    pub(super) plain: Plain,
    /// What is to be told behind them.
    pub(super) fault: Option<HeadFault>,
    pub(super) is_closed: bool,
    /// The client's own MULTI that came without its EXEC.
    pub(super) multi: Option<Multi>,
    /// What the client watches.
    pub(super) watch: Option<Watch>,
    /// A WATCH was read that no EXEC, DISCARD or UNWATCH has ended yet: what it is about may still have to be sent.
    pub(super) watches: bool,
    /// The slot that this is about.
    pub(super) watched_slot: Option<u16>,
    /// Nodes that it has written to.
    pub(super) wrote: Vec<NodeName>,
    /// What the client is subscribed to.
    pub(super) subscriptions: Option<Box<Subscriptions>>,
    /// Messages that have to wait for what is before them.
    pub(super) held: VecDeque<(Name, Box<[u8]>)>,
    pub(super) held_bytes: usize,
    /// Bytes of replies that are kept with their requests.
    pub(super) reply_bytes: usize,
    /// Leases that are over; true for those that are as they were.
    pub(super) returning: Vec<(Lease, bool)>,
}

/// Whole replies that need no look inside.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Plain {
    pub(super) bytes: usize,
    pub(super) frames: u32,
}

/// A client's MULTI whose EXEC has yet to come.
pub(super) struct Multi {
    pub(super) own: Rc<OpenTransaction>,
    /// `MULTI` and what was queued.
    pub(super) request: Vec<u8>,
    pub(super) frames: u32,
    pub(super) slot: Option<u16>,
    pub(super) needs: ScriptNeeds,
}

/// The connection on which a client watches.
pub(super) struct Watch {
    pub(super) lease: Lease,
    pub(super) slot: u16,
    /// The slot has moved, or the connection was lost: whether something has changed cannot be told any more.
    pub(super) is_broken: bool,
}

impl State {
    pub(super) fn new() -> State {
        State {
            input: Vec::new(),
            input_start: 0,
            parsed: 0,
            room_wanted: None,
            parsing: Parsing { parser: Some(RequestParser::new(Limits::default())), ..Parsing::default() },
            simple: SimpleRequests::default(),
            queue: VecDeque::new(),
            streams: Streams::default(),
            first: 0,
            next: 0,
            waiting: WaitingRequests::default(),
            hindrances: Hindrances::default(),
            answered_at: Self::now(),
            head_at: Self::now(),
            version: 0,
            out: Vec::new(),
            out_at: 0,
            plain: Plain::default(),
            fault: None,
            is_closed: false,
            multi: None,
            watch: None,
            watches: false,
            watched_slot: None,
            wrote: Vec::new(),
            subscriptions: None,
            held: VecDeque::new(),
            held_bytes: 0,
            reply_bytes: 0,
            returning: Vec::new(),
        }
    }

    /// The place in the queue of the request that this frame answers.
    pub(super) fn place(&self, seq: Seq) -> Option<usize> {
        let place = usize::try_from(seq.number().checked_sub(self.first)?).ok()?;
        (place < self.queue.len()).then_some(place)
    }

    /// The address of what stands at this place.
    pub(super) fn seq(&self, place: usize) -> Seq {
        Seq::numbered(self.first + place as u64)
    }

    /// Everything was read.
    pub(super) fn forget_read(&mut self) {
        self.out.clear();
        (self.out_at, self.plain) = (0, Plain::default());
        if self.out.capacity() > BUFFER_BYTES_MAX {
            self.out = Vec::new();
        }
    }

    /// So many plain replies wait to be read from now on.
    pub(super) fn pass_plain(&mut self, replies: &[u8], frames: usize) {
        let from = self.out.len();
        self.out.extend_from_slice(replies);
        self.note_plain(from, frames);
    }

    /// What waits to be read from there on are so many plain replies.
    pub(super) fn note_plain(&mut self, from: usize, frames: usize) {
        if self.plain.bytes == from {
            self.plain.bytes = self.out.len();
            self.plain.frames += u32::try_from(frames).unwrap_or(u32::MAX);
        }
    }

    /// The client has written there.
    pub(super) fn note_written(&mut self, node: &NodeName) {
        note_written(&mut self.wrote, node);
    }

    pub(super) fn kept_bytes(&self) -> usize {
        let multi = self.multi.as_ref().map_or(0, |multi| multi.request.len());
        self.input.len() + self.waiting_bytes() + self.reply_bytes + multi
    }

    /// No more is kept than each client may have.
    pub(super) fn is_little(&self) -> bool {
        self.kept_bytes() < LITTLE
    }

    /// Bytes of replies that wait.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.out.len() - self.out_at + self.held_bytes
    }

    /// The client is closed: what it has not read goes.
    pub(super) fn give_up_unread(&mut self) {
        self.is_closed = true;
        (self.out, self.out_at, self.plain) = (Vec::new(), 0, Plain::default());
    }

    pub(super) fn is_behind(&self) -> bool {
        self.waiting_bytes() > OUT_BYTES
    }

    pub(super) fn is_far_behind(&self) -> bool {
        self.waiting_bytes() > OUT_BYTES_MAX
    }

    /// A piece of a reply goes to the client, or waits until what is before it has.
    pub(super) fn keep_or_pass(&mut self, place: usize, piece: &[u8]) {
        if place == 0 && self.fault.is_none() {
            self.out.extend_from_slice(piece);
        } else {
            self.queue[place].reply.extend_from_slice(piece);
            self.reply_bytes += piece.len();
        }
    }

    /// The request is over; lets go what may leave.
    pub(super) fn finish(&mut self, place: usize, phase: Phase) {
        let entry = &self.queue[place];
        let is_answered = entry.phase == Phase::Sent || matches!(entry.kind, Kind::Gather(_) | Kind::Subscribe(_));
        self.end(place, phase, is_answered);
    }

    /// The same where it is known whether nodes have answered it: if not, what waits behind it has waited for the same.
    pub(super) fn end(&mut self, place: usize, phase: Phase, is_answered: bool) {
        let entry = &mut self.queue[place];
        entry.phase = phase;
        let since = if is_answered { Self::now() } else { entry.since };
        let lease = match &mut entry.kind {
            Kind::Blocking(lease) => lease.take(),
            Kind::Atomic(atomic) => atomic.end_portion(),
            _ => None,
        };
        self.returning.extend(lease.map(|lease| (lease, phase == Phase::Done)));
        if is_answered {
            self.answered_at = since;
        }
        self.let_others_go(place, since);
        if place == 0 {
            self.advance();
        }
    }

    /// Nothing of what is under way is answered any more. A reply that has left in part, or has as many frames as its client has
    /// subscriptions, ends where the connection does, and so do all behind it.
    pub(super) fn lose_all(&mut self) {
        if self.queue.front().is_some_and(|entry| entry.begun) {
            return;
        }
        let one_by_one = self.queue.iter_mut().take_while(|entry| !matches!(entry.kind, Kind::Subscribe(_)));
        for entry in one_by_one.filter(|entry| !entry.is_over()) {
            let is_unsent = entry.phase == Phase::Waiting && matches!(entry.kind, Kind::Single | Kind::Atomic(_));
            entry.phase = Phase::Failed(if is_unsent { Fault::Unavailable } else { Fault::Lost });
        }
        self.advance();
    }

    /// A node has answered the first.
    pub(super) fn note_answer(&mut self) {
        self.answered_at = Self::now();
        self.head_at = self.answered_at;
    }

    /// The first is answered, and leaves.
    pub(super) fn pop_answered(&mut self) {
        if self.queue.front().is_some_and(|entry| entry.blocks_others) {
            self.let_others_go(0, self.answered_at);
        }
        self.queue.pop_front();
        self.first += 1;
    }

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
        for (nth, stream) in self.simple.streams().enumerate().rev() {
            if let Some(stream) = self.streams.get(stream) {
                stream.replies.queue_last(self.first + nth as u64);
            }
        }
        for (request, times) in self.simple.take(self.first) {
            let SimpleRequest { start, end, slot, stream, command, is_read } = request;
            let mut entry = Entry::single(times, command, start..end, slot, is_read);
            entry.go_in(stream);
            self.queue.push_back(entry);
        }
    }

    /// Requests under way.
    #[inline]
    pub(super) fn requests(&self) -> usize {
        self.simple.len() + self.queue.len()
    }

    /// Replies at the head of the queue leave.
    pub(super) fn advance(&mut self) {
        if self.fault.is_none() && !self.simple.is_empty() {
            self.pass_from_streams();
        }
        while self.fault.is_none()
            && let Some(entry) = self.queue.front_mut()
        {
            if entry.phase == Phase::Done && entry.take_late() {
                self.fault = Some(HeadFault { fault: Fault::Timeout, frames: 0, orphan: None });
                break;
            }
            match entry.phase {
                Phase::Failed(fault) => {
                    let orphan = match &mut entry.kind {
                        Kind::Atomic(atomic) => atomic.orphan.take(),
                        _ => None,
                    };
                    self.fault = Some(HeadFault { fault, frames: entry.frames, orphan });
                }
                Phase::Done => {
                    self.reply_bytes = self.reply_bytes.saturating_sub(entry.reply.len());
                    self.out.append(&mut entry.reply);
                }
                Phase::Waiting | Phase::Sent => {
                    if entry.stream.is_some() {
                        match self.pass_from_streams() {
                            true => continue,
                            false => break,
                        }
                    }
                    // What has come of its reply can leave.
                    if entry.begun {
                        self.reply_bytes = self.reply_bytes.saturating_sub(entry.reply.len());
                        self.out.append(&mut entry.reply);
                    }
                    break;
                }
            }
            self.queue.pop_front();
            self.first += 1;
            self.head_at = Self::now();
        }
        self.forget_answered();
    }

    /// Lets go of what was kept for requests that are answered.
    fn forget_answered(&mut self) {
        if self.requests() == 0 {
            self.reply_bytes = 0;
            self.simple.shrink();
            self.streams.shrink();
        }
        // It is being cut into requests.
        if self.parsing.parser.is_none() {
            return;
        }
        let first = self.simple.start().or_else(|| self.queue.front().map(|entry| entry.bytes.start));
        let kept = first.unwrap_or(self.input_start + self.parsed as u64);
        let answered = usize::try_from(kept.saturating_sub(self.input_start)).unwrap_or(usize::MAX).min(self.parsed);
        if answered == self.input.len() {
            self.input.clear();
            if self.input.capacity() > BUFFER_BYTES_MAX {
                self.input = Vec::new();
            }
        } else if answered > ANSWERED_BYTES_MAX.max(self.input.len() / 2) {
            self.input.drain(..answered);
        } else {
            return;
        }
        self.input_start += answered as u64;
        self.parsed -= answered;
    }

    /// The request that stands at this place of the queue, or the first of those that stand there as one.
    pub(super) fn request(&self, place: usize) -> Option<WrittenRequest<'_>> {
        WrittenRequest::first_of(self.written(&self.queue[place].bytes))
    }

    /// What was written at these positions.
    pub(super) fn written(&self, bytes: &std::ops::Range<u64>) -> &[u8] {
        let at = |position: u64| usize::try_from(position.saturating_sub(self.input_start)).unwrap_or(usize::MAX);
        self.input.get(at(bytes.start)..at(bytes.end)).unwrap_or_default()
    }

    pub(super) fn now() -> Instant {
        clock::now()
    }
}

/// The client has written there, as it has to these.
pub(super) fn note_written(wrote: &mut Vec<NodeName>, node: &NodeName) {
    if !wrote.iter().any(|known| Rc::ptr_eq(known, node)) {
        wrote.retain(|known| known != node);
        wrote.push(NodeName::clone(node));
    }
}
