//! A byte stream within the process, for clients without a socket.
//!
//! Two ends of one thread or of two; what one writes the other reads, within a bound. An end that is dropped is closed
//! both ways.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};

/// A buffer that has grown beyond is not kept once it is empty.
const KEPT_BYTES: usize = 16 * 1024;

/// One end.
pub struct Pipe {
    inbound: Arc<Direction>,
    outbound: Arc<Direction>,
}

/// The bytes that go one way.
struct Direction {
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bytes: BytesMut,
    /// Nothing more will be written.
    ended: bool,
    /// Nobody will read it.
    abandoned: bool,
    /// What was written is all that can come until something is answered.
    whole: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Both ends of a new pipe, each of which may be behind by so many bytes.
pub fn pair(bytes_max: usize) -> (Pipe, Pipe) {
    let direction = || Arc::new(Direction { bytes_max, state: Mutex::default() });
    let (there, back) = (direction(), direction());
    let other = Pipe { inbound: Arc::clone(&there), outbound: Arc::clone(&back) };
    (Pipe { inbound: back, outbound: there }, other)
}

impl Direction {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, bytes: &[u8], without_room: impl FnOnce(&mut State)) -> Poll<io::Result<usize>> {
        let (written, reader) = {
            let mut state = self.lock();
            if state.ended {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let room = self.bytes_max.saturating_sub(state.bytes.len());
            if room == 0 && !bytes.is_empty() {
                without_room(&mut state);
                return Poll::Pending;
            }
            let written = bytes.len().min(room);
            state.bytes.extend_from_slice(&bytes[..written]);
            state.whole = false;
            (written, state.reader.take())
        };
        reader.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(written))
    }

    fn close(&self, abandoned: bool) {
        let wakers = {
            let mut state = self.lock();
            state.ended = true;
            state.abandoned |= abandoned;
            [state.reader.take(), state.writer.take()]
        };
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

impl State {
    /// Something can be read, be it the end.
    fn is_readable(&self) -> bool {
        !self.bytes.is_empty() || self.ended
    }

    /// What was there has been read.
    fn emptied(&mut self) -> Option<Waker> {
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT_BYTES {
            self.bytes = BytesMut::new();
        }
        self.writer.take()
    }
}

fn register(slot: &mut Option<Waker>, cx: &Context<'_>) {
    if !slot.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
        *slot = Some(cx.waker().clone());
    }
}

impl Pipe {
    /// Reads as much as `buffer` has room for; nothing read is the end.
    pub fn poll_read(&self, cx: &Context<'_>, buffer: &mut BytesMut) -> Poll<usize> {
        let (read, writer) = {
            let mut state = self.inbound.lock();
            if !state.is_readable() {
                register(&mut state.reader, cx);
                return Poll::Pending;
            }
            let bytes = state.bytes.len().min(buffer.capacity() - buffer.len());
            buffer.extend_from_slice(&state.bytes[..bytes]);
            state.bytes.advance(bytes);
            (bytes, state.emptied())
        };
        writer.into_iter().for_each(Waker::wake);
        Poll::Ready(read)
    }

    /// Takes everything that is there, in exchange for the buffer, whose room serves what comes next; false is the end.
    pub fn poll_exchange(&self, cx: &Context<'_>, buffer: &mut BytesMut) -> Poll<bool> {
        buffer.clear();
        if buffer.capacity() > KEPT_BYTES {
            *buffer = BytesMut::new();
        }
        let writer = {
            let mut state = self.inbound.lock();
            if !state.is_readable() {
                register(&mut state.reader, cx);
                return Poll::Pending;
            }
            if state.bytes.is_empty() {
                return Poll::Ready(false);
            }
            std::mem::swap(&mut state.bytes, buffer);
            state.writer.take()
        };
        writer.into_iter().for_each(Waker::wake);
        Poll::Ready(true)
    }

    /// Writes as much as the other end may be behind.
    ///
    /// # Errors
    /// The other end is closed.
    pub fn poll_write(&self, cx: &Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.outbound.write(bytes, |state| register(&mut state.writer, cx))
    }

    /// The same; where there is no room nobody is woken when there is.
    ///
    /// # Errors
    /// `WouldBlock`, or the other end is closed.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.outbound.write(bytes, |_| ()) {
            Poll::Ready(written) => written,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Says that nothing follows what was written until it has been answered.
    pub fn mark_whole(&self) {
        self.outbound.lock().whole = true;
    }

    /// True when all that was written has been read, and nothing follows it until it has been answered.
    pub fn is_whole(&self) -> bool {
        let state = self.inbound.lock();
        state.whole && state.bytes.is_empty()
    }

    /// Bytes that the other end has not read yet.
    pub fn unread(&self) -> usize {
        self.outbound.lock().bytes.len()
    }

    /// Nothing more is written; what was written can still be read.
    pub fn shutdown(&self) {
        self.outbound.close(false);
    }

    /// False when nothing can be read now; the task is woken when that has changed.
    pub fn may_read(&self, cx: &Context<'_>) -> bool {
        let mut state = self.inbound.lock();
        if !state.is_readable() {
            register(&mut state.reader, cx);
        }
        state.is_readable()
    }

    /// True when the other end writes nothing more, although not all that it has written has been read.
    pub fn is_read_closed(&self) -> bool {
        self.inbound.lock().ended
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.outbound.close(false);
        self.inbound.close(true);
    }
}

impl fmt::Debug for Pipe {
    /// Without what is in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipe").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cx() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    fn read(pipe: &Pipe) -> Option<Vec<u8>> {
        let mut buffer = BytesMut::with_capacity(4);
        pipe.poll_read(&cx(), &mut buffer).is_ready().then(|| buffer.to_vec())
    }

    /// What is there, or nothing at the end.
    fn taken(pipe: &Pipe) -> Option<Vec<u8>> {
        let mut buffer = BytesMut::from(&b"of before"[..]);
        (pipe.poll_exchange(&cx(), &mut buffer) == Poll::Ready(true)).then(|| buffer.to_vec())
    }

    fn write(pipe: &Pipe, bytes: &[u8]) -> Option<usize> {
        match pipe.poll_write(&cx(), bytes) {
            Poll::Ready(written) => written.ok(),
            Poll::Pending => None,
        }
    }

    #[test]
    fn what_is_written_at_one_end_is_read_at_the_other_within_the_bound() {
        let (near, far) = pair(6);
        assert_eq!(read(&far), None);
        assert_eq!(write(&near, b"abcdefgh"), Some(6));
        assert_eq!(write(&near, b"gh"), None, "it is behind by as much as it may");
        assert_eq!(near.unread(), 6);
        assert_eq!(read(&far), Some(b"abcd".to_vec()));
        assert_eq!(write(&near, b"gh"), Some(2));
        assert_eq!(taken(&far), Some(b"efgh".to_vec()));
        assert_eq!(write(&far, b"back"), Some(4));
        assert_eq!(read(&near), Some(b"back".to_vec()));
    }

    #[test]
    fn an_end_that_is_closed_is_read_to_its_end_and_written_to_no_more() {
        let (near, far) = pair(6);
        write(&near, b"last");
        assert!(!far.is_read_closed());
        near.shutdown();
        assert!(far.is_read_closed() && far.may_read(&cx()));
        assert_eq!(write(&far, b"x"), Some(1), "the other way is open");
        assert_eq!((read(&far), read(&far)), (Some(b"last".to_vec()), Some(Vec::new())));
        drop(far);
        assert!(near.poll_write(&cx(), b"x").is_ready() && write(&near, b"x").is_none());
        assert_eq!(taken(&near), Some(b"x".to_vec()));
        assert_eq!(taken(&near), None);
    }

    #[test]
    fn a_request_is_whole_when_all_of_it_was_read_and_its_writer_said_so() {
        let (near, far) = pair(8);
        write(&near, b"abcdef");
        near.mark_whole();
        assert!(!far.is_whole(), "it has not been read");
        read(&far);
        read(&far);
        assert!(far.is_whole());
        write(&near, b"x");
        assert!(!far.is_whole(), "something follows");
    }
}
