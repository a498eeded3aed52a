//! The REST front's listener: hands each HTTP connection to a worker.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::Semaphore;
use tracing::warn;

use super::error::ServerError;
use super::listener::{ACCEPT_PAUSE, Listener};
use crate::config::Rest;
use crate::net::address::Address;
use crate::net::registry::{Mailbox, Message, Socket};
use crate::net::rest::Front;
use crate::net::rest::scripts::Scripts;
use crate::net::rest::tokens::{Token, Tokens};
use crate::net::tls::Certificates;
use respguard_engine::command::Login;

const FULL: &[u8] = b"{\"error\":\"ERR respguard: there are too many connections (connections_max)\"}";

/// What the workers know of the front.
pub(super) fn front(rest: &Rest, certificates: &Certificates) -> Front {
    let tokens = rest.tokens.iter().map(|(name, token)| {
        let login = token.credentials.as_ref().map(|credentials| {
            let user = credentials.username.as_deref().map(str::as_bytes);
            Login::new(user, credentials.password.expose().as_bytes())
        });
        Token::new(name, token.secret.expose(), token.read_only, login)
    });
    Front {
        tokens: Tokens::new(tokens.collect(), matches!(rest.address, Address::Unix(_))),
        body_bytes_max: rest.body_bytes_max,
        cors: rest.cors.clone(),
        access_log: rest.access_log,
        acceptor: certificates.rest.clone(),
        scripts: Scripts::default(),
        // A client may have a mark of the process before.
        sync: AtomicU64::new(fastrand::u64(1 << 32..1 << 52)),
    }
}

/// Where requests are taken, if anywhere.
pub(super) async fn bind(rest: Option<&Rest>, takeover: bool) -> Result<Option<Listener>, ServerError> {
    match rest {
        Some(rest) => Ok(Some(Listener::bind(&rest.address, None, takeover).await?)),
        None => Ok(None),
    }
}

/// Hands out connections to the workers in turn; without a listener it only waits.
pub(super) async fn accept_all(listener: Option<&Listener>, rest: Option<&Rest>, workers: &[Mailbox]) {
    let (Some(listener), Some(rest)) = (listener, rest) else { return std::future::pending().await };
    let places = Arc::new(Semaphore::new(rest.connections_max));
    let mut turn = 0;
    let mut fails = false;
    loop {
        let (socket, peer, _) = match listener.accept().await {
            Ok(accepted) => {
                fails = false;
                accepted
            }
            Err(error) => {
                if !std::mem::replace(&mut fails, true) {
                    warn!(%error, "accepting an HTTP connection failed");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            // Before its handshake a client of TLS can be told nothing.
            if rest.tls.is_none() {
                refuse(socket);
            }
            continue;
        };
        let alive: Vec<_> = workers.iter().filter(|worker| !worker.sender.is_closed()).collect();
        turn += 1;
        let Some(worker) = alive.get(turn % alive.len().max(1)) else { return };
        // A worker that has just ended takes nobody: the connection closes.
        let _ = worker.sender.send(Message::Http(socket, peer.into(), place)).await;
    }
}

fn refuse(socket: Socket) {
    let head = format!(
        "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nContent-Length: {}\r\nRetry-After: 1\r\n\
         Connection: close\r\n\r\n",
        FULL.len()
    );
    let text = [head.as_bytes(), FULL].concat();
    // The client is turned away either way.
    let _ = match socket {
        Socket::Tcp(mut socket) => socket.write_all(&text),
        Socket::Unix(mut socket) => socket.write_all(&text),
    };
}
