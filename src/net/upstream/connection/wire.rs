//! What carries a connection.

use std::io;
use std::task::Context;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::net::stream::Stream;
use crate::net::upstream::cluster::ClusterConnection;

/// What carries a connection: a socket, or the process' own way to a cluster.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin {
    /// False when nothing can be read now; the task is woken when that has changed.
    fn may_read(&self, _cx: &mut Context<'_>) -> bool {
        true
    }

    /// Reads what has come, as far as `buffer` has room.
    ///
    /// # Errors
    /// `WouldBlock` where nothing was read, and nobody is woken; those of [`AsyncRead`].
    fn try_read(&self, _buffer: &mut BytesMut) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// The socket, where its bytes can be moved without being read.
    fn socket(&self) -> Option<&Stream> {
        None
    }
}

impl Wire for ClusterConnection {}

impl Wire for Stream {
    fn may_read(&self, cx: &mut Context<'_>) -> bool {
        Stream::may_read(self, cx)
    }

    fn try_read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        Stream::try_read(self, buffer)
    }

    fn socket(&self) -> Option<&Stream> {
        self.is_plain().then_some(self)
    }
}
