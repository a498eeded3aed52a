//! Connects a client's plan with the server: one client, as its upstream connection and its own task see it. It talks to the
//! client's side, a socket or a REST request, through [`Front`].
//!
//! `dispatch` goes through the steps of a plan. `run` sends commands one by one, `guard` groups behind a preflight, `marked`
//! groups with a marker, `carried` groups with what stands between their members, each through `send`, which makes the places
//! that `receive` fills. What is ready for the client goes out in `write`, `unpacking` reads long values that are compressed,
//! `splicing` moves other long values from socket to socket, and `close` ends its connection. What the exchange is made of:
//! `client_lane` is the connection that is used, `task` the client's task, which is `waiting`, `output` what is to be written,
//! `pace` how fast it is read, `buffered` what of all that is buffered, and `room` whether more is taken.

mod activity;
mod buffered;
mod bulk;
mod carried;
mod client_lane;
mod close;
mod dispatch;
mod follow_ups;
mod guard;
mod link;
mod marked;
mod output;
mod pace;
mod places;
mod receive;
mod room;
mod run;
mod send;
mod splicing;
mod task;
mod unpacking;
mod waiting;
mod whole;
mod write;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use crate::net::clock;
use crate::net::context::Context;
use crate::net::front::Front;
use crate::net::registry::Client;
use crate::net::upstream::Recipient;
use crate::net::upstream::lane::Lane;
use crate::telemetry::label::{Direction, Side};
use buffered::Buffered;
use client_lane::ClientLane;
use follow_ups::FollowUps;
use output::Output;
use pace::Pace;
use respguard_engine::lazy::Lazy;
use respguard_engine::link::owed::Seq;
use respguard_engine::pipeline::finding::Finding;
use respguard_engine::pipeline::sequencer::Sequencer;
use respguard_engine::pipeline::ttl::Undecided;
use respguard_engine::session::Session;
use task::Task;
use tokio::sync::oneshot;
use waiting::Owing;

pub use bulk::Bulk;
pub use dispatch::own_reply;
pub use places::Places;
pub use room::PRESSED_BYTES;
pub use send::Timing;
pub use waiting::Waiting;

/// Behind its end a wait has been forgotten.
const MISSED: Duration = Duration::from_secs(1);

/// One client, as its upstream connection and its own task see it.
pub struct Exchange {
    me: Weak<Exchange>,
    /// The client's id, one for each client of the process.
    pub id: u64,
    client: Arc<Client>,
    counts: Counts,
    pub context: Rc<Context>,
    pub state: RefCell<State>,
    /// The client itself.
    pub front: RefCell<Box<dyn Front>>,
    task: Task,
    client_lane: ClientLane,
    pace: Pace,
    pub(in crate::net) buffered: Buffered,
    /// Something was handed over since it was flushed.
    marked: Cell<bool>,
    /// Who wants to know the connection that the client has alone.
    own_asked: Lazy<RefCell<Vec<oneshot::Sender<Option<i64>>>>>,
    /// The lease has ended by itself.
    pub lost_lease: Cell<bool>,
    /// The same, and its client is told first what is being found out about its groups.
    ends_with_recovery: Cell<bool>,
    /// What is known of how large the client's replies are.
    pub bulk: Bulk,
    follow_ups: FollowUps,
    /// Values of one of its replies are being read on another thread.
    unpacks: Cell<bool>,
    ended: Cell<Option<End>>,
}

/// What belongs to a client's session and its places.
pub struct State {
    pub session: Session,
    pub slots: Sequencer,
    pub undecided: Undecided,
    out: Output,
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
            client: Arc::clone(client),
            counts: Counts::default(),
            context: Rc::clone(context),
            state: RefCell::new(State {
                session: Session::default(),
                slots: Sequencer::sharing(&context.group_pool),
                undecided: Undecided::default(),
                out: Output::default(),
                found: Vec::new(),
            }),
            front: RefCell::new(front),
            task: Task::default(),
            client_lane: ClientLane::over(lane),
            pace: Pace::new(clock::now()),
            buffered: Buffered::default(),
            marked: Cell::new(false),
            own_asked: Lazy::default(),
            lost_lease: Cell::new(false),
            ends_with_recovery: Cell::new(false),
            bulk: Bulk::default(),
            follow_ups: FollowUps::default(),
            unpacks: Cell::new(false),
            ended: Cell::new(None),
        })
    }

    /// The client's address, for reports.
    pub fn peer(&self) -> &Arc<str> {
        &self.client.peer
    }

    /// What the client's task waits for.
    pub fn waiting(&self) -> Waiting {
        self.task.waiting()
    }

    /// The client's task waits for this from now on.
    pub fn wait_for(&self, waiting: Waiting) {
        if self.task.wait_for(waiting) {
            self.client_lane.link().wake();
        }
    }

    /// False where the client's task waits for bytes alone, and nobody wants anything of it.
    #[inline]
    pub fn may_have_news(&self) -> bool {
        let is_wanted = self.lost_lease.get() || self.buffered.is_refused() || self.is_asked_for_own_connection();
        is_wanted || self.task.wants_room() || self.task.waiting() != Waiting::Input
    }

    /// True when the client's task need not wait any longer.
    pub fn is_wait_over(&self) -> bool {
        match self.task.waiting() {
            Waiting::Input | Waiting::Leaving => false,
            waiting => waiting.is_over(self.owing(), clock::now()),
        }
    }

    /// Wakes the client's task where what it waits for came long ago, or there is room again, and nobody has told it.
    pub fn look_for_missed_wakeup(&self) {
        if self.task.is_woken() {
            return;
        }
        let long_ago = clock::now().checked_sub(MISSED).unwrap_or_else(clock::now);
        let waiting = self.task.waiting();
        let is_over = waiting != Waiting::Input && waiting.is_over(self.owing(), long_ago);
        if is_over {
            tracing::debug!(client = %self.peer(), "a client could go on, and had not been told");
            self.context.metrics.missed_wakeup();
        }
        if is_over || self.task.wants_room() && self.has_room() {
            self.wake();
        }
    }

    /// True when nothing is owed but replies to what was answered with a timeout.
    pub fn waits_for_late_alone(&self) -> bool {
        let owing = self.owing();
        owing.late && !owing.replies
    }

    fn owing(&self) -> Owing {
        let slots = &self.state.borrow().slots;
        Owing { replies: slots.owes_replies(), late: slots.has_late(), fenced: slots.is_fenced() }
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
        if self.pace.take_held_up() {
            self.client_lane.link().wake();
        }
    }

    /// True when the upstream owes the client nothing.
    pub fn is_drained(&self) -> bool {
        self.state.borrow().slots.is_drained()
    }

    /// True when the client is owed nothing and has been sent everything.
    pub fn is_resolved(&self) -> bool {
        let state = self.state.borrow();
        state.slots.is_empty() && state.out.waiting() == 0 && self.pace.has_caught_up()
    }

    /// Answers the next request without the upstream.
    pub fn answer(&self, reply: Vec<u8>) {
        self.answer_in(None, reply);
    }

    /// Answers a request without the upstream, in the place that is kept for it or the next.
    fn answer_in(&self, seq: Option<Seq>, reply: Vec<u8>) {
        let mut state = self.state.borrow_mut();
        let State { slots, out, .. } = &mut *state;
        slots.answer(seq, reply, &mut out.bytes);
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
        slots.answer_deferred(seq, reply, &mut out.bytes);
        drop(state);
        self.flush();
        self.wake();
    }

    /// The client's task runs on `cx`: wakes go there, and what is ready for the client is written.
    #[inline]
    pub fn attach(&self, cx: &mut TaskContext<'_>) {
        self.task.register(cx);
        let has_nothing_to_write = self.has_nothing_to_write(&self.state.borrow());
        if !has_nothing_to_write && matches!(self.poll_flush_out(cx), Poll::Ready(Err(_))) {
            self.end(End::Gone);
        }
    }

    /// Wakes the client's task.
    pub fn wake(&self) {
        self.task.wake();
    }

    /// Reads what the client sent into `buffer`; most often there is something for a task that was woken.
    pub fn poll_read(&self, buffer: &mut bytes::BytesMut, is_woken: bool, cx: &mut TaskContext<'_>) -> Poll<io::Result<usize>> {
        let tried = is_woken.then(|| self.front.borrow().try_read(buffer));
        let read = match tried {
            Some(Ok(read)) => read,
            Some(Err(error)) if error.kind() != io::ErrorKind::WouldBlock => return Poll::Ready(Err(error)),
            _ => ready!(self.front.borrow_mut().poll_read(cx, buffer))?,
        };
        self.pace.note_sent(clock::now());
        self.context.metrics.add_bytes(Side::Client, Direction::In, read);
        Poll::Ready(Ok(read))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.buffered.forget(&self.context.kept);
    }
}

#[cfg(test)]
mod tests;
