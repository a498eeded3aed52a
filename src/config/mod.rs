//! The configuration in its checked form: typed, complete and valid.
//!
//! [`load`] makes it from a file; every mistake in the file is a [`ConfigError`] with its line and what was expected.

mod audit;
mod credential;
pub mod effective;
mod error;
mod form;
mod load;
mod rest;
mod rules;
mod secret;
mod section;
mod security;
mod slots;
mod topology;
mod values;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::jobs;
use crate::net::address::Address;
use crate::net::network::Network;
use crate::net::tls::{ClientFiles, ServerFiles};
use crate::telemetry::durable;
use respguard_engine::link::breaker::Thresholds;
use respguard_engine::policy::Policy;

pub use error::{ConfigError, ConfigErrors, Position};
pub use form::Form;
pub use load::{Loaded, known_keys, load, load_admin, read, written};
pub use secret::Secret;

/// The whole configuration. The default is what an empty file means.
#[derive(Clone, Debug)]
pub struct Config {
    /// Worker threads as written; 0: as many as [`Config::worker_count`] says.
    pub workers: usize,
    pub listen: Listen,
    pub upstream: Upstream,
    pub admin: Admin,
    /// The REST front, if there is one.
    pub rest: Option<Rest>,
    /// When requests are no longer sent to a server that fails; `None`: they always are.
    pub breaker: Option<Thresholds>,
    /// How long a shutdown waits for what is owed to clients.
    pub drain_timeout: Duration,
    /// The file in which violations are kept for good, if there is one.
    pub violations: Option<durable::Settings>,
    /// How relations are audited; `None`: they are not.
    pub audit: Option<jobs::Settings>,
    pub policy: Policy,
}

/// Where clients connect.
#[derive(Clone, Debug, PartialEq)]
pub struct Listen {
    pub address: Address,
    pub clients_max: usize,
    /// Bytes kept for all clients together, of what they sent and of what they have yet to read.
    pub buffered_bytes_max: usize,
    /// Logins of the proxy's own, by name; empty where the clients' own go to the server.
    pub users: BTreeMap<String, Secret>,
    pub tls: Option<ServerFiles>,
    /// The permissions of a unix socket; without them the umask decides.
    pub unix_mode: Option<u32>,
    /// Connections from here begin with a PROXY protocol header.
    pub proxy_protocol: Vec<Network>,
}

/// Where the Redis server is that the proxy stands before.
#[derive(Clone, Debug, PartialEq)]
pub enum Topology {
    /// One server.
    Fixed(Address),
    /// The primary that sentinels name.
    Sentinel(Sentinel),
    /// The primaries of a cluster, each for its slots.
    Cluster(Cluster),
}

/// A cluster, and how it is shown to clients.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Nodes that know the others; at least one.
    pub seeds: Vec<Address>,
    /// What cluster-aware clients are told is the only node; else where the proxy listens.
    pub announce: Option<(String, u16)>,
    /// MSET over several slots is cut up.
    pub split_writes: bool,
    /// Clients may SELECT other databases than 0.
    pub databases: bool,
}

/// The sentinels of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Sentinel {
    /// At least one.
    pub addresses: Vec<Address>,
    pub service: String,
    pub credentials: Option<Credentials>,
}

impl Topology {
    /// The address of the one server, where there is one.
    pub fn address(&self) -> Option<&Address> {
        match self {
            Topology::Fixed(address) => Some(address),
            Topology::Sentinel(_) | Topology::Cluster(_) => None,
        }
    }

    /// Whether it is a cluster.
    pub fn is_cluster(&self) -> bool {
        matches!(self, Topology::Cluster(_))
    }

    /// All addresses that the configuration names.
    pub fn addresses(&self) -> &[Address] {
        match self {
            Topology::Fixed(address) => std::slice::from_ref(address),
            Topology::Sentinel(sentinel) => &sentinel.addresses,
            Topology::Cluster(cluster) => &cluster.seeds,
        }
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Topology::Fixed(address) => address.fmt(f),
            Topology::Sentinel(Sentinel { addresses, service, .. }) => {
                write!(f, "the primary of {service:?} that these sentinels name:")?;
                addresses.iter().try_for_each(|address| write!(f, " {address}"))
            }
            Topology::Cluster(cluster) => {
                write!(f, "the cluster of")?;
                cluster.seeds.iter().try_for_each(|address| write!(f, " {address}"))
            }
        }
    }
}

/// The Redis server behind the proxy.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    pub topology: Topology,
    /// Without static credentials the clients' own AUTH and HELLO go through.
    pub credentials: Option<Credentials>,
    /// For questions of the proxy's own, where they are others.
    pub probe: Option<Credentials>,
    pub tls: Option<ClientFiles>,
    pub sharing: Sharing,
    pub connect_timeout: Duration,
    /// From the moment a request is read to the first byte of its reply.
    pub request_timeout: Duration,
    /// The same for what is long by nature.
    pub slow_timeout: Duration,
    /// After which a connection whose owed reply makes no progress is replaced.
    pub stall_timeout: Duration,
    /// How long a request waits for an upstream that is not there.
    pub queue_timeout: Duration,
    /// A connection that has been silent for so long is asked for a sign of life.
    pub heartbeat: Duration,
    /// How long is waited for it.
    pub heartbeat_timeout: Duration,
    /// Connections to the server, all together.
    pub connections_max: usize,
    /// Connections that clients may have for themselves, all together.
    pub leases_max: usize,
    /// Reads whose connection is lost go out once more.
    pub retry_reads: bool,
    /// What may be sent once more: a share of what was answered of late, and so many a second beside.
    pub retry_share: f64,
    pub retries_per_second: u64,
}

/// The credentials that the proxy itself gives to the upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct Credentials {
    /// None: Redis' default user.
    pub username: Option<String>,
    pub password: Secret,
}

/// How clients share upstream connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Sharing {
    /// Wherever a client's state allows it.
    #[default]
    Auto,
    /// Each client has a connection of its own.
    Never,
}

/// The endpoint for metrics, health and the dashboard.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    pub address: Address,
    /// Wanted by everything that changes something or shows keys.
    pub token: Option<Secret>,
    /// Requests that take so long are shown; `None`: none is.
    pub slow: Option<Duration>,
}

/// The endpoint that speaks Upstash's protocol.
#[derive(Clone, Debug, PartialEq)]
pub struct Rest {
    pub address: Address,
    /// Who may send requests, by name; empty where only this machine reaches the address.
    pub tokens: BTreeMap<String, RestToken>,
    pub body_bytes_max: usize,
    pub connections_max: usize,
    pub tls: Option<ServerFiles>,
    /// Origins whose pages may send requests.
    pub cors: Vec<String>,
    /// Every request is logged.
    pub access_log: bool,
}

/// One token of [`Rest`].
#[derive(Clone, Debug, PartialEq)]
pub struct RestToken {
    pub secret: Secret,
    pub read_only: bool,
    /// The server's user that it acts for.
    pub credentials: Option<Credentials>,
}

/// Workers at most where their number is not written.
const WORKERS_AUTO_MAX: usize = 4;

/// The breaker where nothing else is written.
const THRESHOLDS: Thresholds = Thresholds {
    failure_ratio: 0.5,
    throughput_min: 5,
    sampling: Duration::from_secs(60),
    longest_break: Duration::from_secs(30),
};

impl Config {
    /// How many worker threads to start on a machine with so many cores.
    pub fn worker_count(&self, cores: usize) -> usize {
        // The other half is for the server and for those who ask: a worker serves what one server answers, and where workers
        // share the clients of one each has smaller batches and wakes more often.
        if self.workers == 0 { (cores / 2).clamp(1, WORKERS_AUTO_MAX) } else { self.workers }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            workers: 0,
            listen: Listen::default(),
            upstream: Upstream::default(),
            admin: Admin::default(),
            rest: None,
            breaker: Some(THRESHOLDS),
            drain_timeout: Duration::from_secs(10),
            violations: None,
            audit: None,
            policy: Policy::passive(),
        }
    }
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            address: local(6380),
            clients_max: 10_000,
            buffered_bytes_max: 512 * 1024 * 1024,
            users: BTreeMap::new(),
            tls: None,
            unix_mode: None,
            proxy_protocol: Vec::new(),
        }
    }
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            topology: Topology::Fixed(local(6379)),
            credentials: None,
            probe: None,
            tls: None,
            sharing: Sharing::Auto,
            connect_timeout: Duration::from_millis(1000),
            request_timeout: Duration::from_millis(5000),
            slow_timeout: Duration::from_millis(60_000),
            stall_timeout: Duration::from_millis(5000),
            queue_timeout: Duration::from_millis(1000),
            heartbeat: Duration::from_millis(5000),
            heartbeat_timeout: Duration::from_millis(2000),
            // Below the `maxclients` that Redis starts with.
            connections_max: 8000,
            leases_max: 4096,
            retry_reads: true,
            retry_share: 0.2,
            retries_per_second: 10,
        }
    }
}

impl Default for Rest {
    fn default() -> Self {
        Self {
            address: local(8079),
            tokens: BTreeMap::new(),
            body_bytes_max: 10 * 1024 * 1024,
            connections_max: 10_000,
            tls: None,
            cors: Vec::new(),
            access_log: false,
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { address: local(9121), token: None, slow: Some(Duration::from_millis(100)) }
    }
}

fn local(port: u16) -> Address {
    Address::Tcp { host: "127.0.0.1".to_owned(), port }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_worker_for_two_cores_up_to_four_unless_they_are_written() {
        let mut config = Config::default();
        assert_eq!([0, 1, 2, 3, 4, 7, 8, 64].map(|cores| config.worker_count(cores)), [1, 1, 1, 1, 2, 3, 4, 4]);
        config.workers = 7;
        assert_eq!(config.worker_count(2), 7);
    }
}
