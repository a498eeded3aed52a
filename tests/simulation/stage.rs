//! One simulation: a worker of the proxy, the model server and some clients, on one thread and in virtual time.
//!
//! Everything that depends on how a worker is started stands here.

use std::cell::RefCell;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::mpsc;

use respguard::config::{self, Config, Topology};
use respguard::net::address::Address;
use respguard::net::clock;
use respguard::net::cluster::watch::Watch;
use respguard::net::health::SharedBreaker;
use respguard::net::registry::{Mailbox, Message, Registry, Socket};
use respguard::net::tls::Certificates;
use respguard::net::topology::Primary;
use respguard::net::topology::cluster::Cluster;
use respguard::net::upstream::Settings;
use respguard::net::upstream::cluster::settings::{Announced, ClusterSettings};
use respguard::net::upstream::cluster::{Scripts, Traffic};
use respguard::net::worker::{self, Setup};
use respguard::server::upstream_settings;
use respguard::telemetry::exposition::Exposition;
use respguard::telemetry::flush::Flushes;
use respguard::telemetry::readiness::Readiness;
use respguard::telemetry::report::Reporter;
use respguard::telemetry::slow::SlowLog;
use respguard_engine::command::Table;

use crate::client::Client;
use crate::faults::Faults;
use crate::ledger::Ledger;
use crate::nodes::{self, Nodes, PORT};
use crate::server::Server;
use crate::time;

const RULES: &str = r#"
[pipeline]
report = false

[[group]]
name = "login"
commands = ["SETEX rt:{user}:{token} * *", "SADD sess:{user} {token}", { match = "EXPIRE sess:{user} *", optional = true }]

[[group]]
name = "strict"
on_partial = "fail"
commands = ["SET st:{user}:{token} *", "SADD sess:{user} {token}"]

[[group]]
name = "settled"
resolve = true
commands = ["SET se:{user}:{token} *", "SADD sess:{user} {token}"]

[[group]]
name = "run"
keys = ["blob:*"]
"#;

const GUARDED: &str = r#"
[[group]]
name = "guarded"
atomic = "guarded"
commands = ["SET gu:{user}:{token} *", "SADD sess:{user} {token}"]

[[group]]
name = "proven"
atomic = "guarded"
resolve = true
commands = ["SET pr:{user}:{token} *", "SADD sess:{user} {token}"]

[[group]]
name = "single"
atomic = "guarded"
once = "10m"
once_key = "{token}"
commands = ["SET si:{user}:{token} *", "SADD sess:{user} {token}"]

[[group]]
name = "undone"
atomic = "rollback"
commands = ["SET un:{user}:{token} *", "SADD sess:{user} {token}"]

[[group]]
name = "sure"
atomic = "rollback"
resolve = true
once = "10m"
once_key = "{token}"
commands = ["SET su:{user}:{token} *", "SADD sess:{user} {token}"]
"#;

/// What a simulation is made of.
#[derive(Debug, Clone)]
pub struct Play {
    pub seed: u64,
    pub faults: Faults,
    pub clients: u64,
    pub sessions: u64,
    pub rounds: u64,
    /// Each client has an upstream connection of its own.
    pub exclusive: bool,
    /// There are guarded groups too.
    pub guarded: bool,
    /// Shards of the cluster; 0 for one server.
    pub shards: usize,
    /// Sentinels say which of two servers is the primary.
    pub is_watched: bool,
}

pub struct Stage {
    pub server: Rc<Server>,
    pub ledger: Rc<RefCell<Ledger>>,
    pub settings: Settings,
    /// Nothing goes wrong.
    pub is_calm: bool,
    /// Each client has an upstream connection of its own.
    pub is_exclusive: bool,
    /// There are guarded groups too.
    pub has_guarded: bool,
    pub reporter: Reporter,
    registry: Arc<Registry>,
    mailbox: Mailbox,
}

/// What is left of a simulation when everybody has gone.
#[derive(Debug)]
pub struct End {
    pub breaches: Vec<String>,
    pub answered: std::collections::BTreeMap<String, usize>,
    /// Everything that was applied, for comparison with another run of the same seed.
    pub applied: Vec<String>,
    pub metrics: String,
}

impl Stage {
    /// A new client of the proxy.
    pub fn connect(&self, number: u64) -> UnixStream {
        let (ours, theirs) = StdStream::pair().expect("a pair of sockets");
        ours.set_nonblocking(true).expect("a socket");
        theirs.set_nonblocking(true).expect("a socket");
        let peer: Arc<str> = format!("client-{number}").into();
        let client = self.registry.enter(Arc::clone(&peer), peer, &self.mailbox).expect("there is room");
        assert!(self.mailbox.sender.try_send(Message::Accept(Socket::Unix(theirs), client)).is_ok(), "the worker is there");
        UnixStream::from_std(ours).expect("a socket")
    }
}

/// Plays clients at random.
pub fn play(play: &Play) -> End {
    let Play { seed, clients, sessions, rounds, .. } = *play;
    perform(play, move |stage| async move {
        let lives: Vec<_> = (0..clients)
            .map(|number| tokio::task::spawn_local(Client::new(number, seed, &stage).live(sessions, rounds)))
            .collect();
        for life in lives {
            life.await.expect("a client lives to its end");
        }
    })
}

/// Runs a worker against the model, with what `script` does as its clients.
pub fn perform<F: Future<Output = ()>>(play: &Play, script: impl FnOnce(Rc<Stage>) -> F) -> End {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (recorder, exposition) = Exposition::build();
    metrics::with_local_recorder(&recorder, || {
        fastrand::seed(play.seed);
        let runtime = time::runtime(clock::tick);
        let end = runtime.block_on(stage(play, folder.path(), &exposition, script));
        // What was left running is dropped before its counters are read.
        drop(runtime);
        End { metrics: exposition.render(), ..end }
    })
}

async fn stage<F: Future<Output = ()>>(
    play: &Play,
    folder: &Path,
    exposition: &Exposition,
    script: impl FnOnce(Rc<Stage>) -> F,
) -> End {
    time::keep();
    clock::tick();
    static TABLE: OnceLock<Arc<Table>> = OnceLock::new();
    let table = TABLE.get_or_init(|| Arc::new(Table::builtin()));
    let is_cluster = play.shards > 0;
    let rules = format!("{RULES}{}", if play.guarded { GUARDED } else { "" });
    // What goes together has one hash tag.
    let rules = if is_cluster { rules.replace("{user}", "{{{user}}}") } else { rules };
    let seeds = if is_cluster { format!("cluster = [\"{}:{PORT}\"]\n", nodes::name(1)) } else { String::new() };
    let text = format!("[upstream]\n{seeds}{TIMES}{rules}");
    let config = config::read(&text, Path::new("simulation.toml"), table, &|_| None).expect("a good configuration");
    let server = Server::start(folder, play);
    let settings = match is_cluster {
        true => before_cluster(&config, folder, &server).await,
        // The model's connections look to the proxy as if they came over TCP.
        false => {
            let fixed = || Primary::fixed(Address::Unix(folder.join(nodes::name(0))));
            settings(&config, &server.sentinels.as_ref().map_or_else(fixed, |sentinels| sentinels.primary.clone()))
        }
    };
    server.model.borrow_mut().poison();
    let (sender, receiver) = mpsc::channel(1024);
    let mailbox = Mailbox { sender, clients: Arc::default() };
    let (reporter, mut flushes) = (Reporter::default(), Flushes::default());
    let registry = Arc::new(Registry::new(1000));
    let worker = tokio::task::spawn_local(worker::run(Setup {
        number: 0,
        upstream: settings.clone(),
        exclusive: play.exclusive,
        table: Arc::clone(table),
        policy: Arc::new(config.policy),
        registry: Arc::clone(&registry),
        reporter: reporter.clone(),
        slow: SlowLog::default(),
        readiness: Readiness::default(),
        breaker: SharedBreaker::default(),
        kept_bytes_max: 1 << 30,
        acceptor: None,
        users: None,
        totals: exposition.totals(),
        flushes: flushes.add_worker(),
        mailbox: receiver,
        rest: None,
        load: Arc::clone(&mailbox.clients),
    }));
    let ledger = Rc::new(RefCell::new(Ledger::default()));
    let is_calm = play.faults.is_none();
    let (is_exclusive, has_guarded) = (play.exclusive, play.guarded);
    let stage = Rc::new(Stage { server, ledger, settings, is_calm, is_exclusive, has_guarded, reporter, registry, mailbox });
    script(Rc::clone(&stage)).await;
    settle(&stage).await;
    assert!(stage.mailbox.sender.try_send(Message::Drain(Duration::from_secs(1))).is_ok(), "the worker is there");
    tokio::time::timeout(Duration::from_secs(60), worker).await.expect("a drained worker ends").expect("it does not panic");
    let mut ledger = stage.ledger.borrow_mut();
    let model = stage.server.model.borrow();
    ledger.check(&model.history, stage.server.outlived.get(), is_cluster);
    let nodes = stage.server.nodes.iter();
    nodes.for_each(|nodes| ledger.breaches.append(&mut nodes.breaches.borrow_mut()));
    let sentinels = stage.server.sentinels.iter();
    sentinels.for_each(|sentinels| ledger.breaches.append(&mut sentinels.breaches.borrow_mut()));
    crate::reply_check::count_violations(&mut ledger, &stage.reporter);
    let applied = model.history.iter().map(|applied| format!("{} {}", applied.together, applied.words.join(" "))).collect();
    End {
        breaches: std::mem::take(&mut ledger.breaches),
        answered: std::mem::take(&mut ledger.answered),
        applied,
        metrics: String::new(),
    }
}

/// Nothing goes wrong any more, and everything that was left behind comes to its end.
async fn settle(stage: &Stage) {
    stage.server.calm_down();
    tokio::time::sleep(Duration::from_millis(1800)).await;
    // In one leap past the time that idle connections are kept.
    tokio::time::advance(Duration::from_secs(21)).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut ledger = stage.ledger.borrow_mut();
    if !stage.registry.clients().is_empty() {
        ledger.breach(format!("{} clients are served who are gone", stage.registry.clients().len()));
    }
    let (open, unclean) = stage.server.open_lines();
    // One for each db and protocol that a client may have asked for, and the spare one; of each node, and its question.
    if open > 5 * stage.server.nodes.as_ref().map_or(1, Nodes::len) || unclean > 0 {
        ledger.breach(format!("{open} upstream connections are open, {unclean} of them in no state for another client"));
    }
}

fn settings(config: &Config, primary: &Primary) -> Settings {
    Settings {
        heartbeat: Duration::from_millis(700),
        heartbeat_timeout: Duration::from_millis(300),
        ..upstream_settings(config, &Certificates::default(), primary, 1)
    }
}

thread_local! {
    static FOLDER: RefCell<PathBuf> = RefCell::default();
}

/// Begins to ask the nodes who serves what, and waits for their first answer.
async fn before_cluster(config: &Config, folder: &Path, server: &Server) -> Settings {
    FOLDER.replace(folder.to_owned());
    let (slot_map_publisher, cluster) = Cluster::unknown();
    let (primary_publisher, mut primary) = Primary::unknown();
    let Topology::Cluster(configured) = &config.upstream.topology else { panic!("it is a cluster") };
    let announced = Announced { host: String::new(), port: PORT, id: "0".repeat(40) };
    let cluster = ClusterSettings {
        cluster,
        announced,
        split_writes: false,
        databases: false,
        scripts: Scripts::default(),
        traffic: Traffic::default(),
    };
    let settings = Settings {
        cluster: Some(Arc::new(cluster)),
        reached_at: Some(|address| match address {
            Address::Tcp { host, .. } => Address::Unix(FOLDER.with_borrow(|folder| folder.join(host))),
            Address::Unix(_) => address.clone(),
        }),
        ..settings(config, &primary)
    };
    tokio::task::spawn_local(Watch::new(configured.seeds.clone(), settings.clone(), slot_map_publisher, primary_publisher).run());
    let found = async {
        while primary.observe().node.is_none() {
            primary.changed().await;
        }
    };
    // With the worst faults one answer in fifty comes whole and in time, or none at all: then they begin once one has come.
    let mut found = std::pin::pin!(found);
    let limit = Duration::from_secs(600);
    if tokio::time::timeout(limit, found.as_mut()).await.is_err() {
        let faults = server.faults.borrow().clone();
        let Faults { moves, deaths, stalls, .. } = faults;
        server.faults.replace(Faults { moves, deaths, stalls, ..Faults::default() });
        tokio::time::timeout(limit, found).await.expect("a node answers");
        server.faults.replace(faults);
    }
    // As in the process: no client's connection depends on which node answers first.
    Settings { primary: Primary::fixed(configured.seeds[0].clone()), ..settings }
}

const TIMES: &str = "request_timeout_ms = 300\nstall_timeout_ms = 900\nqueue_timeout_ms = 250\nconnect_timeout_ms = 200\n";
