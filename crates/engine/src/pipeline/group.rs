//! A group on the wire as `MULTI`, members, `EXEC`, perhaps with a preflight: turns its replies into one reply per member.

use std::sync::Arc;

pub use carried::{CarriedGroup, Returned};
use exec_stream::ExecStream;
use given_ttl::{GivenTtl, TakeBack};
use smallvec::SmallVec;

use super::expectations::Expectations;
use super::failure_tracker::FailureTracker;
use super::finding::Finding;
use super::guard::Guard;
use super::in_doubt::InDoubt;
use super::named_keys::NamedKeys;
use super::reading::{Findings, Part};
use super::reply_checks::ReplyChecks;
use super::violation::{Kind, Violation, error_word};
use super::wire::{BEGUN, Injected};
use crate::command::{CommandId, Table};
use crate::policy::{Group, TtlRule};
use carried::Carried;
use respguard_resp::scan::{Top, elements};
use respguard_resp::{encode, value};

/// The members of a group: most have few.
pub type Members = SmallVec<[CommandId; 8]>;

/// A group whose answers are coming in.
#[derive(Debug)]
pub struct WrappedGroup {
    /// Under which number the group is counted, and the rule as it was when the group was planned.
    index: usize,
    rule: Arc<Group>,
    members: Members,
    /// Their keys, where violations name them.
    keys: Option<Box<NamedKeys>>,
    /// Which of the queued commands are our own, from 0, in order.
    own: SmallVec<[u32; 4]>,
    /// What precedes the transaction, where something does.
    guard: Option<Box<Guard>>,
    /// Frames that are complete.
    answered: u32,
    /// MULTI answered `+OK`.
    in_transaction: bool,
    /// Members refused while they were queued: their place from 0 and Redis' own error.
    refused: Vec<(u32, Box<[u8]>)>,
    /// The error of the first command of our own that was.
    own_refused: Option<Box<[u8]>>,
    /// Members whose replies have left already, because they ran without a transaction.
    replied: u32,
    /// Parts of a frame that did not come in one piece.
    gathered: Vec<u8>,
    /// EXEC's array is passed on as it comes, one element at a time.
    exec_stream: Option<Box<ExecStream>>,
    expectations: Option<Box<Expectations>>,
    /// What its marker is good for, where it carries one.
    in_doubt: Option<Box<InDoubt>>,
    checks: Option<Box<ReplyChecks>>,
    /// The TTL rule that commands of our own behind the members are for.
    ttl_fixed: Option<Arc<TtlRule>>,
    /// One of those was refused while it was queued.
    ttl_fix_refused: bool,
    /// The TTLs that those give.
    given_ttls: Vec<GivenTtl>,
    /// What takes back TTLs that were given, while that is under way.
    take_back: Option<Box<TakeBack>>,
    /// Whose commands these are, where they are those of several groups, or of none; then the rule is that of the first group.
    carried: Option<Box<Carried>>,
}

/// What is owed to a group's client behind the group: all of it would be overtaken by what is sent for the group once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behind {
    /// Nothing at all.
    Nothing,
    /// Answers to questions of our own alone.
    Questions,
    /// Replies of the client's.
    Requests,
}

impl WrappedGroup {
    /// In the place of the group's place among the rules: a single command, which is no group.
    pub const ALONE: usize = usize::MAX;

    /// A group of `rule` that has been sent and not answered.
    #[inline]
    pub fn new(index: usize, rule: Arc<Group>, members: impl Into<Members>) -> WrappedGroup {
        WrappedGroup {
            index,
            rule,
            members: members.into(),
            keys: None,
            own: SmallVec::new(),
            guard: None,
            answered: 0,
            in_transaction: false,
            refused: Vec::new(),
            own_refused: None,
            replied: 0,
            gathered: Vec::new(),
            exec_stream: None,
            expectations: None,
            in_doubt: None,
            checks: None,
            ttl_fixed: None,
            ttl_fix_refused: false,
            given_ttls: Vec::new(),
            take_back: None,
            carried: None,
        }
    }

    /// Violations name these keys.
    #[inline]
    pub fn naming(&mut self, keys: Option<Box<NamedKeys>>) -> &mut WrappedGroup {
        self.keys = keys;
        self
    }

    /// What the rule expects of the members' replies.
    #[inline]
    pub fn expecting(&mut self, expectations: Option<Box<Expectations>>) -> &mut WrappedGroup {
        self.expectations = expectations;
        self
    }

    /// What rules about single commands say of the members' replies.
    #[inline]
    pub fn checked(&mut self, checks: Option<Box<ReplyChecks>>) -> &mut WrappedGroup {
        self.checks = checks;
        self
    }

    /// The TTL rule that commands of our own behind the members are for.
    #[inline]
    pub fn ttl_fixed(&mut self, ttl_fixed: Option<Arc<TtlRule>>) -> &mut WrappedGroup {
        self.ttl_fixed = ttl_fixed;
        self
    }

    /// The group with commands of our own between its members, in the order of the wire.
    #[inline]
    pub fn with_injected(&mut self, injected: &[Injected]) -> &mut WrappedGroup {
        if injected.is_empty() {
            return self;
        }
        (0..).zip(injected).for_each(|(before, own)| self.own.push(own.behind + before));
        if injected.iter().any(|own| own.ttl_fix.is_some()) {
            let given_ttls = self.own.iter().zip(injected).filter_map(|(&place, own)| GivenTtl::new(place, own.ttl_fix.clone()?));
            self.given_ttls = given_ttls.collect();
        }
        self
    }

    /// The group behind its preflight.
    #[inline]
    pub fn guarded(&mut self, guard: Option<Box<Guard>>) -> &mut WrappedGroup {
        self.guard = guard;
        self
    }

    /// It has gone out as this, with what precedes it.
    pub(super) fn keep_request(&mut self, request: Vec<u8>) {
        if let Some(guard) = &mut self.guard {
            guard.keep_request(request);
        }
    }

    /// The group with its marker, which is among the commands of our own.
    pub fn with_doubt(mut self, in_doubt: InDoubt) -> WrappedGroup {
        self.in_doubt = Some(Box::new(in_doubt));
        self
    }

    /// The commands are those of these groups and of others that go with them, among them groups that are only observed;
    /// `requests` are they, as they are sent again where the transaction does not run.
    pub fn carrying(
        mut self,
        groups: Vec<CarriedGroup>,
        observed: Vec<(Vec<u32>, FailureTracker)>,
        requests: Vec<Vec<u8>>,
    ) -> WrappedGroup {
        self.carried = Some(Box::new(Carried::new(groups, observed, requests, self.members.len())));
        self
    }

    /// Lets go of all memory but its own.
    pub(super) fn empty(&mut self) {
        *self = WrappedGroup::new(self.index, Arc::clone(&self.rule), Members::new());
    }

    /// It owns no memory but its own: most are a few commands and one answer.
    pub(super) fn is_small(&self) -> bool {
        let has_parts = self.guard.is_some() || self.exec_stream.is_some() || self.expectations.is_some() || self.keys.is_some();
        let has_more = self.in_doubt.is_some() || self.checks.is_some() || self.take_back.is_some() || self.carried.is_some();
        let has_bytes = self.gathered.capacity() > 0 || self.refused.capacity() > 0 || self.own_refused.is_some();
        !has_parts && !has_more && !has_bytes && !self.members.spilled() && !self.own.spilled() && self.given_ttls.capacity() == 0
    }

    /// Frames that the upstream owes for it: those of its preflight, MULTI, each member, each command of our own, EXEC.
    pub fn frames(&self) -> u32 {
        self.frames_in_front() + self.queued() + 2
    }

    /// Frames before the one of MULTI.
    fn frames_in_front(&self) -> u32 {
        self.guard.as_ref().map_or(0, |guard| guard.frames_in_front())
    }

    /// Whether it is to be sent once more.
    pub(super) fn goes_again(&self) -> bool {
        let takes_back = self.take_back.as_ref().is_some_and(|take_back| take_back.is_unsent());
        takes_back || self.guard.as_ref().is_some_and(|guard| guard.goes_again())
    }

    /// What is to be sent once more for it.
    pub(super) fn take_again(&mut self) -> Option<(&[u8], u32)> {
        if self.take_back.is_some() {
            return self.take_back.as_mut()?.take();
        }
        let frames = self.frames();
        self.guard.as_mut()?.take_again().map(|request| (request, frames))
    }

    /// Commands between MULTI and EXEC.
    fn queued(&self) -> u32 {
        self.members() + u32::try_from(self.own.len()).unwrap_or(u32::MAX)
    }

    /// How many commands of our own stand before all members.
    fn own_in_front(&self) -> usize {
        (0..).zip(&self.own).take_while(|(place, own)| *place == **own).count()
    }

    /// How many commands of our own stand behind all members.
    fn own_behind(&self) -> u32 {
        let behind = (0..self.queued()).rev().zip(self.own.iter().rev()).take_while(|(place, own)| place == *own);
        u32::try_from(behind.count()).unwrap_or(u32::MAX)
    }

    /// Which member the queued command at `place` is; `None` for one of our own.
    fn member_at(&self, place: u32) -> Option<u32> {
        let before = self.own.partition_point(|own| *own < place);
        (self.own.get(before) != Some(&place)).then(|| place - u32::try_from(before).unwrap_or(u32::MAX))
    }

    /// Frames that are still to come.
    pub(super) fn remaining(&self) -> u32 {
        if let Some(take_back) = &self.take_back {
            return take_back.owed();
        }
        self.owed_in_doubt().unwrap_or_else(|| self.frames() - self.answered)
    }

    /// Replies that the client is owed for it.
    pub(super) fn reply_count(&self) -> usize {
        self.members.len()
    }

    /// Part of EXEC's array has gone to the client.
    pub(super) fn has_replied_in_part(&self) -> bool {
        self.exec_stream.as_ref().is_some_and(|stream| !stream.is_unseen())
    }

    fn members(&self) -> u32 {
        u32::try_from(self.members.len()).unwrap_or(u32::MAX)
    }

    /// Takes a part of an answer; true when the group is done. `behind` is what else is owed to its client.
    pub(super) fn admit(
        &mut self,
        (piece, part): (&[u8], Part),
        behind: Behind,
        out: &mut Vec<u8>,
        findings: &mut Findings<'_>,
    ) -> bool {
        if let Some(take_back) = &mut self.take_back {
            return part.last && take_back.admit(out);
        }
        if self.pass_on(piece, part, out, findings) {
            return part.last && !self.takes_back(behind, out.len(), out, findings.found);
        }
        if !(part.first && part.last) {
            self.gathered.extend_from_slice(piece);
            if !part.last {
                return false;
            }
        }
        let gathered = std::mem::take(&mut self.gathered);
        let frame = if part.first { piece } else { &gathered };
        if self.is_in_doubt() {
            return self.admit_inquiry(frame, out, findings);
        }
        let (at, frames_in_front) = (self.answered, self.frames_in_front());
        self.answered += 1;
        let Some(place) = at.checked_sub(frames_in_front) else {
            if let Some(guard) = &mut self.guard {
                guard.admit(at, frame);
            }
            return false;
        };
        if place == 0 {
            self.in_transaction = frame == BEGUN;
        } else if place <= self.queued() {
            self.admit_queued(place - 1, frame, out, findings);
        } else if part.top.null && self.tries_again(behind == Behind::Nothing) {
            return false;
        } else {
            let before = out.len();
            self.note_ttl_fixes(frame, part.top);
            self.admit_exec(frame, part.top, out, findings);
            return !self.takes_back(behind, before, out, findings.found);
        }
        false
    }

    /// Whether the group goes out once more: nothing of it was applied, and another client was the reason.
    fn tries_again(&mut self, alone: bool) -> bool {
        let again = self.refused.is_empty() && self.guard.as_mut().is_some_and(|guard| guard.tries_again(alone));
        if again {
            self.start_over();
        }
        again
    }

    /// None of its answers counts any more, where nothing of it has been applied or seen.
    pub(super) fn forget_answers(&mut self) -> bool {
        let is_unseen = self.replied == 0 && !self.has_replied_in_part() && self.take_back.is_none();
        let may = is_unseen && self.in_doubt.is_none();
        if may {
            self.start_over();
        }
        may
    }

    /// None of its answers counts any more.
    fn start_over(&mut self) {
        (self.answered, self.in_transaction, self.own_refused) = (0, false, None);
        self.exec_stream = None;
        self.refused.clear();
        self.gathered.clear();
        self.ttl_fix_refused = false;
        if let Some(guard) = &mut self.guard {
            guard.start_over();
        }
    }

    /// Names the keys that these findings about it are about.
    pub(super) fn name_keys(&self, found: &mut [Finding]) {
        if let Some(carried) = &self.carried {
            carried.name_keys(found);
        }
        if let Some(keys) = &self.keys {
            keys.name(found);
        }
    }

    pub(super) fn violation(&self, kind: Kind, table: &Table) -> Violation {
        Violation::new(kind).rule(&self.rule.name).commands(self.members.iter().map(|&id| table.spec(id).name()))
    }

    fn reply_all(&self, out: &mut Vec<u8>, text: &str) {
        for _ in 0..self.members.len() {
            encode::error(out, text);
        }
    }
}

/// True when EXEC's answer, or DISCARD's, proves that the connection is no longer in MULTI.
///
/// An array, a null and EXECABORT do, and so do the errors that EXEC answers after it has discarded
/// the queue; an error of EXEC itself (NOPERM) leaves the transaction open.
pub(super) fn proves_end(frame: &[u8], top: Top) -> bool {
    if !value::is_error(frame) {
        return matches!(top.kind, b'*' | b'_' | b'$') || top.null || frame == b"+OK\r\n";
    }
    matches!(error_word(value::error_text(frame)), "EXECABORT" | "MOVED" | "ASK" | "TRYAGAIN" | "CROSSSLOT" | "CLUSTERDOWN")
        || frame.starts_with(b"-ERR EXEC without MULTI")
        || frame.starts_with(b"-ERR DISCARD without MULTI")
}

/// So many replies, one by one: exactly one for each member. One that is not there is an error that says so, and never
/// shifts those behind it.
pub(super) fn apart(replies: &[u8], members: usize) -> Vec<Vec<u8>> {
    let mut array = Vec::with_capacity(replies.len() + 16);
    encode::array_header(&mut array, members);
    array.extend_from_slice(replies);
    let mut frames = elements(&array);
    let reply = |_| frames.next().map_or_else(|| MISSING.to_vec(), <[u8]>::to_vec);
    (0..members).map(reply).collect()
}

/// In the place of a reply that cannot be told from the others.
const MISSING: &[u8] = b"-TIMEOUT respguard: outcome unknown, its reply cannot be told from those of the other members\r\n";

mod carried;
mod doubt;
mod ending;
mod exec_answer;
mod exec_stream;
mod given_ttl;
mod outcome;
mod pass_on;
mod queued;
mod take_back;

#[cfg(test)]
mod tests;
