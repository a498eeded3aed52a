//! Reads certificates and keys from PEM files.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;

/// The largest file that is read: the certificates of all public CAs are a quarter of it.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
const CERTIFICATE: &str = "certificates in PEM, each in lines of BEGIN CERTIFICATE and END CERTIFICATE";
const KEY: &str = "an unencrypted private key in PEM, in lines of BEGIN PRIVATE KEY and END PRIVATE KEY";

/// All certificates of a file, at least one.
pub(super) fn certificates(key: &'static str, file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(key, file, CERTIFICATE)?;
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(certificates) if certificates.is_empty() => Err(wrong(key, file, "holds no certificate", CERTIFICATE)),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(wrong(key, file, &format!("is no PEM: {error}"), CERTIFICATE)),
    }
}

/// The CAs of a file.
pub(super) fn authorities(key: &'static str, file: &Path) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(key, file)? {
        store.add(certificate).map_err(|error| wrong(key, file, &format!("holds a broken certificate: {error}"), CERTIFICATE))?;
    }
    Ok(store)
}

/// The first private key of a file.
pub(super) fn private_key(key: &'static str, file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(key, file, KEY)?;
    match PrivateKeyDer::from_pem_slice(&text) {
        Ok(private_key) => Ok(private_key),
        Err(_) if is_encrypted(&text) => Err(wrong(key, file, "holds a key that a pass phrase protects", KEY)),
        Err(pem::Error::NoItemsFound) => Err(wrong(key, file, "holds no private key", KEY)),
        Err(error) => Err(wrong(key, file, &format!("is no PEM: {error}"), KEY)),
    }
}

fn is_encrypted(text: &[u8]) -> bool {
    memchr::memmem::find(text, b"ENCRYPTED").is_some()
}

fn read(key: &'static str, file: &Path, expected: &'static str) -> Result<Vec<u8>, TlsError> {
    let mut text = Vec::new();
    let opened = File::open(file).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text));
    match opened {
        Ok(_) if text.len() as u64 > FILE_BYTES_MAX => Err(wrong(key, file, "is larger than 1 MiB", expected)),
        Ok(_) => Ok(text),
        Err(error) => Err(wrong(key, file, &format!("cannot be read: {error}"), expected)),
    }
}

/// The error about `file`, which the configuration names under `key`.
pub(super) fn wrong(key: &'static str, file: &Path, what: &str, expected: &'static str) -> TlsError {
    TlsError { key, message: format!("{} {what}", file.display()), expected }
}
