//! What a client's conversation needs of its front: a socket that speaks RESP, or a REST request.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::AsyncWrite;
use tokio_util::io::poll_read_buf;

use super::pipe::Pipe;
use super::stream::Stream;

/// Brings a client's requests, as bytes of RESP, and takes what it is answered.
///
/// Each `poll_` method wakes the task when what it waits for is there.
pub trait Front {
    /// Reads what the client has sent, as far as `buffer` has room; 0 bytes are its end.
    ///
    /// # Errors
    /// The client is gone.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>>;

    /// The same for a task that has just been woken, but nobody is woken where nothing is there.
    ///
    /// # Errors
    /// `WouldBlock` where nothing was read; any other: the client is gone.
    fn try_read(&self, _buffer: &mut BytesMut) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Takes what the client is answered, as far as there is room.
    ///
    /// # Errors
    /// The client is gone.
    fn poll_write(&mut self, cx: &mut Context<'_>, replies: &[u8]) -> Poll<io::Result<usize>>;

    /// The same, but nobody is woken where there is no room.
    ///
    /// # Errors
    /// `WouldBlock` where nothing is taken; any other error comes again with `poll_write`.
    fn try_write(&self, replies: &[u8]) -> io::Result<usize>;

    /// Ready when nothing of what was taken waits here.
    ///
    /// # Errors
    /// The client is gone.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Tells the client that nothing more comes, behind all that was taken.
    ///
    /// # Errors
    /// The client is gone.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// False when nothing can be read now; the task is woken when that has changed.
    fn may_read(&self, cx: &mut Context<'_>) -> bool;

    /// True when the client has left, even if not all that it has sent has been read.
    fn has_left(&self) -> bool;

    /// The client's socket, where its bytes can be moved without being read.
    fn socket(&self) -> Option<&Stream> {
        None
    }

    /// True when nothing can follow what was read until it has been answered.
    fn is_whole(&self) -> bool {
        false
    }

    /// Lets a client go on that waits for an acknowledgement before it sends the rest.
    fn acknowledge(&self) {}
}

impl Front for Stream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>> {
        poll_read_buf(Pin::new(self), cx, buffer)
    }

    fn try_read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        Stream::try_read(self, buffer)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, replies: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(self), cx, replies)
    }

    fn try_write(&self, replies: &[u8]) -> io::Result<usize> {
        Stream::try_write(self, replies)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(self), cx)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(Pin::new(self), cx)
    }

    fn may_read(&self, cx: &mut Context<'_>) -> bool {
        Stream::may_read(self, cx)
    }

    fn has_left(&self) -> bool {
        self.is_read_closed()
    }

    fn socket(&self) -> Option<&Stream> {
        self.is_plain().then_some(self)
    }

    fn acknowledge(&self) {
        Stream::acknowledge(self);
    }
}

impl Front for Pipe {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>> {
        Pipe::poll_read(self, cx, buffer).map(Ok)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, replies: &[u8]) -> Poll<io::Result<usize>> {
        Pipe::poll_write(self, cx, replies)
    }

    fn try_write(&self, replies: &[u8]) -> io::Result<usize> {
        Pipe::try_write(self, replies)
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shutdown();
        Poll::Ready(Ok(()))
    }

    fn may_read(&self, cx: &mut Context<'_>) -> bool {
        Pipe::may_read(self, cx)
    }

    fn has_left(&self) -> bool {
        self.is_read_closed()
    }

    fn is_whole(&self) -> bool {
        Pipe::is_whole(self)
    }
}
