//! What prevents an assembled transaction from being sent.

use std::collections::HashMap;
use std::ops::Range;

use super::{BYTES_MAX, Before, Built, COMMANDS_MAX};
use crate::command::Unblocks;
use crate::pipeline::plan::Planner;
use crate::pipeline::plan::SplitReason;
use crate::policy::Atomic;

/// What keeps a transaction from being sent so.
pub(super) struct Flaw {
    /// The gathered groups that stay out.
    pub(super) groups: Vec<usize>,
    pub(super) why: SplitReason,
    /// Where it must end.
    pub(super) end: Option<usize>,
}

impl Planner<'_> {
    /// Why the transaction cannot be sent so, if it cannot.
    pub(super) fn flaw(&self, at: usize, built: &Built, before: Before) -> Option<Flaw> {
        let bytes = |end: usize| self.batch.wire(at..end).len();
        if built.end - at > COMMANDS_MAX || bytes(built.end) > BYTES_MAX {
            let most = built.end.min(at + COMMANDS_MAX);
            let most = (at + 2..=most).rev().find(|end| bytes(*end) <= BYTES_MAX).unwrap_or(at + 1);
            let end = self.least_open(at + 1..most + 1, before)?;
            let groups = self.open_at(end, before).collect();
            return Some(Flaw { groups, why: SplitReason::TooMuch, end: Some(end) });
        }
        let mut is_once = false;
        for place in before.gathered..self.plan.gathered.len() {
            let gathered = &self.plan.gathered[place];
            let rule = self.group(gathered.group);
            let members = &self.plan.members[gathered.members.clone()];
            if gathered.whole && self.passes_crossed(gathered.group, members) {
                return Some(Flaw { groups: vec![place], why: SplitReason::CrossSlot, end: None });
            }
            let carried = (at..built.end).filter(|&other| !self.is_answered(other) && !self.is_elsewhere(at, other));
            if rule.atomic == Atomic::Rollback && gathered.members.len() != carried.count() {
                return Some(Flaw { groups: vec![place], why: SplitReason::RolledBack, end: None });
            }
            if rule.once.is_some() && std::mem::replace(&mut is_once, true) {
                return Some(Flaw { groups: vec![place], why: SplitReason::Once, end: None });
            }
        }
        let cut = self.read_behind_push(at..built.end)?;
        let end = self.least_open(cut, before)?;
        let groups: Vec<_> = self.open_at(end, before).collect();
        (!groups.is_empty()).then_some(Flaw { groups, why: SplitReason::Pushed, end: None })
    }

    /// The groups of which members stand before and behind the cut.
    fn open_at(&self, cut: usize, before: Before) -> impl Iterator<Item = usize> + '_ {
        (before.gathered..self.plan.gathered.len()).filter(move |&place| {
            let gathered = &self.plan.gathered[place];
            let members = &self.plan.members[gathered.members.clone()];
            let is_open = !gathered.whole || members.last().is_some_and(|&last| last >= cut);
            is_open && members.first().is_some_and(|&first| first < cut)
        })
    }

    /// The cut at which the fewest groups are open, the last of several.
    fn least_open(&self, cuts: Range<usize>, before: Before) -> Option<usize> {
        cuts.rev().min_by_key(|&cut| self.open_at(cut, before).count())
    }

    /// Between which commands the first must be cut of which one reads what another has pushed: a client that blocks on the
    /// key would have been served in between. Members of one group are meant to be together.
    fn read_behind_push(&self, commands: Range<usize>) -> Option<Range<usize>> {
        let mut pushed: HashMap<&[u8], usize> = HashMap::new();
        let mut anything: Option<usize> = None;
        let is_apart = |one: usize, other: usize| self.mark(one) == 0 || self.mark(one) != self.mark(other);
        let first = commands.start;
        for at in commands.filter(|&at| !self.is_answered(at) && !self.is_elsewhere(first, at)) {
            let (spec, args) = (self.spec(at), self.args(at));
            let (unblocks, mut read) = (spec.unblocks(), None);
            if unblocks != Unblocks::ByPush && !spec.touches_nothing(args) && !matches!(spec.name(), "publish" | "spublish") {
                read = anything.filter(|&push| spec.sees_queues() && is_apart(push, at));
                if spec.is_plain_keyed(args) {
                    spec.for_each_key(args, &mut |place, _| {
                        let push = args.get(place).and_then(|key| pushed.get(key)).copied();
                        read = read.or(push.filter(|&push| is_apart(push, at)));
                    });
                } else {
                    read = read.or_else(|| pushed.values().copied().filter(|&push| is_apart(push, at)).max());
                }
            }
            if let Some(push) = read {
                return Some(push + 1..at + 1);
            }
            match unblocks {
                Unblocks::Nothing => {}
                Unblocks::ByPush | Unblocks::Keys => {
                    spec.for_each_key(args, &mut |place, _| pushed.extend(args.get(place).map(|key| (key, at))));
                }
                Unblocks::Anything => anything = Some(at),
            }
        }
        None
    }
}
