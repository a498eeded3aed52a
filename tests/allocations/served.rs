//! One worker of the proxy within this process, and clients that are connected to it.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use respguard::net::address::Address;
use respguard::net::registry::{Mailbox, Message, Registry, Socket};
use respguard::net::topology::Primary;
use respguard::net::upstream::Settings;
use respguard::net::upstream::connections::Connections;
use respguard::net::worker::{self, Setup};
use respguard::telemetry::exposition::Exposition;
use respguard::telemetry::flush::Flushes;
use respguard::telemetry::slow::SlowLog;
use respguard_engine::command::Table;
use respguard_engine::link::budget::Allowance;
use respguard_engine::policy::Policy;
use tokio::sync::mpsc;

/// Far longer than anything here takes.
const TIMEOUT: Duration = Duration::from_secs(20);

pub struct Worker {
    thread: JoinHandle<()>,
    mailbox: Mailbox,
    registry: Arc<Registry>,
    listener: TcpListener,
    _folds: Flushes,
}

impl Worker {
    /// Starts a worker in front of this upstream.
    pub fn start(upstream: Settings, policy: Policy) -> Worker {
        // The recorder counts as in the real process; the second worker of one process finds it installed.
        let exposition = Exposition::install().unwrap_or_else(|_| Exposition::build().1);
        let (sender, mailbox) = mpsc::channel(64);
        let (load, registry, mut flushes) = (Arc::default(), Arc::new(Registry::new(1000)), Flushes::default());
        let thread = worker::start(Setup {
            number: 0,
            upstream,
            acceptor: None,
            users: None,
            exclusive: false,
            table: Arc::new(Table::builtin()),
            policy: Arc::new(policy),
            registry: Arc::clone(&registry),
            reporter: Default::default(),
            slow: SlowLog::new(Some(Duration::from_millis(100))),
            readiness: Default::default(),
            breaker: Default::default(),
            kept_bytes_max: usize::MAX,
            totals: exposition.totals(),
            flushes: flushes.add_worker(),
            mailbox,
            rest: None,
            load: Arc::clone(&load),
        })
        .expect("a worker starts");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        Worker { thread, mailbox: Mailbox { sender, clients: load }, registry, listener, _folds: flushes }
    }

    /// A client of the worker.
    pub fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.listener.local_addr().expect("its address")).expect("connected");
        client.set_nodelay(true).expect("set");
        client.set_read_timeout(Some(TIMEOUT)).expect("set");
        let (accepted, peer) = self.listener.accept().expect("accepted");
        accepted.set_nonblocking(true).expect("set");
        let entered = self.registry.enter(peer.to_string().into(), "here".into(), &self.mailbox).expect("there is room");
        let sent = self.mailbox.sender.blocking_send(Message::Accept(Socket::Tcp(accepted), entered));
        assert!(sent.is_ok(), "the worker runs");
        client
    }

    /// Waits for the worker's end; its clients must have gone.
    pub fn end(self) {
        assert!(self.mailbox.sender.blocking_send(Message::Drain(Duration::from_secs(1))).is_ok(), "the worker runs");
        self.thread.join().expect("no panic");
    }
}

/// Of the redis-server at this port of the loopback.
pub fn settings(port: u16) -> Settings {
    Settings {
        primary: Primary::fixed(Address::Tcp { host: "127.0.0.1".to_owned(), port }),
        tls: None,
        connect_timeout: TIMEOUT,
        request_timeout: TIMEOUT,
        slow_timeout: TIMEOUT,
        stall_timeout: TIMEOUT,
        queue_timeout: TIMEOUT,
        heartbeat: TIMEOUT,
        heartbeat_timeout: TIMEOUT,
        login: None,
        probe: None,
        connections: Connections::new(99),
        leases_max: 16,
        retry_reads: true,
        retries: Allowance { share: 0.2, per_second: 10.0 },
        reconnected: respguard::net::change_notifier::ChangeNotifier::default(),
        limits: Arc::default(),
        cluster: None,
        is_node: false,
        reached_at: None,
    }
}
