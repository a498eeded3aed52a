//! The credentials and TLS settings of the process, kept up to date while it runs.

use std::sync::Arc;

use tokio::task::JoinSet;
use tracing::warn;

use crate::config::Config;
use crate::net::address::Address;
use crate::net::tls::{Acceptor, Certificates, Connector, TlsError};
use crate::net::users::Users;

/// The certificates that the configuration names, which can be read again while the process runs.
pub(super) fn certificates(config: &Config) -> Result<Certificates, TlsError> {
    let acceptor = config.listen.tls.as_ref().map(Acceptor::load).transpose()?;
    let rest = config.rest.as_ref().and_then(|rest| rest.tls.as_ref());
    let rest = rest.map(|files| Acceptor::speaking(files, &["h2", "http/1.1"])).transpose()?;
    // Servers that sentinels name are known by the names that those give.
    let connector = match (&config.upstream.tls, config.upstream.topology.addresses().first()) {
        (Some(files), Some(Address::Tcp { host, .. })) => Some(Connector::load(files, host)?),
        _ => None,
    };
    Ok(Certificates { acceptor: acceptor.map(Arc::new), rest: rest.map(Arc::new), connector: connector.map(Arc::new) })
}

/// Reads certificates again when their files change, until the tasks are dropped.
pub(super) fn watch_certificates(certificates: &Certificates) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    if !certificates.is_empty() {
        tasks.spawn(certificates.clone().watch());
    }
    tasks
}

/// The logins of the proxy's own, if there are any.
pub(super) fn users(config: &Config) -> Option<Arc<Users>> {
    let users = config.listen.users.iter().map(|(name, password)| (name.as_str(), password.expose()));
    Users::new(users).map(Arc::new)
}

/// The server has answered. If it asked for no password, it may rely on it that only this machine reaches it
/// (<https://redis.io/docs/latest/operate/oss_and_stack/management/security/#protected-mode>).
pub(super) fn warn_of_open_server(config: &Config) {
    if config.upstream.credentials.is_none() && config.listen.users.is_empty() && !config.listen.address.is_loopback() {
        warn!(
            listen = %config.listen.address,
            "the server asks for no password, and no `users` are set in [listen]: whoever reaches this address reaches the server"
        );
    }
}
