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

    /// Takes back the place of a group that is done.
    pub(super) fn give(&self, mut place: Box<GroupSlot>) {
        let mut kept = self.0.borrow_mut();
        if kept.len() < KEPT_MAX {
            place.empty();
            kept.push(place);
        }
    }

    /// Lets go of all that nobody needs now.
    pub fn trim(&self) {
        self.0.take();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::command::CommandId;
    use crate::pipeline::group::WrappedGroup;
    use crate::policy::Group;

    #[test]
    fn a_place_is_kept_without_the_memory_that_its_group_had_beside_it() {
        let (pool, many) = (GroupPool::default(), vec![CommandId::UNKNOWN; 100]);
        let group = WrappedGroup::new(0, Arc::new(Group::alone(&"rule".into())), many);
        let slot = GroupSlot { group, apart: Some(Box::default()), replies: b"+OK\r\n".to_vec() };
        assert!(!slot.is_small());
        pool.give(Box::new(slot));
        assert!(pool.0.borrow().iter().all(|place| place.is_small()));
        assert_eq!(pool.0.borrow().len(), 1);
    }
}
