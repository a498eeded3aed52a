//! Listens to all sentinels and decides which server is the primary.
//!
//! The newest word of a sentinel counts, once the server that it names says that it is the primary. A server that no
//! sentinel names gets nothing, whatever it says of itself: one that comes back after a failover takes itself for the
//! primary until it is told otherwise.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use super::Sentinels;
use super::session::{SentinelError, Session};
use super::status::SentinelStatus;
use crate::net::address::Address;
use crate::net::frames::Frames;
use crate::net::topology::{Node, PrimaryPublisher, View};
use crate::net::upstream::Settings;
use crate::net::upstream::connect::{OpenError, open};
use crate::telemetry::gauge;
use crate::telemetry::label::TopologyChange;
use respguard_engine::link::handshake::ConnectParams;
use respguard_engine::route::sentinel::{ROLE, Report, Reports, Role, Verdict};

/// Before a sentinel is tried again that does not answer.
const SENTINEL_PAUSE: Duration = Duration::from_millis(500);
/// Before a server is asked again that is named and does not agree yet.
const ROLE_PAUSE: Duration = Duration::from_millis(20);
/// How often a server is asked in vain that is in doubt, before it is believed.
const VAIN_MAX: u32 = 5;
/// Words that may wait.
const REPORTS: usize = 64;

/// Whoever decides.
pub struct Watch {
    sentinels: Arc<Sentinels>,
    settings: Settings,
    primary_publisher: PrimaryPublisher,
    status: SentinelStatus,
    reports: Reports,
    /// What was said last of a server that does not agree: told once.
    last_logged: Option<String>,
    asked_in_vain: u32,
    /// The servers do not say what they are to the proxy's user.
    is_unreported: bool,
}

type SentinelMessage = (usize, Result<Report, SentinelError>);

impl Watch {
    /// Decides by the words of these sentinels; servers are asked with the credentials of these settings.
    pub fn new(
        sentinels: Arc<Sentinels>,
        settings: Settings,
        primary_publisher: PrimaryPublisher,
        status: SentinelStatus,
    ) -> Watch {
        let reports = Reports::new(sentinels.addresses.len());
        Watch {
            sentinels,
            settings,
            primary_publisher,
            status,
            reports,
            last_logged: None,
            asked_in_vain: 0,
            is_unreported: false,
        }
    }

    /// Never returns. Dropping the future ends all connections to sentinels.
    pub async fn run(mut self) {
        let (sender, mut reports) = mpsc::channel(REPORTS);
        let mut listeners = JoinSet::new();
        for sentinel in 0..self.sentinels.addresses.len() {
            listeners.spawn(follow(Arc::clone(&self.sentinels), sentinel, sender.clone()));
        }
        let mut is_open = false;
        loop {
            tokio::select! {
                biased;
                Some(said) = reports.recv() => self.take(said),
                () = self.primary_publisher.doubted() => {}
                () = tokio::time::sleep(ROLE_PAUSE), if is_open => {}
            }
            while let Ok(said) = reports.try_recv() {
                self.take(said);
            }
            is_open = self.decide().await;
        }
    }

    fn take(&mut self, (sentinel, report): SentinelMessage) {
        let address = &self.sentinels.addresses[sentinel];
        let service = &self.sentinels.service;
        let is_news = self.status.note(sentinel, report.as_ref().map_err(ToString::to_string).cloned());
        match report {
            Ok(report) => {
                if is_news {
                    match &report {
                        Report::Named { host, port, epoch } => {
                            info!(sentinel = %address, service, primary = %format_args!("{host}:{port}"), epoch, "a sentinel names the primary");
                        }
                        Report::Unknown => error!(sentinel = %address, service, "the sentinel watches no such service"),
                    }
                }
                self.reports.record(sentinel, report, Instant::now());
            }
            Err(error) if is_news => warn!(sentinel = %address, service, %error, "a sentinel does not answer"),
            Err(_) => {}
        }
    }

    /// Looks at what all have said; true when it is to be looked at again soon.
    async fn decide(&mut self) -> bool {
        let current = self.primary_publisher.current();
        let (by, address, epoch) = match self.reports.verdict(Instant::now()) {
            Verdict::Named { by, host, port, epoch } => (by, Address::Tcp { host: host.to_owned(), port }, epoch),
            Verdict::Unknown if current.is_some() => {
                self.clear_primary("no sentinel watches the service any more");
                return false;
            }
            // Sentinels that do not answer say nothing against the server.
            Verdict::Unknown | Verdict::Silent => return false,
        };
        let is_current = current.is_some_and(|current| current.address == address);
        let doubt = self.primary_publisher.open_doubt();
        if is_current && doubt.is_none() {
            return false;
        }
        let role = self.role(&address).await;
        match role {
            Ok(Role::Primary | Role::NotReported(_)) if is_current => {
                self.asked_in_vain = 0;
                doubt.into_iter().for_each(|doubt| self.primary_publisher.confirm(doubt));
                false
            }
            Ok(role @ (Role::Primary | Role::NotReported(_))) => {
                self.note_unreported(&role);
                self.set_primary(address, by, epoch);
                false
            }
            Ok(Role::Replica) => {
                if is_current {
                    self.clear_primary("it says that it is a replica");
                }
                self.log_once(format!("{address} is named by a sentinel, but is no primary"));
                true
            }
            Err(error) => {
                self.asked_in_vain += 1;
                if is_current && self.asked_in_vain >= VAIN_MAX {
                    // It will show what it is to those that are connected.
                    self.asked_in_vain = 0;
                    doubt.into_iter().for_each(|doubt| self.primary_publisher.confirm(doubt));
                    return false;
                }
                self.log_once(format!("{address} is named by a sentinel, but cannot be asked: {error}"));
                true
            }
        }
    }

    fn set_primary(&mut self, address: Address, by: usize, epoch: u64) {
        let sentinel = self.sentinels.addresses[by].clone();
        info!(primary = %address, %sentinel, service = self.sentinels.service, epoch, "the primary is known, and agrees");
        gauge::count_topology_change(TopologyChange::Primary);
        self.primary_publisher.decide(Some(Node { address, since: Instant::now(), named_by: Some(sentinel) }));
        (self.last_logged, self.asked_in_vain) = (None, 0);
    }

    fn clear_primary(&mut self, reason: &str) {
        let Some(node) = self.primary_publisher.current() else { return };
        warn!(server = %node.address, service = self.sentinels.service, reason, "the server is no longer the primary");
        gauge::count_topology_change(TopologyChange::Lost);
        self.primary_publisher.decide(None);
    }

    /// Told once, until something else is to be told.
    fn log_once(&mut self, what: String) {
        if self.last_logged.as_ref() != Some(&what) {
            warn!(service = self.sentinels.service, "{what}");
            self.last_logged = Some(what);
        }
    }

    fn note_unreported(&mut self, role: &Role) {
        let Role::NotReported(why) = role else { return };
        if !std::mem::replace(&mut self.is_unreported, true) {
            warn!(
                reason = %why,
                "the server does not say whether it is the primary: only the sentinels' answers count (see [upstream] probe)"
            );
        }
    }

    /// What the server says that it is.
    async fn role(&self, address: &Address) -> Result<Role, OpenError> {
        ask_role(&self.settings, address).await
    }
}

/// Asks a server what it is, with the credentials for the proxy's own questions.
///
/// # Errors
/// It cannot be asked.
pub async fn ask_role(settings: &Settings, address: &Address) -> Result<Role, OpenError> {
    let params = ConnectParams { login: settings.own_login().cloned(), ..ConnectParams::default() };
    let (mut stream, _) = open(settings, &View::of(address.clone()), &params, &[]).await?;
    let asked = async {
        stream.write_all(ROLE).await?;
        stream.flush().await?;
        Ok(Role::read(&Frames::behind(BytesMut::new(), usize::MAX).next::<std::io::Error>(&mut stream).await?))
    };
    let asked = tokio::time::timeout(settings.connect_timeout, asked).await;
    let timeout = || std::io::Error::from(std::io::ErrorKind::TimedOut);
    asked.unwrap_or_else(|_| Err(timeout())).map_err(|source| OpenError::Connect { address: address.to_string(), source })
}

/// Listens to one sentinel for ever.
async fn follow(sentinels: Arc<Sentinels>, sentinel: usize, reports: mpsc::Sender<SentinelMessage>) {
    loop {
        let error = match listen(&sentinels, sentinel, &reports).await {
            Err(error) => error,
            // Nobody wants to know any more.
            Ok(()) => return,
        };
        if reports.send((sentinel, Err(error))).await.is_err() {
            return;
        }
        tokio::time::sleep(SENTINEL_PAUSE).await;
    }
}

async fn listen(sentinels: &Sentinels, sentinel: usize, reports: &mpsc::Sender<SentinelMessage>) -> Result<(), SentinelError> {
    let mut session = Session::open(sentinels, &sentinels.addresses[sentinel]).await?;
    loop {
        let report = session.ask().await?;
        if reports.send((sentinel, Ok(report))).await.is_err() {
            return Ok(());
        }
        session.listen().await?;
    }
}
