//! Pipes of the kernel, through which bytes go from one socket to another without being copied into the process: `splice(2)`.
//!
//! Only an empty pipe is filled, and only one with bytes in it is emptied. So `WouldBlock` always tells of the socket, never of the
//! pipe, and may be told to tokio as the socket's readiness.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Where less is left of a value, its bytes are copied: that costs less than two calls and a pipe.
pub const SPLICE_BYTES_MIN: u64 = 64 * 1024;
/// What a pipe should hold; where the system does not allow it, as much as it gives.
const PIPE_BYTES: usize = 1024 * 1024;
/// One that holds less is not used: to a user with many pipes the system gives pipes of a page or two.
const PIPE_BYTES_MIN: usize = 64 * 1024;
/// Pipes that a worker has at a time. Each takes two of the process' files.
const PIPES_MAX: usize = 16;
/// A pipe that has been still for so long is looked at.
pub const STILL: Duration = Duration::from_millis(100);
/// At so many looks in a row its socket must have had room. What the socket reports is handled between two looks, but may come
/// behind the first.
const LOOKS: u8 = 3;

/// Moves bytes into a pipe that is empty; says how many, or why none.
pub type Fill<'a> = dyn FnMut(&mut SplicePipe) -> std::task::Poll<io::Result<usize>> + 'a;

/// One pipe, and how many bytes are in it.
#[derive(Debug)]
pub struct SplicePipe {
    read_end: OwnedFd,
    write_end: OwnedFd,
    bytes: usize,
    /// When it was looked at last, since its bytes have moved last, and at how many looks its socket had room.
    looked_at: Option<Instant>,
    looks: u8,
    /// Pipes that are open.
    open: Rc<Cell<usize>>,
}

impl SplicePipe {
    /// Bytes that have come in and not gone out.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes what a socket has, no more than `most`; 0 bytes are its end. Only an empty pipe is filled: `WouldBlock` can mean
    /// that a pipe is full, and must mean that nothing has come.
    ///
    /// # Errors
    /// `WouldBlock` when nothing has come; else the socket's own.
    pub fn fill(&mut self, socket: impl AsFd, most: usize) -> io::Result<usize> {
        debug_assert_eq!(self.bytes, 0, "only an empty pipe is filled");
        self.bytes = splice(&socket, &self.write_end, most)?;
        self.looked_at = None;
        Ok(self.bytes)
    }

    /// Gives a socket what it takes; there must be something in the pipe, or `WouldBlock` could mean that nothing is.
    ///
    /// # Errors
    /// `WouldBlock` when the socket takes nothing; else the socket's own.
    pub fn empty(&mut self, socket: impl AsFd) -> io::Result<usize> {
        debug_assert!(self.bytes > 0, "there is something in the pipe");
        let bytes = splice(&self.read_end, &socket, self.bytes)?;
        if bytes == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.bytes = self.bytes.saturating_sub(bytes);
        self.looked_at = None;
        Ok(bytes)
    }

    /// True when its bytes could move on, and who moves them has not been told: they have been still while the socket that they
    /// go to had room at several looks. To be called again and again.
    pub fn is_forgotten(&mut self, socket: impl AsFd, now: Instant) -> bool {
        let Some(looked_at) = self.looked_at else {
            (self.looked_at, self.looks) = (Some(now), 0);
            return false;
        };
        if now.saturating_duration_since(looked_at) < STILL {
            return false;
        }
        self.looked_at = Some(now);
        self.looks = if self.bytes > 0 && has_room(socket) { self.looks + 1 } else { 0 };
        let is_forgotten = self.looks >= LOOKS;
        if is_forgotten {
            self.looked_at = None;
        }
        is_forgotten
    }
}

impl Drop for SplicePipe {
    fn drop(&mut self) {
        self.open.set(self.open.get().saturating_sub(1));
    }
}

/// One worker's pipes.
#[derive(Debug, Default)]
pub struct SplicePipes {
    open: Rc<Cell<usize>>,
    #[expect(clippy::vec_box, reason = "clients have a place for one, which is to be small")]
    kept: RefCell<Vec<Box<SplicePipe>>>,
    /// The system has refused one since [`SplicePipes::trim`].
    is_refused: Cell<bool>,
    /// The fewest that were kept since [`SplicePipes::trim`]: so many were not needed.
    fewest: Cell<usize>,
}

impl SplicePipes {
    /// An empty pipe; none where as many are in use as may be, or the system gives none.
    pub fn take(&self) -> Option<Box<SplicePipe>> {
        let mut kept = self.kept.borrow_mut();
        let pipe = kept.pop();
        self.fewest.set(self.fewest.get().min(kept.len()));
        if pipe.is_some() || self.open.get() >= PIPES_MAX || self.is_refused.get() {
            return pipe;
        }
        let Ok((read_end, write_end)) = open() else {
            self.is_refused.set(true);
            return None;
        };
        self.open.set(self.open.get() + 1);
        Some(Box::new(SplicePipe { read_end, write_end, bytes: 0, looked_at: None, looks: 0, open: Rc::clone(&self.open) }))
    }

    /// Takes a pipe back; one with something in it is closed.
    pub fn give(&self, pipe: Box<SplicePipe>) {
        if pipe.bytes == 0 {
            self.kept.borrow_mut().push(pipe);
        }
    }

    /// Closes what was not needed since the last call.
    pub fn trim(&self) {
        let mut kept = self.kept.borrow_mut();
        kept.drain(..self.fewest.get());
        self.fewest.set(kept.len());
        self.is_refused.set(false);
    }

    /// True while one has been taken and not been given back.
    pub fn are_in_use(&self) -> bool {
        self.open.get() > self.kept.borrow().len()
    }
}

#[cfg(target_os = "linux")]
fn open() -> io::Result<(OwnedFd, OwnedFd)> {
    use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};

    let (read_end, write_end) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // A smaller one needs more calls, and is no worse otherwise.
    let _ = fcntl_setpipe_size(&write_end, PIPE_BYTES);
    if fcntl_getpipe_size(&write_end)? < PIPE_BYTES_MIN {
        return Err(io::ErrorKind::QuotaExceeded.into());
    }
    Ok((read_end, write_end))
}

#[cfg(target_os = "linux")]
fn has_room(socket: impl AsFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let mut looked_at = [PollFd::new(&socket, PollFlags::OUT)];
    let is_known = poll(&mut looked_at, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0);
    is_known && looked_at[0].revents().contains(PollFlags::OUT)
}

#[cfg(target_os = "linux")]
fn splice(from: impl AsFd, to: impl AsFd, most: usize) -> io::Result<usize> {
    use rustix::pipe::SpliceFlags;

    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    let spliced = rustix::io::retry_on_intr(|| rustix::pipe::splice(&from, None, &to, None, most.min(PIPE_BYTES), flags));
    Ok(spliced?)
}

#[cfg(not(target_os = "linux"))]
fn open() -> io::Result<(OwnedFd, OwnedFd)> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Writes into a socket what it takes, whatever tokio knows of its readiness. The C library's own function allows for the thread
/// to be cancelled meanwhile, which costs as much again.
#[cfg(target_os = "linux")]
pub fn write_now(socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::io::write(&socket, bytes)?)
}

#[cfg(not(target_os = "linux"))]
pub fn write_now(socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    socket2::SockRef::from(&socket).send(bytes)
}

#[cfg(not(target_os = "linux"))]
fn has_room(_: impl AsFd) -> bool {
    false
}

#[cfg(not(target_os = "linux"))]
fn splice(_: impl AsFd, _: impl AsFd, most: usize) -> io::Result<usize> {
    debug_assert!(most <= PIPE_BYTES);
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn sockets() -> (UnixStream, UnixStream) {
        let pair = UnixStream::pair().expect("a pair of sockets");
        pair.1.set_nonblocking(true).expect("does not block");
        pair
    }

    fn kind<T>(result: io::Result<T>) -> Option<io::ErrorKind> {
        result.err().map(|error| error.kind())
    }

    #[test]
    fn bytes_go_from_one_socket_to_the_other_and_their_number_is_known() {
        let pipes = SplicePipes::default();
        let mut pipe = pipes.take().expect("a pipe");
        let ((mut sender, from), (to, mut reader)) = (sockets(), sockets());
        assert_eq!(kind(pipe.fill(&from, 10)), Some(io::ErrorKind::WouldBlock), "nothing has come");
        sender.write_all(b"0123456789abc").expect("written");
        assert_eq!((pipe.fill(&from, 10).ok(), pipe.bytes()), (Some(10), 10), "no more than was asked for");
        assert_eq!((pipe.empty(&to).ok(), pipe.bytes()), (Some(10), 0));
        let mut came = [0; 32];
        assert_eq!(reader.read(&mut came).ok(), Some(10));
        assert_eq!(&came[..10], b"0123456789");
        assert_eq!(pipe.fill(&from, 10).ok(), Some(3));
        assert_eq!(pipe.empty(&to).ok(), Some(3));
        drop(sender);
        assert_eq!((pipe.fill(&from, 10).ok(), pipe.bytes()), (Some(0), 0), "the end");
    }

    #[test]
    fn what_a_full_socket_does_not_take_stays_in_the_pipe() {
        let pipes = SplicePipes::default();
        let mut pipe = pipes.take().expect("a pipe");
        let ((mut sender, from), (mut to, _reader)) = (sockets(), sockets());
        to.set_nonblocking(true).expect("does not block");
        while to.write(&[0; 4096]).is_ok() {}
        sender.write_all(b"0123456789").expect("written");
        assert_eq!(pipe.fill(&from, 10).ok(), Some(10));
        assert!(pipes.are_in_use());
        assert_eq!((kind(pipe.empty(&to)), pipe.bytes()), (Some(io::ErrorKind::WouldBlock), 10));
        pipes.give(pipe);
        assert_eq!((pipes.kept.borrow().len(), pipes.open.get()), (0, 0), "what is in it goes with it");
        assert!(!pipes.are_in_use());
    }

    #[test]
    fn a_full_pipe_takes_no_more_and_what_it_has_not_taken_stays_in_the_socket() {
        let pipes = SplicePipes::default();
        let mut pipe = pipes.take().expect("a pipe");
        let ((mut sender, from), (to, mut reader)) = (sockets(), sockets());
        to.set_nonblocking(true).expect("does not block");
        let sent: Vec<u8> = (0..3 * PIPE_BYTES).map(|at| (at / 7) as u8).collect();
        let sends = std::thread::spawn({
            let sent = sent.clone();
            move || sender.write_all(&sent).expect("written")
        });
        let (mut came, mut piece) = (Vec::new(), vec![0; 64 * 1024]);
        while came.len() < sent.len() {
            // Each part is moved to its end before the next one comes; the reader takes some whenever the socket takes nothing.
            if pipe.bytes() == 0 {
                match pipe.fill(&from, usize::MAX) {
                    Ok(bytes) => assert!(bytes <= PIPE_BYTES),
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
            }
            while pipe.bytes() > 0 && pipe.empty(&to).is_ok() {}
            if pipe.bytes() > 0 || came.len() < sent.len() {
                reader.set_nonblocking(true).expect("does not block");
                while let Ok(read) = reader.read(&mut piece) {
                    came.extend_from_slice(&piece[..read]);
                }
            }
        }
        sends.join().expect("all is sent");
        assert!(came == sent && pipe.bytes() == 0);
    }

    #[test]
    fn an_end_of_the_sender_comes_behind_what_it_has_sent_and_one_of_the_reader_is_an_error() {
        let pipes = SplicePipes::default();
        let mut pipe = pipes.take().expect("a pipe");
        let ((mut sender, from), (to, reader)) = (sockets(), sockets());
        sender.write_all(b"01234").expect("written");
        drop((sender, reader));
        assert_eq!(pipe.fill(&from, 10).ok(), Some(5));
        assert!(pipe.empty(&to).is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe));
        assert_eq!(pipe.bytes(), 5);
    }

    #[test]
    fn bytes_are_forgotten_that_stand_still_although_their_socket_has_room_look_after_look() {
        let pipes = SplicePipes::default();
        let mut pipe = pipes.take().expect("a pipe");
        let ((mut sender, from), (mut to, mut reader)) = (sockets(), sockets());
        to.set_nonblocking(true).expect("does not block");
        while to.write(&[0; 4096]).is_ok() {}
        sender.write_all(b"0123456789").expect("written");
        assert_eq!(pipe.fill(&from, 10).ok(), Some(10));
        let start = Instant::now();
        let mut looks = 0;
        let mut look = |pipe: &mut SplicePipe| {
            looks += 1;
            pipe.is_forgotten(&to, start + looks * STILL)
        };
        assert!((0..10).all(|_| !look(&mut pipe)), "the socket is full");
        let mut taken = vec![0; 8 * 1024 * 1024];
        reader.set_nonblocking(true).expect("does not block");
        while reader.read(&mut taken).is_ok() {}
        assert_eq!([look(&mut pipe), look(&mut pipe), look(&mut pipe)], [false, false, true]);
        assert_eq!(pipe.empty(&to).ok(), Some(10));
        assert!((0..10).all(|_| !look(&mut pipe)), "nothing is in it");
    }

    #[test]
    fn there_are_no_more_than_so_many_and_those_that_nobody_needs_are_closed() {
        let pipes = SplicePipes::default();
        let mut taken: Vec<_> = (0..PIPES_MAX).map(|_| pipes.take().expect("a pipe")).collect();
        assert!(pipes.take().is_none());
        pipes.give(taken.pop().expect("one"));
        assert!(pipes.take().is_some_and(|pipe| pipe.bytes() == 0));
        taken.into_iter().for_each(|pipe| pipes.give(pipe));
        pipes.trim();
        assert_eq!(pipes.open.get(), PIPES_MAX - 1, "nobody could need them yet");
        pipes.trim();
        assert_eq!(pipes.open.get(), 0);
    }
}
