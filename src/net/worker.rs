//! A thread that serves its share of the clients, with upstream connections of its own.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, error};

use crate::engine::command::Table;
use crate::engine::policy::Policy;
use crate::net::client::connection::{Connection, Surroundings};
use crate::net::clock;
use crate::net::context::Context;
use crate::net::exchange::{End, Exchange};
use crate::net::health::SharedBreaker;
use crate::net::registry::{Client, Message, Registry, Socket};
use crate::net::stream::Stream;
use crate::net::upstream::Settings;
use crate::net::upstream::pool::Pool;
use crate::telemetry::fold::FoldQuestions;
use crate::telemetry::latency::LatencyTotals;
use crate::telemetry::readiness::Readiness;
use crate::telemetry::report::Reporter;
use crate::telemetry::tally::Tally;

/// How often deadlines are looked at: a timeout is told at most this much late.
const TEND_INTERVAL: Duration = Duration::from_millis(10);
/// How often counters are folded into the shared recorder, beside every scrape.
const FOLD_INTERVAL: Duration = Duration::from_secs(1);
/// Tasks that run between two looks at the sockets.
const EVENT_INTERVAL: u32 = 256;

/// What a worker starts with.
pub struct Setup {
    /// From 0.
    pub number: usize,
    pub upstream: Settings,
    /// Each client has an upstream connection of its own.
    pub exclusive: bool,
    pub table: Arc<Table>,
    pub policy: Arc<Policy>,
    pub registry: Arc<Registry>,
    pub reporter: Reporter,
    pub readiness: Readiness,
    pub breaker: SharedBreaker,
    pub latency_totals: Arc<LatencyTotals>,
    pub folds: FoldQuestions,
    pub mailbox: mpsc::Receiver<Message>,
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

type Clients = Rc<RefCell<HashMap<u64, Weak<Exchange>>>>;

/// Serves on the runtime of this thread, which is a local one, until it has drained.
pub async fn run(setup: Setup) {
    clock::tick();
    let Setup { mut mailbox, folds, .. } = setup;
    // The label of the table's first row, commands that it does not know, is the tally's own.
    let names: Vec<Arc<str>> =
        std::iter::once(Arc::from("")).chain(setup.table.iter().map(|(_, spec)| Arc::from(spec.name()))).collect();
    let tally = Tally::new(&names, setup.latency_totals);
    let group_names: Vec<_> = setup.policy.groups().iter().map(|group| Arc::clone(&group.name)).collect();
    let ttl_names: Vec<_> = setup.policy.ttl_rules().iter().map(|rule| Arc::clone(&rule.name)).collect();
    tally.rename_rules(&group_names, &ttl_names);
    let Setup { number, reporter, readiness, breaker, table, policy, .. } = setup;
    let context = Rc::new(Context::new(number, tally, reporter, readiness, breaker, table, policy));
    let pool = Pool::new(&context, setup.upstream);
    let around = Rc::new(Surroundings { context, pool, registry: setup.registry, exclusive: setup.exclusive, load: setup.load });
    let clients = Clients::default();
    let tend = tokio::task::spawn_local(tend(Rc::clone(&around)));
    let fold = tokio::task::spawn_local(fold(Rc::clone(&around), folds));
    while let Some(message) = mailbox.recv().await {
        take(&around, &clients, message);
        if around.context.draining.get() && clients.borrow().is_empty() {
            break;
        }
    }
    tend.abort();
    fold.abort();
    around.pool.close();
    around.context.tally.fold();
}

fn take(around: &Rc<Surroundings>, clients: &Clients, message: Message) {
    match message {
        Message::Accept(socket, client) => accept(around, clients, socket, client),
        Message::Kill(id) => {
            if let Some(exchange) = clients.borrow().get(&id).and_then(Weak::upgrade) {
                exchange.end(End::Killed);
            }
        }
        Message::BlockedOn(id, answer) => {
            let exchange = clients.borrow().get(&id).and_then(Weak::upgrade);
            let link = exchange
                .filter(|exchange| exchange.state.borrow().session.affinity.is_pinned())
                .and_then(|exchange| exchange.link());
            // Nobody waits for the answer any more if the asking client has gone.
            let _ = answer.send(link.filter(|link| link.is_blocked()).and_then(|link| link.facts().client_id));
        }
        Message::Drain => {
            around.context.draining.set(true);
            for exchange in clients.borrow().values().filter_map(Weak::upgrade) {
                exchange.wake();
            }
        }
        Message::Table(table) => around.context.set_table(table),
        Message::Left(id) => {
            clients.borrow_mut().remove(&id);
        }
    }
}

fn accept(around: &Rc<Surroundings>, clients: &Clients, socket: Socket, client: Arc<Client>) {
    let stream = match take_socket(socket) {
        Ok(stream) => stream,
        Err(error) => {
            debug!(%error, "a client's socket cannot be used");
            around.registry.leave(client.id, &around.load);
            return;
        }
    };
    around.context.tally.client_accepted();
    let exchange = Exchange::new(client.id, Arc::clone(&client.peer), &around.context, stream, around.pool.first());
    clients.borrow_mut().insert(client.id, Rc::downgrade(&exchange));
    let connection = Connection::new(around, exchange, Arc::clone(&client));
    tokio::task::spawn_local(async move {
        // A panic costs this client alone: the connection is dropped, its lease with it.
        if let Err(error) = tokio::task::spawn_local(connection.run()).await
            && error.is_panic()
        {
            error!(client = %client.peer, "a client's task panicked");
        }
        // The mailbox closes only after the worker has ended.
        let _ = client.worker.send(Message::Left(client.id)).await;
    });
}

fn take_socket(socket: Socket) -> io::Result<Stream> {
    match socket {
        Socket::Tcp(socket) => Stream::over_tcp(tokio::net::TcpStream::from_std(socket)?),
        Socket::Unix(socket) => Ok(Stream::Unix(tokio::net::UnixStream::from_std(socket)?)),
    }
}

async fn tend(around: Rc<Surroundings>) {
    let mut ticks = interval(TEND_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        clock::tick();
        around.pool.tend();
    }
}

async fn fold(around: Rc<Surroundings>, mut questions: FoldQuestions) {
    let mut ticks = interval(FOLD_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => around.context.tally.fold(),
            Some(answer) = questions.recv() => {
                around.context.tally.fold();
                // The scrape may have given up waiting.
                let _ = answer.send(());
            }
        }
    }
}
