//! TLS on either side: certificates and keys from files, reloaded while connections continue.
//!
//! A connection keeps what it was begun with; whoever connects after a reload is met with the new files.

mod accept;
mod connect;
mod file_stamps;
mod pem;
mod watch;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::{self, AlertDescription, CertificateError};

pub use accept::Acceptor;
pub use connect::Connector;
pub use watch::Certificates;

/// The proxy's certificate for clients, and the CAs for theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFiles {
    /// The certificate and those between it and its CA, in this order.
    pub cert: PathBuf,
    pub key: PathBuf,
    /// Clients must show a certificate that one of these CAs has issued.
    pub client_ca: Option<PathBuf>,
}

impl ServerFiles {
    fn all(&self) -> Vec<PathBuf> {
        [Some(&self.cert), Some(&self.key), self.client_ca.as_ref()].into_iter().flatten().cloned().collect()
    }
}

/// The CAs and the name for the server's certificate, and the proxy's own certificate.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ClientFiles {
    /// The CAs that may have issued the server's certificate; without them the system's.
    pub ca: Option<PathBuf>,
    /// The name that the certificate must be for, sent as SNI too; without it the address' host.
    pub server_name: Option<String>,
    /// The proxy's own certificate and key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl ClientFiles {
    fn all(&self) -> Vec<PathBuf> {
        let identity = self.identity.iter().flat_map(|(cert, key)| [cert, key]);
        self.ca.iter().chain(identity).cloned().collect()
    }
}

/// Which file is wrong, what is wrong with it, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (expected {expected})")]
pub struct TlsError {
    /// The key of the configuration that names the file.
    pub key: &'static str,
    /// Begins with the file's name.
    pub message: String,
    pub expected: &'static str,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Whether the error is about TLS, not about the socket beneath it.
pub fn is_about_tls(error: &io::Error) -> bool {
    cause(error).is_some()
}

/// What an operator can do about a failed handshake with the server; empty where nothing is known.
pub fn advice(error: &io::Error) -> &'static str {
    match cause(error) {
        Some(rustls::Error::InvalidCertificate(reason)) => match reason {
            // Another CA of the same name has not signed it either.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "no CA that is trusted has issued the server's certificate; see `upstream.tls.ca`"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the server's certificate has expired: it needs a new one"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the server's certificate is not valid yet; see the clocks"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the server's certificate is for another name; see `upstream.tls.server_name`"
            }
            _ => "the server's certificate is not good",
        },
        Some(rustls::Error::InvalidMessage(_)) => "the server does not speak TLS at this address",
        Some(rustls::Error::AlertReceived(alert)) => match alert {
            AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure => {
                "the server wants a client certificate; see `upstream.tls.cert`"
            }
            AlertDescription::UnknownCA | AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => {
                "the server does not trust the proxy's certificate; see `upstream.tls.cert`"
            }
            AlertDescription::CertificateExpired => "the proxy's certificate has expired; see `upstream.tls.cert`",
            _ => "the server ended the handshake",
        },
        _ => "",
    }
}

fn cause(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}
