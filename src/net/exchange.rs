//! The door between a client's plan and the sockets: sends what was planned, fills places with replies, writes them out.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker, ready};
use std::time::{Duration, Instant};

use tokio::io::AsyncWrite;

use crate::engine::command::{BlockFor, CommandId, Table};
use crate::engine::pipeline::batch::Batch;
use crate::engine::pipeline::group::{EXEC, MULTI, WrappedGroup};
use crate::engine::pipeline::plan::{Answer, Plan, Step};
use crate::engine::pipeline::resolve::{self, Fault, Finding, Part};
use crate::engine::pipeline::score::{Scope, Score};
use crate::engine::pipeline::slot::{Probe, Role, Slots};
use crate::engine::pipeline::ttl::Undecided;
use crate::engine::policy::Policy;
use crate::engine::resp::encode;
use crate::engine::session::Session;
use crate::engine::session::subscription::Arrival;
use crate::net::clock;
use crate::net::context::Context;
use crate::net::findings::conclude;
use crate::net::stream::Stream;
use crate::net::upstream::connection::Link;
use crate::net::upstream::lane::Lane;
use crate::net::upstream::{Admitted, PING, Recipient};
use crate::telemetry::label::{Direction, Side};

/// Bytes kept for a client before it is no longer read from, and the upstream not for it.
const OUT_BYTES_SOFT: usize = 1024 * 1024;
/// Bytes kept for a client that shares its upstream connection with others, before it is closed.
const OUT_BYTES_HARD: usize = 64 * 1024 * 1024;
/// How long a shared connection waits for a client that is behind and reads nothing, before its
/// replies are kept for it.
const STANDSTILL_GRACE: Duration = Duration::from_millis(100);
/// How long a client may read nothing once all that is kept for it is used up.
const STANDSTILL_MAX: Duration = Duration::from_secs(1);
/// Places that a client may have open before it is no longer read from.
const SLOTS_MAX: usize = 32 * 1024;

/// One client, as its upstream connection and its own task see it.
pub struct Exchange {
    /// The client's id, one for each client of the process.
    pub id: u64,
    /// The client's address, for reports.
    pub peer: Arc<str>,
    pub context: Rc<Context>,
    pub state: RefCell<State>,
    stream: RefCell<Stream>,
    /// The client's task.
    waker: RefCell<Option<Waker>>,
    /// The connection that the client's replies come from.
    link: RefCell<Option<Rc<Link>>>,
    lane: RefCell<Rc<Lane>>,
    marked: Cell<bool>,
    /// The client's task wants to know when nothing is owed any more.
    pub wants_drained: Cell<bool>,
    /// The client's task wants to know when it may send more.
    pub wants_room: Cell<bool>,
    /// When the client last read something, or had nothing to read.
    progress_at: Cell<Instant>,
    /// Everything was written.
    caught_up: Cell<bool>,
    /// The upstream is not read from because the client is behind.
    holds_up: Cell<bool>,
    /// The lease has ended by itself.
    pub lost_lease: Cell<bool>,
    ended: Cell<Option<End>>,
}

/// What belongs to a client's session and its places.
pub struct State {
    pub session: Session,
    pub slots: Slots,
    pub undecided: Undecided,
    out: Vec<u8>,
    out_at: usize,
    found: Vec<Finding>,
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
    /// The client reads so slowly that others would have to wait for it.
    Slow,
}

/// Times that apply to what is sent now.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// When the requests were read.
    pub read_at: Instant,
    pub request_timeout: Duration,
}

impl Exchange {
    /// A client that has just connected.
    pub fn new(id: u64, peer: Arc<str>, context: &Rc<Context>, stream: Stream, lane: &Rc<Lane>) -> Rc<Exchange> {
        Rc::new(Exchange {
            id,
            peer,
            context: Rc::clone(context),
            state: RefCell::new(State {
                session: Session::default(),
                slots: Slots::default(),
                undecided: Undecided::default(),
                out: Vec::new(),
                out_at: 0,
                found: Vec::new(),
            }),
            stream: RefCell::new(stream),
            waker: RefCell::new(None),
            link: RefCell::new(Some(Rc::clone(lane.shared()))),
            lane: RefCell::new(Rc::clone(lane)),
            marked: Cell::new(false),
            wants_drained: Cell::new(false),
            wants_room: Cell::new(false),
            progress_at: Cell::new(clock::now()),
            caught_up: Cell::new(true),
            holds_up: Cell::new(false),
            lost_lease: Cell::new(false),
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
        self.set_link(lane.shared());
    }

    /// The connection that the client's commands go to.
    pub fn link(&self) -> Option<Rc<Link>> {
        self.link.borrow().clone()
    }

    /// The client's commands go to this connection from now on; nothing may be owed on the old one.
    pub fn set_link(&self, link: &Rc<Link>) {
        self.link.replace(Some(Rc::clone(link)));
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
    }

    /// True when the upstream owes the client nothing.
    pub fn is_drained(&self) -> bool {
        self.state.borrow().slots.is_drained()
    }

    /// True when the client is owed nothing and has been sent everything.
    pub fn is_settled(&self) -> bool {
        let state = self.state.borrow();
        state.slots.is_empty() && state.out_at == state.out.len()
    }

    /// False while so much is under way or unread that nothing more is taken from the client.
    pub fn has_room(&self) -> bool {
        let state = self.state.borrow();
        state.slots.len() < SLOTS_MAX && state.out.len() - state.out_at < OUT_BYTES_SOFT
    }

    /// Answers the next request without the upstream.
    pub fn answer(&self, reply: Vec<u8>) {
        let mut state = self.state.borrow_mut();
        let State { slots, out, .. } = &mut *state;
        slots.answer(reply, out);
    }

    /// Waits for the promised answers; later commands are sent only then.
    pub async fn promises_kept(&self) {
        std::future::poll_fn(|cx| {
            self.register(cx);
            if let Poll::Ready(Err(_)) = self.poll_flush(cx) {
                self.end(End::Gone);
            }
            let over = self.ended().is_some() || !self.state.borrow().slots.is_promised();
            if over { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Fills a promised place.
    pub fn keep_promise(&self, number: u64, reply: Vec<u8>) {
        let mut state = self.state.borrow_mut();
        let State { slots, out, .. } = &mut *state;
        slots.keep(number, reply, out);
        drop(state);
        self.flush();
        self.wake();
    }

    /// Sends what was planned. `answer` makes the replies that the proxy gives itself.
    pub fn dispatch(
        self: &Rc<Self>,
        plan: &mut Plan,
        batch: &Batch,
        bytes: &[u8],
        timing: Timing,
        mut answer: impl FnMut(usize, Answer) -> Vec<u8>,
    ) {
        let Some(link) = self.link() else { return };
        let table = Arc::clone(&self.context.table());
        let policy = Arc::clone(&self.context.policy());
        let mut probes = plan.probes.drain(..);
        let mut roles = plan.roles.iter().copied();
        for step in &plan.steps {
            match step {
                Step::Send { commands } => {
                    let first = roles.clone();
                    let plain = first.take(commands.len()).filter(|role| *role == Role::Plain).count();
                    let scope = (plain > 1).then_some(Scope::Pipeline { report: policy.report_pipelines });
                    self.send_run(
                        &link,
                        &table,
                        batch,
                        bytes,
                        commands.clone(),
                        &mut roles,
                        scope.map(|scope| (scope, plain)),
                        timing,
                    );
                }
                Step::Watch { commands, group, unwrapped } => {
                    let scope = Scope::Group { index: *group, rule: Arc::clone(&policy.groups()[*group]), unwrapped: *unwrapped };
                    self.send_run(
                        &link,
                        &table,
                        batch,
                        bytes,
                        commands.clone(),
                        &mut roles,
                        Some((scope, commands.len())),
                        timing,
                    );
                }
                Step::Wrap { commands, group } => {
                    roles.by_ref().take(commands.len()).for_each(drop);
                    self.send_group(&link, &policy, batch, bytes, commands.clone(), *group, timing);
                }
                Step::Probe => {
                    if let Some(probe) = probes.next() {
                        self.send_probe(&link, probe, timing);
                    }
                }
                Step::CatchUp => {
                    let mut state = self.state.borrow_mut();
                    state.slots.push(Role::Unheard, CommandId::UNKNOWN, false);
                    self.send(&link, &mut state, &[PING], 1, timing.read_at, timing.deadline());
                }
                Step::Answer { command, by } => {
                    roles.next();
                    self.context.tally.command(batch.id(*command).index());
                    self.answer(answer(*command, *by));
                }
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one step of a plan, with all that it refers to")]
    fn send_run(
        self: &Rc<Self>,
        link: &Rc<Link>,
        table: &Table,
        batch: &Batch,
        bytes: &[u8],
        commands: std::ops::Range<usize>,
        roles: &mut impl Iterator<Item = Role>,
        score: Option<(Scope, usize)>,
        timing: Timing,
    ) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let scored = score.is_some();
        if let Some((scope, plain)) = score {
            state.slots.push_score(Score::new(scope, u32::try_from(plain).unwrap_or(u32::MAX)));
        }
        let mut frames = 0;
        for (at, role) in commands.clone().zip(roles) {
            let id = batch.id(at);
            self.context.tally.command(id.index());
            state.slots.push(role, id, scored && role == Role::Plain);
            frames += match role {
                Role::Subscription { frames } => frames,
                _ => 1,
            };
        }
        let pinned = state.session.affinity.is_pinned();
        let deadline = if pinned { blocking_deadline(table, batch, bytes, commands.clone(), timing) } else { timing.deadline() };
        self.send(link, state, &[&bytes[batch.wire(commands)]], frames, timing.read_at, deadline);
    }

    #[expect(clippy::too_many_arguments, reason = "one step of a plan, with all that it refers to")]
    fn send_group(
        self: &Rc<Self>,
        link: &Rc<Link>,
        policy: &Policy,
        batch: &Batch,
        bytes: &[u8],
        commands: std::ops::Range<usize>,
        group: usize,
        timing: Timing,
    ) {
        let members: Vec<_> = commands.clone().map(|at| batch.id(at)).collect();
        for id in &members {
            self.context.tally.command(id.index());
        }
        let mut state = self.state.borrow_mut();
        let wrapped = Box::new(WrappedGroup::new(group, Arc::clone(&policy.groups()[group]), members));
        let frames = wrapped.frames();
        state.slots.push_group(wrapped);
        self.send(link, &mut state, &[MULTI, &bytes[batch.wire(commands)], EXEC], frames, timing.read_at, timing.deadline());
    }

    fn send_probe(self: &Rc<Self>, link: &Rc<Link>, probe: Probe, timing: Timing) {
        let mut request = Vec::with_capacity(32 + probe.key.len());
        encode::request(&mut request, &[b"PTTL", &probe.key]);
        let mut state = self.state.borrow_mut();
        state.slots.push_probe(probe);
        self.send(link, &mut state, &[&request], 1, timing.read_at, timing.deadline());
    }

    fn send(
        self: &Rc<Self>,
        link: &Rc<Link>,
        state: &mut State,
        parts: &[&[u8]],
        frames: u32,
        read_at: Instant,
        deadline: Option<Instant>,
    ) {
        let recipient: Rc<dyn Recipient> = Rc::<Exchange>::clone(self);
        if !link.send(recipient, parts, frames, read_at, deadline) {
            self.fault_in(state, frames, Fault::Unavailable);
        }
    }

    /// Sends a request that the proxy has rewritten; its reply is the client's.
    pub fn ask(self: &Rc<Self>, id: CommandId, role: Role, words: &[&[u8]], request_timeout: Duration) {
        let Some(link) = self.link() else { return };
        let mut request = Vec::new();
        encode::request(&mut request, words);
        self.context.tally.command(id.index());
        let timing = Timing { read_at: clock::now(), request_timeout };
        let mut state = self.state.borrow_mut();
        state.slots.push(role, id, false);
        self.send(&link, &mut state, &[&request], 1, timing.read_at, timing.deadline());
    }

    /// Begins to cut a request through that is too large to be held whole: `head` is its first part.
    pub fn begin_stream(self: &Rc<Self>, id: CommandId, head: &[u8], timing: Timing) {
        let Some(link) = self.link() else { return };
        self.context.tally.command(id.index());
        let mut state = self.state.borrow_mut();
        state.slots.push(Role::Plain, id, false);
        self.send(&link, &mut state, &[head], 1, timing.read_at, None);
    }

    /// Passes bytes on for which no reply is awaited in a place of its own.
    pub fn tunnel(self: &Rc<Self>, bytes: &[u8]) {
        let Some(link) = self.link() else { return };
        let recipient: Rc<dyn Recipient> = Rc::<Exchange>::clone(self);
        if !link.send(recipient, &[bytes], 0, clock::now(), None) {
            self.end(End::LeaseLost);
        }
    }

    /// The client's task runs on `cx`; wakes go there.
    pub fn register(&self, cx: &TaskContext<'_>) {
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

    /// Reads what the client sent into `buffer`.
    pub fn poll_read(&self, buffer: &mut bytes::BytesMut, cx: &mut TaskContext<'_>) -> Poll<io::Result<usize>> {
        let mut stream = self.stream.borrow_mut();
        let read = ready!(tokio_util::io::poll_read_buf(Pin::new(&mut *stream), cx, buffer))?;
        self.context.tally.add_bytes(Side::Client, Direction::In, read);
        Poll::Ready(Ok(read))
    }

    /// Writes what is ready for the client.
    pub fn poll_flush(&self, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        if self.caught_up.replace(false) {
            self.progress_at.set(clock::now());
        }
        let mut stream = self.stream.borrow_mut();
        while state.out_at < state.out.len() {
            match Pin::new(&mut *stream).poll_write(cx, &state.out[state.out_at..]) {
                Poll::Ready(Ok(written)) => {
                    state.out_at += written;
                    self.progress_at.set(clock::now());
                    self.context.tally.add_bytes(Side::Client, Direction::Out, written);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    state.forget_written_part();
                    self.let_through(state);
                    return Poll::Pending;
                }
            }
        }
        if state.out.capacity() > 0 {
            state.out_at = 0;
            self.context.write_buffers.give(std::mem::take(&mut state.out));
        }
        self.caught_up.set(true);
        self.let_through(state);
        Poll::Ready(Ok(()))
    }

    /// The client has caught up: the upstream is read from again.
    fn let_through(&self, state: &State) {
        if state.out.len() - state.out_at < OUT_BYTES_SOFT
            && self.holds_up.take()
            && let Some(link) = self.link.borrow().as_ref()
        {
            link.wake();
        }
    }

    /// Closes the sending side after everything has been written.
    pub async fn shutdown(&self) {
        let closed = std::future::poll_fn(|cx| Pin::new(&mut *self.stream.borrow_mut()).poll_shutdown(cx));
        // The client may have closed first; there is nobody left to tell.
        let _ = tokio::time::timeout(Duration::from_secs(1), closed).await;
    }

    fn fault_in(&self, state: &mut State, frames: u32, fault: Fault) {
        let table = self.context.table();
        let State { slots, session, out, found, .. } = state;
        slots.fault(frames, fault, session, out, &resolve::Context { table: &table, client_id: self.id }, found);
        self.conclude(state);
    }

    /// Reports what resolving has found; true when the upstream connection must be closed.
    fn conclude(&self, state: &mut State) -> bool {
        if state.found.is_empty() {
            return false;
        }
        conclude(&self.context, &self.peer, &self.lane.borrow(), &mut state.found)
    }
}

impl Recipient for Exchange {
    fn admit(&self, piece: &[u8], part: Part) -> Admitted {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let State { session, slots, out, found, .. } = state;
        if out.capacity() == 0 {
            *out = self.context.write_buffers.take();
        }
        let table = self.context.table();
        let context = resolve::Context { table: &table, client_id: self.id };
        let more = slots.admit(piece, part, session, out, &context, found);
        drop(table);
        Admitted { more, close: self.conclude(state) }
    }

    fn fault(&self, frames: u32, fault: Fault) {
        self.fault_in(&mut self.state.borrow_mut(), frames, fault);
    }

    fn settle_late(&self, frames: u32) {
        self.state.borrow_mut().slots.settle_late(frames);
    }

    fn cut(&self) {
        self.end(End::Cut);
    }

    fn classify(&self, head: &[u8]) -> Arrival {
        let state = self.state.borrow();
        if state.session.affinity.is_tunnel() {
            return Arrival::Message;
        }
        match state.session.subscriptions.classify(head) {
            Arrival::Confirmation if !matches!(state.slots.head(), Some(Role::Subscription { .. } | Role::UnsubscribeAll(_))) => {
                Arrival::Message
            }
            arrival => arrival,
        }
    }

    fn push(&self, piece: &[u8]) {
        self.state.borrow_mut().out.extend_from_slice(piece);
    }

    fn lease_lost(&self) {
        self.lost_lease.set(true);
        self.wake();
    }

    fn mark(&self) -> bool {
        !self.marked.replace(true)
    }

    fn flush(&self) {
        self.marked.set(false);
        if self.ended.get().is_some() {
            self.state.borrow_mut().forget_out();
            return;
        }
        let waker = self.waker.borrow();
        let Some(waker) = waker.as_ref() else { return };
        match self.poll_flush(&mut TaskContext::from_waker(waker)) {
            Poll::Ready(Err(_)) => {
                self.ended.set(Some(End::Gone));
                waker.wake_by_ref();
            }
            _ if self.wants_drained.get() && self.is_drained() => waker.wake_by_ref(),
            _ if self.wants_room.get() && self.has_room() => waker.wake_by_ref(),
            _ => {}
        }
    }

    fn is_congested(&self) -> bool {
        let state = self.state.borrow();
        let kept = state.out.len() - state.out_at;
        if self.ended.get().is_some() || kept < OUT_BYTES_SOFT {
            return false;
        }
        let standstill = clock::now().saturating_duration_since(self.progress_at.get());
        // Nobody else waits for a lease.
        let is_waited_for = state.session.affinity.is_pinned()
            || if kept < OUT_BYTES_HARD { standstill < STANDSTILL_GRACE } else { standstill < STANDSTILL_MAX };
        if !is_waited_for && kept >= OUT_BYTES_HARD {
            tracing::info!(client = %self.peer, kept, "closed: the client does not read its replies");
            self.end(End::Slow);
        }
        self.holds_up.set(is_waited_for);
        is_waited_for
    }
}

impl State {
    fn forget_out(&mut self) {
        self.out.clear();
        self.out_at = 0;
    }

    /// Keeps the buffer from growing for ever under a client that reads slowly but steadily.
    fn forget_written_part(&mut self) {
        if self.out_at >= self.out.len() / 2 {
            self.out.drain(..self.out_at);
            self.out_at = 0;
        }
    }
}

impl Timing {
    fn deadline(&self) -> Option<Instant> {
        Some(self.read_at + self.request_timeout)
    }
}

/// On a lease commands may block: the longest of their own timeouts is added.
fn blocking_deadline(
    table: &Table,
    batch: &Batch,
    bytes: &[u8],
    commands: std::ops::Range<usize>,
    timing: Timing,
) -> Option<Instant> {
    let mut longest = Duration::ZERO;
    for at in commands {
        let (spec, args) = (table.spec(batch.id(at)), batch.args(bytes, at));
        if !spec.is_blocking(args) {
            continue;
        }
        match spec.blocking_timeout(args) {
            Some(BlockFor::Forever) => return None,
            Some(BlockFor::AtMost(timeout)) => longest = longest.max(timeout),
            None => {}
        }
    }
    timing.deadline().and_then(|deadline| deadline.checked_add(longest))
}
