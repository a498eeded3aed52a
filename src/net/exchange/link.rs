//! Brings a client's commands to another connection: of another lane, or because the one that they use is stuck.

use std::cell::Ref;
use std::rc::Rc;

use super::Exchange;
use crate::net::upstream::connection::Link;
use crate::net::upstream::lane::Lane;

impl Exchange {
    /// The client's lane.
    pub fn lane(&self) -> Rc<Lane> {
        Rc::clone(&self.client_lane.lane())
    }

    /// The client moves to another lane, onto its shared connection.
    pub fn set_lane(&self, lane: &Rc<Lane>) {
        self.client_lane.lane.replace(Rc::clone(lane));
        self.set_link(&lane.shared());
    }

    /// The connection that the client's commands go to.
    pub fn link(&self) -> Rc<Link> {
        Rc::clone(&self.client_lane.link())
    }

    /// The client's commands go to this connection from now on; nothing may be owed on the old one.
    pub fn set_link(&self, link: &Rc<Link>) {
        self.client_lane.link.replace(Rc::clone(link));
    }

    /// The connection and the lane as they are now; neither can change as long as these are held.
    pub fn link_and_lane(&self) -> (Ref<'_, Rc<Link>>, Ref<'_, Rc<Lane>>) {
        (self.client_lane.link(), self.client_lane.lane())
    }

    /// True when its server wants a password, and the lane gives it none.
    pub fn wants_password(&self) -> bool {
        self.client_lane.link().wants_password() && self.client_lane.lane().key.login.is_none()
    }

    /// False while too much waits to be written to that.
    pub fn link_has_room(&self, bytes: usize) -> bool {
        self.client_lane.link().has_room(bytes)
    }

    /// The connection that the client has is stuck, or it was brought to another one: [`Self::leave_stuck`] has to look.
    #[inline]
    pub fn may_be_stuck(&self) -> bool {
        self.client_lane.moved.get() || self.is_on_stuck_link()
    }

    #[inline]
    fn is_on_stuck_link(&self) -> bool {
        let link = self.client_lane.link();
        link.is_retired() || link.is_stuck()
    }

    /// A client that is owed nothing leaves a shared connection that is stuck, if there is another one; true if so.
    pub fn leave_stuck(&self) -> bool {
        let leaves = self.is_on_stuck_link() && self.leave();
        self.client_lane.moved.take() || leaves
    }

    #[cold]
    fn leave(&self) -> bool {
        let is_free = {
            let state = self.state.borrow();
            // The fence: on at most one connection there is something that is owed to the client.
            !state.session.affinity.is_pinned() && !state.slots.is_under_way()
        };
        if !is_free {
            return false;
        }
        let (link, lane) = (self.link(), self.lane());
        lane.replace_stuck();
        let leaves = link.is_retired() && link.may_be_left();
        if leaves {
            self.set_link(&lane.shared());
        }
        leaves
    }

    /// A client that is owed nothing goes to this connection of its lane.
    pub fn go_to(&self, link: &Rc<Link>) {
        if !self.state.borrow().slots.is_under_way() {
            self.set_link(link);
        }
    }

    /// True while the client's replies are stuck on a connection that others have left, and nobody else is owed anything there.
    pub fn is_stuck_alone(&self) -> bool {
        self.client_lane.link().is_stuck_alone()
    }
}
