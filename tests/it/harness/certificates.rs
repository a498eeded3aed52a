//! A certificate authority of the tests' own, with what it issues, and clients that trust it.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion, version};

/// Issues certificates into files of its own folder.
pub struct Authority {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as files.
#[derive(Clone)]
pub struct Issued {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn new() -> Authority {
        Authority::named("tests")
    }

    /// An authority that calls itself so; each has a key of its own.
    pub fn named(name: &str) -> Authority {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let own = params.self_signed(&key).expect("a certificate");
        std::fs::write(folder.path().join("ca"), own.pem()).expect("a temporary file");
        Authority { folder, issuer: Issuer::new(params, key) }
    }

    /// The file with the authority's own certificate.
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca")
    }

    /// A certificate for these names and addresses, in files that begin with `file`; what they held is replaced.
    pub fn issue(&self, file: &str, names: &[&str]) -> Issued {
        self.issue_with(file, names, |_| {})
    }

    /// The same, out of date since long.
    pub fn issue_expired(&self, file: &str, names: &[&str]) -> Issued {
        self.issue_with(file, names, |params| params.not_after = date_time_ymd(2020, 1, 1))
    }

    fn issue_with(&self, file: &str, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let names: Vec<String> = names.iter().copied().map(str::to_owned).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, file);
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let issued = Issued { cert: self.path(file, "crt"), key: self.path(file, "key") };
        std::fs::write(&issued.cert, certificate.pem()).expect("a temporary file");
        std::fs::write(&issued.key, key.serialize_pem()).expect("a temporary file");
        issued
    }

    fn path(&self, file: &str, ending: &str) -> PathBuf {
        self.folder.path().join(format!("{file}.{ending}"))
    }

    /// A client that trusts this authority and shows no certificate.
    pub fn client(&self) -> TlsClient {
        TlsClient::new(&self.ca(), None, &[&version::TLS13, &version::TLS12])
    }

    /// A client that shows a certificate.
    pub fn client_as(&self, identity: &Issued) -> TlsClient {
        TlsClient::new(&self.ca(), Some(identity), &[&version::TLS13, &version::TLS12])
    }

    /// A client of TLS 1.2 and no later version.
    pub fn old_client(&self) -> TlsClient {
        TlsClient::new(&self.ca(), None, &[&version::TLS12])
    }
}

/// The client's side of TLS; it wants the server to be `localhost`.
pub struct TlsClient {
    config: Arc<ClientConfig>,
}

impl TlsClient {
    fn new(ca: &Path, identity: Option<&Issued>, versions: &[&'static SupportedProtocolVersion]) -> TlsClient {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca).expect("a certificate")).expect("a good one");
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("versions that ring has")
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(Issued { cert, key }) => {
                let chain = vec![CertificateDer::from_pem_file(cert).expect("a certificate")];
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).expect("a key")).expect("a pair")
            }
        };
        TlsClient { config: Arc::new(config) }
    }

    /// TLS over a connection; the handshake comes with the first bytes.
    pub fn over(&self, stream: TcpStream) -> StreamOwned<ClientConnection, TcpStream> {
        let name = ServerName::try_from("localhost").expect("a name");
        StreamOwned::new(ClientConnection::new(Arc::clone(&self.config), name).expect("a client"), stream)
    }
}
