//! The connection that a lane's clients share, and its replacement while a large or unread reply keeps it busy.
//!
//! What is owed on the old one is still answered there, and who is owed something stays: only clients to whom nothing is
//! owed go on over the new one. The old one is closed when nothing is left to do on it, or takes its place back when the
//! new one is stuck in turn.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::connection::{Link, Phase, Standing};
use crate::net::clock;
use respguard_engine::link::handshake::OrphanedConnection;

/// Replaced connections that a lane has at a time; beyond, clients wait for each other.
const RETIRED_MAX: usize = 2;
/// Between two attempts to open another one.
const OPEN_PAUSE: Duration = Duration::from_secs(1);

/// The shared connection of one lane, with those that it has replaced.
pub(super) struct SharedConnection {
    shared: RefCell<Rc<Link>>,
    retired: RefCell<Vec<Rc<Link>>>,
    /// One that is being opened to take the place of the shared one.
    successor: RefCell<Option<Rc<Link>>>,
    opened_at: Cell<Option<Instant>>,
}

impl SharedConnection {
    pub(super) fn new(shared: Rc<Link>) -> SharedConnection {
        SharedConnection {
            shared: RefCell::new(shared),
            retired: RefCell::default(),
            successor: RefCell::default(),
            opened_at: Cell::new(None),
        }
    }

    pub(super) fn shared(&self) -> Rc<Link> {
        Rc::clone(&self.shared.borrow())
    }

    /// Connections that were lost and have not been ended yet, on any that a client may come from.
    pub(super) fn orphans(&self) -> Vec<OrphanedConnection> {
        let retired = self.retired.borrow();
        std::iter::once(&*self.shared.borrow()).chain(&*retired).flat_map(|link| link.orphans()).collect()
    }

    /// Whether the clients of the lane may go on.
    pub(super) fn is_revoked(&self) -> bool {
        let retired = self.retired.borrow();
        std::iter::once(&*self.shared.borrow()).chain(&*retired).any(|link| link.standing() == Standing::Revoked)
    }

    /// For how long one of them has been silent although it owes something.
    pub(super) fn waits_for(&self) -> Option<Duration> {
        let retired = self.retired.borrow();
        std::iter::once(&*self.shared.borrow()).chain(&*retired).filter_map(|link| link.waits_for()).max()
    }

    /// Asks the lane of others about those of which it is not sure that they may go on.
    pub(super) fn resolve_doubt(&self, others: &Link) {
        self.shared.borrow().resolve_doubt(others);
        self.retired.borrow().iter().for_each(|link| link.resolve_doubt(others));
    }

    /// Puts another connection in the place of one that is stuck: an idle one, or one that `open` begins to open, when
    /// that is there; it opens none where there are too many.
    pub(super) fn replace_stuck(&self, idle: impl FnOnce() -> Option<Rc<Link>>, open: impl FnOnce() -> Option<Rc<Link>>) {
        let stuck = self.shared();
        if !stuck.is_stuck() || !stuck.may_be_left() {
            return;
        }
        let Some(next) = self.returning().or_else(|| self.fresh(idle, open)) else { return };
        next.share();
        if stuck.represents_server() {
            next.represent_server();
        }
        stuck.retire();
        self.retired.borrow_mut().push(stuck);
        self.shared.replace(next);
    }

    /// One that was replaced and goes on again.
    fn returning(&self) -> Option<Rc<Link>> {
        let mut retired = self.retired.borrow_mut();
        let at = retired.iter().position(|link| !link.is_stuck() && link.may_be_left() && link.phase() == Phase::Ready)?;
        Some(retired.swap_remove(at))
    }

    fn fresh(&self, idle: impl FnOnce() -> Option<Rc<Link>>, open: impl FnOnce() -> Option<Rc<Link>>) -> Option<Rc<Link>> {
        if self.retired.borrow().len() >= RETIRED_MAX {
            return None;
        }
        let mut successor = self.successor.borrow_mut();
        if let Some(link) = successor.take_if(|link| link.phase() == Phase::Ready).or_else(idle) {
            return Some(link);
        }
        let now = clock::now();
        let may_open = self.opened_at.get().is_none_or(|at| now.saturating_duration_since(at) >= OPEN_PAUSE);
        if successor.is_none() && may_open {
            self.opened_at.set(Some(now));
            *successor = open();
        }
        None
    }

    /// Looks after deadlines, and closes what is used up. A connection that was opened in vain comes back.
    pub(super) fn on_tick(&self) -> Option<Rc<Link>> {
        self.shared().on_tick();
        let retired = self.retired.borrow().clone();
        retired.iter().for_each(|link| link.on_tick());
        self.retired.borrow_mut().retain(|link| {
            let is_done = link.is_done();
            if is_done {
                link.close();
            }
            !is_done
        });
        let in_vain = !self.shared().is_stuck();
        let mut successor = self.successor.borrow_mut();
        successor.take_if(|link| link.phase() == Phase::Closed || in_vain && link.phase() == Phase::Ready)
    }

    pub(super) fn close(&self) {
        self.shared().close();
        self.retired.borrow_mut().drain(..).chain(self.successor.take()).for_each(|link| link.close());
    }
}
