//! One upstream connection, as the rest of the program sees it.
//!
//! `spawn` makes it, `life` opens it, brings it back after a loss and ends it, `loss` tells those who were owed something. `role`
//! says what it is there for, `status` how far it has come, `transactions` whether it does MULTI and EXEC. While it is there `outgoing`
//! takes what is to be sent, `pump` moves its bytes, `reading` cuts what comes in into frames, `at_once` is for what need not wait
//! for its task. `on_tick` looks after its deadlines, `head_of_line` after a head that keeps others waiting, `replaced` after
//! another connection in its place, `held_up` after the time that a client takes, `silence` after a head that the server keeps
//! waiting, `slow` after requests that take long, `login_validity` after who may go on over a new one, `term` after whether its server is
//! still the primary, `blame` after over whom it was lost, `blocked` after whether the server really waits, `room` after who waits for room. Behind a loss `replay_buffer` saves the
//! reads for the next connection, and `orphan_kill` has the server end the one that was lost.

mod at_once;
mod blame;
mod blocked;
mod head_of_line;
mod held_up;
mod life;
mod login_validity;
mod loss;
mod on_tick;
mod orphan_kill;
mod outgoing;
mod pump;
mod reading;
mod replaced;
mod replay_buffer;
mod role;
mod room;
mod silence;
mod slow;
mod spawn;
mod splicing;
mod status;
mod term;
mod transactions;
mod wire;

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Instant;

use super::cluster::AtOnce;
use super::connections::{Permit, UserConnection};
use super::{Recipient, WorkerSettings};
use crate::net::context::Context;
use crate::net::splice::SplicePipe;
use crate::net::topology::View;
use crate::telemetry::label::UpstreamState;
use blame::Blame;
pub use blocked::{Blocked, BlockedInquiry};
use head_of_line::HeadOfLine;
use held_up::HeldUp;
use respguard_engine::link::handshake::{ConnectParams, OrphanedConnection, Refusal, ServerInfo};
use respguard_engine::link::inflight::{Cut, Inflight};
use respguard_engine::link::owed::Owed;
use respguard_engine::pipeline::finding::Fault;
use respguard_engine::preflight::Ability;
use respguard_resp::scan::ScanError;
pub use room::RoomTicket;
use room::WaitingForRoom;
use silence::Silence;
use slow::{SlowWatch, Writes};

/// A connection to the server, or the attempt to have one.
///
/// A shared link lives as long as its lane: it reconnects, and keeps the requests of which no byte
/// was written. A leased link ends with its first connection.
pub struct Link {
    context: Rc<Context>,
    settings: Rc<WorkerSettings>,
    params: ConnectParams,
    shared: Cell<bool>,
    /// Whether there is a server at all is to be seen from this one: it is that of clients that have said nothing yet.
    represents_server: Cell<bool>,
    state: RefCell<State>,
    /// The link's task.
    waker: RefCell<Option<Waker>>,
    /// The task has been woken since it looked last.
    woken: Cell<bool>,
    /// On a lease: who holds it.
    owner: RefCell<Option<Rc<dyn Recipient>>>,
    shown: Cell<Option<UpstreamState>>,
    /// The connection may be left in a state that its next user must not meet.
    unclean: Cell<bool>,
    /// On a lease whose client has left: whether the server waits with its answer.
    blocked: BlockedInquiry,
    /// Since when attempts to connect have failed.
    down: Cell<Option<Instant>>,
    /// The task has ended: all that was queued has been answered, and nothing more is taken.
    over: Cell<bool>,
    /// Connections that were lost while they owed replies, to be ended before anything more is sent on this one.
    orphans: RefCell<Vec<OrphanedConnection>>,
    /// Before a cluster: the connection to a node on which that was lost which was given up last.
    head_orphan: RefCell<Option<OrphanedConnection>>,
    /// Whether nothing is read, because the next recipient does not take its replies.
    held_up: HeldUp,
    /// Whether what is sent now would wait for the head.
    head_of_line: HeadOfLine,
    /// For how long it has been silent while the server was not.
    silence: Silence,
    /// What is known of requests that take long.
    slow: SlowWatch,
    /// Its lane has another one for what is still to come.
    retired: Cell<bool>,
    /// How often it was.
    retirements: Cell<u32>,
    /// No more pieces than so many are under way: what waits may have to go elsewhere.
    paced: Cell<Option<usize>>,
    /// Reads that wait here are about to go elsewhere: nothing is kept for their sake.
    hands_on: Cell<bool>,
    /// Lost connections that the server is being told to end.
    orphan_kills: RefCell<Vec<OrphanedConnection>>,
    /// Whether it can carry guarded groups, as far as it has been asked since it was opened.
    ability: Cell<Ability>,
    /// No connection can be had, or the server takes long.
    struggling: Cell<bool>,
    /// With what waits to be written the sending side ends.
    finishing: Cell<bool>,
    /// On a lease: a request was too long to be held whole, and the server keeps room for another one.
    has_carried_large: Cell<bool>,
    /// It is there, and its bytes can be moved without being read.
    is_spliceable: Cell<bool>,
    /// Whether it is expected to do MULTI and EXEC, before its handshake has shown it.
    may_transact: Cell<bool>,
    /// A loss has not been counted yet: its cause may be the lane's alone.
    uncounted_loss: Cell<bool>,
    /// When the server ended it, until it is there again.
    ended_by_server: Cell<Option<Instant>>,
    /// Over whose request the server has ended the one before.
    blame: Blame,
    login_validity: Cell<LoginValidity>,
    /// Since when it can be used.
    opened_at: Cell<Option<Instant>>,
    /// Its room among all connections, until it has ended.
    permit: Cell<Option<Permit>>,
    /// What the worker's sum knows of what is kept here: requests that wait, and those that may be needed again.
    out_kept: Cell<usize>,
    /// That its user has a connection, while it is there.
    user_connection: Cell<Option<UserConnection>>,
    /// The server that it leads to, or that it is being opened to.
    view: RefCell<View>,
    /// In which term that is the primary.
    term: Cell<u64>,
    /// The server has said what only one says that is no primary, and is being asked.
    doubt: Cell<Option<u64>>,
    /// It was asked, and is the primary: what it has said goes to its client.
    is_believed: Cell<bool>,
    /// Before a cluster, while it is there: its other end.
    at_once: RefCell<Option<AtOnce>>,
    /// To whom something was handed past its task.
    touched: RefCell<Vec<Rc<dyn Recipient>>>,
    /// Its task has begun with a reply.
    is_inside_frame: Cell<bool>,
}

struct State {
    phase: Phase,
    /// What is written before `out`, on a lease. In the stream that `inflight` counts it lies before `out_start`.
    pipe: Option<Box<SplicePipe>>,
    /// Requests that wait to be written; `out[out_at..]` has yet to go.
    out: Vec<u8>,
    out_at: usize,
    /// Position of `out[0]` in the stream that `inflight` counts.
    out_start: u64,
    inflight: Inflight<Rc<dyn Recipient>>,
    /// When what was queued was written.
    writes: Writes,
    info: ServerInfo,
    refusal: Option<Refusal>,
    last_read: Instant,
    /// When a sign of life was asked for that has not come yet.
    beat_at: Option<Instant>,
    /// Tasks that wait for the phase to change.
    waiting: Vec<Waker>,
    /// Those that wait for room to write.
    waiting_for_room: WaitingForRoom,
}

/// Whether the clients of a lane may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LoginValidity {
    /// Nothing speaks against it.
    #[default]
    Valid,
    /// The server ended all connections of its user and none of others': he may have been deleted and made anew.
    InDoubt { since: Instant },
    /// The same, and others are being asked whether they are really there.
    Checking,
    /// The server does not take them any more, or has ended them.
    Revoked,
}

/// How far a link has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// No connection; requests wait in the queue.
    Connecting,
    /// Requests are written as they come.
    Ready,
    /// It will never carry anything again.
    Closed,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Loss {
    #[error("the server closed the connection")]
    Eof,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the server's bytes are no Redis protocol: {0}")]
    Protocol(#[from] ScanError),
    #[error("the server sent a reply that nobody awaits")]
    OutOfSync,
    #[error("the connection may be left in a transaction")]
    Unsafe,
    #[error("the server is no longer the primary")]
    Moved,
    #[error("an owed reply made no progress")]
    Stalled,
    #[error("its task panicked")]
    Panicked,
    #[error("nobody needs it any more")]
    Closed,
}

impl Link {
    /// Waits for its end.
    pub async fn over(&self) {
        std::future::poll_fn(|cx| {
            if self.over.get() {
                return Poll::Ready(());
            }
            self.state.borrow_mut().wait(cx);
            Poll::Pending
        })
        .await;
    }

    /// Something is to be done on it, or the recipient at the head takes replies again.
    #[inline]
    pub fn wake(&self) {
        if !self.woken.replace(true) {
            self.wake_task();
        }
    }

    /// The same once the runtime has looked at the sockets, without waiting for anything, and what has come has been read.
    fn wake_after_look(&self) {
        if !self.woken.replace(true)
            && let Some(waker) = self.waker.borrow().as_ref()
        {
            // A task that yields is woken then.
            let _ = pin!(tokio::task::yield_now()).poll(&mut TaskContext::from_waker(waker));
        }
    }

    fn wake_task(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }
}

impl State {
    /// Nothing waits to be written.
    fn is_written(&self) -> bool {
        self.pipe.is_none() && self.out_at == self.out.len()
    }

    /// The task is woken with the others when the phase changes.
    fn wait(&mut self, cx: &TaskContext<'_>) {
        if !self.waiting.iter().any(|waiting| waiting.will_wake(cx.waker())) {
            self.waiting.push(cx.waker().clone());
        }
    }

    fn wake_waiting(&mut self) {
        for waker in self.waiting.drain(..) {
            waker.wake();
        }
        self.waiting_for_room.wake_all();
    }
}

/// Who is still owed what, and how far the first frame of it had come.
type LostReply = (Rc<dyn Recipient>, Owed, Cut);

fn fault_all(told: Vec<LostReply>, fault: Fault) {
    for (who, owed, cut) in told {
        match cut {
            Cut::BeforeReply => who.fault(owed, fault),
            Cut::SentBefore => who.fault(owed, Fault::Lost),
            Cut::InsideReply => who.cut(owed),
            Cut::Late => who.settle_late(owed.frames()),
        }
        who.flush();
    }
}

#[cfg(test)]
mod tests;
