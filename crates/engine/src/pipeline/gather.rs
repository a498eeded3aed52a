//! Gathers the members of a group that are not adjacent.
//!
//! Callers that share one connection get between each other's commands. A group whose members are apart goes out where
//! its last member stands: the members before it go past what stands between them. That is allowed only where nobody
//! can tell: what stands between is about other keys and nothing else.

use std::collections::HashSet;

use super::plan::{Gathered, Note, Planner, SplitReason};
use crate::command::Spec;
use crate::policy::Recognition;
use respguard_resp::request::Args;

/// How far behind the first member of a group the others are looked for.
const WINDOW: usize = 256;
/// Commands that one plan may look at for members that are apart, for each command that it plans.
const LOOKS_PER_COMMAND: usize = 32;

/// Up to so many arguments each key is compared with each of the other command; two longer commands would take too long.
const FEW_ARGUMENTS: usize = 16;

/// The mark of a command that has been answered, and is in no group any more.
pub(super) const ANSWERED: u32 = u32::MAX;

/// What has been found of one group so far.
pub(super) struct Search {
    pub(super) group: usize,
    /// Where its members begin in `Plan::members`.
    pub(super) first: usize,
    /// Of how many members a whole group was seen; 0: of none.
    pub(super) whole: usize,
    /// More members may come.
    pub(super) open: bool,
    /// Something stands between the members, or behind them.
    apart: bool,
    pub(super) obstacle: Option<SplitReason>,
    /// What has ended the search for members that are optional.
    ended_by: Option<SplitReason>,
    /// Up to which command it goes.
    limit: usize,
    /// Where nothing changes places: how many groups had been gathered before those of this transaction.
    carried: Option<usize>,
}

impl Search {
    pub(super) fn new(group: usize, first: usize, whole: usize, limit: usize) -> Search {
        Search { group, first, whole, open: true, apart: false, obstacle: None, ended_by: None, limit, carried: None }
    }

    /// What stands between the members goes with them; so many groups were gathered before this transaction.
    pub(super) fn carrying(self, gathered: usize) -> Search {
        Search { carried: Some(gathered), ..self }
    }
}

impl Planner<'_> {
    /// Whether the group is one whose members may stand apart: it goes out as a transaction, and is no mere run.
    pub(super) fn may_be_apart(&self, group: usize) -> bool {
        self.rules.transactions && !self.is_observed(group) && !self.group(group).is_run()
    }

    /// Looks for the other members of the group that begins at `at`; true when its members are claimed, because it is
    /// whole or because it waits for the rest.
    pub(super) fn gather(&mut self, at: usize) -> bool {
        let Some((group, whole)) = self.begins_group(at) else { return false };
        let first = self.plan.members.len();
        self.plan.members.push(at);
        let mut search = Search::new(group, first, whole, self.batch.len().min(at + WINDOW));
        let to_the_end = self.search(&mut search, at);
        if !self.may_be_apart(search.group) {
            self.plan.members.truncate(first);
            return false;
        }
        let behind = search.obstacle.is_none() && to_the_end;
        let awaits_more = search.open && self.more && to_the_end && !self.has_overdue_member(&search);
        if search.whole > 1 && search.obstacle.is_none() && self.passes_crossed(search.group, &self.plan.members[first..]) {
            search.obstacle = Some(SplitReason::CrossSlot);
        }
        if search.whole > 1 && search.obstacle.is_none() && !awaits_more {
            self.plan.members.truncate(first + search.whole);
            self.claim_all(&search, true);
            self.note_left_out(&mut search, at);
            return true;
        }
        if behind && self.may_wait(&search) {
            if self.batch.held(at).is_none() {
                self.plan.notes.push(Note::Held { group: search.group, members: self.plan.members.len() - first });
            }
            self.claim_all(&search, false);
            return true;
        }
        self.note_passing(at, &search);
        false
    }

    /// Whether members that are optional follow a group that is whole behind other commands: all of it is claimed then. What
    /// is still to be read is not waited for.
    pub(super) fn gather_trailing(&mut self, at: usize, group: usize, members: usize) -> bool {
        if !self.may_be_apart(group) || !self.group(group).may_go_on_behind(members) || self.looks_left < members {
            return false;
        }
        let first = self.plan.members.len();
        self.plan.members.push(at);
        let mut search = Search::new(group, first, 0, self.batch.len().min(at + WINDOW));
        self.search(&mut search, at);
        let crosses = self.passes_crossed(search.group, &self.plan.members[first..]);
        let found = search.group == group && search.whole > members && !crosses;
        if found {
            self.plan.members.truncate(first + search.whole);
            self.claim_all(&search, true);
        } else {
            let is_whole = search.group == group && search.whole == members;
            let left_out = is_whole && self.note_left_out(&mut search, at);
            self.plan.members.truncate(if left_out { self.plan.members.len() } else { first });
        }
        found
    }

    /// Tells of a member that is optional and stays outside, because it cannot change places with what stands before it;
    /// true when there is one.
    pub(super) fn note_left_out(&mut self, search: &mut Search, at: usize) -> bool {
        let Some(why) = search.ended_by else { return false };
        let behind = self.plan.members.last().map_or(at, |last| last + 1);
        let end = self.batch.len().min(at + WINDOW).min(behind + self.looks_left);
        self.looks_left -= end.saturating_sub(behind);
        let Some(next) = (behind..end).find(|&next| self.continues(search, next)) else { return false };
        self.plan.members.push(next);
        let members = search.first..self.plan.members.len();
        self.plan.notes.push(Note::LeftOut { group: search.group, members, why });
        true
    }

    /// The group that the command at `at` alone can begin, and whether it is whole with that one member.
    pub(super) fn begins_group(&self, at: usize) -> Option<(usize, usize)> {
        match self.rules.policy.recognise(self.rules.table, &mut |i| (i == 0).then(|| self.member(at))) {
            Recognition::Prefix { group, hold: true, .. } => Some((group, 0)),
            Recognition::Whole { group, members, open: true } => Some((group, members)),
            _ => None,
        }
    }

    /// Follows the group; true when everything that was read has been looked at.
    pub(super) fn search(&mut self, search: &mut Search, at: usize) -> bool {
        let end = search.limit;
        for next in at + 1..end {
            if self.looks_left == 0 {
                return false;
            }
            self.looks_left -= 1;
            if self.continues(search, next) {
                self.plan.members.push(next);
                if !search.open {
                    return true;
                }
                continue;
            }
            search.apart = true;
            if search.obstacle.is_none() {
                let obstacle = match search.carried {
                    Some(gathered) => self.obstacle_to_carrying(gathered, next),
                    None => self.obstacle(search.first, next),
                };
                // What is whole already goes without the members that are optional.
                if obstacle.is_some() && search.whole > 1 {
                    (search.open, search.ended_by) = (false, obstacle);
                    return true;
                }
                search.obstacle = obstacle;
            }
        }
        end == self.batch.len()
    }

    /// Whether the command at `next` is the next member of the group.
    fn continues(&self, search: &mut Search, next: usize) -> bool {
        let policy = self.rules.policy;
        if self.is_claimed(next) || !policy.may_continue(self.batch.id(next)) {
            return false;
        }
        let members = &self.plan.members[search.first..];
        let found = policy.recognise(self.rules.table, &mut |i| match members.get(i) {
            Some(&at) => Some(self.member(at)),
            None => (i == members.len()).then(|| self.member(next)),
        });
        let count = members.len() + 1;
        match found {
            Recognition::Prefix { group, members, hold: true } if members == count => {
                search.group = group;
                true
            }
            Recognition::Whole { group, members, open } if members == count && !policy.groups()[group].is_run() => {
                (search.group, search.whole, search.open) = (group, count, open);
                true
            }
            _ => false,
        }
    }

    /// Why the members found so far cannot go past the command at `next`.
    fn obstacle(&self, first: usize, next: usize) -> Option<SplitReason> {
        let table = self.rules.table;
        let (spec, args) = (table.spec(self.batch.id(next)), self.args(next));
        if spec.touches_nothing(args) {
            return None;
        }
        if !spec.is_plain_keyed(args) {
            return Some(SplitReason::Command);
        }
        self.plan.members[first..].iter().find_map(|&member| {
            let (other, theirs) = (table.spec(self.batch.id(member)), self.args(member));
            if !other.is_plain_keyed(theirs) {
                return Some(SplitReason::Member);
            }
            have_a_key_in_common((spec, args), (other, theirs)).then_some(SplitReason::Key)
        })
    }

    pub(super) fn may_wait(&self, search: &Search) -> bool {
        let hold = &self.rules.hold;
        let held = search.whole == 0 && hold.willing && !hold.over && (hold.across || !search.apart);
        !self.has_overdue_member(search) && (self.more || held)
    }

    /// A member found so far has waited as long as it may. It need not be the first: what was sent in vain stands before what
    /// was read after it, and has waited longer than what is planned for the first time.
    fn has_overdue_member(&self, search: &Search) -> bool {
        self.plan.members[search.first..].iter().any(|&member| self.is_overdue(member))
    }

    /// A command from `at` on has waited as long as it may.
    pub(super) fn has_overdue_behind(&self, at: usize) -> bool {
        (at..self.batch.all_held().len()).any(|at| self.is_overdue(at))
    }

    fn is_overdue(&self, at: usize) -> bool {
        self.batch.held(at).is_some_and(|held| self.rules.hold.overdue.is_some_and(|overdue| held.since <= overdue))
    }

    /// The members pass one by one: tells it where somebody should know.
    pub(super) fn note_passing(&mut self, at: usize, search: &Search) {
        let (group, members) = (search.group, search.first..self.plan.members.len());
        let hold = &self.rules.hold;
        if self.batch.held(at).is_some_and(|held| held.begins) {
            // What is carried waits for all that it is carried by.
            let overdue = self.has_overdue_member(search) || search.carried.is_some() && self.has_overdue_behind(at);
            let expired = search.obstacle.is_none() && hold.willing && (hold.over || overdue);
            self.plan.notes.push(if expired {
                Note::Expired { group, members }
            } else {
                let is_cut = search.carried.is_some() && search.limit < self.batch.len();
                Note::Broken { group, members, why: search.obstacle.or(is_cut.then_some(SplitReason::TooMuch)) }
            });
        } else if let (Some(why), true) = (search.obstacle, search.whole > 1) {
            self.plan.notes.push(Note::Obstructed { group, members, why });
        } else {
            self.plan.members.truncate(search.first);
        }
    }

    pub(super) fn claim_all(&mut self, search: &Search, whole: bool) {
        let members = search.first..self.plan.members.len();
        self.plan.gathered.push(Gathered { group: search.group, members, whole });
        let mark = u32::try_from(self.plan.gathered.len()).unwrap_or(u32::MAX);
        self.plan.claims.resize(self.batch.len(), 0);
        for &at in &self.plan.members[search.first..] {
            self.plan.claims[at] = mark;
        }
    }

    /// The gathered group that the command belongs to.
    pub(super) fn claim(&self, at: usize) -> Option<&Gathered> {
        let mark = self.plan.claims.get(at).copied().unwrap_or(0);
        self.plan.gathered.get((mark as usize).checked_sub(1)?)
    }

    /// How many groups had been gathered when the one was that the command belongs to; 0 where it belongs to none.
    pub(super) fn mark(&self, at: usize) -> u32 {
        self.plan.claims.get(at).copied().unwrap_or(0)
    }

    /// The command has been answered.
    pub(super) fn mark_answered(&mut self, at: usize) {
        self.plan.claims.resize(self.batch.len(), 0);
        self.plan.claims[at] = ANSWERED;
    }

    pub(super) fn is_answered(&self, at: usize) -> bool {
        self.mark(at) == ANSWERED
    }

    pub(super) fn is_claimed(&self, at: usize) -> bool {
        self.plan.claims.get(at).is_some_and(|mark| *mark > 0)
    }
}

/// How many commands a plan of so many may look at for members that are apart.
pub(super) fn looks(commands: usize) -> usize {
    WINDOW + commands * LOOKS_PER_COMMAND
}

/// Whether two commands have a key in common.
fn have_a_key_in_common((one, args): (&Spec, Args<'_>), (other, theirs): (&Spec, Args<'_>)) -> bool {
    let mut shared = false;
    if args.len().min(theirs.len()) <= FEW_ARGUMENTS {
        one.for_each_key(args, &mut |place, _| shared |= names_key(other, theirs, args.get(place)));
    } else {
        let mut keys = HashSet::new();
        one.for_each_key(args, &mut |place, _| keys.extend(args.get(place)));
        other.for_each_key(theirs, &mut |place, _| shared |= theirs.get(place).is_some_and(|key| keys.contains(key)));
    }
    shared
}

fn names_key(spec: &Spec, args: Args<'_>, key: Option<&[u8]>) -> bool {
    let mut found = false;
    spec.for_each_key(args, &mut |place, _| found |= args.get(place) == key);
    found
}
