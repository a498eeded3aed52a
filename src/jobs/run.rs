//! One run of a job: paced questions that survive a lost connection, and the lock.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::answers::told;
use super::lock::{Lock, LockResult};
use super::progress::Progress;
use super::server_connection::QueryError;
use super::servers::{At, Servers};
use super::shared::Shared;
use super::stop::Stop;
use super::wanted::{Refused, Settings};
use crate::net::address::Address;
use crate::net::upstream;
use crate::net::upstream::connect::OpenError;
use crate::telemetry::label::BreakerState;
use crate::telemetry::record::unix_ms;
use respguard_engine::link::pace::Pace;

/// How long a server may be away before a run gives up.
pub(super) const AWAY_MAX: Duration = Duration::from_secs(300);
/// How long something is tried whose slot is on its way to another node, and the pause between two attempts.
pub(super) const MOVING_MAX: Duration = Duration::from_secs(10);
pub(super) const MOVING_PAUSE: Duration = Duration::from_millis(50);
/// Pause between two attempts to reach it, and between two looks at the breaker.
pub(super) const PAUSE: Duration = Duration::from_millis(500);
/// The longest answers to one pipeline of questions.
const REPLY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How often the log says how far a run is.
const TOLD: Duration = Duration::from_secs(60);
/// A run with what it needs.
pub(super) struct Run {
    pub(super) shared: Arc<Shared>,
    pub(super) settings: Settings,
    pub(super) id: String,
    pub(super) progress: Arc<Progress>,
    pub(super) servers: Servers,
    pub(super) lock: Lock,
    pub(super) pace: Pace,
    cancel: CancellationToken,
    told_at: Instant,
}

impl Run {
    pub(super) fn new(
        shared: Arc<Shared>,
        on: (Settings, upstream::Settings),
        cancel: CancellationToken,
        kind: &'static str,
    ) -> Run {
        let (settings, upstream) = on;
        let started = SystemTime::now();
        let id = format!("{:x}-{:04x}", unix_ms(started), fastrand::u16(..));
        let progress = Arc::new(Progress::new(id.clone(), kind, started));
        let lock = Lock::new(&shared.policy.load().guard_prefix, &id);
        let servers = Servers::new(upstream);
        let pace = Pace::new(settings.keys_per_second);
        Run { shared, settings, id, progress, servers, lock, pace, cancel, told_at: Instant::now() }
    }

    /// Takes the lock, once. `Some`: why the server does not let this user audit anything.
    pub(super) async fn lock(&mut self, is_scheduled: bool) -> Result<Option<String>, Refused> {
        let begun = Instant::now();
        let locking = loop {
            match self.lock.lock(&mut self.servers, is_scheduled).await {
                Err(QueryError::Moving(_)) if begun.elapsed() < MOVING_MAX => tokio::time::sleep(MOVING_PAUSE).await,
                locking => break locking,
            }
        };
        match locking {
            Ok(LockResult::Locked) => Ok(None),
            Ok(LockResult::Held) => Err(Refused::Locked),
            Ok(LockResult::Done) => Err(Refused::Done),
            Ok(LockResult::Refused(error)) if is_about_rights(&error) => {
                Ok(Some(format!("{} at the lock key {}", told(error.as_bytes()), self.lock.key())))
            }
            Ok(LockResult::Refused(error)) => Err(Refused::Server(format!("the lock key {}: {error}", self.lock.key()))),
            Err(QueryError::Open(error @ OpenError::Refused { .. })) => Ok(Some(error.to_string())),
            Err(error) => Err(Refused::Server(error.to_string())),
        }
    }

    /// The replies to questions that only read: after a loss they are asked again.
    pub(super) async fn read(&mut self, requests: &[u8], replies: usize) -> Result<Vec<Bytes>, Stop> {
        let begun = Instant::now();
        let mut told = false;
        loop {
            match self.ask(None, requests, replies).await? {
                Ok(answer) => return Ok(answer),
                Err(error) if begun.elapsed() >= AWAY_MAX => return Err(Stop::Failed(error.to_string())),
                Err(QueryError::Moving(_)) => self.sleep(MOVING_PAUSE).await?,
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        warn!(run = self.id, %error, "an audit waits for the server");
                    }
                    self.sleep(PAUSE).await?;
                }
            }
        }
    }

    /// The replies of one node of a cluster, which may as well be about no key; `None` where it is not there.
    pub(super) async fn read_at(&mut self, node: &Address, requests: &[u8], replies: usize) -> Result<Option<Vec<Bytes>>, Stop> {
        Ok(self.ask(Some(node), requests, replies).await?.ok())
    }

    /// Asks once: a node of the cluster, or whoever serves the keys. The error within is one that may pass.
    async fn ask(
        &mut self,
        node: Option<&Address>,
        requests: &[u8],
        replies: usize,
    ) -> Result<Result<Vec<Bytes>, QueryError>, Stop> {
        let (asked, cancel, servers) = (Instant::now(), self.cancel.clone(), &mut self.servers);
        let asking = async {
            match node {
                Some(node) => servers.ask(At::Node(node), requests, replies, REPLY_BYTES_MAX).await,
                None => servers.read(requests, replies, REPLY_BYTES_MAX).await,
            }
        };
        let answer = tokio::select! {
            () = cancel.cancelled() => return Err(Stop::Cancelled),
            answer = asking => answer,
        };
        match answer {
            Ok(answer) => {
                let pause = self.pace.answered(asked.elapsed());
                self.sleep(pause).await?;
                Ok(Ok(answer))
            }
            Err(QueryError::Open(error @ OpenError::Refused { .. })) => Err(Stop::Unknown(error.to_string())),
            Err(error @ QueryError::TooLong(_)) => Err(Stop::Failed(error.to_string())),
            Err(error) => Ok(Err(error)),
        }
    }

    /// Waits until so many things may be looked at, and until the server is well.
    pub(super) async fn throttle(&mut self, things: f64) -> Result<(), Stop> {
        while self.shared.breaker.state().is_some_and(|state| state != BreakerState::Closed.as_str()) {
            self.sleep(PAUSE).await?;
        }
        if self.lock.is_due() {
            self.renew().await?;
        }
        if self.told_at.elapsed() >= TOLD {
            self.told_at = Instant::now();
            info!(run = self.id, progress = %self.progress.shown(), "an audit is under way");
        }
        let wait = self.pace.take(things, Instant::now());
        self.sleep(wait).await
    }

    /// SCAN has passed over so many keys.
    pub(super) fn count_visited(&self, keys: usize) {
        self.progress.visited.fetch_add(keys as u64, Ordering::Relaxed);
    }

    /// How the proxy's own keys begin.
    pub(super) fn guard_prefix(&self) -> std::sync::Arc<str> {
        self.shared.policy.load().guard_prefix.clone()
    }

    async fn renew(&mut self) -> Result<(), Stop> {
        let begun = Instant::now();
        loop {
            match self.lock.renew(&mut self.servers).await {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(Stop::LockLost),
                Err(error) if begun.elapsed() >= AWAY_MAX => return Err(Stop::Failed(error.to_string())),
                Err(_) => self.sleep(PAUSE).await?,
            }
        }
    }

    /// Ends early when the run is cancelled.
    pub(super) async fn sleep(&self, time: Duration) -> Result<(), Stop> {
        if self.cancel.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        if time.is_zero() {
            return Ok(());
        }
        tokio::select! {
            () = self.cancel.cancelled() => Err(Stop::Cancelled),
            () = tokio::time::sleep(time) => Ok(()),
        }
    }
}

/// Whether the server refuses the user, and not what it is asked.
fn is_about_rights(error: &str) -> bool {
    ["NOPERM", "NOAUTH", "WRONGPASS"].iter().any(|word| error.starts_with(word))
}
