//! One connection to the cluster, with whom it is for, and whom it sends to.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::{Context, Waker};
use std::time::Instant;

use super::entry::{Kind, Lease};
use super::late::LateReplies;
use super::nodes::Nodes;
use super::settings::NodeName;
use super::state::State;
use super::subscriptions::Subscriptions;
use crate::net::upstream::Recipient;
use crate::net::upstream::connection::Link;
use crate::net::upstream::lane::{Lane, LaneKey, NoLease};

/// One connection: its recipients, and what is under way.
pub(super) struct Core {
    pub(super) me: Weak<Core>,
    pub(super) nodes: Rc<Nodes>,
    /// As whom, and in which protocol, it sends.
    pub(super) key: RefCell<LaneKey>,
    /// What is about no key goes to this one of the nodes,
    pub(super) home: usize,
    /// and that is this one, as long as it is there.
    home_node: RefCell<Option<NodeName>>,
    /// Why the last one that needed a connection of its own has none.
    pub(super) no_lease: Cell<Option<NoLease>>,
    pub(super) state: RefCell<State>,
    waker: RefCell<Option<Waker>>,
    /// Something has come since `flush`.
    pub(super) is_touched: Cell<bool>,
    pub(super) late: LateReplies<Rc<dyn Recipient>>,
    /// Something may be sent that could not before.
    pub(super) has_news: Cell<bool>,
    pub(super) has_left: Cell<bool>,
    /// What waits for room is to be refused it.
    pub(super) is_room_refused: Cell<bool>,
    /// What the worker's sum knows of what is kept here.
    pub(super) kept: Cell<usize>,
    /// Since when what has come waits for what follows it.
    pub(super) waits_since: Cell<Option<Instant>>,
    /// It stands among those of whom something may wait.
    pub(super) is_listed: Cell<bool>,
    pub(super) behind_since: Cell<Option<Instant>>,
    /// The nodes' connections that it has sent on.
    links: RefCell<Vec<Weak<Link>>>,
    /// The link that reads it.
    pub(super) reader: RefCell<Weak<Link>>,
}

impl Core {
    pub(super) fn new(nodes: &Rc<Nodes>, key: LaneKey) -> Rc<Core> {
        Rc::new_cyclic(|me| Core {
            me: Weak::clone(me),
            nodes: Rc::clone(nodes),
            key: RefCell::new(key),
            home: fastrand::usize(..),
            home_node: RefCell::default(),
            no_lease: Cell::new(None),
            state: RefCell::new(State::new()),
            waker: RefCell::default(),
            is_touched: Cell::new(false),
            late: LateReplies::default(),
            has_news: Cell::new(false),
            has_left: Cell::new(false),
            is_room_refused: Cell::new(false),
            kept: Cell::new(0),
            waits_since: Cell::new(None),
            is_listed: Cell::new(false),
            behind_since: Cell::new(None),
            links: RefCell::default(),
            reader: RefCell::default(),
        })
    }

    /// The task is woken when there is something to read, or room.
    pub(super) fn listen(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// What is kept here counts among what is kept for all clients, but for the little that each may have.
    pub(super) fn note_kept(&self) {
        let state = self.state.borrow();
        let bytes = if state.is_little() { 0 } else { state.kept_bytes() };
        if bytes != self.kept.get() {
            self.nodes.context.kept.change(&self.kept, bytes);
        }
    }

    /// Something is sent on this connection.
    pub(super) fn note_link(&self, link: &Rc<Link>) {
        let mut links = self.links.borrow_mut();
        if !links.iter().any(|known| known.as_ptr() == Rc::as_ptr(link)) {
            links.retain(|known| known.strong_count() > 0);
            links.push(Rc::downgrade(link));
        }
    }

    /// So much was read that the nodes are read from again.
    pub(super) fn let_through(&self, state: &State) {
        if self.behind_since.get().is_some() && !state.is_behind() {
            self.behind_since.set(None);
            self.wake_nodes();
        }
    }

    /// The connections to nodes that it has sent something on look whether they may go on.
    fn wake_nodes(&self) {
        self.links.borrow().iter().filter_map(Weak::upgrade).for_each(|link| link.wake());
    }

    /// Something may be sent that could not before.
    pub(super) fn has_unsent(&self) -> bool {
        let state = self.state.borrow();
        let is_settled = |subscriptions: &Subscriptions| subscriptions.is_settled(self.nodes.version());
        state.has_unsent() || !state.returning.is_empty() || !state.subscriptions.as_deref().is_none_or(is_settled)
    }

    /// The node for what is about no key.
    pub(super) fn home_node(&self) -> Option<NodeName> {
        let mut home = self.home_node.borrow_mut();
        if !home.as_ref().is_some_and(|node| self.nodes.is_there(node)) {
            *home = self.nodes.home(self.home);
        }
        home.clone()
    }

    /// A connection that nobody shares.
    pub(super) fn lease(&self, lane: &Lane) -> Option<Rc<Link>> {
        let lease = lane.lease();
        self.no_lease.set(lease.as_ref().err().copied());
        lease.ok()
    }

    /// The server takes its user no more. All that is under way is lost with it, and of each group it is known over which
    /// connection: whether it has run can be found out.
    pub(super) fn close(&self) {
        let state = &mut *self.state.borrow_mut();
        if !state.is_closed {
            state.queue_simple();
            self.note_lost_groups(state);
            state.lose_all();
            state.is_closed = true;
        }
        self.wake();
    }

    fn note_lost_groups(&self, state: &State) {
        for entry in &state.queue {
            if let Kind::Atomic(atomic) = &entry.kind
                && let Some((connection, node)) = atomic.orphan.as_ref().zip(entry.sent_to.as_ref())
            {
                self.nodes.lost.note(connection, node);
            }
        }
    }

    /// The client has gone.
    pub(super) fn leave(&self) {
        self.has_left.set(true);
        if self.behind_since.take().is_some() {
            // Nothing stops for it any more.
            self.wake_nodes();
        }
        self.nodes.context.kept.change(&self.kept, 0);
        let mut state = self.state.borrow_mut();
        let mut leases: Vec<(Lease, bool)> = state.returning.drain(..).collect();
        leases.extend(state.watch.take().map(|watch| (watch.lease, false)));
        state.streams.clear();
        let subscriptions = state.subscriptions.take();
        leases.extend(subscriptions.into_iter().flat_map(|mut all| all.close().collect::<Vec<_>>()).map(|lease| (lease, false)));
        for entry in &mut state.queue {
            match &mut entry.kind {
                Kind::Blocking(lease) => leases.extend(lease.take().map(|lease| (lease, false))),
                Kind::Atomic(atomic) => leases.extend(atomic.end_portion().map(|lease| (lease, false))),
                Kind::Gather(gather) => {
                    let taken = gather.parts.iter_mut().filter_map(|part| part.lease.take());
                    leases.extend(taken.map(|lease| (lease, false)));
                }
                _ => {}
            }
        }
        drop(state);
        for (lease, is_clean) in leases {
            lease.lane.give_back(&lease.link, is_clean);
        }
    }
}
