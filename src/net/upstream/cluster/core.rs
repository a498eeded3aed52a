//! The state of one connection to the cluster.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::task::{Context, Waker};
use std::time::Instant;

use super::connection::HeadFault;
use super::entry::{Entry, Kind, Lease, OpenTransaction, Phase};
use super::late::LateReplies;
use super::nodes::Nodes;
use super::scripts::ScriptNeeds;
use super::settings::NodeName;
use super::streams::Streams;
use super::subscriptions::{Name, Subscriptions};
use crate::net::clock;
use crate::net::memory_budget::LITTLE;
use crate::net::upstream::Recipient;
use crate::net::upstream::connection::Link;
use crate::net::upstream::lane::{Lane, LaneKey, NoLease};
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

/// One connection: its recipients, and what is under way.
pub(super) struct Core {
    pub(super) me: Weak<Core>,
    pub(super) nodes: Rc<Nodes>,
    /// As whom, and in which protocol, it sends.
    pub(super) key: RefCell<LaneKey>,
    /// What is about no key goes to this one of the nodes,
    pub(super) home: usize,
    /// and that is this one, as long as it is there.
    home_node: RefCell<Option<NodeName>>,
    /// Why the last one that needed a connection of its own has none.
    pub(super) no_lease: Cell<Option<NoLease>>,
    pub(super) state: RefCell<State>,
    waker: RefCell<Option<Waker>>,
    /// Something has come since `flush`.
    pub(super) is_touched: Cell<bool>,
    pub(super) late: LateReplies<Rc<dyn Recipient>>,
    /// Something may be sent that could not before.
    pub(super) has_news: Cell<bool>,
    pub(super) has_left: Cell<bool>,
    /// What the worker's sum knows of what is kept here.
    pub(super) kept: Cell<usize>,
    /// What has come waits for what follows it.
    pub(super) waits_together: Cell<bool>,
    pub(super) behind_since: Cell<Option<Instant>>,
    /// The nodes' connections that it has sent on.
    links: RefCell<Vec<Weak<Link>>>,
    /// The link that reads it.
    pub(super) reader: RefCell<Weak<Link>>,
}

#[derive(Default)]
pub(super) struct Parsing {
    pub(super) parser: Option<RequestParser>,
    pub(super) spans: Vec<Span>,
    pub(super) arena: Vec<u8>,
    /// The request at hand is too long to be held: it was refused, and the rest of it is passed over.
    pub(super) is_refused: bool,
}

pub(super) struct State {
    /// What was written and is not answered, and what is no whole request yet.
    pub(super) input: Vec<u8>,
    /// Position of the first byte of it.
    pub(super) input_start: u64,
    /// Bytes of it that have been cut into requests.
    pub(super) parsed: usize,
    pub(super) parsing: Parsing,
    pub(super) queue: VecDeque<Entry>,
    /// Where single requests go, and what they are answered.
    pub(super) streams: Streams,
    /// Number of the first request in the queue.
    pub(super) first: u64,
    /// Number of the first that has not been looked at for sending.
    pub(super) next: u64,
    /// Requests before that which could not be sent.
    pub(super) unsent: usize,
    /// Requests that keep others waiting.
    pub(super) hindrances: usize,
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
    /// Since when the first request blocks at its node.
    pub(super) blocks_since: Option<Instant>,
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

impl Core {
    pub(super) fn new(nodes: &Rc<Nodes>, key: LaneKey) -> Rc<Core> {
        Rc::new_cyclic(|me| Core {
            me: Weak::clone(me),
            nodes: Rc::clone(nodes),
            key: RefCell::new(key),
            home: fastrand::usize(..),
            home_node: RefCell::default(),
            no_lease: Cell::new(None),
            state: RefCell::new(State::new()),
            waker: RefCell::default(),
            is_touched: Cell::new(false),
            late: LateReplies::default(),
            has_news: Cell::new(false),
            has_left: Cell::new(false),
            kept: Cell::new(0),
            waits_together: Cell::new(false),
            behind_since: Cell::new(None),
            links: RefCell::default(),
            reader: RefCell::default(),
        })
    }

    /// The task is woken when there is something to read, or room.
    pub(super) fn listen(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// What is kept here counts among what is kept for all clients, but for the little that each may have.
    pub(super) fn note_kept(&self) {
        let state = self.state.borrow();
        let bytes = if state.is_little() { 0 } else { state.kept_bytes() };
        if bytes != self.kept.get() {
            self.nodes.context.kept.change(&self.kept, bytes);
        }
    }

    /// Something is sent on this connection.
    pub(super) fn note_link(&self, link: &Rc<Link>) {
        let mut links = self.links.borrow_mut();
        if !links.iter().any(|known| known.as_ptr() == Rc::as_ptr(link)) {
            links.retain(|known| known.strong_count() > 0);
            links.push(Rc::downgrade(link));
        }
    }

    /// So much was read that the nodes are read from again.
    pub(super) fn let_through(&self, state: &State) {
        if self.behind_since.get().is_some() && !state.is_behind() {
            self.behind_since.set(None);
            self.wake_nodes();
        }
    }

    /// The connections to nodes that it has sent something on look whether they may go on.
    fn wake_nodes(&self) {
        self.links.borrow().iter().filter_map(Weak::upgrade).for_each(|link| link.wake());
    }

    /// Something may be sent that could not before.
    pub(super) fn has_unsent(&self) -> bool {
        let state = self.state.borrow();
        let is_settled = |subscriptions: &Subscriptions| subscriptions.is_settled(self.nodes.version());
        state.unsent > 0 || !state.returning.is_empty() || !state.subscriptions.as_deref().is_none_or(is_settled)
    }

    /// The node for what is about no key.
    pub(super) fn home_node(&self) -> Option<NodeName> {
        let mut home = self.home_node.borrow_mut();
        if !home.as_ref().is_some_and(|node| self.nodes.is_there(node)) {
            *home = self.nodes.home(self.home);
        }
        home.clone()
    }

    /// A connection that nobody shares.
    pub(super) fn lease(&self, lane: &Lane) -> Option<Rc<Link>> {
        let lease = lane.lease();
        self.no_lease.set(lease.as_ref().err().copied());
        lease.ok()
    }

    /// The server takes its user no more.
    pub(super) fn close(&self) {
        self.state.borrow_mut().is_closed = true;
        self.wake();
    }

    /// The client has gone.
    pub(super) fn leave(&self) {
        self.has_left.set(true);
        if self.behind_since.take().is_some() {
            // Nothing stops for it any more.
            self.wake_nodes();
        }
        self.nodes.context.kept.change(&self.kept, 0);
        let mut state = self.state.borrow_mut();
        let mut leases: Vec<(Lease, bool)> = state.returning.drain(..).collect();
        leases.extend(state.watch.take().map(|watch| (watch.lease, false)));
        state.streams.clear();
        let subscriptions = state.subscriptions.take();
        leases.extend(subscriptions.into_iter().flat_map(|mut all| all.close().collect::<Vec<_>>()).map(|lease| (lease, false)));
        for entry in &mut state.queue {
            match &mut entry.kind {
                Kind::Blocking(lease) => leases.extend(lease.take().map(|lease| (lease, false))),
                Kind::Atomic(atomic) => leases.extend(atomic.end_portion().map(|lease| (lease, false))),
                Kind::Gather(gather) => {
                    let taken = gather.parts.iter_mut().filter_map(|part| part.lease.take());
                    leases.extend(taken.map(|lease| (lease, false)));
                }
                _ => {}
            }
        }
        drop(state);
        for (lease, is_clean) in leases {
            lease.lane.give_back(&lease.link, is_clean);
        }
    }
}

impl State {
    fn new() -> State {
        State {
            input: Vec::new(),
            input_start: 0,
            parsed: 0,
            parsing: Parsing { parser: Some(RequestParser::new(Limits::default())), ..Parsing::default() },
            queue: VecDeque::new(),
            streams: Streams::default(),
            first: 0,
            next: 0,
            unsent: 0,
            hindrances: 0,
            version: 0,
            out: Vec::new(),
            out_at: 0,
            plain: Plain::default(),
            fault: None,
            is_closed: false,
            multi: None,
            watch: None,
            watches: false,
            blocks_since: None,
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
        if !self.wrote.iter().any(|known| Rc::ptr_eq(known, node)) {
            self.wrote.retain(|known| known != node);
            self.wrote.push(NodeName::clone(node));
        }
    }

    fn kept_bytes(&self) -> usize {
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

    /// Counts the request among those that keep others waiting, until it is over.
    pub(super) fn block_others(&mut self, place: usize) {
        let entry = &mut self.queue[place];
        if !entry.blocks_others && !entry.is_over() {
            entry.blocks_others = true;
            self.hindrances += 1;
        }
    }

    /// The request is over; lets go what may leave.
    pub(super) fn finish(&mut self, place: usize, phase: Phase) {
        let entry = &mut self.queue[place];
        entry.phase = phase;
        if std::mem::take(&mut entry.blocks_others) {
            self.hindrances -= 1;
        }
        let lease = match &mut entry.kind {
            Kind::Blocking(lease) => lease.take(),
            Kind::Atomic(atomic) => atomic.end_portion(),
            _ => None,
        };
        self.returning.extend(lease.map(|lease| (lease, phase == Phase::Done)));
        if place == 0 {
            self.end_block();
            self.advance();
        }
    }

    /// Behind a request that has blocked the time of the others begins: a server would not have looked at them before.
    fn end_block(&mut self) {
        let Some(since) = self.blocks_since.take() else { return };
        let blocked = Self::now().saturating_duration_since(since);
        for entry in self.queue.iter_mut().skip(1) {
            entry.unsent_by += blocked;
            entry.deadline = entry.deadline.and_then(|deadline| deadline.checked_add(blocked));
        }
    }

    /// Replies at the head of the queue leave.
    pub(super) fn advance(&mut self) {
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
        }
        if self.queue.is_empty() {
            self.reply_bytes = 0;
            self.streams.shrink();
        }
        self.forget_answered();
    }

    fn forget_answered(&mut self) {
        // It is being cut into requests.
        if self.parsing.parser.is_none() {
            return;
        }
        let kept = self.queue.front().map_or(self.input_start + self.parsed as u64, |entry| entry.bytes.start);
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

    /// What was written at these positions.
    pub(super) fn written(&self, bytes: &std::ops::Range<u64>) -> &[u8] {
        let at = |position: u64| usize::try_from(position.saturating_sub(self.input_start)).unwrap_or(usize::MAX);
        self.input.get(at(bytes.start)..at(bytes.end)).unwrap_or_default()
    }

    pub(super) fn now() -> Instant {
        clock::now()
    }
}
