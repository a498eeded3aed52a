//! The link's end of a connection to the cluster.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::core::Core;
use respguard_engine::link::handshake::OrphanedConnection;
use respguard_engine::pipeline::finding::Fault;

/// To whom something is still to be written although so much waits is not listened to.
pub(super) const INPUT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A client's connection to the cluster. Dropping it ends what it has under way.
pub struct ClusterConnection(pub(super) Rc<Core>);

/// In the place of the next frames: they will not come in time, or never.
#[derive(Debug, Clone)]
pub struct HeadFault {
    pub fault: Fault,
    /// None where the next request is answered, but parts of it were given up that nodes may still run.
    pub frames: u32,
    /// The connection to a node that they were sent on, where it may still be read there.
    pub orphan: Option<OrphanedConnection>,
}

impl fmt::Display for HeadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the next replies will not come")
    }
}

impl std::error::Error for HeadFault {}

impl AsyncRead for ClusterConnection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let core = &self.0;
        if core.has_news.take() {
            core.dispatch_again();
        }
        let mut borrowed = core.state.borrow_mut();
        let state = &mut *borrowed;
        if state.out_at < state.out.len() {
            let bytes = buf.remaining().min(state.out.len() - state.out_at);
            buf.put_slice(&state.out[state.out_at..state.out_at + bytes]);
            state.out_at += bytes;
            if state.out_at == state.out.len() {
                state.forget_read();
            }
            core.let_through(state);
            state.release_messages(core.key.borrow().protocol);
            drop(borrowed);
            core.note_kept();
            return Poll::Ready(Ok(()));
        }
        if let Some(fault) = state.fault.take() {
            state.advance();
            state.release_messages(core.key.borrow().protocol);
            return Poll::Ready(Err(io::Error::other(fault)));
        }
        if state.is_closed {
            return Poll::Ready(Ok(()));
        }
        core.listen(cx);
        Poll::Pending
    }
}

impl AsyncWrite for ClusterConnection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let core = &self.0;
        {
            let state = core.state.borrow();
            if !state.has_room() {
                core.listen(cx);
                return Poll::Pending;
            }
        }
        core.take_in(bytes);
        core.dispatch();
        core.note_kept();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let core = &self.0;
        core.state.borrow_mut().is_closed = true;
        Poll::Ready(Ok(()))
    }
}

impl Drop for ClusterConnection {
    fn drop(&mut self) {
        self.0.leave();
    }
}
