//! What carries a connection.

use tokio::io::{AsyncRead, AsyncWrite};

/// What carries a connection: a socket, or the process' own way to a cluster.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Wire for T {}
