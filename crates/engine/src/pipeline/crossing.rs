//! Groups on a cluster: only keys of one slot can be written together.

use super::plan::Planner;
use super::refusal::Crossing;
use crate::policy::rule::OnCrossSlot;
use crate::route::slots::key_slot;

/// What a command's keys have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    /// It names no key.
    None,
    One(u16),
    Several,
}

impl Planner<'_> {
    /// The first of these commands with a key of another slot, before a cluster.
    pub(super) fn crossing(&self, members: &[usize]) -> Option<Crossing> {
        if !self.rules.slots {
            return None;
        }
        let mut known = None;
        for (member, &at) in members.iter().enumerate() {
            let mut crossing = None;
            self.each_slot(at, &mut |slot| {
                let before = *known.get_or_insert(slot);
                if slot != before {
                    crossing = crossing.or(Some(Crossing { member, slot, before }));
                }
            });
            if crossing.is_some() {
                return crossing;
            }
        }
        None
    }

    /// Whether the group goes out without its transaction because of that.
    pub(super) fn passes_crossed(&self, group: usize, members: &[usize]) -> bool {
        self.group(group).on_cross_slot == OnCrossSlot::Observe && self.crossing(members).is_some()
    }

    pub(super) fn slot(&self, at: usize) -> Slot {
        let mut found = Slot::None;
        self.each_slot(at, &mut |slot| {
            found = match found {
                Slot::None => Slot::One(slot),
                Slot::One(known) if known == slot => found,
                _ => Slot::Several,
            };
        });
        found
    }

    /// Whether the commands have no order with each other: their keys are of different slots.
    pub(super) fn is_elsewhere(&self, first: usize, at: usize) -> bool {
        self.rules.slots && matches!((self.slot(first), self.slot(at)), (Slot::One(one), Slot::One(other)) if one != other)
    }

    /// Whether a command is about several slots, or about every node.
    pub(super) fn concerns_other_slots(&self, at: usize) -> bool {
        self.rules.slots
            && match self.slot(at) {
                Slot::One(_) => false,
                Slot::Several => true,
                Slot::None => !self.spec(at).touches_nothing(self.args(at)),
            }
    }

    /// Whether a key of the command has a slot whose node is not there.
    pub(super) fn is_unserved(&self, at: usize) -> bool {
        let Some(unserved) = self.rules.unserved else { return false };
        let mut found = false;
        self.each_slot(at, &mut |slot| found |= unserved.contains(slot));
        found
    }

    /// Of the commands those that a transaction can have that begins with the first which has a key of a group: commands of
    /// other slots have no order with them.
    pub(super) fn of_one_slot(&self, commands: Vec<usize>) -> Vec<usize> {
        if !self.rules.slots {
            return commands;
        }
        let grouped = commands.iter().filter(|at| self.is_claimed(**at)).map(|at| self.slot(*at));
        let Some(first) = grouped.into_iter().find(|slot| *slot != Slot::None) else { return commands };
        commands.into_iter().filter(|at| [first, Slot::None].contains(&self.slot(*at))).collect()
    }

    fn each_slot(&self, at: usize, visit: &mut dyn FnMut(u16)) {
        let args = self.args(at);
        self.spec(at).for_each_key(args, &mut |place, _| {
            if let Some(key) = args.get(place) {
                visit(key_slot(key));
            }
        });
    }
}
