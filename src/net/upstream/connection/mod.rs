//! One upstream connection: takes requests for its recipients, begins, ends, and comes back after a loss.
//!
//! `pump` moves its bytes while it is there, `reading` cuts what comes in into frames, `tending`
//! looks after its deadlines.

mod burial;
mod keeping;
mod pump;
mod reading;
mod standstill;
mod tending;

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::{Duration, Instant};

use tracing::{debug, error, info, warn};

use super::opening::{OpenError, open};
use super::{Recipient, Settings};
use crate::engine::link::backoff::Backoff;
use crate::engine::link::handshake::{Facts, Ghost, Opening, Refusal};
use crate::engine::link::inflight::{Cut, Inflight};
use crate::engine::pipeline::finding::Fault;
use crate::engine::preflight::Ability;
use crate::engine::resp::scan::ScanError;
use crate::net::clock;
use crate::net::context::Context;
use crate::telemetry::label::UpstreamState;
use burial::Burial;
use standstill::Standstill;

/// Bytes that may wait to be written before clients are no longer read from.
const OUT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The same on a lease, where a single client sends much.
const LEASE_OUT_BYTES_MAX: usize = 1024 * 1024;

/// Written bytes at the front of the buffer that are not worth moving the others for.
const WRITTEN_BYTES_MAX: usize = 1024 * 1024;

/// Before a link whose task has panicked connects again.
const PANIC_PAUSE: Duration = Duration::from_millis(100);
/// Lost connections that one link ends; one that is lost meanwhile is left to the server.
const GHOSTS_MAX: usize = 64;

/// A connection to the server, or the attempt to have one.
///
/// A shared link lives as long as its lane: it reconnects, and keeps the requests of which no byte
/// was written. A leased link ends with its first connection.
pub struct Link {
    context: Rc<Context>,
    settings: Rc<Settings>,
    opening: Opening,
    shared: Cell<bool>,
    state: RefCell<State>,
    /// The link's task.
    waker: RefCell<Option<Waker>>,
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
    ghosts: RefCell<Vec<Ghost>>,
    /// Nothing is read, because the next recipient does not take its replies.
    paused: Cell<bool>,
    /// For how long those behind the head have waited because of it.
    standstill: Standstill,
    /// Its lane has another one for what is still to come.
    retired: Cell<bool>,
    /// Lost connections that the server is being told to end.
    burials: Cell<usize>,
    /// Whether it can carry guarded groups, as far as it has been asked since it was opened.
    ability: Cell<Ability>,
    /// With what waits to be written the sending side ends.
    finishing: Cell<bool>,
}

struct State {
    phase: Phase,
    /// Requests that wait to be written; `out[out_at..]` has yet to go.
    out: Vec<u8>,
    out_at: usize,
    /// Position of `out[0]` in the stream that `inflight` counts.
    out_start: u64,
    inflight: Inflight<Rc<dyn Recipient>>,
    facts: Facts,
    refusal: Option<Refusal>,
    last_read: Instant,
    /// When a sign of life was asked for that has not come yet.
    beat_at: Option<Instant>,
    /// Tasks that wait for the phase to change, or for room to write.
    waiting: Vec<Waker>,
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
    #[error("an owed reply made no progress")]
    Stalled,
    #[error("its task panicked")]
    Panicked,
    #[error("nobody needs it any more")]
    Closed,
}

impl Link {
    /// Starts to connect; requests can be queued at once. The ghosts are ended first.
    pub fn spawn(context: &Rc<Context>, settings: &Rc<Settings>, opening: Opening, shared: bool, ghosts: Vec<Ghost>) -> Rc<Link> {
        let link = Rc::new(Link {
            context: Rc::clone(context),
            settings: Rc::clone(settings),
            opening,
            shared: Cell::new(shared),
            state: RefCell::new(State {
                phase: Phase::Connecting,
                out: Vec::new(),
                out_at: 0,
                out_start: 0,
                inflight: Inflight::default(),
                facts: Facts::default(),
                refusal: None,
                last_read: clock::now(),
                beat_at: None,
                waiting: Vec::new(),
            }),
            waker: RefCell::new(None),
            owner: RefCell::new(None),
            shown: Cell::new(None),
            unclean: Cell::new(false),
            down: Cell::new(None),
            over: Cell::new(false),
            ghosts: RefCell::new(ghosts),
            paused: Cell::new(false),
            standstill: Standstill::default(),
            retired: Cell::new(false),
            burials: Cell::new(0),
            ability: Cell::default(),
            finishing: Cell::new(false),
        });
        link.show(Some(UpstreamState::Connecting));
        tokio::task::spawn_local(Rc::clone(&link).watch());
        link
    }

    /// Queues bytes for which `recipient` is owed `frames` replies; false when the link has ended
    /// and nothing was queued.
    #[must_use]
    pub fn send(
        &self,
        recipient: Rc<dyn Recipient>,
        parts: &[&[u8]],
        frames: u32,
        read_at: Instant,
        deadline: Option<Instant>,
    ) -> bool {
        // What is owed on a link that is ending has not been answered yet: this comes behind it.
        if self.over.get() {
            return false;
        }
        let mut state = self.state.borrow_mut();
        let mut bytes = 0;
        for part in parts {
            state.out.extend_from_slice(part);
            bytes += part.len();
        }
        state.inflight.push(recipient, frames, bytes, read_at, deadline);
        drop(state);
        self.wake();
        true
    }

    /// Queues what is asked about an earlier request: while there is no connection before all that waits for one, so that
    /// it is not waited for longer than its own time.
    #[must_use]
    pub fn send_first(&self, recipient: Rc<dyn Recipient>, request: &[u8], frames: u32, times: (Instant, Instant)) -> bool {
        let (read_at, deadline) = (times.0, Some(times.1));
        if self.phase() != Phase::Connecting || self.over.get() {
            return self.send(recipient, &[request], frames, read_at, deadline);
        }
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        debug_assert_eq!(state.out_at, 0, "nothing is written without a connection");
        state.out.splice(0..0, request.iter().copied());
        state.inflight.push_first(recipient, frames, request.len(), (read_at, deadline), state.out_start);
        true
    }

    /// What was queued last holds nothing but reads, one frame for each: lost with the connection, they go out once more.
    pub fn mark_reads(&self) {
        if self.settings.retry_reads && self.shared.get() {
            self.state.borrow_mut().inflight.mark_reads();
        }
    }

    /// Queues more bytes of the request queued last; with its end its time begins.
    pub fn extend(&self, piece: &[u8], end: bool) {
        let mut state = self.state.borrow_mut();
        if state.phase == Phase::Closed {
            return;
        }
        state.out.extend_from_slice(piece);
        let now = clock::now();
        state.inflight.extend_last(piece.len(), now, end.then(|| now + self.settings.request_timeout));
        drop(state);
        self.wake();
    }

    /// On a lease: the server is told that nothing more comes, behind all that waits to be written.
    pub fn finish_sending(&self) {
        self.finishing.set(true);
        self.wake();
    }

    /// How far the link has come.
    pub fn phase(&self) -> Phase {
        self.state.borrow().phase
    }

    /// What the server told at the handshake.
    pub fn facts(&self) -> Facts {
        self.state.borrow().facts.clone()
    }

    /// True when the server wants a password before anything else.
    pub fn wants_password(&self) -> bool {
        self.state.borrow().facts.wants_password
    }

    /// True when the connection can do MULTI and EXEC. Before its first handshake it is taken to.
    pub fn can_transact(&self) -> bool {
        let state = self.state.borrow();
        state.phase != Phase::Ready || state.facts.transactions
    }

    /// Whether it can carry guarded groups.
    pub fn ability(&self) -> Ability {
        self.ability.get()
    }

    /// What it has answered about guarded groups, or that it is to be asked again.
    pub fn set_ability(&self, ability: Ability) {
        self.ability.set(ability);
    }

    /// True when attempts to connect have failed for longer than requests wait.
    pub fn is_down(&self) -> bool {
        self.down.get().is_some_and(|since| clock::now().saturating_duration_since(since) >= self.settings.queue_timeout)
    }

    /// True when the request at the head may wait longer than requests do: it blocks.
    pub fn is_blocked(&self) -> bool {
        self.state.borrow().inflight.head_blocks(self.settings.request_timeout)
    }

    /// The id by which the server unblocks the lease. From now on it serves nobody else: the word may come late, and
    /// must find no other client there.
    pub fn to_be_unblocked(&self) -> Option<i64> {
        self.unclean.set(true);
        self.state.borrow().facts.client_id
    }

    /// True when nothing is owed, nothing waits to be written, and the connection is as its handshake left it.
    pub fn is_clean(&self) -> bool {
        let state = self.state.borrow();
        !self.unclean.get() && state.inflight.is_empty() && state.out_at == state.out.len()
    }

    /// True while what is sent now would wait for a client that is behind, or for a large reply.
    pub fn is_stuck(&self) -> bool {
        self.standstill.is_long()
    }

    /// Nothing more is sent on it but by clients to whom something is owed here.
    pub fn retire(&self) {
        debug!(upstream = %self.settings.address, "a reply is stuck: what comes goes over another connection");
        self.retired.set(true);
        self.show_phase();
    }

    /// True when its lane has another one for what is still to come.
    pub fn is_retired(&self) -> bool {
        self.retired.get()
    }

    /// True when what a client sends over another connection cannot overtake what it has sent here, once it is owed
    /// nothing: no connection that was lost waits for its end.
    pub fn may_be_left(&self) -> bool {
        self.over.get() || self.phase() != Phase::Connecting && self.burials.get() == 0 && self.ghosts.borrow().is_empty()
    }

    /// True when nobody waits for anything on it, not even for the end of a connection that was lost.
    pub fn is_done(&self) -> bool {
        self.over.get() || self.phase() == Phase::Ready && self.is_clean() && self.may_be_left()
    }

    /// False while too much waits to be written; `poll_room` tells when that has changed.
    pub fn has_room(&self) -> bool {
        let state = self.state.borrow();
        state.out.len() - state.out_at < self.out_bytes_max()
    }

    fn out_bytes_max(&self) -> usize {
        if self.shared.get() { OUT_BYTES_MAX } else { LEASE_OUT_BYTES_MAX }
    }

    /// Ready when there is room for more requests.
    pub fn poll_room(&self, cx: &TaskContext<'_>) -> Poll<()> {
        if self.has_room() {
            return Poll::Ready(());
        }
        self.state.borrow_mut().waiting.push(cx.waker().clone());
        Poll::Pending
    }

    /// Waits for the handshake's outcome.
    ///
    /// # Errors
    /// The server's refusal, or `None` when there is no server.
    pub async fn opened(&self) -> Result<Facts, Option<Refusal>> {
        std::future::poll_fn(|cx| {
            let mut state = self.state.borrow_mut();
            match state.phase {
                Phase::Ready => Poll::Ready(Ok(state.facts.clone())),
                Phase::Closed => Poll::Ready(Err(state.refusal.clone())),
                Phase::Connecting => {
                    state.waiting.push(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// A leased link becomes its lane's shared one.
    pub fn share(&self) {
        self.shared.set(true);
        self.retired.set(false);
        self.owner.replace(None);
        self.show_phase();
    }

    /// Hands the lease to `owner`, or takes it back.
    pub fn set_owner(&self, owner: Option<Rc<dyn Recipient>>) {
        self.owner.replace(owner);
        self.show_phase();
    }

    /// Ends the connection; what is owed on it is answered as lost.
    pub fn close(&self) {
        self.owner.replace(None);
        self.shared.set(false);
        self.state.borrow_mut().phase = Phase::Closed;
        self.wake();
    }

    /// The recipient at the head takes replies again.
    pub fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// The connection that was lost last, while there is no other.
    pub fn lost_connection(&self) -> Option<Ghost> {
        let state = self.state.borrow();
        if state.phase == Phase::Ready { None } else { state.facts.ghost() }
    }

    /// Connections that were lost and have not been ended yet.
    pub fn ghosts(&self) -> Vec<Ghost> {
        self.ghosts.borrow().clone()
    }

    /// How the server ends this connection, which is given up although it still owes replies.
    pub fn ghost(&self) -> Option<Ghost> {
        let state = self.state.borrow();
        let owes = state.phase == Phase::Ready && !state.inflight.is_empty();
        owes.then(|| state.facts.ghost()).flatten()
    }

    /// Ends a connection that was lost, before anything more is sent on this one.
    pub fn bury(self: &Rc<Self>, ghost: Ghost) {
        if self.phase() != Phase::Ready {
            return self.keep_ghost(ghost);
        }
        let mut request = Vec::new();
        ghost.kill(&mut request);
        let now = clock::now();
        let burial = Burial { link: Rc::downgrade(self), ghost };
        self.burials.set(self.burials.get() + 1);
        // A link that is ready takes what it is given.
        let _ = self.send(Rc::new(burial), &[&request], 1, now, Some(now + self.settings.request_timeout));
    }

    fn keep_ghost(&self, ghost: Ghost) {
        let mut ghosts = self.ghosts.borrow_mut();
        // A lease brings back what it was given.
        if ghosts.len() < GHOSTS_MAX && !ghosts.contains(&ghost) {
            ghosts.push(ghost);
        }
    }

    /// Runs the link; should that panic, it is begun again as after a loss.
    async fn watch(self: Rc<Self>) {
        while let Err(error) = tokio::task::spawn_local(Rc::clone(&self).run()).await
            && error.is_panic()
        {
            error!(upstream = %self.settings.address, "the task of an upstream connection panicked");
            self.context.tally.panicked();
            // Nobody knows how far the reply at the head had come: its client cannot go on.
            self.state.borrow_mut().inflight.start_head();
            self.end(&Loss::Panicked);
            if !self.shared.get() {
                return self.finish();
            }
            tokio::time::sleep(PANIC_PAUSE).await;
        }
    }

    async fn run(self: Rc<Self>) {
        let mut backoff = Backoff::default();
        while self.phase() != Phase::Closed || self.shared.get() {
            let ghosts = self.ghosts.take();
            let opened = open(&self.settings, &self.opening, &ghosts).await;
            opened.iter().flat_map(|(_, facts)| &facts.kills).for_each(|kill| self.context.killed(*kill));
            match opened {
                // A lease is for one client, who is to hear it from the server itself.
                Ok((_, Facts { state: Some(reply), .. })) if self.shared.get() => {
                    self.refuse(&OpenError::NotServing { address: self.settings.address.to_string(), reply });
                }
                // What was lost while this one was opened is ended before anything that waits is sent, too.
                Ok(_) if !self.ghosts.borrow().is_empty() => continue,
                Ok((stream, facts)) => {
                    backoff.succeeded();
                    self.begin(facts);
                    let loss = self.pump(stream).await;
                    self.end(&loss);
                }
                Err(error) => {
                    ghosts.into_iter().for_each(|ghost| self.keep_ghost(ghost));
                    self.refuse(&error);
                }
            }
            if !self.shared.get() {
                break;
            }
            self.context.tally.upstream_reconnect();
            tokio::time::sleep(backoff.failed(fastrand::f64())).await;
        }
        self.finish();
    }

    fn begin(&self, facts: Facts) {
        let mut state = self.state.borrow_mut();
        if state.phase == Phase::Closed {
            return;
        }
        debug!(upstream = %self.settings.address, id = ?facts.client_id, shared = self.shared.get(), "upstream connection ready");
        if !facts.transactions && self.shared.get() {
            info!(upstream = %self.settings.address, "this connection cannot do MULTI and EXEC: groups on it pass unwrapped");
        }
        if self.down.take().is_some() {
            info!(upstream = %self.settings.address, "upstream connection is back");
        }
        self.ability.set(Ability::Unknown);
        state.facts = facts;
        state.phase = Phase::Ready;
        state.last_read = clock::now();
        state.beat_at = None;
        state.wake_waiting();
        drop(state);
        self.show_phase();
        if self.stands_for_lane() {
            self.context.readiness.upstream(self.context.worker, true);
            self.context.health.alive();
        }
    }

    /// The connection is lost: what was sent, in whole or in part, has an unknown outcome.
    fn end(&self, loss: &Loss) {
        let mut told = Vec::new();
        let mut state = self.state.borrow_mut();
        let written = state.out_start + state.out_at as u64;
        let ghost = state.facts.ghost();
        if self.settings.retry_reads && self.shared.get() {
            self.keep_reads(&mut state, written, &mut told);
        } else {
            let rest = state.inflight.lose(written, |who, frames, cut| told.push((Rc::clone(who), frames, cut)));
            state.forget_before(rest);
        }
        state.phase = if self.shared.get() { Phase::Connecting } else { Phase::Closed };
        drop(state);
        if let Some(ghost) = ghost.filter(|_| !told.is_empty() && !matches!(loss, Loss::Closed)) {
            self.keep_ghost(ghost);
        }
        if matches!(loss, Loss::OutOfSync | Loss::Protocol(_)) {
            self.context.tally.out_of_sync();
        }
        if self.shared.get() {
            warn!(upstream = %self.settings.address, reason = %loss, unknown = told.len(), "upstream connection lost");
            if self.stands_for_lane() {
                self.context.readiness.upstream(self.context.worker, false);
            }
            self.context.health.failed(1);
            self.show(Some(UpstreamState::Connecting));
        } else {
            debug!(upstream = %self.settings.address, reason = %loss, "leased connection ended");
        }
        tell_all(told, Fault::Lost);
    }

    fn refuse(&self, error: &OpenError) {
        if self.stands_for_lane() {
            self.context.readiness.upstream_obstacle(error.obstacle());
            self.note_down(error);
        }
        if let OpenError::Refused { refusal, .. } = error {
            self.state.borrow_mut().refusal = Some(refusal.clone());
        }
    }

    fn note_down(&self, error: &OpenError) {
        match self.down.get() {
            // Told once for each outage, not for each attempt.
            None => {
                self.down.set(Some(clock::now()));
                warn!(%error, cause = std::error::Error::source(error).map(tracing::field::display), "no upstream connection");
                self.context.readiness.upstream(self.context.worker, false);
            }
            // A server that is away for less than requests wait has failed nobody.
            Some(_) if self.is_down() => self.context.health.failed(1),
            Some(_) => {}
        }
    }

    /// The link will never carry anything again: what waits on it is told so.
    fn finish(&self) {
        let mut told: Vec<Told> = Vec::new();
        let mut state = self.state.borrow_mut();
        state.phase = Phase::Closed;
        self.over.set(true);
        state.inflight.abandon_all(|who, frames, cut| told.push((Rc::clone(who), frames, cut)));
        state.forget_written(false);
        state.wake_waiting();
        drop(state);
        tell_all(told, Fault::Unavailable);
        if let Some(owner) = self.owner.take() {
            owner.lease_lost();
        }
        self.show(None);
    }

    /// Whether its lane is there or not is to be seen from this connection.
    fn stands_for_lane(&self) -> bool {
        self.shared.get() && !self.retired.get()
    }

    fn show_phase(&self) {
        let state = match self.phase() {
            Phase::Closed => return,
            Phase::Connecting => UpstreamState::Connecting,
            Phase::Ready if self.retired.get() => UpstreamState::Retired,
            Phase::Ready if self.shared.get() => UpstreamState::Shared,
            Phase::Ready if self.owner.borrow().is_some() => UpstreamState::Leased,
            Phase::Ready => UpstreamState::Idle,
        };
        self.show(Some(state));
    }

    fn show(&self, state: Option<UpstreamState>) {
        let before = self.shown.replace(state);
        if before != state {
            self.context.tally.upstream_moved(before, state);
        }
    }
}

impl State {
    fn wake_waiting(&mut self) {
        for waker in self.waiting.drain(..) {
            waker.wake();
        }
    }

    /// Everything is written: the buffer starts over, unless reads in it may be needed `again`.
    fn forget_written(&mut self, again: bool) {
        if again && self.keeps_sent() {
            return;
        }
        self.out_start += self.out_at as u64;
        self.out.clear();
        self.out_at = 0;
        if self.out.capacity() > OUT_BYTES_MAX {
            self.out = Vec::new();
        }
    }

    /// What comes may never be written to its end: what is written makes room, unless reads in it may be needed `again`.
    fn forget_written_front(&mut self, again: bool) {
        let waiting = self.out.len() - self.out_at;
        if self.out_at < WRITTEN_BYTES_MAX.max(waiting / 2) || again && self.keeps_sent() {
            return;
        }
        self.out.drain(..self.out_at);
        self.out_start += self.out_at as u64;
        self.out_at = 0;
    }

    /// Bytes before `position` will not be sent.
    fn forget_before(&mut self, position: u64) {
        let bytes = usize::try_from(position.saturating_sub(self.out_start)).unwrap_or(usize::MAX).min(self.out.len());
        self.out.drain(..bytes);
        self.out_start = position;
        self.out_at = 0;
    }

    /// The bytes at these positions will not be sent; those before them move up.
    fn cut_out(&mut self, cuts: &[Range<u64>]) {
        let place = |position: u64| usize::try_from(position.saturating_sub(self.out_start)).unwrap_or(usize::MAX);
        let before = self.out.len();
        for cut in cuts.iter().rev() {
            self.out.drain(place(cut.start).min(before)..place(cut.end).min(before));
        }
        self.out_start += (before - self.out.len()) as u64;
        self.out_at = 0;
    }
}

/// Who lacks how many frames, and how far the first of them had come.
type Told = (Rc<dyn Recipient>, u32, Cut);

fn tell_all(told: Vec<Told>, fault: Fault) {
    for (who, frames, cut) in told {
        match cut {
            Cut::BeforeReply => who.fault(frames, fault),
            Cut::SentBefore => who.fault(frames, Fault::Lost),
            Cut::InsideReply => who.cut(frames),
            Cut::Late => who.settle_late(frames),
        }
        who.flush();
    }
}

#[cfg(test)]
mod tests;
