//! The topology of the process, and the task that watches it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::config::{Config, Credentials, Sentinel, Topology};
use crate::net::address::Address;
use crate::net::cluster;
use crate::net::sentinel::Sentinels;
use crate::net::sentinel::status::SentinelStatus;
use crate::net::sentinel::watch::Watch;
use crate::net::tls::Certificates;
use crate::net::topology::cluster::{Cluster, SlotMapPublisher};
use crate::net::topology::{Primary, PrimaryPublisher};
use crate::net::upstream::Settings;
use crate::net::upstream::cluster::settings::{Announced, ClusterSettings};
use crate::net::upstream::cluster::{Scripts, Traffic};
use crate::telemetry::readiness::Readiness;
use respguard_engine::command::Login;

/// How long a sentinel is waited for at most: a failover is not to be missed because one of them is away.
const SENTINEL_TIMEOUT: Duration = Duration::from_millis(500);

/// The primary, and how it is found where the configuration does not say.
pub(super) struct Place {
    pub(super) primary: Primary,
    search: Search,
    pub(super) sentinel_status: Option<SentinelStatus>,
    /// The cluster, where it is one.
    pub(super) cluster: Option<Arc<ClusterSettings>>,
}

/// What is looked for.
enum Search {
    Nothing,
    Primary(Arc<Sentinels>, PrimaryPublisher),
    Slots(Vec<Address>, SlotMapPublisher, PrimaryPublisher),
}

impl Place {
    /// `listening` is where clients reach the proxy.
    pub(super) fn new(config: &Config, certificates: &Certificates, listening: &Address) -> Place {
        match &config.upstream.topology {
            Topology::Fixed(address) => {
                Place { primary: Primary::fixed(address.clone()), search: Search::Nothing, sentinel_status: None, cluster: None }
            }
            Topology::Sentinel(sentinel) => {
                let sentinels = Arc::new(sentinels(sentinel, config, certificates));
                let sentinel_status = SentinelStatus::new(&sentinels);
                let (primary_publisher, primary) = Primary::unknown();
                Place {
                    primary,
                    search: Search::Primary(sentinels, primary_publisher),
                    sentinel_status: Some(sentinel_status),
                    cluster: None,
                }
            }
            Topology::Cluster(configured) => {
                let (slot_map_publisher, cluster) = Cluster::unknown();
                let (primary_publisher, primary) = Primary::unknown();
                let announced = announced(configured.announce.as_ref(), listening);
                let (scripts, traffic) = (Scripts::default(), Traffic::default());
                let (split_writes, databases) = (configured.split_writes, configured.databases);
                let settings = ClusterSettings { cluster, announced, split_writes, databases, scripts, traffic };
                let search = Search::Slots(configured.seeds.clone(), slot_map_publisher, primary_publisher);
                Place { primary, search, sentinel_status: None, cluster: Some(Arc::new(settings)) }
            }
        }
    }

    /// Looks for the primary until what is returned is dropped; waits a while for the first.
    pub(super) async fn search(&mut self, settings: &Settings) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let is_searched = match (std::mem::replace(&mut self.search, Search::Nothing), self.sentinel_status.clone()) {
            (Search::Primary(sentinels, primary_publisher), Some(sentinel_status)) => {
                tasks.spawn(Watch::new(sentinels, settings.clone(), primary_publisher, sentinel_status).run());
                true
            }
            (Search::Slots(seeds, slot_map_publisher, primary_publisher), _) => {
                tasks.spawn(cluster::watch::Watch::new(seeds, settings.clone(), slot_map_publisher, primary_publisher).run());
                true
            }
            _ => false,
        };
        if is_searched {
            let mut primary = self.primary.clone();
            let found = async {
                while primary.observe().node.is_none() {
                    primary.changed().await;
                }
            };
            // Without it clients are told that there is none.
            let _ = tokio::time::timeout(settings.connect_timeout, found).await;
        }
        tasks
    }
}

/// Tells as long as the process runs whether nodes of the cluster that answer serve slots.
pub(super) async fn show_readiness(mut cluster: Cluster, readiness: Readiness) {
    loop {
        readiness.slots(cluster.observe().reachable() > 0);
        cluster.changed().await;
    }
}

/// What cluster-aware clients are told is the only node. Where the proxy listens on all of its addresses they are to use
/// the one that they have connected to.
fn announced(announce: Option<&(String, u16)>, listen: &Address) -> Announced {
    let (host, port) = match (announce, listen) {
        (Some((host, port)), _) => (host.clone(), *port),
        (None, Address::Tcp { host, port }) => {
            let is_any = host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_unspecified());
            (if is_any { String::new() } else { host.clone() }, *port)
        }
        (None, Address::Unix(_)) => (String::new(), 0),
    };
    let id = (0..40).map(|_| char::from_digit(fastrand::u32(0..16), 16).unwrap_or('0')).collect();
    Announced { host, port, id }
}

/// How the sentinels are reached.
pub(super) fn sentinels(sentinel: &Sentinel, config: &Config, certificates: &Certificates) -> Sentinels {
    Sentinels {
        addresses: sentinel.addresses.clone(),
        service: sentinel.service.clone(),
        login: sentinel.credentials.as_ref().map(login),
        tls: certificates.connector.clone(),
        timeout: config.upstream.connect_timeout.min(SENTINEL_TIMEOUT),
    }
}

/// What these credentials are to a server.
pub(super) fn login(credentials: &Credentials) -> Login {
    Login::new(credentials.username.as_deref().map(str::as_bytes), credentials.password.expose().as_bytes())
}
