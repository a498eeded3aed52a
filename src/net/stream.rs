//! A socket to a client or a server, over TCP, a unix socket or TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;

use super::address::Address;
use super::splice::{SplicePipe, write_now};
use super::tls::{Acceptor, Connector};

/// The same for both kinds of socket that are no more than that, and something else for TLS.
macro_rules! plain {
    ($stream:expr, $socket:ident, $of_plain:expr, $of_tls:expr) => {
        match $stream {
            Stream::Tcp($socket) => $of_plain,
            Stream::Unix($socket) => $of_plain,
            Stream::Tls(_) => $of_tls,
        }
    };
}

/// TCP, with or without TLS, or a unix socket.
#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// A write is complete only when it is flushed: what TLS has made of it may not fit into the socket at once.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Connects to a server.
    pub async fn connect(address: &Address) -> io::Result<Stream> {
        match address {
            Address::Tcp { host, port } => {
                let socket = TcpStream::connect((host.as_str(), *port)).await?;
                // Whoever connects again and again to a port that nobody listens on can come upon it as its own.
                if socket.local_addr()? == socket.peer_addr()? {
                    return Err(io::ErrorKind::ConnectionRefused.into());
                }
                Stream::over_tcp(socket)
            }
            Address::Unix(path) => Ok(Stream::Unix(UnixStream::connect(path).await?)),
        }
    }

    /// Takes a connected TCP socket: small writes leave at once, dead peers are noticed.
    pub fn over_tcp(socket: TcpStream) -> io::Result<Stream> {
        socket.set_nodelay(true)?;
        let keepalive = socket2::TcpKeepalive::new()
            .with_time(std::time::Duration::from_secs(60))
            .with_interval(std::time::Duration::from_secs(20));
        socket2::SockRef::from(&socket).set_tcp_keepalive(&keepalive)?;
        Ok(Stream::Tcp(socket))
    }

    /// Acknowledges now what has come: a client with Nagle's algorithm sends the rest of its pipeline only then, and
    /// while the beginning is held no reply carries the acknowledgement.
    pub fn acknowledge(&self) {
        #[cfg(target_os = "linux")]
        {
            let socket = match self {
                Stream::Tcp(socket) => socket,
                Stream::Tls(stream) => stream.get_ref().0,
                Stream::Unix(_) => return,
            };
            // Where it cannot be done, the kernel acknowledges in its own time.
            let _ = socket2::SockRef::from(socket).set_tcp_quickack(true);
        }
    }

    /// As a server's client, shakes hands over what was connected.
    ///
    /// # Errors
    /// The server is not the one that is wanted, or does not want the proxy; a unix socket has no TLS.
    pub async fn connect_tls(self, connector: &Connector, address: &Address) -> io::Result<Stream> {
        match (self, address) {
            (Stream::Tcp(socket), Address::Tcp { host, .. }) => Ok(Stream::Tls(Box::new(connector.connect(socket, host).await?))),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// As a client's server, shakes hands over what was accepted.
    ///
    /// # Errors
    /// The client speaks no TLS, shows no certificate that is wanted, or takes too long; a unix socket has no TLS.
    pub async fn accept_tls(self, acceptor: &Acceptor) -> io::Result<Stream> {
        match self {
            Stream::Tcp(socket) => Ok(Stream::Tls(Box::new(acceptor.accept(socket).await?))),
            Stream::Unix(_) | Stream::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

/// Reads until the buffer is full or nothing more is there, as a read from a socket does: who cuts requests relies
/// on it that a read shorter than its buffer has drained the socket, while TLS gives out record by record.
fn poll_read_all(stream: &mut TlsStream<TcpStream>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
    let start = buf.filled().len();
    while buf.remaining() > 0 {
        let before = buf.filled().len();
        match Pin::new(&mut *stream).poll_read(cx, buf) {
            Poll::Ready(Ok(())) if buf.filled().len() > before => {}
            // The end without TLS' own good-bye: a request or reply that was cut shows it by itself.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Poll::Ready(Err(error)) if before == start => return Poll::Ready(Err(error)),
            Poll::Pending if before == start => return Poll::Pending,
            // Whatever ended it, the next read meets it again.
            _ => break,
        }
    }
    Poll::Ready(Ok(()))
}

impl Stream {
    /// False when nothing can be read now; the task is woken when that has changed.
    pub fn may_read(&self, cx: &mut Context<'_>) -> bool {
        // What TLS' socket has given may not have been read yet.
        plain!(self, socket, socket.poll_read_ready(cx).is_ready(), true)
    }

    /// Reads what has come, for a task that has just been woken: whether it is still its turn is not asked, which the next
    /// read does. What is no plain socket gives nothing so.
    ///
    /// # Errors
    /// `WouldBlock` where nothing is there; the socket's own.
    pub fn try_read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        let room = buffer.capacity() - buffer.len();
        let read = match self {
            Stream::Tcp(socket) => socket.try_read_buf(buffer),
            Stream::Unix(socket) => socket.try_read_buf(buffer),
            Stream::Tls(_) => Err(io::ErrorKind::WouldBlock.into()),
        }?;
        if (1..room).contains(&read) {
            self.note_drained();
        }
        Ok(read)
    }

    /// A read that was shorter than its buffer has drained the socket: the next one need not find that out.
    fn note_drained(&self) {
        let drained = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        // It is this answer that the runtime takes note of.
        let _ = match self {
            Stream::Tcp(socket) => socket.try_io(Interest::READABLE, drained),
            Stream::Unix(socket) => socket.try_io(Interest::READABLE, drained),
            Stream::Tls(_) => Ok(()),
        };
    }

    /// Writes what the socket takes at once, without asking whether it is the task's turn: a task that writes for many
    /// clients would have to leave most of them to their own. What is no plain socket takes nothing so.
    ///
    /// # Errors
    /// `WouldBlock` where nothing is taken; any other error comes again when the bytes are written by `poll_write`.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        plain!(
            self,
            socket,
            socket.try_io(Interest::WRITABLE, || write_now(socket, bytes)),
            Err(io::ErrorKind::WouldBlock.into())
        )
    }

    /// True when its bytes are those of the conversation, so that they can be moved without being read.
    pub fn is_plain(&self) -> bool {
        !matches!(self, Stream::Tls(_))
    }

    /// Moves what has come into an empty pipe, no more than `most` bytes; 0 bytes are the end.
    ///
    /// # Errors
    /// The socket's own; it is no plain one.
    pub fn poll_fill(&self, pipe: &mut SplicePipe, most: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            ready!(plain!(self, socket, socket.poll_read_ready(cx), Poll::Ready(Ok(()))))?;
            let moved = plain!(
                self,
                socket,
                socket.try_io(Interest::READABLE, || pipe.fill(socket, most)),
                Err(io::ErrorKind::Unsupported.into())
            );
            if !would_block(&moved) {
                return Poll::Ready(moved);
            }
        }
    }

    /// Moves what is in a pipe that is not empty into the socket, as far as that takes it.
    ///
    /// # Errors
    /// The socket's own; it is no plain one.
    pub fn poll_empty(&self, pipe: &mut SplicePipe, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            ready!(plain!(self, socket, socket.poll_write_ready(cx), Poll::Ready(Ok(()))))?;
            let moved = plain!(
                self,
                socket,
                socket.try_io(Interest::WRITABLE, || pipe.empty(socket)),
                Err(io::ErrorKind::Unsupported.into())
            );
            if !would_block(&moved) {
                return Poll::Ready(moved);
            }
        }
    }

    /// Moves what is in a pipe into the socket, whatever the task knows of the socket's readiness.
    ///
    /// # Errors
    /// The socket's own, `WouldBlock` among them when it takes no more; it is no plain one.
    pub fn empty_now(&self, pipe: &mut SplicePipe) -> io::Result<usize> {
        plain!(self, socket, pipe.empty(socket), Err(io::ErrorKind::Unsupported.into()))
    }

    /// The same with bytes.
    ///
    /// # Errors
    /// As above.
    pub fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        plain!(self, socket, write_now(socket, bytes), Err(io::ErrorKind::Unsupported.into()))
    }

    /// True when nobody has been told that the socket has room for what is in the pipe.
    pub fn has_forgotten(&self, pipe: &mut SplicePipe, now: Instant) -> bool {
        plain!(self, socket, pipe.is_forgotten(socket, now), false)
    }

    /// True when the other side sends nothing more, although not all that it has sent has been read.
    pub fn is_read_closed(&self) -> bool {
        match self {
            Stream::Tcp(socket) => tells_end(socket.ready(Interest::READABLE)),
            Stream::Unix(socket) => tells_end(socket.ready(Interest::READABLE)),
            Stream::Tls(socket) => tells_end(socket.get_ref().0.ready(Interest::READABLE)),
        }
    }
}

fn would_block(moved: &io::Result<usize>) -> bool {
    moved.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// What a socket's readiness says now; nobody is woken when that changes.
fn tells_end(readiness: impl Future<Output = io::Result<Ready>>) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    matches!(std::pin::pin!(readiness).poll(&mut cx), Poll::Ready(Ok(ready)) if ready.is_read_closed())
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(socket) => Pin::new(socket).poll_read(cx, buf),
            Stream::Unix(socket) => Pin::new(socket).poll_read(cx, buf),
            Stream::Tls(stream) => poll_read_all(stream, cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // Most often there is room, and nobody need be woken.
        if let Ok(written) = self.try_write(bytes) {
            return Poll::Ready(Ok(written));
        }
        match self.get_mut() {
            Stream::Tcp(socket) => Pin::new(socket).poll_write(cx, bytes),
            Stream::Unix(socket) => Pin::new(socket).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(socket) => Pin::new(socket).poll_flush(cx),
            Stream::Unix(socket) => Pin::new(socket).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Stream::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn what_a_read_has_drained_is_not_looked_at_again_before_more_has_come() {
        let (near, mut far) = UnixStream::pair().expect("a pair");
        let mut near = Stream::Unix(near);
        let mut cx = Context::from_waker(Waker::noop());
        let mut buffer = BytesMut::with_capacity(64);
        for _ in 0..2 {
            far.write_all(b"PING\r\n").await.expect("it is written");
            std::future::poll_fn(|cx| if near.may_read(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
            assert_eq!(near.try_read(&mut buffer).expect("it has come"), 6);
            assert!(!near.may_read(&mut cx), "the read was shorter than its room");
            let again = near.try_read(&mut buffer).map_err(|error| error.kind());
            assert_eq!(again, Err(io::ErrorKind::WouldBlock));
        }
        drop(far);
        let end = std::future::poll_fn(|cx| tokio_util::io::poll_read_buf(Pin::new(&mut near), cx, &mut buffer)).await;
        assert_eq!(end.expect("it has ended"), 0);
        assert_eq!(near.try_read(&mut buffer).expect("it has ended"), 0);
    }

    #[tokio::test]
    async fn a_read_that_fills_its_room_leaves_the_rest_to_the_next() {
        let (near, mut far) = UnixStream::pair().expect("a pair");
        let near = Stream::Unix(near);
        let mut cx = Context::from_waker(Waker::noop());
        far.write_all(b"PING\r\nPING\r\n").await.expect("it is written");
        std::future::poll_fn(|cx| if near.may_read(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
        let mut buffer = BytesMut::with_capacity(8);
        assert_eq!(near.try_read(&mut buffer).expect("it has come"), buffer.capacity());
        assert!(near.may_read(&mut cx));
    }
}
