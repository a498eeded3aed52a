//! Memory for groups under way, which the clients of a worker share: one is needed for each group, and an allocator takes as
//! long for it as for the rest of the place.

use std::cell::RefCell;

use super::slot::GroupSlot;

/// Places that are kept while no group needs them.
const KEPT_MAX: usize = 256;

/// The places of groups that have been answered.
#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "the boxes are what is kept")]
pub struct GroupPool(RefCell<Vec<Box<GroupSlot>>>);

impl GroupPool {
    /// A place for this group.
    pub(super) fn place(&self, slot: GroupSlot) -> Box<GroupSlot> {
        match self.0.borrow_mut().pop() {
            Some(mut place) => {
                *place = slot;
                place
            }
            None => Box::new(slot),
        }
    }

    /// Takes back the place of a group that is done, unless it keeps memory of its own.
    pub(super) fn give(&self, place: Box<GroupSlot>) {
        let mut kept = self.0.borrow_mut();
        if kept.len() < KEPT_MAX && place.is_small() {
            kept.push(place);
        }
    }

    /// Lets go of all that nobody needs now.
    pub fn trim(&self) {
        self.0.take();
    }
}
