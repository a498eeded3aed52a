//! The real admin listener on a port of the system's choice, with a worker thread that flushes when asked.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use respguard::jobs::Jobs;
use respguard::net::address::Address;
use respguard::net::admin::access::Access;
use respguard::net::admin::recorder::Recorder;
use respguard::net::admin::violations::STREAMS_MAX;
use respguard::net::admin::{self, AdminState, StatusSource};
use respguard::net::health::SharedBreaker;
use respguard::net::registry::Registry;
use respguard::net::topology::Primary;
use respguard::telemetry::exposition::Exposition;
use respguard::telemetry::flush::{FlushRequests, Flushes};
use respguard::telemetry::readiness::Readiness;
use respguard::telemetry::report::Reporter;
use respguard::telemetry::slow::SlowLog;
use respguard::telemetry::totals::Totals;
use respguard::telemetry::worker_metrics::WorkerMetrics;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Endpoints that serve; dropped, they end.
pub struct Endpoints {
    pub address: SocketAddr,
    pub readiness: Readiness,
    pub reporter: Reporter,
    pub shutdown: CancellationToken,
    pub serving: JoinHandle<io::Result<()>>,
}

/// Endpoints that do not serve yet.
pub struct Unstarted {
    pub flushes: Flushes,
    exposition: Exposition,
}

impl Endpoints {
    pub fn unstarted() -> Unstarted {
        Unstarted { flushes: Flushes::default(), exposition: installed() }
    }

    pub async fn start_plain() -> Endpoints {
        Endpoints::unstarted().start().await
    }

    /// Endpoints whose one worker runs `count` before it flushes for the first time.
    ///
    /// A process has one recorder, so only one such worker counts: the tests that look at numbers share it.
    pub async fn with_worker(count: fn(&WorkerMetrics)) -> Endpoints {
        static SHARED: OnceLock<Flushes> = OnceLock::new();
        let mut endpoints = Endpoints::unstarted();
        let shared = SHARED.get_or_init(|| {
            let mut flushes = Flushes::default();
            let questions = flushes.add_worker();
            let totals = endpoints.exposition.totals();
            std::thread::spawn(move || work(count, totals, questions));
            flushes
        });
        endpoints.flushes = shared.clone();
        endpoints.start().await
    }
}

impl Unstarted {
    pub async fn start(self) -> Endpoints {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let readiness = Readiness::default();
        let shutdown = CancellationToken::new();
        let reporter = Reporter::default();
        let state = AdminState {
            exposition: self.exposition,
            flushes: self.flushes,
            readiness: readiness.clone(),
            access: Access::new(None, address),
            jobs: Jobs::off(),
            live: tokio::sync::mpsc::channel(1).0,
            reporter: reporter.clone(),
            slow: SlowLog::default(),
            status: StatusSource {
                started: std::time::Instant::now(),
                workers: 0,
                upstream: Primary::fixed(Address::Unix("/run/redis.sock".into())),
                sentinels: None,
                cluster: None,
                registry: Arc::new(Registry::new(1)),
                breaker: SharedBreaker::default(),
                totals: Arc::default(),
                mode_is_switched: Arc::default(),
            },
            policy: Arc::default(),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            drain: CancellationToken::new(),
            shutdown: shutdown.clone(),
            recorder: Recorder::new(&[], shutdown.clone()),
        };
        let serving = tokio::spawn(admin::serve(listener, state, shutdown.clone()));
        Endpoints { reporter, address, readiness, shutdown, serving }
    }
}

fn installed() -> Exposition {
    static INSTALLED: OnceLock<Exposition> = OnceLock::new();
    INSTALLED.get_or_init(|| Exposition::install().expect("the only recorder")).clone()
}

fn work(count: fn(&WorkerMetrics), totals: Arc<Totals>, mut questions: FlushRequests) {
    let metrics = WorkerMetrics::new(&["".into(), "set".into(), "get".into()], totals);
    count(&metrics);
    while let Some(question) = questions.blocking_recv() {
        metrics.flush();
        // A reader that stopped waiting needs no answer.
        let _ = question.send(());
    }
}
