//! What the operators' endpoints show, and whom they ask.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::access::Access;
use super::questions::Questions;
use super::recorder::Recorder;
use crate::jobs::Jobs;
use crate::net::health::SharedBreaker;
use crate::net::registry::Registry;
use crate::net::sentinel::status::SentinelStatus;
use crate::net::topology::Primary;
use crate::net::upstream::cluster::settings::ClusterSettings;
use crate::telemetry::exposition::Exposition;
use crate::telemetry::flush::Flushes;
use crate::telemetry::readiness::Readiness;
use crate::telemetry::report::Reporter;
use crate::telemetry::slow::SlowLog;
use crate::telemetry::totals::Totals;
use respguard_engine::policy::Policy;

/// What the endpoints show. Cheap to clone.
#[derive(Clone)]
pub struct AdminState {
    pub exposition: Exposition,
    /// Asked before each scrape, so that it shows what the workers have counted up to then.
    pub flushes: Flushes,
    pub readiness: Readiness,
    pub access: Access,
    pub recorder: Recorder,
    /// Audits and repairs.
    pub jobs: Jobs,
    pub live: Questions,
    pub reporter: Reporter,
    pub slow: SlowLog,
    pub status: StatusSource,
    /// The rules in force.
    pub policy: Arc<ArcSwap<Policy>>,
    /// Places for streams of violations.
    pub streams: Arc<Semaphore>,
    /// Ends the serving of clients, as SIGTERM does.
    pub drain: CancellationToken,
    /// Ends what is sent without an end of its own.
    pub shutdown: CancellationToken,
}

/// What is shown beside the metrics. Cheap to clone.
#[derive(Clone)]
pub struct StatusSource {
    pub started: Instant,
    pub workers: usize,
    pub upstream: Primary,
    /// Where sentinels say which server that is.
    pub sentinels: Option<SentinelStatus>,
    /// Where it is a cluster.
    pub cluster: Option<Arc<ClusterSettings>>,
    pub registry: Arc<Registry>,
    pub breaker: SharedBreaker,
    pub totals: Arc<Totals>,
    /// Whether an operator has put the rules in another mode than the configuration's.
    pub mode_is_switched: Arc<AtomicBool>,
}
