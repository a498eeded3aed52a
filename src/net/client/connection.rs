//! The task of one client: what it sends is read, planned and sent on; replies are written by the exchange.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::sync::Notify;
use tokio::time::Sleep;

use super::about::Queued;
use super::hold::Waits;
use super::large::MEMBER_BYTES_MAX;
use super::lent::Lent;
use super::mending::Asking;
use crate::engine::command::CommandId;
use crate::engine::pipeline::batch::Tail;
use crate::engine::pipeline::plan::{Plan, Rules, Turn, plan};
use crate::engine::resp::encode;
use crate::engine::resp::request::{Limits, RequestParser};
use crate::engine::session::affinity::Reason;
use crate::engine::session::patience::Patience;
use crate::net::clock;
use crate::net::context::{Context, READ_BYTES};
use crate::net::exchange::{End, Exchange, PRESSED_BYTES, Timing};
use crate::net::recording::{Read, Track};
use crate::net::registry::{Client, Registry};
use crate::net::upstream::connection::Link;
use crate::net::upstream::lane::{Lane, Mending};
use crate::net::upstream::pool::Pool;
use crate::net::upstream::unheard::Unheard;
use crate::net::users::Users;

/// Input kept while the client waits for its turn, before it is no longer read from.
const INPUT_BYTES_MAX: usize = 256 * 1024;

/// How often is looked whether a client has left that is not read from.
const UNHEARD_PAUSE: Duration = Duration::from_millis(50);

/// Everything that clients of one worker have in common.
pub struct Surroundings {
    pub context: Rc<Context>,
    pub pool: Pool,
    pub registry: Arc<Registry>,
    /// Who may log in to the proxy; without them the server alone decides.
    pub users: Option<Arc<Users>>,
    /// Each client has an upstream connection of its own.
    pub exclusive: bool,
    pub load: Arc<AtomicUsize>,
    /// What one client at a time plans with.
    pub plan: RefCell<Plan>,
    /// By their ids.
    pub clients: RefCell<HashMap<u64, Weak<Exchange>>>,
    /// One of them has left.
    pub left: Notify,
}

/// One client.
pub struct Connection {
    pub(super) around: Rc<Surroundings>,
    pub(super) exchange: Rc<Exchange>,
    pub(super) client: Arc<Client>,
    pub(super) input: BytesMut,
    pub(super) batch: Lent,
    pub(super) parser: RequestParser,
    /// The connection that the client holds alone, and the lane that it belongs to.
    pub(super) lease: Option<(Rc<Lane>, Rc<Link>)>,
    /// A request is being cut through.
    pub(super) streaming: bool,
    /// The client will send nothing more, or nothing more is taken from it.
    pub(super) input_ended: bool,
    /// The last read filled its buffer: more is there.
    read_filled: bool,
    /// For what is in the batch now, the connection has been asked whether it can carry guarded groups.
    pub(super) asked: Cell<bool>,
    /// Likewise, its server whether the user may mend writes.
    pub(super) asked_mending: Cell<bool>,
    /// What waits for more has waited long enough.
    pub(super) wait_over: bool,
    /// When the wait is over nothing that is held is waited for any longer; else only for the oldest.
    pub(super) wait_is_for_all: bool,
    pub(super) waits: Option<Box<Waits>>,
    pub(super) patience: Patience,
    /// Logins that the proxy has refused.
    pub(super) refused_logins: u32,
    /// The server has accepted a password on the client's own connection.
    pub(super) authenticated: bool,
    /// Commands about clients that wait for the client's EXEC.
    pub(super) queued: Vec<Queued>,
    /// The number of the rules that the last batch was planned with.
    pub(super) rules: u64,
    /// The client's part in the recording that somebody makes.
    track: Option<Box<Track>>,
}

/// What a client's task does next.
pub(super) enum Next {
    /// Wait for bytes.
    Read,
    /// A part of a group is there: wait for bytes, but not longer than this.
    ReadWithin(Duration),
    /// Wait until what is under way has become less.
    Room,
    Turn(Turn),
    /// Ask whether the connection can carry guarded groups.
    Ask,
    /// Ask whether the user may do what this rule's fix adds to writes.
    AskMending(Box<Asking>),
    /// Answer what is owed, then close.
    Close,
}

enum Event {
    Read,
    Wake,
    WaitOver,
}

impl Connection {
    fn new(around: Rc<Surroundings>, exchange: Rc<Exchange>, client: Arc<Client>) -> Connection {
        let rules = around.context.policy_number();
        Connection {
            around,
            exchange,
            client,
            input: BytesMut::new(),
            batch: Lent::default(),
            parser: RequestParser::new(Limits::default()),
            lease: None,
            streaming: false,
            input_ended: false,
            read_filled: false,
            asked: Cell::new(false),
            asked_mending: Cell::new(false),
            wait_over: false,
            wait_is_for_all: true,
            waits: None,
            patience: Patience::default(),
            refused_logins: 0,
            authenticated: false,
            queued: Vec::new(),
            rules,
            track: None,
        }
    }

    /// Serves a client that has just connected until it leaves. Dropping the future leaves its lease closed, never
    /// reused. A panic costs this client alone.
    pub async fn serve(around: Rc<Surroundings>, exchange: Rc<Exchange>, client: Arc<Client>) {
        // Made here, not handed over: a task has room for what it is given beside what it makes of it.
        Connection::new(around, exchange, client).run().await;
    }

    /// What a client seldom does is boxed, so that those that are idle need no room for it.
    async fn run(&mut self) {
        self.await_login();
        if self.around.exclusive && !self.is_stranger() && !Box::pin(self.take_turn(Turn::Pin(Reason::Exclusive))).await {
            return;
        }
        while self.exchange.ended().is_none() {
            match self.advance() {
                Next::Read => self.wait(None).await,
                Next::Room => {
                    self.exchange.wants_room.set(!self.exchange.has_room());
                    self.wait(None).await;
                }
                Next::ReadWithin(longest) => self.wait(Some(longest)).await,
                Next::Turn(turn) => {
                    if !Box::pin(self.take_turn(turn)).await {
                        break;
                    }
                }
                Next::Ask => Box::pin(self.ask_ability()).await,
                Next::AskMending(asking) => Box::pin(self.ask_mending(asking)).await,
                Next::Close => break,
            }
        }
        Box::pin(self.finish()).await;
    }

    /// Plans and sends everything that can go now.
    fn advance(&mut self) -> Next {
        loop {
            if self.exchange.state.borrow().session.affinity.is_tunnel() {
                return self.tunnel();
            }
            if self.streaming && !self.stream() {
                return self.rest();
            }
            if self.exchange.leave_stuck() {
                self.asked.set(false);
            }
            if !self.exchange.has_room() && self.batch.all_held().is_empty() || !self.exchange.link().has_room() {
                return Next::Room;
            }
            if self.batch.is_none() {
                self.batch.set(self.around.context.batches.take());
            }
            self.limit_unauthenticated();
            let whole_bytes_max = self.whole_bytes_max();
            let tail = {
                let table = self.around.context.table();
                self.batch.parse(&mut self.parser, &table, &self.input, whole_bytes_max)
            };
            if tail == Tail::Large && whole_bytes_max < self.whole_bytes_max() {
                continue;
            }
            if let Some(next) = self.send_batch(&tail) {
                return next;
            }
            match tail {
                Tail::More => {}
                Tail::Clean | Tail::Partial => return self.rest(),
                Tail::Large => return self.cut_through(),
                Tail::Error(error) => {
                    let mut reply = Vec::new();
                    error.reply(&mut reply);
                    self.exchange.answer(reply);
                    return Next::Close;
                }
            }
        }
    }

    /// Redis takes less from a client that still owes a password, which its next command may bring.
    fn limit_unauthenticated(&mut self) {
        let owes_server =
            !self.authenticated && self.exchange.link().wants_password() && self.exchange.lane().key.login.is_none();
        let owes = owes_server || self.is_stranger();
        // What is held has a place that its reply must come to: it goes first.
        if owes != self.batch.singly && self.batch.all_held().is_empty() {
            // What was read under the other limits is read again.
            self.batch = Lent::default();
            self.batch.singly = owes;
            self.parser = RequestParser::new(Limits { unauthenticated: owes, ..Limits::default() });
        }
    }

    /// Plans and sends the commands of the batch; what must happen before the rest can follow.
    fn send_batch(&mut self, tail: &Tail) -> Option<Next> {
        if self.batch.is_empty() {
            let blank = self.batch.consume(0);
            self.input.advance(blank);
            return None;
        }
        self.follow_rules();
        if self.exchange.bulk.is_expected() && self.wants_own_link() {
            self.exchange.bulk.count();
            return Some(Next::Turn(Turn::Pin(Reason::Bulky)));
        }
        if self.must_ask_ability() {
            return Some(Next::Ask);
        }
        self.asked.set(false);
        if let Some(asking) = self.mending_to_ask() {
            return Some(Next::AskMending(asking));
        }
        self.asked_mending.set(false);
        if !self.wait_over && self.batch.all_held().is_empty() {
            self.look_for_sequence();
        }
        let comes = match tail {
            Tail::Partial | Tail::More => true,
            Tail::Clean => self.read_filled,
            // What is there is no request that could be waited for.
            Tail::Large | Tail::Error(_) => false,
        };
        let more = comes && !self.wait_over && !self.input_ended;
        let around = Rc::clone(&self.around);
        let planned = &mut *around.plan.borrow_mut();
        {
            let context = &self.around.context;
            let (table, policy) = (context.table(), context.policy());
            let (link, lane) = (self.exchange.link(), self.exchange.lane());
            let rules = Rules {
                table: &table,
                policy: &policy,
                transactions: link.can_transact(),
                probes: lane.probes.get(),
                mends: lane.mending.get() != Mending::Refused,
                ability: link.ability(),
                hold: self.holding(tail),
                degraded: context.health.refuses() || link.is_down(),
            };
            let mut state = self.exchange.state.borrow_mut();
            let state = &mut *state;
            plan(&mut state.session, &mut state.undecided, rules, &self.batch, &self.input, more, planned);
        }
        let timing = self.timing();
        let places = self.exchange.dispatch(planned, &self.batch, &self.input, timing);
        self.tell_notes(planned);
        self.consume_planned(planned, &places);
        let has_more = *tail == Tail::More && planned.commands > planned.kept.len();
        match planned.turn.take() {
            None => {
                self.wait_over = false;
                None
            }
            // What is waited for has been read already.
            Some(Turn::Wait) if has_more => None,
            // A frame that has begun takes as long as its bytes keep coming.
            Some(Turn::Wait) => {
                let longest = self.around.context.policy().hold.max;
                Some(self.wait_within(planned, longest))
            }
            Some(Turn::Hold) => Some(self.hold(planned)),
            Some(turn) => Some(Next::Turn(turn)),
        }
    }

    /// Its replies have been large, and it can have a connection of its own now: those that share one need not wait.
    #[cold]
    fn wants_own_link(&self) -> bool {
        let is_pinned = self.exchange.state.borrow().session.affinity.is_pinned();
        let may = !is_pinned && !self.is_stranger() && self.batch.all_held().is_empty();
        // Without a server nobody waits, and rules may answer in its place.
        let is_down = self.exchange.link().is_down();
        may && !is_down && self.exchange.lane().has_leases_to_spare()
    }

    pub(super) fn timing(&self) -> Timing {
        Timing { read_at: clock::now(), request_timeout: self.around.pool.settings.request_timeout }
    }

    /// Everything that was read has been sent.
    fn rest(&mut self) -> Next {
        self.give_buffers();
        if self.input_ended { Next::Close } else { Next::Read }
    }

    /// Nothing of what was read is left: others need the room more.
    fn give_buffers(&mut self) {
        if self.input.is_empty() && self.input.capacity() > 0 {
            self.around.context.read_buffers.give(std::mem::take(&mut self.input));
        }
        if self.input.is_empty()
            && let Some(batch) = self.batch.take_blank()
        {
            self.around.context.batches.give(batch);
        }
    }

    /// Waits until there is something to do, at most for `longest`.
    pub(super) async fn wait(&mut self, longest: Option<Duration>) {
        let news_to_come = self.lease.is_some() && !self.exchange.is_drained();
        self.exchange.wants_drained.set(news_to_come || self.exchange.wants_drained.get());
        let unheard = longest.is_none() && self.is_unheard_while_blocked();
        let pause = if unheard { Some(UNHEARD_PAUSE) } else { longest };
        self.exchange.keep_input(self.input.capacity());
        let mut timer = pause.map(|pause| Box::pin(tokio::time::sleep(pause)));
        let timer = &mut timer;
        let event = std::future::poll_fn(|cx| self.poll_event(timer.as_mut().map(Pin::as_mut), longest.is_some(), cx)).await;
        match event {
            Event::Read => self.note_gap(),
            Event::Wake => {}
            // What it waits for must not be taken out for nobody.
            Event::WaitOver if unheard => {
                if self.exchange.has_left() {
                    self.exchange.end(End::Gone);
                }
            }
            Event::WaitOver => self.wait_over = self.wait_is_for_all,
        }
        self.settle_lease();
    }

    /// The client is blocked, and so much stands behind the blocking command that nothing more is read: its leaving would
    /// not be noticed.
    fn is_unheard_while_blocked(&self) -> bool {
        let blocked = self.lease.as_ref().is_some_and(|(_, link)| link.is_blocked());
        let full = self.input.len() >= INPUT_BYTES_MAX || !self.exchange.has_room();
        blocked && !self.input_ended && (full || !self.exchange.link().has_room())
    }

    fn poll_event(&mut self, timer: Option<Pin<&mut Sleep>>, held: bool, cx: &mut TaskContext<'_>) -> Poll<Event> {
        self.exchange.register(cx);
        if let Poll::Ready(Err(_)) = self.exchange.poll_flush(cx) {
            self.exchange.end(End::Gone);
        }
        if self.exchange.ended().is_some() || self.has_news() {
            return Poll::Ready(Event::Wake);
        }
        if let Some(timer) = timer
            && timer.poll(cx).is_ready()
        {
            return Poll::Ready(Event::WaitOver);
        }
        self.poll_input(held, cx)
    }

    /// Something other than bytes has changed what can be done.
    fn has_news(&mut self) -> bool {
        if self.around.context.draining.get() && !self.input_ended {
            self.input_ended = true;
            self.end_blocking();
            return true;
        }
        if self.exchange.lost_lease.get() {
            return true;
        }
        if self.exchange.wants_settled.get() && !self.exchange.is_fenced() {
            return true;
        }
        if self.exchange.wants_room.get() && self.exchange.has_room() {
            self.exchange.wants_room.set(false);
            return true;
        }
        let wanted = self.exchange.wants_drained.get() && self.exchange.is_drained();
        if wanted {
            self.exchange.wants_drained.set(false);
        }
        wanted
    }

    /// `held` says that what is there waits for more to come.
    fn poll_input(&mut self, held: bool, cx: &mut TaskContext<'_>) -> Poll<Event> {
        let has_room = self.exchange.has_room();
        let link = self.exchange.link();
        if !link.has_room() {
            return link.poll_room(cx).map(|()| Event::Wake);
        }
        if !has_room {
            self.exchange.wants_room.set(true);
        }
        if !has_room || self.input_ended || self.is_full(held) {
            return Poll::Pending;
        }
        if self.input.capacity() == 0 {
            if !self.exchange.may_read(cx) {
                return Poll::Pending;
            }
            self.input = self.around.context.read_buffers.take();
        }
        self.input.reserve(if self.streaming { 4 * READ_BYTES } else { READ_BYTES / 4 });
        let room = self.input.capacity() - self.input.len();
        match self.exchange.poll_read(&mut self.input, cx) {
            Poll::Ready(Ok(0)) => {
                self.input_ended = true;
                Poll::Ready(Event::Read)
            }
            Poll::Ready(Ok(read)) => {
                self.read_filled = read == room;
                if self.around.context.tap.is_on() {
                    self.record(read);
                }
                Poll::Ready(Event::Read)
            }
            Poll::Ready(Err(_)) => {
                self.exchange.end(End::Gone);
                Poll::Ready(Event::Wake)
            }
            // The buffer was filled to its last byte, and nothing stands behind it.
            Poll::Pending if std::mem::take(&mut self.read_filled) && !self.batch.is_empty() => Poll::Ready(Event::Wake),
            Poll::Pending => {
                self.give_buffers();
                Poll::Pending
            }
        }
    }

    /// Tells whoever records what the last read has brought.
    #[cold]
    fn record(&mut self, read: usize) {
        let before = self.input.len() - read;
        let is_tunnel = self.exchange.state.borrow().session.affinity.is_tunnel();
        let is_between_requests = self.parser.is_between_requests() && self.batch.whole_bytes() >= before;
        let read = Read {
            client: self.client.id,
            connected_at: self.client.connected_at,
            bytes: &self.input[before..],
            begins_request: is_between_requests && !self.streaming && !is_tunnel,
        };
        Track::note(&mut self.track, &self.around.context.tap, read);
    }

    /// So much has come that cannot go on now that nothing more is read; `held` as above.
    fn is_full(&self, held: bool) -> bool {
        !self.input.is_empty() && self.input.len() >= self.input_bytes_max().max(self.whole_bytes_wanted(held))
    }

    fn input_bytes_max(&self) -> usize {
        if self.around.context.kept.is_too_much() { PRESSED_BYTES } else { INPUT_BYTES_MAX }
    }

    fn whole_bytes_wanted(&self, held: bool) -> usize {
        match self.streaming {
            true => 0,
            // The members of a group that are there already may be large themselves.
            false if held && !self.around.context.policy().groups().is_empty() => 2 * MEMBER_BYTES_MAX,
            false => 2 * self.whole_bytes_max(),
        }
    }

    /// Gives the lease back as soon as nothing needs it any more.
    pub(super) fn settle_lease(&mut self) {
        if self.exchange.lost_lease.take() {
            self.lose_lease();
        }
        if self.lease.is_none() {
            return;
        }
        if self.exchange.is_drained() && !self.streaming && self.exchange.state.borrow().session.is_free() {
            self.return_lease(true);
        }
    }

    /// What was bound to the lost lease is lost too; a client that cannot learn so from a reply is closed.
    fn lose_lease(&mut self) {
        let (lasting, subscribed) = {
            let state = self.exchange.state.borrow();
            (!state.session.affinity.is_passing(), state.session.subscriptions.any())
        };
        // What it was sent last may still lie unread at the server, and the client goes on.
        if let Some((lane, link)) = &self.lease
            && let Some(ghost) = link.ghost()
        {
            lane.shared().bury(ghost);
        }
        self.drop_lease();
        if lasting || subscribed || self.streaming {
            self.exchange.end(End::LeaseLost);
            return;
        }
        self.exchange.state.borrow_mut().session.transaction.lose();
    }

    pub(super) fn drop_lease(&mut self) {
        self.return_lease(false);
    }

    fn return_lease(&mut self, clean: bool) {
        if let Some((lane, link)) = self.lease.take() {
            lane.give_back(&link, clean);
            self.exchange.wants_drained.set(false);
            self.exchange.set_link(&self.exchange.lane().shared());
            self.exchange.state.borrow_mut().session.affinity.unpin();
        }
    }

    /// Nothing more is taken from the client; what is owed to it is still answered.
    pub(super) fn give_up(&mut self) {
        self.input_ended = true;
        self.input.clear();
        self.batch = Lent::default();
    }

    /// The command that the turn is about.
    pub(super) fn id(&self) -> CommandId {
        self.batch.id(0)
    }

    /// The first command of the batch has been dealt with.
    pub(super) fn consume_one(&mut self) {
        let consumed = self.batch.consume(1);
        self.input.advance(consumed);
    }

    /// Everything that is owed is answered, then the connection ends.
    async fn finish(&mut self) {
        if self.around.context.draining.get() {
            self.end_blocking();
        }
        let tunnel = self.exchange.state.borrow().session.affinity.is_tunnel() && self.input_ended;
        if let Some((_, link)) = self.lease.as_ref().filter(|_| tunnel) {
            // Nobody but the server knows what is still owed in a tunnel: it is told the end too, and ends.
            link.finish_sending();
        }
        let longest = if tunnel { self.around.pool.settings.request_timeout } else { Duration::MAX };
        // Who is not told the end by then is told now.
        let _ = tokio::time::timeout(longest, self.all_answered(tunnel)).await;
        if self.exchange.ended().is_none() {
            self.exchange.shutdown().await;
            if !self.around.context.draining.get() {
                self.exchange.linger(&mut self.input).await;
            }
        }
    }

    async fn all_answered(&mut self, tunnel: bool) {
        std::future::poll_fn(|cx| {
            let exchange = Rc::clone(&self.exchange);
            exchange.register(cx);
            exchange.wants_drained.set(true);
            exchange.wants_replies.set(true);
            if let Poll::Ready(Err(_)) = exchange.poll_flush(cx) {
                exchange.end(End::Gone);
            }
            self.discard_input(cx);
            let left = self.input_ended && self.waits_for_nobody();
            let settled = exchange.is_settled() && (!tunnel || exchange.lost_lease.get());
            if exchange.ended().is_some() || settled || left { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Behind its last request the client can only say that it leaves.
    fn discard_input(&mut self, cx: &mut TaskContext<'_>) {
        while !self.input_ended && self.exchange.ended().is_none() {
            self.input.clear();
            self.input.reserve(READ_BYTES / 4);
            match self.exchange.poll_read(&mut self.input, cx) {
                Poll::Ready(Ok(read)) => self.input_ended = read == 0,
                Poll::Ready(Err(_)) => self.exchange.end(End::Gone),
                Poll::Pending => return,
            }
        }
    }

    /// The process ends while the client's command blocks: it is answered as if its timeout had
    /// passed, and what the client sent behind it is answered too.
    fn end_blocking(&self) {
        let Some((lane, link)) = self.lease.as_ref().filter(|(_, link)| link.is_blocked()) else { return };
        let Some(id) = link.facts().client_id else { return };
        let mut request = Vec::new();
        encode::request(&mut request, &[b"CLIENT", b"UNBLOCK", id.to_string().as_bytes()]);
        // Without a connection to say it on, the drain timeout ends the wait.
        let _ = lane.ask(Rc::new(Unheard), &request);
    }

    /// The client has left while blocked: as with Redis, nothing comes any more.
    pub(super) fn waits_for_nobody(&self) -> bool {
        let blocked = self.lease.as_ref().is_some_and(|(_, link)| link.is_blocked());
        blocked && !self.around.context.draining.get()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.exchange.end(End::Gone);
        self.drop_lease();
        if let Some(track) = self.track.take() {
            track.end(self.client.id);
        }
        self.around.registry.leave(self.client.id, &self.around.load);
        self.around.context.tally.client_closed();
        if std::thread::panicking() {
            tracing::error!(client = %self.client.peer, "a client's task panicked");
            self.around.context.tally.panicked();
        }
        self.around.clients.borrow_mut().remove(&self.client.id);
        self.around.left.notify_one();
    }
}
