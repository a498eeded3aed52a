//! What a raw client talks over.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use tokio_rustls::rustls::{ClientConnection, StreamOwned};

/// A connected, blocking socket.
pub enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Socket {
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Socket::Unix(socket) => socket.set_read_timeout(timeout),
            Socket::Tcp(_) | Socket::Tls(_) => self.tcp().set_read_timeout(timeout),
        }
    }

    pub fn set_small_buffers(&self, bytes: usize, write_timeout: Duration) -> io::Result<()> {
        let socket = match self {
            Socket::Unix(socket) => socket2::SockRef::from(socket),
            Socket::Tcp(_) | Socket::Tls(_) => socket2::SockRef::from(self.tcp()),
        };
        socket.set_write_timeout(Some(write_timeout))?;
        socket.set_recv_buffer_size(bytes)?;
        socket.set_send_buffer_size(bytes)
    }

    /// The TCP socket beneath.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Socket::Tcp(socket) => socket,
            Socket::Tls(stream) => &stream.sock,
            Socket::Unix(_) => panic!("a unix socket"),
        }
    }

    /// The same; what is read from it is as it came.
    pub fn tcp_mut(&mut self) -> &mut TcpStream {
        match self {
            Socket::Tcp(socket) => socket,
            Socket::Tls(stream) => &mut stream.sock,
            Socket::Unix(_) => panic!("a unix socket"),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => socket.read(buffer),
            Socket::Unix(socket) => socket.read(buffer),
            Socket::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => socket.write(bytes),
            Socket::Unix(socket) => socket.write(bytes),
            Socket::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Socket::Tcp(socket) => socket.flush(),
            Socket::Unix(socket) => socket.flush(),
            Socket::Tls(stream) => stream.flush(),
        }
    }
}
