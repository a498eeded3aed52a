//! Accepts clients, under the addresses that load balancers report, and hands each to a worker.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::listener::{ACCEPT_PAUSE, Accepted, Listener};
use super::proxy_header::{self, ProxyHeader};
use crate::net::network::Network;
use crate::net::registry::{Mailbox, Message, Registry, Socket};
use crate::telemetry::gauge;

/// Takes in clients, and hands each to the worker that serves the fewest.
pub(super) struct ClientAcceptor<'a> {
    pub(super) workers: &'a [Mailbox],
    pub(super) registry: &'a Arc<Registry>,
    /// Connections from here begin with a PROXY protocol header.
    pub(super) announced: &'a [Network],
    pub(super) tls: bool,
}

impl ClientAcceptor<'_> {
    /// Ends when no worker takes anybody.
    pub(super) async fn accept_all(&self, listener: &Listener) {
        let mut fails = false;
        // The headers that have yet to come.
        let mut headers: JoinSet<Option<Accepted>> = JoinSet::new();
        loop {
            let has_room = headers.len() < proxy_header::HEADERS_MAX;
            let accepted = tokio::select! {
                accepted = listener.accept(), if has_room => accepted,
                Some(Ok(told)) = headers.join_next(), if !headers.is_empty() => {
                    let is_over = match told {
                        Some(accepted) => !self.hand_out(accepted).await,
                        None => false,
                    };
                    if is_over {
                        return;
                    }
                    continue;
                }
            };
            match accepted {
                Ok(accepted) => {
                    fails = false;
                    if self.is_announced(&accepted) {
                        headers.spawn(announced(accepted));
                    } else if !self.hand_out(accepted).await {
                        return;
                    }
                }
                Err(error) => {
                    // Out of file descriptors, or the client has gone already: others may still come. Told once for
                    // each row of failures.
                    if !std::mem::replace(&mut fails, true) {
                        warn!(%error, "accepting a client failed");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn is_announced(&self, (_, peer, _): &Accepted) -> bool {
        let peer = (!self.announced.is_empty()).then(|| peer.parse::<SocketAddr>().ok()).flatten();
        peer.is_some_and(|peer| self.announced.iter().any(|network| network.contains(peer.ip())))
    }

    /// A worker that has ended takes nobody; false when there is none left, and the process has nothing left to do.
    async fn hand_out(&self, (socket, peer, local): Accepted) -> bool {
        let alive = self.workers.iter().filter(|worker| !worker.sender.is_closed());
        let Some(worker) = alive.min_by_key(|worker| worker.load()) else { return false };
        match self.registry.enter(peer.into(), local.into(), worker) {
            Some(client) => {
                if worker.sender.send(Message::Accept(socket, Arc::clone(&client))).await.is_err() {
                    self.registry.leave(client.id, &worker.clients);
                }
            }
            None => {
                gauge::count_refused_client();
                // Before its handshake a client of TLS can be told nothing: as with Redis, it is closed.
                if !self.tls {
                    refuse(socket);
                }
            }
        }
        true
    }
}

/// A client's connection under the addresses that its load balancer names; none that is not announced as it must be.
async fn announced((socket, peer, local): Accepted) -> Option<Accepted> {
    let Socket::Tcp(socket) = socket else { return Some((socket, peer, local)) };
    let told = async {
        let mut stream = tokio::net::TcpStream::from_std(socket)?;
        let header = proxy_header::take(&mut stream).await?;
        Ok::<_, io::Error>((stream.into_std()?, header))
    };
    match told.await {
        Ok((socket, ProxyHeader::Addresses(from, to))) => Some((Socket::Tcp(socket), from.to_string(), to.to_string())),
        Ok((socket, ProxyHeader::Nothing)) => Some((Socket::Tcp(socket), peer, local)),
        Err(error) => {
            debug!(%peer, %error, "a connection from [listen] proxy_protocol is closed");
            gauge::count_refused_client();
            None
        }
    }
}

/// Redis' own words for too many clients.
fn refuse(socket: Socket) {
    use std::io::Write;
    let text = b"-ERR max number of clients reached\r\n";
    // The client is turned away either way.
    let _ = match socket {
        Socket::Tcp(mut socket) => socket.write_all(text),
        Socket::Unix(mut socket) => socket.write_all(text),
    };
}
