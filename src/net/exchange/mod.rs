//! The door between a client's plan and the server: one client, as its upstream connection and its own task see it. What
//! stands before it, a socket or a REST request, it knows as a [`Front`].
//!
//! `dispatch` goes through the steps of a plan. `run` sends commands one by one, `guard` groups behind a preflight,
//! `settle` groups with a marker, each through `send`, which makes the places that `receive` fills. What is ready for the
//! client goes out in `write`, `unpacking` reads long values that are compressed, and `close` ends its connection.

mod activity;
mod bulk;
mod carried;
mod close;
mod dispatch;
mod guard;
mod marked;
mod places;
mod receive;
mod run;
mod send;
mod unpacking;
mod waiting;
mod whole;
mod write;

use std::cell::{Cell, Ref, RefCell};
use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker, ready};
use std::time::{Duration, Instant};

use crate::net::clock;
use crate::net::context::Context;
use crate::net::front::Front;
use crate::net::memory_budget::LITTLE;
use crate::net::registry::Client;
use crate::net::upstream::Recipient;
use crate::net::upstream::connection::Link;
use crate::net::upstream::lane::Lane;
use crate::telemetry::label::{Direction, Side};
use respguard_engine::link::owed::Seq;
use respguard_engine::pipeline::finding::Finding;
use respguard_engine::pipeline::sequencer::Sequencer;
use respguard_engine::pipeline::ttl::Undecided;
use respguard_engine::session::Session;
use tokio::sync::oneshot;
use waiting::Owing;

pub use bulk::Bulk;
pub use dispatch::own_reply;
pub use places::Places;
pub use send::Timing;
pub use waiting::Waiting;
pub use write::PRESSED_BYTES;
/// Places that may be open behind what is held.
const SLOTS_MAX: usize = 32 * 1024;
/// Bytes of replies that may wait behind what is held.
const HELD_UP_BYTES: usize = 256 * 1024;

/// One client, as its upstream connection and its own task see it.
pub struct Exchange {
    me: Weak<Exchange>,
    /// The client's id, one for each client of the process.
    pub id: u64,
    /// The client's address, for reports.
    pub peer: Arc<str>,
    client: Arc<Client>,
    counts: Counts,
    pub context: Rc<Context>,
    pub state: RefCell<State>,
    front: RefCell<Box<dyn Front>>,
    /// The client's task.
    waker: RefCell<Option<Waker>>,
    /// The connection that the client's replies come from.
    link: RefCell<Rc<Link>>,
    lane: RefCell<Rc<Lane>>,
    marked: Cell<bool>,
    /// What the client's task waits for.
    waiting: Cell<Waiting>,
    /// It also wants to know when it may send more.
    wants_room: Cell<bool>,
    /// When the client last read something, or had nothing to read.
    progress_at: Cell<Instant>,
    /// Since when more waits for it than it is read on for.
    behind_since: Cell<Option<Instant>>,
    /// It was brought to another connection.
    moved: Cell<bool>,
    /// Since when it is not read from because no room is left for what it has begun to send, and that it is to be told so.
    short_since: Cell<Option<Instant>>,
    refused_room: Cell<bool>,
    /// When it last sent something.
    heard_at: Cell<Instant>,
    /// Everything was written.
    caught_up: Cell<bool>,
    /// The upstream is not read from because the client is behind.
    holds_up: Cell<bool>,
    /// What is kept of this client's replies and of its requests, and what the worker's sum knows of it.
    out_kept: Cell<usize>,
    input_kept: Cell<usize>,
    counted: Cell<usize>,
    /// Bytes of requests that cannot go on now.
    input_bytes: Cell<usize>,
    /// Who wants to know the connection that the client has alone.
    own_asked: RefCell<Vec<oneshot::Sender<Option<i64>>>>,
    /// The lease has ended by itself.
    pub lost_lease: Cell<bool>,
    /// What is known of how large the client's replies are.
    pub bulk: Bulk,
    /// How long is waited for what goes out behind the answer to a group.
    request_timeout: Cell<Duration>,
    /// Commands of our own that are to go out, and how many.
    follow_ups: RefCell<Vec<(Vec<u8>, u32)>>,
    /// Values of one of its replies are being read on another thread.
    unpacks: Cell<bool>,
    ended: Cell<Option<End>>,
}

/// What belongs to a client's session and its places.
pub struct State {
    pub session: Session,
    pub slots: Sequencer,
    pub undecided: Undecided,
    out: Vec<u8>,
    out_at: usize,
    found: Vec<Finding>,
}

/// What became of a client's requests since it connected.
#[derive(Debug, Default)]
struct Counts {
    requests: Cell<u64>,
    violations: Cell<u64>,
    timeouts: Cell<u64>,
}

/// Why a client's connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The client is gone.
    Gone,
    /// A reply was cut in the middle by the upstream's loss.
    Cut,
    /// CLIENT KILL.
    Killed,
    /// The lease, and with it state that only a reconnect rebuilds, is lost.
    LeaseLost,
    /// The server no longer takes its login, protocol or db.
    Revoked,
    /// The client reads so slowly that others would have to wait for it.
    Slow,
    /// Replies that wait for one before them take more room than is kept for it.
    Crowded,
}

impl Exchange {
    /// A client that has just connected.
    pub fn new(client: &Arc<Client>, context: &Rc<Context>, front: Box<dyn Front>, lane: &Rc<Lane>) -> Rc<Exchange> {
        Rc::new_cyclic(|me| Exchange {
            me: Weak::clone(me),
            id: client.id,
            peer: Arc::clone(&client.peer),
            client: Arc::clone(client),
            counts: Counts::default(),
            context: Rc::clone(context),
            state: RefCell::new(State {
                session: Session::default(),
                slots: Sequencer::default(),
                undecided: Undecided::default(),
                out: Vec::new(),
                out_at: 0,
                found: Vec::new(),
            }),
            front: RefCell::new(front),
            waker: RefCell::new(None),
            link: RefCell::new(lane.shared()),
            lane: RefCell::new(Rc::clone(lane)),
            marked: Cell::new(false),
            waiting: Cell::default(),
            wants_room: Cell::new(false),
            progress_at: Cell::new(clock::now()),
            behind_since: Cell::new(None),
            moved: Cell::new(false),
            short_since: Cell::new(None),
            refused_room: Cell::new(false),
            heard_at: Cell::new(clock::now()),
            caught_up: Cell::new(true),
            holds_up: Cell::new(false),
            out_kept: Cell::new(0),
            input_kept: Cell::new(0),
            counted: Cell::new(0),
            input_bytes: Cell::new(0),
            own_asked: RefCell::default(),
            lost_lease: Cell::new(false),
            bulk: Bulk::default(),
            request_timeout: Cell::default(),
            follow_ups: RefCell::default(),
            unpacks: Cell::new(false),
            ended: Cell::new(None),
        })
    }

    /// The client's lane.
    pub fn lane(&self) -> Rc<Lane> {
        Rc::clone(&self.lane.borrow())
    }

    /// The client moves to another lane, onto its shared connection.
    pub fn set_lane(&self, lane: &Rc<Lane>) {
        self.lane.replace(Rc::clone(lane));
        self.set_link(&lane.shared());
    }

    /// The connection that the client's commands go to.
    pub fn link(&self) -> Rc<Link> {
        Rc::clone(&self.link.borrow())
    }

    /// The connection and the lane as they are now; neither can change as long as these are held.
    pub fn way(&self) -> (Ref<'_, Rc<Link>>, Ref<'_, Rc<Lane>>) {
        (self.link.borrow(), self.lane.borrow())
    }

    /// True when its server wants a password, and the lane gives it none.
    pub fn wants_password(&self) -> bool {
        self.link.borrow().wants_password() && self.lane.borrow().key.login.is_none()
    }

    /// False while too much waits to be written to that.
    pub fn link_has_room(&self, bytes: usize) -> bool {
        self.link.borrow().has_room(bytes)
    }

    /// The client's commands go to this connection from now on; nothing may be owed on the old one.
    pub fn set_link(&self, link: &Rc<Link>) {
        self.link.replace(Rc::clone(link));
    }

    /// A client that is owed nothing leaves a shared connection that is stuck, if there is another one; true if so.
    pub fn leave_stuck(&self) -> bool {
        let is_stuck = {
            let link = self.link.borrow();
            link.is_retired() || link.is_stuck()
        };
        let leaves = is_stuck && self.leave();
        self.moved.take() || leaves
    }

    /// A client that is owed nothing goes to this connection of its lane.
    pub fn go_to(&self, link: &Rc<Link>) {
        if !self.state.borrow().slots.is_under_way() {
            self.set_link(link);
        }
    }

    /// What the client's task waits for.
    pub fn waiting(&self) -> Waiting {
        self.waiting.get()
    }

    /// The client's task waits for this from now on.
    pub fn wait_for(&self, waiting: Waiting) {
        let before = self.waiting.replace(waiting);
        if waiting.is_for_replies() && !before.is_for_replies() {
            self.link.borrow().wake();
        }
    }

    /// False where the client's task waits for bytes alone, and nobody wants anything of it.
    #[inline]
    pub fn may_have_news(&self) -> bool {
        let is_wanted = self.lost_lease.get() || self.refused_room.get() || !self.own_asked.borrow().is_empty();
        is_wanted || self.wants_room.get() || self.waiting.get() != Waiting::Input
    }

    /// True when the client's task need not wait any longer.
    pub fn is_wait_over(&self) -> bool {
        match self.waiting.get() {
            Waiting::Input | Waiting::Leaving => false,
            waiting => waiting.is_over(self.owing(), clock::now()),
        }
    }

    fn owing(&self) -> Owing {
        let slots = &self.state.borrow().slots;
        Owing { replies: slots.owes_replies(), late: slots.has_late(), fenced: slots.is_fenced() }
    }

    /// The client's task wants to know when it may send more, unless it may now.
    pub fn want_room(&self) {
        self.wants_room.set(!self.has_room());
    }

    /// True while it wants to know.
    pub fn wants_room(&self) -> bool {
        self.wants_room.get()
    }

    /// True once when the room is there that the client's task has wanted.
    pub fn takes_room(&self) -> bool {
        let is_there = self.wants_room.get() && self.has_room();
        if is_there {
            self.wants_room.set(false);
        }
        is_there
    }

    #[cold]
    fn leave(&self) -> bool {
        let is_free = {
            let state = self.state.borrow();
            // The fence: on at most one connection there is something that is owed to the client.
            !state.session.affinity.is_pinned() && !state.slots.is_under_way()
        };
        if !is_free {
            return false;
        }
        let (link, lane) = (self.link(), self.lane());
        lane.replace_stuck();
        let leaves = link.is_retired() && link.may_be_left();
        if leaves {
            self.set_link(&lane.shared());
        }
        leaves
    }

    /// True while the client's replies are stuck on a connection that others have left, and nobody else is owed anything there.
    pub fn is_stuck_alone(&self) -> bool {
        self.link.borrow().is_stuck_alone()
    }

    /// Why the client cannot go on, if so.
    pub fn ended(&self) -> Option<End> {
        self.ended.get()
    }

    /// The client cannot go on; the first reason counts.
    pub fn end(&self, end: End) {
        if self.ended.get().is_none() {
            self.ended.set(Some(end));
        }
        self.wake();
        if self.holds_up.take() {
            self.link.borrow().wake();
        }
    }

    /// True when the upstream owes the client nothing.
    pub fn is_drained(&self) -> bool {
        self.state.borrow().slots.is_drained()
    }

    /// True while the upstream owes an answer to what was answered with a timeout.
    pub fn has_late(&self) -> bool {
        self.state.borrow().slots.has_late()
    }

    /// The client does not hear what the request that was sent last is answered.
    pub fn discard_last(&self) {
        self.state.borrow_mut().slots.discard_last();
    }

    /// True when the client is owed nothing and has been sent everything.
    pub fn is_resolved(&self) -> bool {
        let state = self.state.borrow();
        state.slots.is_empty() && state.out_at == state.out.len() && self.caught_up.get()
    }

    /// False while so much is under way that nothing more is taken from the client. That it does not read its replies is no
    /// reason: it may have more to send first.
    #[inline]
    pub fn has_room(&self) -> bool {
        let state = self.state.borrow();
        if state.slots.waiting_bytes() == 0 && state.slots.are_few() {
            return true;
        }
        let (waiting, places) = (state.slots.waiting_bytes(), state.slots.place_bytes());
        // What has gone to the server waits there, however much that is.
        waiting == 0 && places < LITTLE || waiting < self.out_bytes_soft() && self.context.kept.has_room_for(places + waiting)
    }

    /// True while so much waits for what is held that it must go.
    pub fn is_held_up(&self) -> bool {
        let state = self.state.borrow();
        state.slots.waiting_bytes() > HELD_UP_BYTES || state.slots.len() >= SLOTS_MAX
    }

    /// The client's task keeps room for so many bytes of requests, of which so many are there that cannot go on now.
    pub fn keep_input(&self, room: usize, bytes: usize) {
        self.input_kept.set(room);
        self.input_bytes.set(bytes);
        self.count_kept();
    }

    /// What is kept for the client counts among that of all, unless it is no more than each may keep.
    #[inline]
    fn count_kept(&self) {
        let kept = self.out_kept.get() + self.input_kept.get();
        let counted = if kept <= LITTLE { 0 } else { kept };
        if counted != self.counted.get() {
            self.context.kept.change(&self.counted, counted);
        }
    }

    /// Whether there is no room for more of what the client has begun to send, and if so, whether it waits for nobody but
    /// itself.
    #[inline]
    pub fn note_short_of_room(&self, short: Option<bool>) {
        if short.is_some() || self.short_since.get().is_some() {
            self.begin_or_end_short(short);
        }
    }

    #[cold]
    fn begin_or_end_short(&self, short: Option<bool>) {
        let since = short.map(|for_itself| self.short_since.get().filter(|_| for_itself).unwrap_or_else(clock::now));
        self.short_since.set(since);
        if since.is_some() {
            self.context.kept.note_short();
        } else {
            self.refused_room.set(false);
        }
    }

    /// How much it has sent, if it has waited for room since then or longer.
    pub fn short_since(&self, at: Instant) -> Option<usize> {
        self.short_since.get().filter(|since| *since <= at).map(|_| self.input_bytes.get())
    }

    /// No more of what it sends can be kept: it is told so.
    pub fn refuse_room(&self) {
        self.refused_room.set(true);
        self.wake();
    }

    /// True when it is to be told so.
    pub fn is_refused_room(&self) -> bool {
        self.refused_room.get()
    }

    /// The same, once.
    pub fn take_refused_room(&self) -> bool {
        self.refused_room.take()
    }

    /// Answers the next request without the upstream.
    pub fn answer(&self, reply: Vec<u8>) {
        self.answer_in(None, reply);
    }

    /// Answers a request without the upstream, in the place that is kept for it or the next.
    fn answer_in(&self, seq: Option<Seq>, reply: Vec<u8>) {
        let mut state = self.state.borrow_mut();
        let State { slots, out, .. } = &mut *state;
        slots.answer(seq, reply, out);
    }

    /// Waits for the promised answers; later commands are sent only then.
    pub async fn deferred_replies_came(&self) {
        std::future::poll_fn(|cx| {
            self.attach(cx);
            let over = self.ended().is_some() || !self.state.borrow().slots.is_deferred();
            if over { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Fills a promised place.
    pub fn fill_deferred(&self, seq: Seq, reply: Vec<u8>) {
        let mut state = self.state.borrow_mut();
        let State { slots, out, .. } = &mut *state;
        slots.answer_deferred(seq, reply, out);
        drop(state);
        self.flush();
        self.wake();
    }

    /// The client's task runs on `cx`: wakes go there, and what is ready for the client is written.
    pub fn attach(&self, cx: &mut TaskContext<'_>) {
        self.register(cx);
        if let Poll::Ready(Err(_)) = self.poll_flush(cx) {
            self.end(End::Gone);
        }
    }

    fn register(&self, cx: &TaskContext<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    /// Wakes the client's task.
    pub fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// Lets a client go on that waits for an acknowledgement.
    pub fn acknowledge(&self) {
        self.front.borrow().acknowledge();
    }

    /// True when the client has left, even if what it sent before has not all been read.
    pub fn has_left(&self) -> bool {
        self.front.borrow().has_left()
    }

    /// True when the client waits for answers before it sends anything more.
    pub fn is_whole(&self) -> bool {
        self.front.borrow().is_whole()
    }

    /// False when nothing can be read now; the client's task is woken when that has changed.
    pub fn may_read(&self, cx: &mut TaskContext<'_>) -> bool {
        self.front.borrow().may_read(cx)
    }

    /// Reads what the client sent into `buffer`.
    pub fn poll_read(&self, buffer: &mut bytes::BytesMut, cx: &mut TaskContext<'_>) -> Poll<io::Result<usize>> {
        let read = ready!(self.front.borrow_mut().poll_read(cx, buffer))?;
        self.heard_at.set(clock::now());
        self.context.metrics.add_bytes(Side::Client, Direction::In, read);
        Poll::Ready(Ok(read))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.context.kept.change(&self.counted, 0);
    }
}
