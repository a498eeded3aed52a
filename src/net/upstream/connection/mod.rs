//! One upstream connection, as the rest of the program sees it.
//!
//! `life` opens it, brings it back after a loss and ends it. While it is there `outgoing` takes what is to be sent, `pump`
//! moves its bytes, `reading` cuts what comes in into frames, `on_tick` looks after its deadlines, `head_of_line` after a head
//! that keeps others waiting, `held_up` after the time that a client takes, `silence` after a head that the server keeps
//! waiting, `slow` after requests that take long, `standing` after who may go on over a new one, `term` after whether its server is still the primary, `blame` after
//! over whom it was lost, `room` after who waits for room, `at_once` after what need not wait for its task. Behind a loss `replay_buffer` saves the reads for the next connection, and `orphan_kill` has the server
//! end the one that was lost.

mod at_once;
mod blame;
mod head_of_line;
mod held_up;
mod life;
mod on_tick;
mod orphan_kill;
mod outgoing;
mod pump;
mod reading;
mod replay_buffer;
mod room;
mod silence;
mod slow;
mod standing;
mod term;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::{Duration, Instant};

use super::cluster::AtOnce;
use super::connections::{Permit, Presence};
use super::{Reach, Recipient};
use crate::net::clock;
use crate::net::context::Context;
use crate::net::health::Health;
use crate::net::topology::View;
use crate::telemetry::label::UpstreamState;
use blame::Blame;
use head_of_line::HeadOfLine;
use held_up::{HeldUp, Stop};
use respguard_engine::link::handshake::{ConnectParams, OrphanedConnection, Refusal, ServerInfo};
use respguard_engine::link::inflight::{Cut, Inflight, Owner};
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
    settings: Rc<Reach>,
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
    /// Whether it is expected to do MULTI and EXEC, before its handshake has shown it.
    may_transact: Cell<bool>,
    /// A loss has not been counted yet: its cause may be the lane's alone.
    uncounted_loss: Cell<bool>,
    /// When the server ended it, until it is there again.
    ended_by_server: Cell<Option<Instant>>,
    /// Over whose request the server has ended the one before.
    blame: Blame,
    standing: Cell<Standing>,
    /// Since when it can be used.
    opened_at: Cell<Option<Instant>>,
    /// Its room among all connections, until it has ended.
    permit: Cell<Option<Permit>>,
    /// What the worker's sum knows of what is kept here: requests that wait, and those that may be needed again.
    out_kept: Cell<usize>,
    /// That its user has a connection, while it is there.
    presence: Cell<Option<Presence>>,
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
pub enum Standing {
    /// Nothing speaks against it.
    #[default]
    Good,
    /// The server ended all connections of its user and none of others': he may have been deleted and made anew.
    InDoubt { since: Instant },
    /// The same, and others are being asked whether they are really there.
    Asked,
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
    /// How far the link has come.
    pub fn phase(&self) -> Phase {
        self.state.borrow().phase
    }

    /// What is told of the server: of a cluster's nodes each is only one of several.
    #[inline]
    pub(super) fn health(&self) -> &Health {
        match &self.settings.health {
            Some(health) => health,
            None if self.settings.nodes.is_some() => &self.context.nodes_health,
            None => &self.context.health,
        }
    }

    /// Since when it can be used.
    pub fn opened_at(&self) -> Option<Instant> {
        self.opened_at.get()
    }

    /// What the server reported in the handshake.
    pub fn info(&self) -> ServerInfo {
        self.state.borrow().info.clone()
    }

    /// True when the server requires a password.
    pub fn wants_password(&self) -> bool {
        self.state.borrow().info.wants_password
    }

    /// True when the connection can do MULTI and EXEC. While there is none, it is taken to do what the last one did.
    pub fn can_transact(&self) -> bool {
        let state = self.state.borrow();
        if state.phase == Phase::Ready { state.info.transactions } else { self.may_transact.get() }
    }

    /// Whether it can carry guarded groups.
    pub fn ability(&self) -> Ability {
        self.ability.get()
    }

    /// True from the first connection on.
    pub fn was_open(&self) -> bool {
        self.opened_at.get().is_some()
    }

    /// Records whether it can run guarded groups, or that this has to be asked again.
    pub fn set_ability(&self, ability: Ability) {
        self.ability.set(ability);
    }

    /// True when attempts to connect have failed for longer than requests wait.
    #[inline]
    pub fn is_down(&self) -> bool {
        self.down.get().is_some_and(|since| self.is_down_since(since))
    }

    #[cold]
    fn is_down_since(&self, since: Instant) -> bool {
        clock::now().saturating_duration_since(since) >= self.settings.patience()
    }

    /// For how long attempts to connect have failed.
    pub fn down_for(&self) -> Option<Duration> {
        self.down.get().map(|since| clock::now().saturating_duration_since(since))
    }

    /// True while there is no connection to be had, or the server takes long: what may be the cure goes elsewhere.
    pub fn is_struggling(&self) -> bool {
        self.struggling.get()
    }

    /// There is none to be had now.
    pub fn set_struggling(&self) {
        self.struggling.set(true);
    }

    /// True when the request at the head may wait longer than requests do: it blocks.
    pub fn is_blocked(&self) -> bool {
        self.state.borrow().inflight.head_blocks()
    }

    /// The id by which the server unblocks the lease. From now on it serves nobody else: the word may come late, and
    /// must find no other client there.
    pub fn to_be_unblocked(&self) -> Option<i64> {
        self.unclean.set(true);
        self.state.borrow().info.client_id
    }

    /// True when no reply is outstanding, nothing waits to be written, and the state is that after the handshake.
    pub fn is_clean(&self) -> bool {
        let state = self.state.borrow();
        !self.unclean.get() && state.inflight.is_empty() && state.out_at == state.out.len()
    }

    /// True while a new request would wait behind unread replies, a large reply, or a reply that does not come.
    pub fn is_stuck(&self) -> bool {
        self.head_of_line.is_long()
    }

    /// True while its head does not move although the server answers on another connection.
    pub fn is_still(&self) -> bool {
        self.head_of_line.is_still()
    }

    /// True while nothing is read because the client at the head does not read, and the other clients have moved.
    pub fn is_stuck_alone(&self) -> bool {
        self.retired.get() && self.held_up.why() == Some(Stop::Alone)
    }

    /// The client at the head may want the connection for itself.
    fn tell_alone(&self) {
        if self.is_stuck_alone()
            && let Owner::Recipient(who, _) = self.state.borrow().inflight.owner()
        {
            who.stands_alone();
        }
    }

    /// What was shared becomes this client's own, if nobody else is owed anything here; true if so. It stays one that others
    /// have left: it is never given to anybody else.
    pub(super) fn take_over(&self, owner: Rc<dyn Recipient>) -> bool {
        let is_alone = self.state.borrow().inflight.recipients().all(|who| Rc::ptr_eq(who, &owner) || who.is_gone());
        if !is_alone || !self.is_stuck_alone() || !self.may_be_left() || self.phase() != Phase::Ready {
            return false;
        }
        self.shared.set(false);
        self.paced.set(None);
        self.hands_on.set(false);
        self.set_owner(Some(owner));
        true
    }

    /// True when all outstanding replies belong to clients that have left, and all of their requests have been sent.
    pub fn is_for_nobody(&self) -> bool {
        let state = self.state.borrow();
        state.out_at == state.out.len() && state.inflight.recipients().all(|who| who.is_gone())
    }

    /// True when the server may still take it for a large client.
    pub fn has_carried_large(&self) -> bool {
        self.has_carried_large.get()
    }

    /// True when its lane has another one for what is still to come.
    pub fn is_retired(&self) -> bool {
        self.retired.get()
    }

    /// How often another one has taken its place: while it had, its clients went on elsewhere.
    pub fn retirements(&self) -> u32 {
        self.retirements.get()
    }

    /// True when what a client sends over another connection cannot overtake what it has sent here, once it is owed
    /// nothing: no connection that was lost waits for its end.
    pub fn may_be_left(&self) -> bool {
        self.over.get()
            || self.phase() != Phase::Connecting && self.orphan_kills.borrow().is_empty() && self.orphans.borrow().is_empty()
    }

    /// Whether the server has yet to answer what was sent for the client that this recipient is, be it too late.
    pub fn owes(&self, who: &Rc<dyn Recipient>) -> bool {
        let sender = who.sender();
        self.state.borrow().inflight.owes(|recipient| std::ptr::eq(recipient.sender(), sender))
    }

    /// True when nobody waits for anything on it, not even for the end of a connection that was lost.
    pub fn is_done(&self) -> bool {
        self.over.get() || self.phase() == Phase::Ready && self.is_clean() && self.may_be_left()
    }

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

    fn wake_task(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }
}

impl State {
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
type Told = (Rc<dyn Recipient>, Owed, Cut);

fn tell_all(told: Vec<Told>, fault: Fault) {
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
