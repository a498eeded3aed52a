//! Why the process cannot run, and what can be done about it.

use std::io;
use std::path::PathBuf;

use crate::net::address::Address;
use crate::net::tls::TlsError;
use crate::telemetry::exposition::InstallError;

/// Why the process cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("cannot listen on {address}: {source}{}", advice(source))]
    Listen { address: Address, source: io::Error },
    #[error("cannot write violations to {}: {source}{}; see [violations] file", file.display(), advice_on_file(source))]
    Violations { file: PathBuf, source: io::Error },
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
    #[error(transparent)]
    Metrics(#[from] InstallError),
}

fn advice(failure: &io::Error) -> &'static str {
    match failure.kind() {
        io::ErrorKind::AddrInUse => {
            " (stop whoever listens there, choose another address, or share it with a running respguard of the same user: --takeover)"
        }
        io::ErrorKind::PermissionDenied => " (ports below 1024, and folders of others, want more rights: choose another address)",
        io::ErrorKind::AddrNotAvailable => " (no interface of this machine has this address: choose one that it has, or 0.0.0.0)",
        _ => "",
    }
}

fn advice_on_file(failure: &io::Error) -> &'static str {
    match failure.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            " (name a file in a folder that this process may write to, such as /var/lib/respguard)"
        }
        _ => "",
    }
}
