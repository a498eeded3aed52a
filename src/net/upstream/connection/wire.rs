//! What carries a connection.

use tokio::io::{AsyncRead, AsyncWrite};

use crate::net::stream::Stream;
use crate::net::upstream::cluster::ClusterConnection;

/// What carries a connection: a socket, or the process' own way to a cluster.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin {
    /// The socket, where its bytes can be moved without being read.
    fn socket(&self) -> Option<&Stream> {
        None
    }
}

impl Wire for ClusterConnection {}

impl Wire for Stream {
    fn socket(&self) -> Option<&Stream> {
        self.is_plain().then_some(self)
    }
}
