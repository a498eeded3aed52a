//! One connection to the model: its socket, and bytes on their way, each piece with the moment of its arrival.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::Shutdown;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::redis::Session;
use crate::time::stir;

/// One upstream connection.
pub struct Line {
    pub socket: UnixStream,
    /// The node that it leads to.
    pub node: usize,
    pub session: RefCell<Session>,
    pub inbound: Channel,
    pub outbound: Channel,
    /// Nothing more is executed.
    pub killed: Cell<bool>,
    pub unblocked: Cell<bool>,
    /// The next request, or transaction, comes behind ASKING.
    pub asking: Cell<bool>,
}

/// Bytes on their way.
#[derive(Default)]
pub struct Channel {
    pieces: RefCell<VecDeque<(Instant, Vec<u8>)>>,
    latest: Cell<Option<Instant>>,
    pub passed: Cell<usize>,
    pub cut_at: Cell<Option<usize>>,
    pub over: Cell<bool>,
    news: Notify,
}

impl Line {
    pub fn new(socket: UnixStream, node: usize, id: i64) -> Line {
        Line {
            socket,
            node,
            session: RefCell::new(Session::new(id)),
            inbound: Channel::default(),
            outbound: Channel::default(),
            killed: Cell::new(false),
            unblocked: Cell::new(false),
            asking: Cell::new(false),
        }
    }

    pub fn listens_to(&self, channel: &str) -> bool {
        !self.killed.get() && self.session.borrow().channels.contains(channel)
    }

    /// Nothing that is under way is executed any more.
    pub fn kill(&self) {
        self.killed.set(true);
        self.inbound.pieces.borrow_mut().clear();
        self.inbound.end();
        self.hang_up();
    }

    pub fn hang_up(&self) {
        // The other side may have hung up before.
        let _ = socket2::SockRef::from(&self.socket).shutdown(Shutdown::Both);
        stir();
    }

    /// ASKING is about the next request; before a transaction about all of it.
    pub fn note_asking(&self, is_asking: bool) {
        if is_asking || !self.session.borrow().is_in_multi() {
            self.asking.set(is_asking);
        }
    }
}

impl Channel {
    /// Bytes set out and arrive behind those before them. What lies behind the cut never does.
    pub fn push(&self, bytes: &[u8], delay: Duration) {
        let room = self.cut_at.get().map_or(usize::MAX, |cut| cut.saturating_sub(self.passed.get()));
        let bytes = &bytes[..bytes.len().min(room)];
        self.passed.set(self.passed.get() + bytes.len());
        if bytes.is_empty() || self.over.get() {
            return;
        }
        let at = self.latest.get().into_iter().chain([Instant::now() + delay]).max().expect("there is one");
        self.latest.set(Some(at));
        self.pieces.borrow_mut().push_back((at, bytes.to_vec()));
        self.news.notify_one();
    }

    pub fn is_cut(&self) -> bool {
        self.cut_at.get().is_some_and(|cut| self.passed.get() >= cut)
    }

    pub fn end(&self) {
        self.over.set(true);
        self.news.notify_one();
    }

    /// The next piece, when it has arrived; `None` behind the last.
    pub async fn next(&self) -> Option<Vec<u8>> {
        loop {
            let piece = self.pieces.borrow_mut().pop_front();
            match piece {
                Some((at, bytes)) => {
                    sleep_until(at).await;
                    return Some(bytes);
                }
                None if self.over.get() => return None,
                None => self.news.notified().await,
            }
        }
    }
}
