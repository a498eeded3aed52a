//! A thread that serves its share of the clients, with upstream connections of its own.

use std::cell::RefCell;
use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, LocalOptions};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, error};

use crate::net::client::connection::{Connection, WorkerShared};
use crate::net::clock;
use crate::net::context::Context;
use crate::net::exchange::{End, Exchange};
use crate::net::health::SharedBreaker;
use crate::net::registry::{Activity, Blocked, Client, Message, Registry, Socket};
use crate::net::rest::{Front, Rest, connection};
use crate::net::stream::Stream;
use crate::net::tls::Acceptor;
use crate::net::upstream::Settings;
use crate::net::upstream::lane::Lane;
use crate::net::upstream::pool::Pool;
use crate::net::users::Users;
use crate::telemetry::flush::FlushRequests;
use crate::telemetry::gauge;
use crate::telemetry::readiness::Readiness;
use crate::telemetry::report::Reporter;
use crate::telemetry::slow::SlowLog;
use crate::telemetry::totals::{Totals, WorkerLoad};
use crate::telemetry::worker_metrics::WorkerMetrics;
use respguard_engine::command::Table;
use respguard_engine::policy::Policy;

/// How often deadlines are looked at: a timeout is told at most this much late.
const TEND_INTERVAL: Duration = Duration::from_millis(10);
/// How often those are looked at that wait for room, and how long they wait before the largest of them are told that there is none.
const ROOM_INTERVAL: Duration = Duration::from_millis(50);
const ROOM_WAIT: Duration = Duration::from_secs(1);
/// A worker that was not run for so long has kept its clients waiting itself: they may wait so many times as long then.
const AWAY: Duration = Duration::from_millis(100);
const ROOM_WAIT_WHEN_AWAY: u32 = 5;
/// How many of them at a time.
const REFUSED_AT_ONCE: usize = 8;
/// How often the heads of connections are looked at while one keeps others waiting.
const WATCH_INTERVAL: Duration = Duration::from_millis(2);
/// To look at thousands takes its time: the pause is so many times as long, up to the longest.
const PAUSE_PER_LOOK: u32 = 20;
const WATCH_INTERVAL_MAX: Duration = Duration::from_millis(20);
/// How often counters are flushed into the shared recorder, beside every scrape.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// Tasks that run between two looks at the sockets.
const EVENT_INTERVAL: u32 = 256;
/// Clients that are described between two looks at those that are served.
const DESCRIBED_AT_ONCE: usize = 64;

/// What a worker starts with.
pub struct Setup {
    /// From 0.
    pub number: usize,
    pub upstream: Settings,
    /// Clients are met with TLS.
    pub acceptor: Option<Arc<Acceptor>>,
    /// Clients must log in to the proxy.
    pub users: Option<Arc<Users>>,
    /// Each client has an upstream connection of its own.
    pub exclusive: bool,
    pub table: Arc<Table>,
    pub policy: Arc<Policy>,
    pub registry: Arc<Registry>,
    pub reporter: Reporter,
    pub slow: SlowLog,
    pub readiness: Readiness,
    pub breaker: SharedBreaker,
    /// Bytes that may be kept for its clients.
    pub kept_bytes_max: usize,
    pub totals: Arc<Totals>,
    pub flushes: FlushRequests,
    pub mailbox: mpsc::Receiver<Message>,
    /// The REST front, if there is one, and the way to the worker for the clients that it makes.
    pub rest: Option<(Arc<Front>, mpsc::WeakSender<Message>)>,
    /// Clients that the worker serves.
    pub load: Arc<AtomicUsize>,
}

/// Starts the thread; it ends when it has drained.
pub fn start(setup: Setup) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(format!("worker-{}", setup.number)).spawn(move || {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .event_interval(EVENT_INTERVAL)
            .on_thread_unpark(clock::tick)
            .build_local(LocalOptions::default());
        match runtime {
            Ok(runtime) => runtime.block_on(run(setup)),
            Err(error) => error!(%error, "a worker cannot start"),
        }
    })
}

/// Serves on the runtime of this thread, which is a local one, until it has drained.
pub async fn run(setup: Setup) {
    clock::tick();
    let Setup { mut mailbox, flushes, .. } = setup;
    // The label of the table's first row, commands that it does not know, is the metrics' own.
    let names: Vec<Arc<str>> =
        std::iter::once(Arc::from("")).chain(setup.table.iter().map(|(_, spec)| Arc::from(spec.name()))).collect();
    let metrics = WorkerMetrics::new(&names, setup.totals);
    let Setup { number, reporter, readiness, breaker, table, policy, .. } = setup;
    let mut context = Context::new(number, metrics, reporter, readiness, breaker, table, Arc::default());
    context.slow = setup.slow;
    context.limits = Arc::clone(&setup.upstream.limits);
    let context = Rc::new(context);
    context.set_policy(policy);
    context.kept.bound(setup.kept_bytes_max);
    context.retries.allow(setup.upstream.retries);
    let pool = Pool::new(&context, setup.upstream);
    let Setup { registry, users, exclusive, load, rest, .. } = setup;
    let shared = Rc::new(WorkerShared {
        context,
        pool,
        registry,
        users,
        exclusive,
        load,
        plan: RefCell::default(),
        clients: RefCell::default(),
        left: Notify::new(),
    });
    let rest = rest.map(|(front, mailbox)| Rest::new(front, &shared, mailbox));
    let tasks = [
        tokio::task::spawn_local(on_tick(Rc::clone(&shared))),
        tokio::task::spawn_local(follow_primary(Rc::clone(&shared))),
        tokio::task::spawn_local(follow_cluster(Rc::clone(&shared))),
        tokio::task::spawn_local(watch(Rc::clone(&shared))),
        tokio::task::spawn_local(flush(Rc::clone(&shared), rest.clone(), flushes)),
    ];
    let acceptor = setup.acceptor;
    let is_empty = || shared.clients.borrow().is_empty() && rest.as_ref().is_none_or(|rest| rest.is_empty());
    while !(shared.context.draining.get() && is_empty()) {
        tokio::select! {
            biased;
            () = shared.left.notified() => {}
            message = mailbox.recv() => match message {
                Some(message) => take(&shared, rest.as_ref(), acceptor.as_ref(), message),
                None => break,
            },
        }
    }
    tasks.iter().for_each(|task| task.abort());
    shared.pool.close();
    shared.context.metrics.kept_bytes(0);
    shared.context.metrics.flush();
}

fn take(shared: &Rc<WorkerShared>, rest: Option<&Rc<Rest>>, acceptor: Option<&Arc<Acceptor>>, message: Message) {
    match message {
        Message::Accept(socket, client) => accept(shared, acceptor, socket, client),
        Message::Http(socket, peer, permit) => match (rest, take_socket(socket)) {
            (Some(rest), Ok(stream)) => {
                tokio::task::spawn_local(connection::serve(Rc::clone(rest), stream, peer, permit));
            }
            (_, Err(error)) => debug!(client = %peer, %error, "an HTTP connection cannot be used"),
            (None, Ok(_)) => {}
        },
        Message::Kill(id) => {
            if let Some(exchange) = shared.clients.borrow().get(&id).and_then(Weak::upgrade) {
                exchange.end(End::Killed);
            }
        }
        Message::BlockedOn(id, answer) => {
            let exchange = shared.clients.borrow().get(&id).and_then(Weak::upgrade);
            // Nobody waits for the answer any more if the asking client has gone.
            let _ = answer.send(exchange.map_or(Blocked::No, |exchange| exchange.blocked()));
        }
        Message::OwnConnection(id, answer) => {
            if let Some(exchange) = shared.clients.borrow().get(&id).and_then(Weak::upgrade) {
                exchange.ask_own_connection(answer);
            }
        }
        Message::Describe(answer) => {
            tokio::task::spawn_local(describe(Rc::clone(shared), answer));
        }
        Message::Drain(notice) => {
            shared.context.draining.set(true);
            shared.context.notice.set(notice);
            if let Some(rest) = rest {
                rest.stop();
            }
            wake_all(shared);
            tokio::task::spawn_local(end_notice(Rc::clone(shared), notice));
        }
        Message::Table(table) => {
            shared.context.set_table(table);
            shared.pool.forget_refusals();
            shared.context.offenders.forget();
        }
        Message::Policy(policy, done) => {
            shared.context.set_policy(policy);
            // Whoever changed the rules may not wait any more.
            let _ = done.send(());
        }
        Message::Record(feed) => shared.context.tap.open(feed),
        // Who asked may have left.
        Message::Alive(alive) => drop(alive.send(())),
    }
}

fn wake_all(shared: &WorkerShared) {
    for exchange in shared.clients.borrow().values().filter_map(Weak::upgrade) {
        exchange.wake();
    }
}

/// Clients that were told to leave and are still there are treated as the others.
async fn end_notice(shared: Rc<WorkerShared>, notice: Duration) {
    tokio::time::sleep(notice).await;
    shared.context.notice.set(Duration::ZERO);
    wake_all(&shared);
}

/// Says what each client is doing, a few at a time: those that are served do not wait for all of them.
async fn describe(shared: Rc<WorkerShared>, answer: oneshot::Sender<Vec<(u64, Activity)>>) {
    let clients: Vec<_> = shared.clients.borrow().values().cloned().collect();
    let mut told = Vec::with_capacity(clients.len());
    for some in clients.chunks(DESCRIBED_AT_ONCE) {
        told.extend(some.iter().filter_map(Weak::upgrade).map(|exchange| (exchange.id, exchange.activity())));
        tokio::task::yield_now().await;
    }
    // Whoever asked may not wait any more.
    let _ = answer.send(told);
}

fn accept(shared: &Rc<WorkerShared>, acceptor: Option<&Arc<Acceptor>>, socket: Socket, client: Arc<Client>) {
    let stream = match take_socket(socket) {
        Ok(stream) => stream,
        Err(error) => return turn_away(shared, &client, &error),
    };
    match acceptor {
        None => serve(shared, stream, client),
        Some(acceptor) => {
            let (shared, acceptor) = (Rc::clone(shared), Arc::clone(acceptor));
            tokio::task::spawn_local(async move {
                match stream.accept_tls(&acceptor).await {
                    Ok(stream) => serve(&shared, stream, client),
                    Err(error) => {
                        gauge::count_failed_handshake();
                        turn_away(&shared, &client, &error);
                    }
                }
            });
        }
    }
}

fn turn_away(shared: &WorkerShared, client: &Client, error: &io::Error) {
    debug!(client = %client.peer, %error, "a client's connection cannot be used");
    shared.registry.leave(client.id, &shared.load);
}

fn serve(shared: &Rc<WorkerShared>, stream: Stream, client: Arc<Client>) {
    Connection::begin(shared, Box::new(stream), client, shared.pool.first());
}

fn take_socket(socket: Socket) -> io::Result<Stream> {
    match socket {
        Socket::Tcp(socket) => Stream::over_tcp(tokio::net::TcpStream::from_std(socket)?),
        Socket::Unix(socket) => Ok(Stream::Unix(tokio::net::UnixStream::from_std(socket)?)),
    }
}

/// The server does not take the clients of this lane any more. Those that hold a connection of their own go on as far as
/// that carries them.
fn revoke(shared: &WorkerShared, lane: &Rc<Lane>) {
    for exchange in shared.clients.borrow().values().filter_map(Weak::upgrade) {
        if Rc::ptr_eq(&exchange.lane(), lane) && !exchange.state.borrow().session.affinity.is_pinned() {
            exchange.end(End::Revoked);
        }
    }
    lane.close();
}

async fn on_tick(shared: Rc<WorkerShared>) {
    let mut was_over_limit = false;
    let mut last_look = std::time::Instant::now();
    let (mut last_tick, mut back_since) = (last_look, last_look);
    let mut ticks = interval(TEND_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        clock::tick();
        for lane in shared.pool.on_tick() {
            revoke(&shared, &lane);
        }
        if shared.context.splice_pipes.are_in_use() {
            shared.look_at_pipes();
        }
        shared.context.retries.report(clock::now());
        shared.context.metrics.kept_bytes(shared.context.kept.bytes());
        let is_over_limit = shared.context.kept.is_over_limit();
        if was_over_limit && !is_over_limit {
            // Those that were not read from any more may go on.
            let waiting = |exchange: &Rc<Exchange>| exchange.wants_room();
            shared.clients.borrow().values().filter_map(Weak::upgrade).filter(waiting).for_each(|exchange| exchange.wake());
        }
        was_over_limit = is_over_limit;
        let now = std::time::Instant::now();
        if now - std::mem::replace(&mut last_tick, now) > AWAY {
            back_since = now;
        }
        if now - last_look >= ROOM_INTERVAL && shared.context.kept.take_short() {
            last_look = now;
            make_room(&shared, if now - back_since < ROOM_WAIT { ROOM_WAIT * ROOM_WAIT_WHEN_AWAY } else { ROOM_WAIT });
        }
    }
}

/// Lets those go on that wait for room, if there is some; of those that have waited for long the largest are refused more,
/// those before others that have not logged in.
fn make_room(shared: &WorkerShared, wait: Duration) {
    let long_ago = clock::now().checked_sub(wait);
    let living: Vec<_> = shared.clients.borrow().values().filter_map(Weak::upgrade).collect();
    let size = |exchange: &Rc<Exchange>| Some((exchange.lane().key.login.is_none(), exchange.buffered.short_since(long_ago?)?));
    let mut waiting: Vec<_> = living.iter().filter_map(|exchange| Some((size(exchange)?, exchange))).collect();
    waiting.sort_unstable_by_key(|(size, _)| std::cmp::Reverse(*size));
    waiting.iter().take(REFUSED_AT_ONCE).for_each(|(_, exchange)| exchange.refuse_room());
    let room = shared.context.kept.allowance(2);
    for (exchange, bytes) in living.iter().filter_map(|exchange| Some((exchange, exchange.buffered.short_since(clock::now())?))) {
        // The others are looked at again, but need not look themselves.
        if bytes < room {
            exchange.wake();
        }
        shared.context.kept.note_short();
    }
}

/// Lets everybody know at once when another server has become the primary.
async fn follow_primary(shared: Rc<WorkerShared>) {
    let mut primary = shared.pool.settings.primary.clone();
    let mut term = primary.observe().term;
    loop {
        primary.changed().await;
        clock::tick();
        let view = primary.observe();
        if std::mem::replace(&mut term, view.term) != view.term && view.node.is_some() {
            shared.context.health.forget(clock::now());
        }
        shared.pool.follow_primary();
    }
}

/// Lets everybody know at once when other nodes of the cluster serve other slots.
async fn follow_cluster(shared: Rc<WorkerShared>) {
    let Some(nodes) = &shared.pool.settings.nodes else { return };
    let mut cluster = nodes.cluster();
    nodes.apply(&cluster.observe());
    loop {
        cluster.changed().await;
        clock::tick();
        nodes.apply(&cluster.observe());
    }
}

/// Looks at the heads of connections while one keeps others waiting: who waits behind one that does not move had better go
/// elsewhere.
async fn watch(shared: Rc<WorkerShared>) {
    loop {
        shared.context.watch.wanted().await;
        let mut took = Duration::ZERO;
        loop {
            tokio::time::sleep((took * PAUSE_PER_LOOK).clamp(WATCH_INTERVAL, WATCH_INTERVAL_MAX)).await;
            clock::tick();
            let begun = tokio::time::Instant::now();
            if !shared.pool.watch() {
                break;
            }
            took = begun.elapsed();
        }
        shared.context.watch.end();
    }
}

impl WorkerShared {
    /// Clients that nobody has told that they may go on.
    fn look_for_missed_wakeups(&self) {
        clock::tick();
        self.clients.borrow().values().filter_map(Weak::upgrade).for_each(|exchange| exchange.look_for_missed_wakeup());
    }

    /// Bytes in the clients' pipes that nobody moves on.
    fn look_at_pipes(&self) {
        self.clients.borrow().values().filter_map(Weak::upgrade).for_each(|exchange| exchange.look_at_pipe());
    }

    /// Flushes what was counted, and says how much there is to do.
    fn report(&self) {
        let busy = Handle::current().metrics().worker_total_busy_duration(0);
        self.context.metrics.load(self.context.worker, WorkerLoad { busy, clients: self.clients.borrow().len() });
        self.context.metrics.flush();
    }
}

async fn flush(shared: Rc<WorkerShared>, rest: Option<Rc<Rest>>, mut questions: FlushRequests) {
    let mut ticks = interval(FLUSH_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            _ = ticks.tick() => {
                shared.report();
                shared.context.trim();
                shared.look_for_missed_wakeups();
                if let Some(rest) = &rest {
                    rest.trim();
                }
            }
            Some(answer) = questions.recv() => {
                shared.report();
                // The scrape may have given up waiting.
                let _ = answer.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests;
