//! The connection that a lane's clients share, and its replacement while a large or unread reply blocks it.
//!
//! What is owed on the old one is still answered there, and who is owed something stays: only clients to whom nothing is
//! owed go on over the new one. The old one is closed when nothing is left to do on it, or takes its place back when the
//! new one is stuck in turn.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Recipient;
use super::connection::{Link, LoginValidity, Phase};
use super::lane::{Lane, Reserved};
use crate::net::clock;
use respguard_engine::link::handshake::OrphanedConnection;

/// So many are being opened together at most.
const OPENING_MAX: usize = 16;
/// So many readers share one that is opened for them, as long as there is but one reply known that is large.
const READERS: usize = 8;
/// Behind an attempt to open another one that has failed.
const OPEN_PAUSE: Duration = Duration::from_secs(1);

/// The shared connection of one lane, with those that it has replaced.
pub(super) struct SharedConnection {
    shared: RefCell<Rc<Link>>,
    /// Each takes the room of a lease: it is its clients' own until they have what they are owed.
    retired: RefCell<Vec<Retired>>,
    /// Those that are being opened, to take the place of the shared one or for reads that wait.
    opening: RefCell<Vec<Rc<Link>>>,
    failed_at: Cell<Option<Instant>>,
}

/// A connection that was replaced, and its room among the leases.
struct Retired {
    link: Rc<Link>,
    _room: Reserved,
}

/// How many of so many readers that wait go over one connection: where several replies are large, each may be.
fn share(link: &Link, readers: usize) -> usize {
    let connections = if link.is_paced() { OPENING_MAX } else { (readers / READERS).clamp(1, OPENING_MAX) };
    readers.div_ceil(connections).max(1)
}

impl SharedConnection {
    pub(super) fn new(shared: Rc<Link>) -> SharedConnection {
        SharedConnection {
            shared: RefCell::new(shared),
            retired: RefCell::default(),
            opening: RefCell::default(),
            failed_at: Cell::new(None),
        }
    }

    pub(super) fn shared(&self) -> Rc<Link> {
        Rc::clone(&self.shared.borrow())
    }

    /// Looks at the connections on which clients may be owed something: the shared one first.
    fn look<R>(&self, look: impl FnOnce(&mut dyn Iterator<Item = &Rc<Link>>) -> R) -> R {
        let (shared, retired) = (self.shared.borrow(), self.retired.borrow());
        look(&mut std::iter::once(&*shared).chain(retired.iter().map(|retired| &retired.link)))
    }

    /// The one on which this recipient is owed something: what it sends over another would overtake that. Else the shared one.
    pub(super) fn shared_for(&self, who: &Rc<dyn Recipient>) -> Rc<Link> {
        let retired = self.retired.borrow();
        let mut links = retired.iter().map(|retired| &retired.link);
        if let Some(own) = links.find(|link| link.phase() == Phase::Ready && link.owes(who)) {
            return Rc::clone(own);
        }
        let shared = self.shared();
        // What was lost with one of them must not come behind what is sent now.
        retired.iter().for_each(|retired| retired.link.give_orphans_to(&shared));
        shared
    }

    /// What is under way on them, or was lost with them, may still be read by a server after they were closed.
    pub(super) fn abandon(&self) -> Vec<OrphanedConnection> {
        let mut left = self.orphans();
        self.look(|links| left.extend(links.filter_map(|link| link.orphan())));
        self.close();
        left
    }

    /// Connections that were lost and have not been ended yet, on any that a client may come from.
    pub(super) fn orphans(&self) -> Vec<OrphanedConnection> {
        self.look(|links| links.flat_map(|link| link.orphans()).collect())
    }

    /// Whether the clients of the lane may go on.
    pub(super) fn is_revoked(&self) -> bool {
        self.look(|links| links.map(|link| link.login_validity()).any(|validity| validity == LoginValidity::Revoked))
    }

    /// Looks whether the head of the shared one keeps others waiting; true while it has to be looked at again.
    pub(super) fn look_at_heads(&self) -> bool {
        self.look(|links| links.fold(false, |owed, link| link.look_at_head() | owed))
    }

    /// One whose head does not move: what the server does not let pass may as well wait there.
    pub(super) fn still(&self) -> Option<Rc<Link>> {
        let retired = self.retired.borrow();
        let still = |link: &&Rc<Link>| link.is_still() && link.may_be_left() && link.phase() == Phase::Ready;
        retired.iter().map(|retired| &retired.link).find(still).cloned()
    }

    /// The shortest time, but no less than `least`, that one of them has been silent although it owes something.
    pub(super) fn waits_for(&self, least: Duration) -> Option<Duration> {
        self.look(|links| links.filter_map(|link| link.waits_for(least)).min())
    }

    /// Asks the lane of others about those of which it is not sure that they may go on.
    pub(super) fn resolve_doubt(&self, others: &Link) {
        self.look(|links| links.for_each(|link| link.resolve_doubt(others)));
    }

    /// Puts another connection in the place of one that is stuck: an idle one, or one that begins to open, when
    /// that is there; it opens none where there are too many.
    pub(super) fn replace_stuck(&self, lane: &Lane) {
        let stuck = self.shared();
        if !stuck.is_stuck() || !stuck.may_be_left() {
            return;
        }
        let next = match self.returning() {
            Some(retired) => Some((retired.link, retired._room)),
            None => lane.reserve().and_then(|room| Some((self.fresh(lane, 1)?, room))),
        };
        let Some((next, room)) = next else { return };
        next.share();
        if stuck.represents_server() {
            next.represent_server();
        }
        stuck.retire();
        self.shared.replace(Rc::clone(&next));
        // What is read behind what the server does not let pass is answered at once. Behind a reply that is large others
        // may be large, too: they are in nobody's way elsewhere.
        if stuck.is_still() {
            stuck.hand_reads_to(&next, usize::MAX);
        }
        self.retired.borrow_mut().push(Retired { link: stuck, _room: room });
    }

    /// Reads that wait behind a reply that is large or not taken go over connections that are opened for them alone, as
    /// many as there is room for.
    pub(super) fn relieve(&self, lane: &Lane) {
        let waiting: Vec<_> = {
            let retired = self.retired.borrow();
            retired.iter().map(|retired| (Rc::clone(&retired.link), retired.link.waiting_readers())).collect()
        };
        let wanted = waiting.iter().map(|(link, readers)| readers.div_ceil(share(link, *readers))).sum::<usize>();
        for (link, readers) in waiting {
            link.set_hands_on(readers > 0);
            let mut left = readers;
            while left > 0 {
                let next = lane.reserve().and_then(|room| Some((self.fresh(lane, wanted)?, room)));
                let Some((next, room)) = next else {
                    // If none is being opened there will be none soon.
                    link.set_hands_on(!self.opening.borrow().is_empty());
                    break;
                };
                next.share();
                next.retire();
                next.pace();
                let most = share(&link, readers);
                link.hand_reads_to(&next, most);
                left = left.saturating_sub(most);
                self.retired.borrow_mut().push(Retired { link: next, _room: room });
            }
        }
    }

    /// One that was replaced has become a client's own.
    pub(super) fn forget(&self, link: &Rc<Link>) {
        self.retired.borrow_mut().retain(|retired| !Rc::ptr_eq(&retired.link, link));
    }

    /// One that was replaced and goes on again.
    fn returning(&self) -> Option<Retired> {
        let mut retired = self.retired.borrow_mut();
        let goes_on = |link: &Link| !link.is_stuck() && !link.is_paced() && link.may_be_left() && link.phase() == Phase::Ready;
        let at = retired.iter().position(|retired| goes_on(&retired.link))?;
        Some(retired.swap_remove(at))
    }

    /// One that is there; if there is none, up to `most` are being opened.
    fn fresh(&self, lane: &Lane, most: usize) -> Option<Rc<Link>> {
        let mut opening = self.opening.borrow_mut();
        if let Some(at) = opening.iter().position(|link| link.phase() == Phase::Ready) {
            return Some(opening.swap_remove(at));
        }
        if let Some(link) = lane.idle_lease() {
            return Some(link);
        }
        let failed = self.failed_at.get().map(|at| clock::now().saturating_duration_since(at));
        if failed.is_none_or(|since| since >= OPEN_PAUSE) {
            let more = most.min(OPENING_MAX).saturating_sub(opening.len());
            opening.extend(std::iter::from_fn(|| lane.open(Vec::new()).ok()).take(more));
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
        let mut opening = self.opening.borrow_mut();
        if opening.iter().any(|link| link.phase() == Phase::Closed) {
            self.failed_at.set(Some(clock::now()));
        }
        opening.retain(|link| link.phase() != Phase::Closed);
        let at = opening.iter().position(|link| in_vain && link.phase() == Phase::Ready)?;
        Some(opening.swap_remove(at))
    }

    pub(super) fn wake(&self) {
        self.look(|links| links.for_each(|link| link.wake()));
        self.opening.borrow().iter().for_each(|link| link.wake());
    }

    pub(super) fn close(&self) {
        self.shared().close();
        self.retired.borrow_mut().drain(..).map(|retired| retired.link).chain(self.opening.take()).for_each(|link| link.close());
    }
}
