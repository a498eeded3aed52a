//! The connection that a client's commands use.

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;

use crate::net::upstream::connection::Link;
use crate::net::upstream::lane::Lane;

/// A client's lane, and the connection that its replies come from: its lane's, or one that it has alone.
pub(super) struct ClientLane {
    pub(super) link: RefCell<Rc<Link>>,
    pub(super) lane: RefCell<Rc<Lane>>,
    /// The client was brought to another connection.
    pub(super) moved: Cell<bool>,
}

impl ClientLane {
    /// That of a client which has just connected.
    pub(super) fn over(lane: &Rc<Lane>) -> ClientLane {
        ClientLane { link: RefCell::new(lane.shared()), lane: RefCell::new(Rc::clone(lane)), moved: Cell::new(false) }
    }

    /// What is owed to the client comes over this connection.
    pub(super) fn move_to(&self, link: &Rc<Link>) {
        self.link.replace(Rc::clone(link));
        self.moved.set(true);
    }

    #[inline]
    pub(super) fn link(&self) -> Ref<'_, Rc<Link>> {
        self.link.borrow()
    }

    #[inline]
    pub(super) fn lane(&self) -> Ref<'_, Rc<Lane>> {
        self.lane.borrow()
    }
}
