//! Finds the primary of a service through its sentinels, and follows it through failovers.
//!
//! `session` talks to one sentinel, `watch` listens to all of them and decides by their words which server is the primary,
//! once that server agrees. `status` is what the process shows of it.

pub mod session;
pub mod status;
pub mod watch;

use std::sync::Arc;
use std::time::Duration;

use crate::net::address::Address;
use crate::net::tls::Connector;
use respguard_engine::command::Login;

/// The sentinels of a service, and how they are reached.
#[derive(Debug, Clone)]
pub struct Sentinels {
    pub addresses: Vec<Address>,
    /// The name under which they watch the primary.
    pub service: String,
    /// What they want, which is not what the servers want.
    pub login: Option<Login>,
    pub tls: Option<Arc<Connector>>,
    /// For the connection, and for each answer.
    pub timeout: Duration,
}
