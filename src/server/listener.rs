//! Where clients connect: a socket that a successor of this process may share.

use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, SockRef, Type};
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream, UnixStream, lookup_host};

use super::error::ServerError;
use crate::net::address::Address;
use crate::net::registry::Socket;

/// Pause after an accept failed for want of file descriptors or memory.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// The clients' listener.
///
/// tokio's own listeners register each client with the runtime of this thread, although a worker serves it. The memory for that
/// is freed too late to be used for the next client: 0.14 KiB would be left behind for each. So only the listening socket is
/// registered here: as a stream, for of a stream the readiness alone can be awaited.
pub(super) enum Listener {
    Tcp(TcpStream, Address),
    /// With the file that it has made: a successor may have put another in its place.
    Unix(UnixStream, Address, Option<(u64, u64)>),
}

/// A connection with the addresses of both its ends, the client's first.
pub(super) type Accepted = (Socket, String, String);

impl Listener {
    /// `takeover` shares the address with a process that listens there already.
    pub(super) async fn bind(address: &Address, unix_mode: Option<u32>, takeover: bool) -> Result<Listener, ServerError> {
        let failed = |source| ServerError::Listen { address: address.clone(), source };
        match address {
            Address::Tcp { host, port } => {
                let listener = bind_tcp(host, *port, takeover).await.map_err(failed)?;
                let bound = listener.local_addr().map_err(failed)?;
                let socket = listener.into_std().map_err(failed)?;
                let listener = TcpStream::from_std(OwnedFd::from(socket).into()).map_err(failed)?;
                Ok(Listener::Tcp(listener, Address::Tcp { host: bound.ip().to_string(), port: bound.port() }))
            }
            Address::Unix(path) => {
                // A socket that a former process left behind is in the way; anything else is not ours to remove.
                let is_socket = std::fs::metadata(path).is_ok_and(|file| file.file_type().is_socket());
                if is_socket && (takeover || std::os::unix::net::UnixStream::connect(path).is_err()) {
                    std::fs::remove_file(path).map_err(failed)?;
                }
                let listener = listen_unix(path, unix_mode).map_err(failed)?;
                Ok(Listener::Unix(listener, address.clone(), file_id(path)))
            }
        }
    }

    pub(super) fn address(&self) -> &Address {
        match self {
            Listener::Tcp(_, address) | Listener::Unix(_, address, _) => address,
        }
    }

    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Listener::Tcp(listener, _) => {
                let accept = || SockRef::from(listener).accept();
                let (socket, peer) = listener.async_io(Interest::READABLE, accept).await?;
                socket.set_nonblocking(true)?;
                let socket = std::net::TcpStream::from(socket);
                let (peer, local) = (peer.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?, socket.local_addr()?);
                Ok((Socket::Tcp(socket), peer.to_string(), local.to_string()))
            }
            Listener::Unix(listener, address, _) => {
                let accept = || SockRef::from(listener).accept();
                let (socket, _) = listener.async_io(Interest::READABLE, accept).await?;
                socket.set_nonblocking(true)?;
                let Address::Unix(path) = address else { return Err(io::ErrorKind::Unsupported.into()) };
                let name = format!("{}:0", path.display());
                Ok((Socket::Unix(socket.into()), name.clone(), name))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listener::Unix(_, Address::Unix(path), file) = self
            && file_id(path) == *file
        {
            // Left behind, it would only be in the way of the next process.
            let _ = std::fs::remove_file(path);
        }
    }
}

fn file_id(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// A listener on the first address of the name that can be had.
pub(super) async fn bind_tcp(host: &str, port: u16, takeover: bool) -> io::Result<TcpListener> {
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in lookup_host((host, port)).await? {
        match listen(address, takeover) {
            Ok(listener) => return Ok(listener),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// A socket that nobody can connect to before its permissions are as they shall be.
fn listen_unix(path: &Path, mode: Option<u32>) -> io::Result<UnixStream> {
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    if let Some(mode) = mode {
        std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket.into())
}

fn listen(address: SocketAddr, takeover: bool) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(takeover)?;
    socket.bind(&address.into())?;
    // Set only now, it does not let us in where somebody listens, and lets a successor in later.
    socket.set_reuse_port(true)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}
