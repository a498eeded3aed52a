//! The TLS handshake with the server.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_rustls::{TlsConnector, TlsStream};

use super::file_stamps::{FileStamps, file_stamps};
use super::pem::{authorities, certificates, private_key, wrong};
use super::{ClientFiles, TlsError, provider};

/// Connects to servers, whose certificates it verifies.
pub struct Connector {
    files: ClientFiles,
    /// The files as they were just before they were first read.
    seen: FileStamps,
    /// The name that all certificates must be for, where one is given.
    name: Option<ServerName<'static>>,
    config: ArcSwap<ClientConfig>,
}

impl Connector {
    /// Reads the files; the certificate must be for `host` where no other name is given.
    ///
    /// # Errors
    /// Which file or name is no good.
    pub fn load(files: &ClientFiles, host: &str) -> Result<Connector, TlsError> {
        let wanted = files.server_name.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(wanted.clone()).map_err(|_| TlsError {
            key: "server_name",
            message: format!("{wanted:?} is no name that a certificate can be for"),
            expected: "a host's name such as \"redis.example\", or an IP address",
        })?;
        let name = files.server_name.is_some().then_some(name);
        let seen = file_stamps(&files.all());
        Ok(Connector { files: files.clone(), seen, name, config: ArcSwap::new(read(files)?) })
    }

    /// The files, read again; `adopt` puts them in force.
    pub(super) fn read_again(&self) -> Result<Arc<ClientConfig>, TlsError> {
        read(&self.files)
    }

    pub(super) fn adopt(&self, config: Arc<ClientConfig>) {
        self.config.store(config);
    }

    /// The files, and what they were when they were first read.
    pub(super) fn seen(&self) -> (Vec<PathBuf>, &FileStamps) {
        (self.files.all(), &self.seen)
    }

    /// Shakes hands over a socket that is connected to `host`.
    ///
    /// # Errors
    /// The server is not the one that is wanted, or does not want the proxy; see [`super::advice`].
    pub async fn connect(&self, socket: TcpStream, host: &str) -> io::Result<TlsStream<TcpStream>> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned()).map_err(io::Error::other)?,
        };
        let stream = TlsConnector::from(self.config.load_full()).connect(name, socket).await?;
        Ok(stream.into())
    }
}

fn read(files: &ClientFiles) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = match &files.ca {
        Some(file) => authorities("ca", file)?,
        None => system_authorities()?,
    };
    let failed = |error, certificate: &Path, key: &Path| {
        wrong("cert", certificate, &format!("and {}: {error}", key.display()), "a certificate and its key")
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error, Path::new(""), Path::new("")))?
        .with_root_certificates(roots);
    let config = match &files.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(certificates("cert", certificate)?, private_key("key", key)?)
            .map_err(|error| failed(error, certificate, key))?,
    };
    Ok(Arc::new(config))
}

fn system_authorities() -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    // Some systems keep certificates that are broken or out of date beside the good ones.
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if store.is_empty() {
        return Err(TlsError {
            key: "ca",
            message: "this system has no CA certificates of its own".to_owned(),
            expected: "`ca`, a file with the certificate of the CA that issued the server's; or an installed ca-certificates",
        });
    }
    Ok(store)
}

impl fmt::Debug for Connector {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("files", &self.files).field("name", &self.name).finish_non_exhaustive()
    }
}
