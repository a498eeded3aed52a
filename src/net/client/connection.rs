//! The task of one client: a loop that runs until the client leaves.
//!
//! `reading` takes in what the client sends, `sending` plans it and sends it on, `barrier` does what must happen between two
//! commands, `leases` keeps the connection that the client holds alone, `takeover` makes one of that on which its replies are stuck, `leaving` ends it. Replies are written by the exchange.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Sleep;

use super::input::Input;
use super::lease::Lease;
use super::login::Login;
use super::near_misses::NearMisses;
use super::permission::PermissionQuery;
use super::preparation::Preparation;
use super::queued::Queued;
use crate::net::clock;
use crate::net::context::Context;
use crate::net::exchange::{End, Exchange, Waiting};
use crate::net::front::Front;
use crate::net::recording::Track;
use crate::net::registry::{Client, Registry};
use crate::net::stable_map::StableMap;
use crate::net::upstream::connection::RoomTicket;
use crate::net::upstream::lane::Lane;
use crate::net::upstream::pool::Pool;
use crate::net::users::Users;
use respguard_engine::lazy::Lazy;
use respguard_engine::pipeline::dialogue::Dialogue;
use respguard_engine::pipeline::packing::Unpacked;
use respguard_engine::pipeline::plan::{Barrier, Plan};
use respguard_engine::session::affinity::Reason;

/// How often is looked whether a client has left that is not read from.
const DISCONNECT_CHECK_PAUSE: Duration = Duration::from_millis(50);

/// Everything that clients of one worker have in common.
pub struct WorkerShared {
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
    pub clients: RefCell<StableMap<u64, Weak<Exchange>>>,
    /// One of them has left.
    pub left: Notify,
}

/// How a client waits for what it is to do next.
#[derive(Debug, Clone, Copy)]
pub(super) struct InputWait {
    /// What is there waits for more to come.
    pub(super) is_held: bool,
    /// It has waited, and something has happened: most often there is something to read.
    pub(super) is_woken: bool,
}

/// One client.
pub struct Connection {
    pub(super) shared: Rc<WorkerShared>,
    pub(super) exchange: Rc<Exchange>,
    pub(super) client: Arc<Client>,
    pub(super) input: Input,
    pub(super) lease: Lease,
    /// It waits for what comes, and may be asked for something itself.
    pub(super) is_between_turns: bool,
    /// It waits for what it is owed, or until the connection on which that is stuck can become its own.
    pub(super) may_take_over: bool,
    /// There was no room for what it has sent when it was looked last.
    pub(super) awaits_room: bool,
    /// Its place among those who wait for room.
    pub(super) room_ticket: Lazy<RoomTicket>,
    /// For what is in the batch now.
    pub(super) preparation: Preparation,
    pub(super) dialogue: Dialogue,
    pub(super) near_misses: Option<Box<NearMisses>>,
    pub(super) login: Login,
    /// Commands about clients that wait for the client's EXEC.
    pub(super) queued: Lazy<Vec<Queued>>,
    /// The number of the rules that the last batch was planned with.
    pub(super) rules: u64,
    /// The client's part in the recording that somebody makes.
    pub(super) track: Option<Box<Track>>,
    /// It was told that the process is about to end.
    pub(super) is_told_to_move: bool,
}

/// What a client's task does next.
pub(super) enum Next {
    /// Wait for bytes.
    Read,
    /// A part of a group is there: wait for bytes, but not longer than this.
    ReadWithin(Duration),
    /// Wait until what is under way has become less.
    Room,
    Barrier(Barrier),
    /// Wait for a connection that is being opened: nobody knows yet what it can carry.
    ConnectParams,
    /// Ask whether the connection can carry guarded groups.
    Ask,
    /// Ask whether the user may do what this rule's fix adds to writes.
    AskTtlFix(Box<PermissionQuery>),
    /// Compress long values, off this thread.
    Pack(Vec<Unpacked>),
    /// Answer what is owed, then close.
    Close,
}

pub(super) enum Event {
    Read,
    Wake,
    WaitOver,
}

impl Connection {
    fn new(shared: Rc<WorkerShared>, exchange: Rc<Exchange>, client: Arc<Client>) -> Connection {
        let rules = shared.context.policy_number();
        Connection {
            shared,
            exchange,
            client,
            input: Input::default(),
            lease: Lease::default(),
            is_between_turns: false,
            may_take_over: false,
            awaits_room: false,
            room_ticket: Lazy::default(),
            preparation: Preparation::default(),
            dialogue: Dialogue::default(),
            near_misses: None,
            login: Login::default(),
            queued: Lazy::default(),
            rules,
            track: None,
            is_told_to_move: false,
        }
    }

    /// Takes in a client that has just connected, and begins to serve it.
    pub fn begin(shared: &Rc<WorkerShared>, front: Box<dyn Front>, client: Arc<Client>, lane: &Rc<Lane>) -> Rc<Exchange> {
        shared.context.metrics.client_accepted();
        let exchange = Exchange::new(&client, &shared.context, front, lane);
        shared.clients.borrow_mut().insert(client.id, Rc::downgrade(&exchange));
        let connection = Box::new(Connection::new(Rc::clone(shared), Rc::clone(&exchange), client));
        tokio::task::spawn_local(connection.serve());
        exchange
    }

    /// Serves the client until it leaves. Dropping the future leaves its lease closed, never reused. A panic costs this
    /// client alone.
    ///
    /// The client's state is boxed, for a task takes room in steps of 128 bytes, and rare work, so that idle clients need no
    /// room for it.
    async fn serve(mut self: Box<Self>) {
        self.await_login();
        if self.shared.exclusive
            && !self.is_unauthenticated()
            && !Box::pin(self.pass_barrier(Barrier::Pin(Reason::Exclusive))).await
        {
            return;
        }
        while self.exchange.ended().is_none() {
            if self.exchange.is_asked_for_own_connection() {
                Box::pin(self.give_own_connection()).await;
            }
            let next = self.advance();
            self.is_between_turns = true;
            match next {
                Next::Read => self.wait(None).await,
                Next::Room => {
                    self.exchange.want_room();
                    self.awaits_room = true;
                    self.wait(None).await;
                }
                Next::ReadWithin(longest) => {
                    self.wait(Some(longest)).await;
                    self.let_go_of_held();
                }
                Next::Barrier(turn) => {
                    self.is_between_turns = false;
                    if !Box::pin(self.pass_barrier(turn)).await {
                        break;
                    }
                }
                Next::ConnectParams => Box::pin(self.await_opening()).await,
                Next::Ask => Box::pin(self.ask_ability()).await,
                Next::AskTtlFix(asking) => Box::pin(self.ask_ttl_fix(asking)).await,
                Next::Pack(values) => Box::pin(self.pack(values)).await,
                Next::Close => break,
            }
        }
        Box::pin(self.finish()).await;
    }

    /// Waits until there is something to do, at most for `longest`.
    pub(super) async fn wait(&mut self, longest: Option<Duration>) {
        // One that lasts goes back with its client only.
        let is_passing = || self.exchange.state.borrow().session.affinity.is_passing();
        let releases = self.lease.is_held() && self.exchange.waiting() == Waiting::Input && is_passing();
        if releases && !self.exchange.is_drained() {
            self.exchange.wait_for(Waiting::Release);
        }
        let discard = longest.is_none() && self.is_unread_while_blocked();
        let pause = if discard { Some(DISCONNECT_CHECK_PAUSE) } else { longest.or_else(|| self.left_to_wait()) };
        self.exchange.keep_input(self.input.bytes.capacity(), self.input.bytes.len());
        let mut timer = pause.map(|pause| Box::pin(tokio::time::sleep(pause)));
        let timer = &mut timer;
        let mut is_woken = false;
        let event = std::future::poll_fn(|cx| {
            let wait = InputWait { is_held: longest.is_some(), is_woken: std::mem::replace(&mut is_woken, true) };
            self.poll_event(timer.as_mut().map(Pin::as_mut), wait, cx)
        })
        .await;
        match event {
            Event::Read => self.note_gap(),
            Event::Wake => {}
            // What it waits for must not be taken out for nobody.
            Event::WaitOver if discard => {
                if self.exchange.front.borrow().has_left() {
                    self.exchange.end(End::Gone);
                }
            }
            Event::WaitOver if longest.is_none() => {}
            Event::WaitOver => self.dialogue.end_wait(),
        }
        self.tidy_lease();
    }

    /// How long late replies are still waited for.
    fn left_to_wait(&self) -> Option<Duration> {
        let Waiting::Drained { until, .. } = self.exchange.waiting() else { return None };
        Some(until.saturating_duration_since(clock::now())).filter(|left| !left.is_zero())
    }

    fn poll_event(&mut self, timer: Option<Pin<&mut Sleep>>, wait: InputWait, cx: &mut TaskContext<'_>) -> Poll<Event> {
        self.exchange.attach(cx);
        if self.exchange.ended().is_some() || self.has_news() {
            return Poll::Ready(Event::Wake);
        }
        if let Some(timer) = timer
            && timer.poll(cx).is_ready()
        {
            return Poll::Ready(Event::WaitOver);
        }
        self.poll_input(wait, cx)
    }

    /// Something other than bytes has changed what can be done.
    #[inline]
    fn has_news(&mut self) -> bool {
        let awaits = self.awaits_room || self.may_take_over || self.input.is_streaming();
        let may_be = awaits || self.shared.context.draining.get() || self.exchange.may_have_news();
        may_be && self.looks_for_news()
    }

    fn looks_for_news(&mut self) -> bool {
        if self.shared.context.draining.get() && !self.input.ended {
            if self.has_notice() {
                return self.give_notice() || self.has_other_news();
            }
            self.input.ended = true;
            self.lease.end_blocking();
            return true;
        }
        self.has_other_news()
    }

    fn has_other_news(&mut self) -> bool {
        let is_asked =
            self.is_between_turns && (self.exchange.is_asked_for_own_connection() || self.exchange.buffered.is_refused());
        if self.exchange.lost_lease.get() || is_asked || self.is_cut_in_vain() {
            return true;
        }
        let waiting = self.exchange.waiting();
        let is_over = self.exchange.is_wait_over();
        if is_over && waiting == Waiting::Release {
            self.exchange.wait_for(Waiting::Input);
        }
        // There was none when it was looked last, and what was read by then has not gone on.
        if self.awaits_room && !self.has_no_room() {
            self.awaits_room = false;
            return true;
        }
        if self.may_take_over && self.exchange.is_stuck_alone() {
            return true;
        }
        // With the reply before it, a blocking command may have come to the head.
        let waits_in_vain = waiting.is_for_each_reply() && self.input.ended && self.waits_for_nobody();
        is_over || waits_in_vain || self.exchange.takes_room()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.exchange.end(End::Gone);
        self.drop_lease();
        if let Some(track) = self.track.take() {
            track.end(self.client.id);
        }
        self.shared.registry.leave(self.client.id, &self.shared.load);
        self.shared.context.metrics.client_closed();
        if std::thread::panicking() {
            tracing::error!(client = %self.client.peer, "a client's task panicked");
            self.shared.context.metrics.panicked();
        }
        self.shared.clients.borrow_mut().remove(&self.client.id);
        self.shared.left.notify_one();
    }
}
