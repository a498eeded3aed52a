//! Connections to the server: shared ones for most clients, leased ones for clients that need their own.
//!
//! A [`connection::Link`] carries requests one way and hands each reply, in the order of the
//! requests, to whoever is owed it. It knows its recipients only as [`Recipient`].

pub mod call;
pub mod cluster;
pub mod commands;
pub mod connect;
pub mod connection;
pub mod connections;
pub mod discard;
pub mod lane;
pub mod pool;
pub mod probe;
mod shared_connection;
pub mod spare;
pub mod survey;
#[cfg(test)]
pub mod tests;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::net::address::Address;
use crate::net::health::Health;
use crate::net::server_limits::ServerLimits;
use crate::net::tls::Connector;
use crate::net::topology::Primary;
use crate::telemetry::slow::Whose;
use cluster::nodes::{ClusterSettings, Nodes};
use connection::Link;
use connections::Connections;
use respguard_engine::command::Login;
use respguard_engine::link::budget::Allowance;
use respguard_engine::link::owed::{Owed, ReplyTo, Seq};
use respguard_engine::pipeline::finding::Fault;
use respguard_engine::pipeline::reading::Part;
use respguard_engine::session::subscription::Arrival;

/// <https://redis.io/docs/latest/commands/ping/>
pub const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

/// Whoever is owed replies by an upstream connection.
///
/// None of the methods may call back into the connection.
pub trait Recipient {
    /// Takes one piece of a reply that is owed to this request or question of its.
    fn admit(&self, to: ReplyTo, piece: &[u8], part: Part) -> Admitted;

    /// How many of the replies from this request's on, at most `most`, can be taken together as long as none is an error.
    fn takes_plain(&self, _first: Seq, _most: u32) -> u32 {
        0
    }

    /// Takes so many replies together, from this request's on.
    fn admit_plain(&self, _first: Seq, _replies: &[u8], _frames: u32) -> AdmittedPlain {
        AdmittedPlain::default()
    }

    /// Takes those answers to a group at the beginning of `bytes` that need not be looked at one by one: how many there are, and
    /// their bytes.
    fn take_queued(&self, _group: Seq, _bytes: &[u8]) -> (u32, usize) {
        (0, 0)
    }

    /// What was answered so far of a request that is owed several frames does not count: it goes out once more. False
    /// where that cannot be.
    fn start_over(&self, _to: ReplyTo) -> bool {
        false
    }

    /// What is owed will not come.
    fn fault(&self, owed: Owed, fault: Fault);

    /// Replies came, or never will, to `frames` requests that had been answered with a timeout.
    fn settle_late(&self, _frames: u32) {}

    /// A reply of which a part was handed over has no end, and what is owed behind it will not come: all of `owed`.
    fn cut(&self, owed: Owed) {
        self.fault(owed, Fault::Lost);
    }

    /// The server has ended a connection that others share over what this one had sent.
    fn offend(&self) {}

    /// On a lease: the other side has ended the connection while something was owed.
    fn lease_ended(&self) {}

    /// On a lease: what the frame that begins with `head` is.
    fn classify(&self, _head: &[u8]) -> Arrival {
        Arrival::Reply
    }

    /// On a lease: takes a piece of a frame that nobody asked for.
    fn push(&self, _piece: &[u8], _last: bool) {}

    /// On a lease: whatever comes is handed to `push` at once, whether it is a frame or not. Once it does it always does.
    fn takes_bytes(&self) -> bool {
        false
    }

    /// On a lease: the connection is gone.
    fn lease_lost(&self) {}

    /// On a lease: there will be none, for the server no longer takes the login, protocol or db that it would have.
    fn lease_refused(&self) {}

    /// Notes that something was handed over; true the first time since `flush`.
    fn mark(&self) -> bool {
        false
    }

    /// Who has sent what it is owed for: the same for all recipients of one client.
    fn sender(&self) -> *const () {
        std::ptr::from_ref(self).cast()
    }

    /// Whose requests they are; none for questions of our own.
    fn whose(&self) -> Option<Whose> {
        None
    }

    /// Everything that one read brought has been handed over.
    fn flush(&self) {}

    /// For how long the recipient has been behind with its replies, if it is.
    fn behind_for(&self) -> Option<Duration> {
        None
    }

    /// Others wait behind what the recipient does not take: true when it is kept for it, or it is not waited for any more.
    fn keeps_for_others(&self) -> bool {
        true
    }

    /// It is behind, and nobody else is owed anything on the connection, which others have left.
    fn stands_alone(&self) {}

    /// Nobody is there any more to take anything.
    fn is_gone(&self) -> bool {
        false
    }

    /// What it is owed may come over another connection of its lane.
    fn may_move(&self) -> bool {
        false
    }

    /// What it sends from now on goes over this one.
    fn move_to(&self, _next: &Rc<Link>) {}
}

/// What taking a piece of a reply has led to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Admitted {
    /// Further frames that belong to the same request.
    pub more: u32,
    /// The connection may be in a state that its next user must not meet.
    pub close: bool,
}

/// What taking whole replies has led to.
#[derive(Debug, Clone, Copy, Default)]
pub struct AdmittedPlain {
    /// The connection may be in a state that its next user must not meet.
    pub close: bool,
    /// They have been written, and nothing is left to be done: the recipient need not be told that all was handed over.
    pub is_done: bool,
}

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
    pub reconnected: watch::Sender<()>,
    /// What the server takes on one connection.
    pub limits: Arc<ServerLimits>,
    /// It is a cluster.
    pub cluster: Option<Arc<ClusterSettings>>,
    /// It is one node of a cluster: what becomes of it says nothing about the others.
    pub is_node: bool,
    /// Where a server is reached that is known by this address, where that is another one.
    pub reached_at: Option<fn(&Address) -> Address>,
}

/// The same, with a worker's own way to a cluster.
pub struct Reach {
    pub settings: Settings,
    pub nodes: Option<Rc<Nodes>>,
    /// What is seen of one node of a cluster.
    pub health: Option<Health>,
}

impl Reach {
    /// One server.
    pub fn server(settings: Settings) -> Reach {
        Reach { settings, nodes: None, health: None }
    }
}

impl std::ops::Deref for Reach {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.settings
    }
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
