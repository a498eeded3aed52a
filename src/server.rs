//! The process: opens the listeners, starts the workers, distributes clients, and shuts down.

mod client_acceptor;
mod error;
mod listener;
mod live;
mod proxy_header;
pub mod reach;
mod rest;
mod security;
mod service;
mod surveying;
mod topology;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::{Config, Loaded, Secret, Sharing};
use crate::jobs::{Jobs, schedule};
use crate::net::address::Address;
use crate::net::admin::access::Access;
use crate::net::admin::questions::QUESTIONS_MAX;
use crate::net::admin::recorder::Recorder;
use crate::net::admin::status::StatusSource;
use crate::net::admin::violations::STREAMS_MAX;
use crate::net::admin::{self, AdminState};
use crate::net::change_notifier::ChangeNotifier;
use crate::net::health::SharedBreaker;
use crate::net::registry::{Mailbox, Message, Registry};
use crate::net::tls::Certificates;
use crate::net::topology::Primary;
use crate::net::upstream::Settings;
use crate::net::upstream::connections::Connections;
use crate::net::worker::{self, Setup};
use crate::telemetry::durable::{self, Writing};
use crate::telemetry::exposition::Exposition;
use crate::telemetry::flush::Flushes;
use crate::telemetry::readiness::Readiness;
use crate::telemetry::report::Reporter;
use crate::telemetry::slow::SlowLog;
use crate::telemetry::zero;
use client_acceptor::ClientAcceptor;
pub use error::ServerError;
use listener::Listener;
use live::Live;
use respguard_engine::command::Table;
use respguard_engine::link::budget::Allowance;
use service::ServiceManager;
use surveying::Surveyed;
use topology::Place;

/// Messages that may wait for one worker.
const MAILBOX_MESSAGES: usize = 1024;
/// How long the end waits for the file of violations.
const FILE_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves until a signal ends it.
///
/// # Errors
/// A listener's address cannot be had, or the process lacks what it needs to start.
pub fn run(loaded: Loaded, takeover: bool) -> Result<(), ServerError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(serve(loaded, takeover));
    // Workers that did not drain in time are not waited for.
    runtime.shutdown_background();
    served
}

async fn serve(loaded: Loaded, takeover: bool) -> Result<(), ServerError> {
    let config = &loaded.config;
    let exposition = Exposition::install()?;
    zero::show_process();
    let certificates = security::certificates(config)?;
    let clients = Listener::bind(&config.listen.address, config.listen.unix_mode, takeover).await?;
    let requests = rest::bind(config.rest.as_ref(), takeover).await?;
    let operators = bind_admin(&config.admin.address, takeover).await?;
    let mut signals = Signals::new()?;
    let (reporter, writing) = reporter(config)?;
    let slow = SlowLog::new(config.admin.slow);
    let mut flushes = Flushes::default();
    let readiness = Readiness::default();
    let registry = Arc::new(Registry::new(config.listen.clients_max));
    let mut place = Place::new(config, &certificates, clients.address());
    let asking = upstream_settings(config, &certificates, &place.primary, 1);
    let searching = place.search(&asking).await;
    let surveyed = Surveyed::at_start(&asking).await;
    if surveyed.described {
        security::warn_of_open_server(config);
        surveyed.warn_of_absent(&config.policy);
    }
    let observers = Observers { exposition: &exposition, readiness: &readiness, reporter: &reporter, slow: &slow };
    let upstream = |workers| Settings {
        reconnected: asking.reconnected.clone(),
        limits: Arc::clone(&asking.limits),
        cluster: place.cluster.clone(),
        primary: if place.cluster.is_some() { Primary::fixed(any_address(config)) } else { place.primary.clone() },
        ..upstream_settings(config, &certificates, &place.primary, workers)
    };
    let workers = start_workers(config, upstream, &certificates, &surveyed.table, &mut flushes, &registry, observers)?;
    let surveying = tokio::spawn(surveyed.keep(asking, workers.mailboxes.clone()));
    let renewing = security::watch_certificates(&certificates);
    let admin_over = CancellationToken::new();
    let access = Access::new(config.admin.token.as_ref().map(Secret::expose), operators.local_addr()?);
    let status = StatusSource {
        started: Instant::now(),
        workers: workers.mailboxes.len(),
        upstream: place.primary.clone(),
        sentinels: place.sentinel_status.clone(),
        cluster: place.cluster.clone(),
        registry: Arc::clone(&registry),
        breaker: workers.breaker.clone(),
        totals: exposition.totals(),
        mode_is_switched: Arc::default(),
    };
    let streams = Arc::new(Semaphore::new(STREAMS_MAX));
    let (live, questions) = mpsc::channel(QUESTIONS_MAX);
    let policy = Arc::new(ArcSwap::from_pointee(config.policy.clone()));
    let mode_is_switched = Arc::clone(&status.mode_is_switched);
    let keeper =
        Live::new(loaded.clone(), workers.mailboxes.clone(), Arc::clone(&policy), mode_is_switched, certificates.clone());
    let drain = CancellationToken::new();
    tokio::spawn(keeper.run(signal(SignalKind::hangup())?, questions));
    let own_settings = upstream_settings(config, &certificates, &place.primary, 1);
    let jobs = Jobs::new(
        config.audit.clone(),
        Settings { cluster: place.cluster.clone(), ..own_settings },
        Arc::clone(&policy),
        workers.breaker.clone(),
        reporter.clone(),
        admin_over.child_token(),
    );
    let scheduling = tokio::spawn(schedule::keep(jobs.clone()));
    let recorder = Recorder::new(&workers.mailboxes, admin_over.clone());
    let state = AdminState {
        exposition,
        flushes,
        readiness: readiness.clone(),
        jobs,
        access,
        recorder,
        live,
        reporter,
        slow,
        status,
        policy,
        streams,
        drain: drain.clone(),
        shutdown: admin_over.clone(),
    };
    let admin = tokio::spawn(admin::serve(operators, state, admin_over.clone()));
    if let Some(cluster) = &place.cluster {
        tokio::spawn(topology::show_readiness(cluster.cluster.clone(), readiness.clone()));
    }
    readiness.started();
    let manager = ServiceManager::of_environment();
    let alive = manager.watch(workers.mailboxes.clone());
    manager.ready();
    info!(
        listen = %clients.address(),
        rest = requests.as_ref().map(|listener| tracing::field::display(listener.address())),
        upstream = %config.upstream.topology,
        workers = workers.mailboxes.len(),
        groups = config.policy.groups().len(),
        ttl_rules = config.policy.ttl_rules().len(),
        expectations = config.policy.expects().len(),
        guards = config.policy.guards().len(),
        relations = config.policy.relations().len(),
        compress_rules = config.policy.compress_rules().len(),
        degrade_rules = config.policy.degrade_rules().len(),
        version = env!("RESPGUARD_VERSION"),
        "respguard is ready for clients"
    );
    let acceptor = ClientAcceptor {
        workers: &workers.mailboxes,
        registry: &registry,
        announced: &config.listen.proxy_protocol,
        tls: config.listen.tls.is_some(),
    };
    tokio::select! {
        () = acceptor.accept_all(&clients) => {}
        () = rest::accept_all(requests.as_ref(), config.rest.as_ref(), &workers.mailboxes) => {}
        name = signals.first() => info!(signal = name, "draining: no new clients, outstanding requests are answered"),
        () = drain.cancelled() => info!("draining on an operator's request: no new clients, outstanding requests are answered"),
    }
    readiness.draining();
    manager.stopping();
    drop((clients, requests));
    drop(renewing);
    surveying.abort();
    scheduling.abort();
    tokio::select! {
        () = workers.drain(config.drain_timeout) => {}
        name = signals.first() => {
            warn!(signal = name, "second signal: not waiting any longer");
            return Ok(());
        }
    }
    drop(searching);
    admin_over.cancel();
    // The endpoints end with the process in any case.
    let _ = tokio::time::timeout(Duration::from_secs(1), admin).await;
    if let Some(writing) = writing
        && !writing.finish(FILE_TIMEOUT)
    {
        warn!("the last violations may be missing in the file: writing them takes too long");
    }
    drop(alive);
    info!("respguard has stopped");
    Ok(())
}

/// Where violations go, and what writes them to a file if there is one.
fn reporter(config: &Config) -> Result<(Reporter, Option<Writing>), ServerError> {
    let Some(settings) = config.violations.clone() else { return Ok((Reporter::default(), None)) };
    let file = settings.file.clone();
    let (sink, writing) = durable::start(settings).map_err(|source| ServerError::Violations { file, source })?;
    Ok((Reporter::default().with_file(sink), Some(writing)))
}

struct Workers {
    mailboxes: Vec<Mailbox>,
    threads: Vec<JoinHandle<()>>,
    breaker: SharedBreaker,
}

/// Whom the workers tell what they see.
#[derive(Clone, Copy)]
struct Observers<'a> {
    exposition: &'a Exposition,
    readiness: &'a Readiness,
    reporter: &'a Reporter,
    slow: &'a SlowLog,
}

fn start_workers(
    config: &Config,
    upstream: impl FnOnce(usize) -> Settings,
    certificates: &Certificates,
    table: &Arc<Table>,
    flushes: &mut Flushes,
    registry: &Arc<Registry>,
    observers: Observers<'_>,
) -> io::Result<Workers> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let count = config.worker_count(cores);
    let policy = Arc::new(config.policy.clone());
    let users = security::users(config);
    let front = config.rest.as_ref().map(|rest| Arc::new(rest::front(rest, certificates)));
    let breaker = config.breaker.map(|thresholds| SharedBreaker::new(thresholds, Instant::now())).unwrap_or_default();
    let upstream = upstream(count);
    let mut workers = Workers { mailboxes: Vec::new(), threads: Vec::new(), breaker };
    for number in 0..count {
        let (sender, mailbox) = mpsc::channel(MAILBOX_MESSAGES);
        let (load, own_mailbox) = (Arc::default(), sender.downgrade());
        workers.mailboxes.push(Mailbox { sender, clients: Arc::clone(&load) });
        workers.threads.push(worker::start(Setup {
            number,
            upstream: upstream.clone(),
            acceptor: certificates.acceptor.clone(),
            users: users.clone(),
            exclusive: config.upstream.sharing == Sharing::Never || config.upstream.topology.is_cluster(),
            table: Arc::clone(table),
            policy: Arc::clone(&policy),
            registry: Arc::clone(registry),
            reporter: observers.reporter.clone(),
            slow: observers.slow.clone(),
            readiness: observers.readiness.clone(),
            breaker: workers.breaker.clone(),
            totals: observers.exposition.totals(),
            kept_bytes_max: config.listen.buffered_bytes_max / count,
            flushes: flushes.add_worker(),
            mailbox,
            rest: front.clone().map(|front| (front, own_mailbox)),
            load,
        })?);
    }
    Ok(workers)
}

/// The upstream settings of each of `workers` workers.
pub fn upstream_settings(config: &Config, certificates: &Certificates, primary: &Primary, workers: usize) -> Settings {
    let upstream = &config.upstream;
    Settings {
        primary: primary.clone(),
        tls: certificates.connector.clone(),
        connect_timeout: upstream.connect_timeout,
        request_timeout: upstream.request_timeout,
        slow_timeout: upstream.slow_timeout,
        stall_timeout: upstream.stall_timeout,
        queue_timeout: upstream.queue_timeout,
        heartbeat: upstream.heartbeat,
        heartbeat_timeout: upstream.heartbeat_timeout,
        login: upstream.credentials.as_ref().map(topology::login),
        probe: upstream.probe.as_ref().map(topology::login),
        connections: Connections::new(upstream.connections_max),
        leases_max: (upstream.leases_max / workers).max(1),
        retry_reads: upstream.retry_reads,
        retries: Allowance { share: upstream.retry_share, per_second: upstream.retries_per_second as f64 / workers as f64 },
        reconnected: ChangeNotifier::default(),
        limits: Arc::default(),
        cluster: None,
        is_node: false,
        reached_at: None,
    }
}

/// Of a cluster there is no one server: its nodes are connected to by their own addresses.
fn any_address(config: &Config) -> Address {
    config.upstream.topology.addresses().first().cloned().unwrap_or_else(|| config.listen.address.clone())
}

impl Workers {
    /// Waits until every worker has answered what it owes, at most for `longest`.
    async fn drain(self, longest: Duration) {
        for mailbox in &self.mailboxes {
            // A worker that has ended has nothing to drain.
            let _ = mailbox.sender.send(Message::Drain(longest * 3 / 4)).await;
        }
        let joined = tokio::task::spawn_blocking(move || {
            for thread in self.threads {
                if thread.join().is_err() {
                    warn!("a worker panicked");
                }
            }
        });
        if tokio::time::timeout(longest, joined).await.is_err() {
            warn!(after = ?longest, "some clients still waited for replies when the drain timeout passed");
        }
    }
}

async fn bind_admin(address: &Address, takeover: bool) -> Result<TcpListener, ServerError> {
    let bound = match address {
        Address::Tcp { host, port } => listener::bind_tcp(host, *port, takeover).await,
        Address::Unix(_) => Err(io::Error::new(io::ErrorKind::Unsupported, "the admin endpoint wants host:port")),
    };
    bound.map_err(|source| ServerError::Listen { address: address.clone(), source })
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn first(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
