//! Prepares a new upstream connection for a lane: connects and does the handshake.

use std::fmt;
use std::io;
use std::pin::Pin;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Settings;
use crate::net::address::Address;
use crate::net::stream::Stream;
use crate::net::tls;
use crate::net::topology::View;
use crate::telemetry::readiness::NotReady;
use respguard_engine::link::handshake::{
    ConnectParams, Handshake, OrphanedConnection, Progress, Refusal, ServerInfo, Step, is_full,
};
use respguard_resp::scan::{ReplyScanner, ScanError, ScanLimits};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nobody says which server is the primary.
    #[error("no primary is known")]
    NoPrimary,
    /// Nobody says which nodes the cluster has, or none of them is there.
    #[error("no node of the cluster is there")]
    NoCluster,
    /// Nobody answers there.
    #[error("cannot connect to {address}")]
    Connect { address: String, source: io::Error },
    /// Somebody answers there, but not as TLS wants it.
    #[error("no TLS with {address}: {advice}")]
    Tls { address: String, advice: &'static str, source: io::Error },
    /// The connection and its handshake took longer than `connect_timeout_ms`.
    #[error("{address} did not answer {stage} within {milliseconds} ms")]
    Timeout { address: String, stage: Stage, milliseconds: u128 },
    /// The server's answers are no Redis protocol.
    #[error("{address} does not speak the Redis protocol")]
    Protocol { address: String, source: ScanError },
    /// The server is there and says that it serves nobody now.
    #[error("{address} does not serve: {text}", text = String::from_utf8_lossy(.reply.trim_ascii()))]
    NotServing { address: String, reply: Box<[u8]> },
    /// The server refuses the user, protocol or db.
    #[error("{address} refused {step:?}: {text}", step = .refusal.step, text = String::from_utf8_lossy(.refusal.reply.trim_ascii()))]
    Refused { address: String, refusal: Refusal },
}

/// What a connection waits for that is being opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Connection,
    Tls,
    Requests,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Connection => "the connection",
            Stage::Tls => "the TLS handshake",
            Stage::Requests => "the first requests",
        })
    }
}

impl OpenError {
    /// The reason that `/readyz` shows for it.
    pub fn obstacle(&self) -> NotReady {
        match self {
            OpenError::Tls { .. } | OpenError::Timeout { stage: Stage::Tls, .. } => NotReady::UpstreamTls,
            OpenError::Refused { refusal, .. } if refusal.step == Step::Auth => NotReady::UpstreamCredentials,
            OpenError::NoPrimary => NotReady::NoPrimary,
            OpenError::NoCluster => NotReady::NoCluster,
            _ => NotReady::UpstreamUnavailable,
        }
    }
}

/// Connects to the server of a view, ends the orphaned connections and shakes hands, within `connect_timeout`.
///
/// # Errors
/// There is no such server, or it does not take the connection.
pub async fn open(
    settings: &Settings,
    view: &View,
    params: &ConnectParams,
    orphans: &[OrphanedConnection],
) -> Result<(Stream, ServerInfo), OpenError> {
    let Some(node) = &view.node else { return Err(OpenError::NoPrimary) };
    let server = Server { settings, address: &node.address };
    let mut stage = Stage::Connection;
    let opened = tokio::time::timeout(settings.connect_timeout, server.connect(params, orphans, &mut stage)).await;
    match opened {
        Ok(result) => result,
        Err(_) => {
            let (address, milliseconds) = (node.address.to_string(), settings.connect_timeout.as_millis());
            Err(OpenError::Timeout { address, stage, milliseconds })
        }
    }
}

/// A server that is being connected to.
struct Server<'a> {
    settings: &'a Settings,
    address: &'a Address,
}

impl Server<'_> {
    async fn connect(
        &self,
        params: &ConnectParams,
        orphans: &[OrphanedConnection],
        stage: &mut Stage,
    ) -> Result<(Stream, ServerInfo), OpenError> {
        match self.connect_knowing(None, params, orphans, stage).await {
            // That connection is left in a transaction which nothing ends.
            Err(OpenError::Refused { refusal, .. }) if refusal.step == Step::Exec => {
                self.connect_knowing(Some(refusal.reply), params, orphans, stage).await
            }
            opened => opened,
        }
    }

    /// `no_transactions` is what the server has said to EXEC.
    async fn connect_knowing(
        &self,
        no_transactions: Option<Box<[u8]>>,
        params: &ConnectParams,
        orphans: &[OrphanedConnection],
        stage: &mut Stage,
    ) -> Result<(Stream, ServerInfo), OpenError> {
        let failed = |source| self.failed(source);
        let reached_at = self.settings.reached_at.map(|reached_at| reached_at(self.address));
        let mut stream = Stream::connect(reached_at.as_ref().unwrap_or(self.address)).await.map_err(failed)?;
        if let Some(connector) = &self.settings.tls {
            *stage = Stage::Tls;
            stream = stream.connect_tls(connector, self.address).await.map_err(failed)?;
        }
        *stage = Stage::Requests;
        let mut requests = Vec::new();
        let mut handshake = Handshake::begin(no_transactions, params, orphans, &mut requests);
        stream.write_all(&requests).await.map_err(failed)?;
        stream.flush().await.map_err(failed)?;
        let mut scanner = ReplyScanner::new(ScanLimits::default());
        let mut buffer = BytesMut::with_capacity(1024);
        let mut scanned = 0;
        loop {
            if Pin::new(&mut stream).read_buf(&mut buffer).await.map_err(failed)? == 0 {
                return Err(failed(io::ErrorKind::UnexpectedEof.into()));
            }
            while scanned < buffer.len() {
                let piece = scanner
                    .scan(&buffer[scanned..])
                    .map_err(|source| OpenError::Protocol { address: self.address.to_string(), source })?;
                scanned += piece.bytes;
                if !piece.end {
                    break;
                }
                let frame = buffer.split_to(std::mem::take(&mut scanned));
                match handshake.admit(&frame) {
                    Progress::Pending => {}
                    Progress::Done(info) => return Ok((stream, info)),
                    Progress::Refused(refusal) if is_full(&refusal.reply) => {
                        return Err(OpenError::NotServing { address: self.address.to_string(), reply: refusal.reply });
                    }
                    Progress::Refused(refusal) => return Err(OpenError::Refused { address: self.address.to_string(), refusal }),
                }
            }
        }
    }

    fn failed(&self, source: io::Error) -> OpenError {
        let address = self.address.to_string();
        if tls::is_about_tls(&source) {
            OpenError::Tls { address, advice: tls::advice(&source), source }
        } else {
            OpenError::Connect { address, source }
        }
    }
}
