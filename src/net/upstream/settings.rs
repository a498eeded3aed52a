//! How the server is reached, and how long is waited for it.

use std::sync::Arc;
use std::time::Duration;

use super::cluster::settings::ClusterSettings;
use super::connections::Connections;
use crate::net::address::Address;
use crate::net::change_notifier::ChangeNotifier;
use crate::net::server_limits::ServerLimits;
use crate::net::tls::Connector;
use crate::net::topology::Primary;
use respguard_engine::command::Login;
use respguard_engine::link::budget::Allowance;

/// How the server is reached and how long is waited for it.
#[derive(Debug, Clone)]
pub struct Settings {
    pub primary: Primary,
    pub tls: Option<Arc<Connector>>,
    /// For the connection and its handshake.
    pub connect_timeout: Duration,
    /// From reading a request to the first byte of its reply.
    pub request_timeout: Duration,
    /// The same for what is long by nature.
    pub slow_timeout: Duration,
    /// A connection that owes a reply and has been silent for so long, while the server answered on another one, is replaced.
    pub stall_timeout: Duration,
    /// How long a request waits for a server that is not there.
    pub queue_timeout: Duration,
    /// A connection that has been silent for so long is asked for a sign of life.
    pub heartbeat: Duration,
    /// How long is waited for it.
    pub heartbeat_timeout: Duration,
    /// For every connection; without it the clients' own are used.
    pub login: Option<Login>,
    /// For questions of the proxy's own, where it is another.
    pub probe: Option<Login>,
    /// All connections, over all workers.
    pub connections: Arc<Connections>,
    /// Leases that one worker may hold.
    pub leases_max: usize,
    /// Reads whose connection is lost go out once more.
    pub retry_reads: bool,
    /// What one worker may send once more.
    pub retries: Allowance,
    /// Told when a lost connection is back: the others can come back as well, and the server may be another one now.
    pub reconnected: ChangeNotifier,
    /// What the server takes on one connection.
    pub limits: Arc<ServerLimits>,
    /// It is a cluster.
    pub cluster: Option<Arc<ClusterSettings>>,
    /// It is one node of a cluster: what becomes of it says nothing about the others.
    pub is_node: bool,
    /// Where a server is reached that is known by this address, where that is another one.
    pub reached_at: Option<fn(&Address) -> Address>,
}

impl Settings {
    /// How long a request waits for a server that is not there: where another one may take its place, as long as for a
    /// reply.
    pub fn patience(&self) -> Duration {
        if self.primary.is_watched() || self.cluster.is_some() {
            self.request_timeout.max(self.queue_timeout)
        } else {
            self.queue_timeout
        }
    }

    /// The credentials for the proxy's own questions.
    pub fn own_login(&self) -> Option<&Login> {
        self.probe.as_ref().or(self.login.as_ref())
    }
}
