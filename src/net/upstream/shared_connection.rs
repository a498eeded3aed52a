//! The connection that a lane's clients share, and its replacement while a large or unread reply keeps it busy.
//!
//! What is owed on the old one is still answered there, and who is owed something stays: only clients to whom nothing is
//! owed go on over the new one. The old one is closed when nothing is left to do on it, or takes its place back when the
//! new one is stuck in turn.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::connection::{Link, Phase, Standing};
use super::lane::Reserved;
use crate::net::clock;
use respguard_engine::link::handshake::OrphanedConnection;

/// Behind an attempt to open another one that has failed.
const OPEN_PAUSE: Duration = Duration::from_secs(1);

/// The shared connection of one lane, with those that it has replaced.
pub(super) struct SharedConnection {
    shared: RefCell<Rc<Link>>,
    /// Each takes the room of a lease: it is its clients' own until they have what they are owed.
    retired: RefCell<Vec<Retired>>,
    /// One that is being opened to take the place of the shared one.
    successor: RefCell<Option<Rc<Link>>>,
    failed_at: Cell<Option<Instant>>,
}

/// A connection that was replaced, and its room among the leases.
struct Retired {
    link: Rc<Link>,
    _room: Reserved,
}

impl SharedConnection {
    pub(super) fn new(shared: Rc<Link>) -> SharedConnection {
        SharedConnection {
            shared: RefCell::new(shared),
            retired: RefCell::default(),
            successor: RefCell::default(),
            failed_at: Cell::new(None),
        }
    }

    pub(super) fn shared(&self) -> Rc<Link> {
        Rc::clone(&self.shared.borrow())
    }

    /// Connections that were lost and have not been ended yet, on any that a client may come from.
    pub(super) fn orphans(&self) -> Vec<OrphanedConnection> {
        let retired = self.retired.borrow();
        std::iter::once(&*self.shared.borrow())
            .chain(retired.iter().map(|retired| &retired.link))
            .flat_map(|link| link.orphans())
            .collect()
    }

    /// Whether the clients of the lane may go on.
    pub(super) fn is_revoked(&self) -> bool {
        let retired = self.retired.borrow();
        std::iter::once(&*self.shared.borrow())
            .chain(retired.iter().map(|retired| &retired.link))
            .any(|link| link.standing() == Standing::Revoked)
    }

    /// Looks whether the head of the shared one keeps others waiting; true while something is owed.
    pub(super) fn look_at_heads(&self) -> bool {
        let retired = self.retired.borrow().iter().fold(false, |owed, retired| retired.link.look_at_head() | owed);
        self.shared.borrow().look_at_head() | retired
    }

    /// One whose head does not move: what the server does not let pass may as well wait there.
    pub(super) fn still(&self) -> Option<Rc<Link>> {
        let retired = self.retired.borrow();
        let still = |link: &&Rc<Link>| link.is_still() && link.may_be_left() && link.phase() == Phase::Ready;
        retired.iter().map(|retired| &retired.link).find(still).cloned()
    }

    /// The shortest time, but no less than `least`, that one of them has been silent although it owes something.
    pub(super) fn waits_for(&self, least: Duration) -> Option<Duration> {
        let retired = self.retired.borrow();
        let shared = self.shared();
        let links = std::iter::once(&shared).chain(retired.iter().map(|retired| &retired.link));
        links.filter_map(|link| link.waits_for(least)).min()
    }

    /// Asks the lane of others about those of which it is not sure that they may go on.
    pub(super) fn resolve_doubt(&self, others: &Link) {
        self.shared.borrow().resolve_doubt(others);
        self.retired.borrow().iter().for_each(|retired| retired.link.resolve_doubt(others));
    }

    /// Puts another connection in the place of one that is stuck: an idle one, or one that `open` begins to open, when
    /// that is there; it opens none where there are too many.
    pub(super) fn replace_stuck(
        &self,
        reserve: impl FnOnce() -> Option<Reserved>,
        idle: impl FnOnce() -> Option<Rc<Link>>,
        open: impl FnOnce() -> Option<Rc<Link>>,
    ) {
        let stuck = self.shared();
        if !stuck.is_stuck() || !stuck.may_be_left() {
            return;
        }
        let next = match self.returning() {
            Some(retired) => Some((retired.link, retired._room)),
            None => reserve().and_then(|room| Some((self.fresh(idle, open)?, room))),
        };
        let Some((next, room)) = next else { return };
        next.share();
        if stuck.represents_server() {
            next.represent_server();
        }
        stuck.retire();
        self.shared.replace(Rc::clone(&next));
        stuck.hand_reads_to(&next);
        self.retired.borrow_mut().push(Retired { link: stuck, _room: room });
    }

    /// One that was replaced and goes on again.
    fn returning(&self) -> Option<Retired> {
        let mut retired = self.retired.borrow_mut();
        let goes_on = |link: &Link| !link.is_stuck() && link.may_be_left() && link.phase() == Phase::Ready;
        let at = retired.iter().position(|retired| goes_on(&retired.link))?;
        Some(retired.swap_remove(at))
    }

    fn fresh(&self, idle: impl FnOnce() -> Option<Rc<Link>>, open: impl FnOnce() -> Option<Rc<Link>>) -> Option<Rc<Link>> {
        let mut successor = self.successor.borrow_mut();
        if let Some(link) = successor.take_if(|link| link.phase() == Phase::Ready).or_else(idle) {
            return Some(link);
        }
        let failed = self.failed_at.get().map(|at| clock::now().saturating_duration_since(at));
        if successor.is_none() && failed.is_none_or(|since| since >= OPEN_PAUSE) {
            *successor = open();
        }
        None
    }

    /// Looks after deadlines, and closes what is used up. A connection that was opened in vain comes back.
    pub(super) fn on_tick(&self) -> Option<Rc<Link>> {
        self.shared().on_tick();
        let retired: Vec<_> = self.retired.borrow().iter().map(|retired| Rc::clone(&retired.link)).collect();
        retired.iter().for_each(|link| link.on_tick());
        self.retired.borrow_mut().retain(|Retired { link, .. }| {
            let is_done = link.is_done() || link.is_for_nobody() && link.may_be_left();
            if is_done {
                link.note_abandoned();
                link.close();
            }
            !is_done
        });
        let in_vain = !self.shared().is_stuck();
        let mut successor = self.successor.borrow_mut();
        if successor.as_ref().is_some_and(|link| link.phase() == Phase::Closed) {
            self.failed_at.set(Some(clock::now()));
        }
        successor.take_if(|link| link.phase() == Phase::Closed || in_vain && link.phase() == Phase::Ready)
    }

    pub(super) fn wake(&self) {
        let (retired, successor) = (self.retired.borrow(), self.successor.borrow());
        let retired = retired.iter().map(|retired| &retired.link);
        std::iter::once(&*self.shared.borrow()).chain(retired).chain(&*successor).for_each(|link| link.wake());
    }

    pub(super) fn close(&self) {
        self.shared().close();
        self.retired
            .borrow_mut()
            .drain(..)
            .map(|retired| retired.link)
            .chain(self.successor.take())
            .for_each(|link| link.close());
    }
}
