//! The TLS handshake with a client.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::Ticketer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::{TlsAcceptor, TlsStream};

use super::file_stamps::{FileStamps, file_stamps};
use super::pem::{authorities, certificates, private_key, wrong};
use super::{ServerFiles, TlsError, provider};

/// How long a client may take for its handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Meets clients with the certificate in the files.
pub struct Acceptor {
    files: ServerFiles,
    /// What is spoken over TLS, the best first; empty where clients are not asked.
    protocols: Vec<Vec<u8>>,
    /// The files as they were just before they were first read.
    seen: FileStamps,
    config: ArcSwap<ServerConfig>,
}

impl Acceptor {
    /// Reads the files.
    ///
    /// # Errors
    /// Which of them is no good.
    pub fn load(files: &ServerFiles) -> Result<Acceptor, TlsError> {
        Acceptor::speaking(files, &[])
    }

    /// Likewise, for clients that choose one of these protocols (RFC 7301).
    ///
    /// # Errors
    /// As above.
    pub fn speaking(files: &ServerFiles, protocols: &[&str]) -> Result<Acceptor, TlsError> {
        let seen = file_stamps(&files.all());
        let protocols: Vec<_> = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let config = ArcSwap::new(read(files, &protocols)?);
        Ok(Acceptor { files: files.clone(), protocols, seen, config })
    }

    /// The files, read again; `adopt` puts them in force.
    pub(super) fn read_again(&self) -> Result<Arc<ServerConfig>, TlsError> {
        read(&self.files, &self.protocols)
    }

    pub(super) fn adopt(&self, config: Arc<ServerConfig>) {
        self.config.store(config);
    }

    /// The files, and what they were when they were first read.
    pub(super) fn seen(&self) -> (Vec<PathBuf>, &FileStamps) {
        (self.files.all(), &self.seen)
    }

    /// Shakes hands with a client that has just connected.
    ///
    /// # Errors
    /// The client speaks no TLS, shows no certificate that is wanted, or takes too long.
    pub async fn accept(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let handshake = TlsAcceptor::from(self.config.load_full()).accept(socket);
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(stream) => Ok(stream?.into()),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

fn read(files: &ServerFiles, protocols: &[Vec<u8>]) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates("cert", &files.cert)?;
    let key = private_key("key", &files.key)?;
    let failed =
        |error| wrong("cert", &files.cert, &format!("and {}: {error}", files.key.display()), "a certificate and its key");
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(failed)?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let roots = Arc::new(authorities("client_ca", file)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build().map_err(|error| {
                wrong(
                    "client_ca",
                    file,
                    &format!("cannot be used: {error}"),
                    "the certificates of the CAs that issue clients' own",
                )
            })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(failed)?;
    config.alpn_protocols = protocols.to_vec();
    // Clients that come back resume their sessions by tickets, of which the process keeps nothing, however many there are.
    config.ticketer = Ticketer::new().map_err(failed)?;
    Ok(Arc::new(config))
}

impl fmt::Debug for Acceptor {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("files", &self.files).finish_non_exhaustive()
    }
}
