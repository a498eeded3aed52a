//! Fills a client's places with what came back, and says what that tells about its groups and pipelines.

use std::sync::Arc;
use std::time::Duration;

use super::finding::{Fault, Finding, Outcome, Place, TtlState};
use super::group::proves_end;
use super::score::{self, Companions, Failure, Scope, Score};
use super::slot::{Role, Slot, Slots};
use super::violation::{Kind, Violation};
use crate::engine::command::{CommandId, Table};
use crate::engine::resp::scan::{Top, elements};
use crate::engine::resp::{Protocol, encode, value};
use crate::engine::session::Session;
use crate::engine::session::affinity::Affinity;
use crate::engine::session::subscription::Subscriptions;

/// A longer answer to EXEC goes to the client as the server gives it: bounds what is kept.
const EXEC_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Which part of a reply frame a piece is.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// It begins the frame.
    pub first: bool,
    /// It ends the frame.
    pub last: bool,
    /// What is known of the frame so far.
    pub top: Top,
}

/// What the replies are read against.
#[derive(Debug)]
pub struct Context<'a> {
    pub table: &'a Table,
    /// The client's id as CLIENT ID tells it.
    pub client_id: u64,
}

impl Slots {
    /// Takes one piece of the reply at the head. Returns how many further frames turned out to
    /// belong to the same request (unsubscribing from all).
    pub fn admit(
        &mut self,
        piece: &[u8],
        part: Part,
        session: &mut Session,
        out: &mut Vec<u8>,
        context: &Context<'_>,
        found: &mut Vec<Finding>,
    ) -> u32 {
        let Some(&slot) = self.queue.front() else {
            found.push(Finding::CloseUpstream);
            return 0;
        };
        let mut more = 0;
        let replies = if self.reorder.is_some() { self.replies_at_head() } else { 0 };
        let mut reorder = self.reorder.take();
        let sink = match &mut reorder {
            None => &mut *out,
            Some(reorder) => reorder.sink(replies, out),
        };
        let alone = self.owed == 1;
        let done = match slot.role {
            Role::Plain => {
                sink.extend_from_slice(piece);
                if part.first && slot.scored {
                    self.score(slot.command, piece, part.last, context, found);
                }
                part.last
            }
            Role::Judged => {
                if let Some(judge) = self.judges.front_mut() {
                    judge.admit(slot.command, piece, part, sink, context.table, found);
                }
                if part.first && slot.scored {
                    self.score(slot.command, piece, part.last, context, found);
                }
                part.last
            }
            Role::Refused => {
                if part.last {
                    sink.extend_from_slice(self.refused.front().map(Vec::as_slice).unwrap_or_default());
                }
                part.last
            }
            Role::Exec => {
                self.pass_exec(piece, sink, context, found);
                self.admit_transaction(slot, piece, part, session, context, found)
            }
            Role::Multi | Role::Queued | Role::QueuedJudged => {
                sink.extend_from_slice(piece);
                self.admit_transaction(slot, piece, part, session, context, found)
            }
            Role::Subscription { .. } | Role::UnsubscribeAll(_) => {
                sink.extend_from_slice(piece);
                part.last && self.admit_confirmation(slot.role, piece, &mut session.subscriptions, &mut more)
            }
            Role::Lane => {
                sink.extend_from_slice(piece);
                session.agreed = !value::is_error(piece);
                part.last
            }
            Role::Verdict => {
                if part.first {
                    session.agreed = !value::is_error(piece);
                }
                if !session.agreed {
                    sink.extend_from_slice(piece);
                }
                part.last
            }
            Role::Hello => {
                session.agreed = !value::is_error(piece);
                // On a lease of its own HELLO changes the protocol, which only its answer proves.
                match piece.first() {
                    Some(b'%') if part.first => session.protocol = Protocol::Resp3,
                    Some(b'*') if part.first => session.protocol = Protocol::Resp2,
                    _ => {}
                }
                encode_hello(piece, context.client_id, sink);
                part.last
            }
            Role::Group => self.admit_group(piece, part, alone, sink, context, found),
            Role::Probe => {
                if part.first {
                    self.admit_probe(piece, found);
                }
                part.last
            }
            Role::Unheard => part.last,
            // An answer of our own is never at the head while the upstream owes a reply.
            Role::Answer => true,
        };
        self.reorder = reorder;
        if part.last {
            self.owed = (self.owed + more as usize).saturating_sub(1);
        }
        if done {
            self.leave(slot.role, replies, out);
        }
        self.check();
        more
    }

    /// Takes `frames` whole replies at the head, no more than [`Self::plain_at_head`] says, of which none is an error.
    pub fn admit_plain(
        &mut self,
        replies: &[u8],
        frames: u32,
        out: &mut Vec<u8>,
        context: &Context<'_>,
        found: &mut Vec<Finding>,
    ) {
        out.extend_from_slice(replies);
        self.owed -= frames as usize;
        let scored = self.queue.front().is_some_and(|slot| slot.scored);
        let answered = self.queue.drain(..frames as usize).map(|slot| slot.command);
        let is_last = match self.scores.front_mut().filter(|_| scored) {
            Some(score) => score.admit_unread(answered),
            None => {
                drop(answered);
                false
            }
        };
        if let Some(score) = self.scores.pop_front_if(|_| is_last) {
            tell_score(&score, context.table, found);
        }
        if !self.answers.is_empty() {
            self.release(out);
        }
        self.check();
    }

    /// A group that goes out once more is owed everything again, one that is asked about the answers to that.
    fn admit_group(
        &mut self,
        piece: &[u8],
        part: Part,
        alone: bool,
        out: &mut Vec<u8>,
        context: &Context<'_>,
        found: &mut Vec<Finding>,
    ) -> bool {
        let Some(group) = self.groups.front_mut() else { return true };
        let before = group.remaining();
        let done = group.admit(piece, part, alone, out, context, found);
        if part.last && !done {
            self.owed += (group.remaining() + 1 - before) as usize;
        }
        done
    }

    /// What is to be sent once more for the group at the head, and the replies that it is owed.
    pub fn take_again(&mut self) -> Option<(&[u8], u32)> {
        let group = self.groups.front_mut()?;
        let frames = group.frames();
        group.take_again().map(|request| (request, frames))
    }

    /// The upstream will never fill the next `frames` frames: their requests are answered with what is known.
    pub fn fault(
        &mut self,
        mut frames: u32,
        fault: Fault,
        session: &mut Session,
        out: &mut Vec<u8>,
        context: &Context<'_>,
        found: &mut Vec<Finding>,
    ) {
        // A group that is in doubt keeps its place: what stands behind it are questions of our own.
        let mut at = 0;
        while frames > 0 {
            let Some(&slot) = self.queue.get(at) else { break };
            let lacking = self.lacking(slot);
            frames = frames.saturating_sub(lacking);
            self.owed = self.owed.saturating_sub(lacking as usize);
            self.late += if fault == Fault::Timeout { lacking as usize } else { 0 };
            if slot.role == Role::Group && self.stays_in_doubt(fault) {
                at += 1;
                continue;
            }
            if at > 0 {
                self.fault_behind(at, slot.role, found);
                continue;
            }
            let replies = if self.reorder.is_some() { self.replies_at_head() } else { 0 };
            let mut reorder = self.reorder.take();
            let sink = match &mut reorder {
                None => &mut *out,
                Some(reorder) => reorder.sink(replies, out),
            };
            match slot.role {
                Role::Probe => self.forgo_probe(found),
                Role::Group => self.fault_group(fault, sink, context, found),
                Role::Unheard => {}
                Role::Refused => sink.extend_from_slice(self.refused.front().map(Vec::as_slice).unwrap_or_default()),
                role => {
                    encode::error(sink, &fault_text(fault, context.table.spec(slot.command).name()));
                    if slot.scored {
                        self.forgo_score(slot.command);
                    }
                    match role {
                        Role::Subscription { .. } | Role::UnsubscribeAll(_) => {
                            self.confirmed = 0;
                            session.subscriptions.answered();
                        }
                        Role::Multi => session.transaction.forget(),
                        Role::Queued | Role::QueuedJudged => {
                            self.jury.lose();
                            if role == Role::QueuedJudged {
                                self.judges.pop_front();
                            }
                        }
                        _ => {}
                    }
                    if fault == Fault::Timeout && changes_lease(role, session.affinity) {
                        found.push(Finding::CloseUpstream);
                    }
                }
            }
            self.reorder = reorder;
            self.leave(slot.role, replies, out);
        }
        self.check();
    }

    pub(super) fn forgo_probe(&mut self, found: &mut Vec<Finding>) {
        if let Some(probe) = self.probes.front() {
            // What was found before the write is of no use without what is found behind it.
            self.ttls_before.retain(|(key, _)| *key != probe.key);
            found.push(Finding::Ttl { probe: probe.clone(), state: TtlState::Unknown });
        }
    }

    pub(super) fn keep_piece(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let Some(kept) = &mut self.kept else { return out.extend_from_slice(piece) };
        kept.extend_from_slice(piece);
        if kept.len() > EXEC_BYTES_MAX {
            out.append(kept);
            self.kept = None;
        }
    }

    /// True when nothing of the reply that has begun has gone to the client.
    pub fn head_is_unseen(&self) -> bool {
        match self.head() {
            Some(Role::Group) => self.groups.front().is_some_and(|group| !group.has_replied_in_part()),
            Some(Role::Probe | Role::Unheard) => true,
            _ => false,
        }
    }

    /// What the slot at the head is.
    pub fn head(&self) -> Option<Role> {
        self.queue.front().map(|slot| slot.role)
    }

    fn lacking(&self, slot: Slot) -> u32 {
        match slot.role {
            Role::Subscription { frames } if self.confirmed > 0 => frames.saturating_sub(self.confirmed).max(1),
            Role::Group => self.groups.front().map_or(1, |group| group.remaining()),
            _ => 1,
        }
    }

    pub(super) fn leave(&mut self, role: Role, replies: usize, out: &mut Vec<u8>) {
        match role {
            Role::Group => drop(self.groups.pop_front()),
            Role::Probe => drop(self.probes.pop_front()),
            Role::Judged => drop(self.judges.pop_front()),
            Role::Refused => drop(self.refused.pop_front()),
            _ => {}
        }
        self.queue.pop_front();
        if let Some(reorder) = &mut self.reorder {
            reorder.came(replies, out);
        }
        if self.reorder.is_some() || !self.answers.is_empty() {
            self.release(out);
        }
    }

    fn score(&mut self, command: CommandId, reply: &[u8], whole: bool, context: &Context<'_>, found: &mut Vec<Finding>) {
        if let Some(score) = self.scores.front_mut()
            && score.admit(command, reply, whole)
            && let Some(score) = self.scores.pop_front()
        {
            tell_score(&score, context.table, found);
        }
    }

    fn forgo_score(&mut self, command: CommandId) {
        if self.scores.front_mut().is_some_and(|score| score.forgo(command)) {
            self.scores.pop_front();
        }
    }

    fn admit_transaction(
        &mut self,
        slot: Slot,
        piece: &[u8],
        part: Part,
        session: &mut Session,
        context: &Context<'_>,
        found: &mut Vec<Finding>,
    ) -> bool {
        match slot.role {
            Role::Multi if part.first && piece == b"+OK\r\n" => {
                self.transaction.iter_mut().for_each(|queued| queued.clear());
                self.jury.clear();
            }
            Role::Queued | Role::QueuedJudged if part.last => {
                let judge = if slot.role == Role::QueuedJudged { self.judges.pop_front() } else { None };
                if part.first && piece == b"+QUEUED\r\n" {
                    self.transaction.get_or_insert_default().push(slot.command);
                    self.jury.queued(slot.command, judge);
                }
            }
            Role::Multi if part.first && piece != b"+OK\r\n" => {
                session.transaction.forget();
                found.push(Finding::CloseUpstream);
            }
            Role::Exec if part.last => {
                if part.first && !proves_end(piece, part.top) {
                    found.push(Finding::CloseUpstream);
                }
                if part.top.errors > 0 {
                    tell_transaction(self.transaction.get_or_insert_default(), piece, part, context.table, found);
                }
                self.jury.clear();
            }
            _ => {}
        }
        part.last
    }

    fn admit_confirmation(&mut self, role: Role, frame: &[u8], subscriptions: &mut Subscriptions, more: &mut u32) -> bool {
        if value::is_error(frame) {
            // Redis refuses the whole command with one error.
            self.confirmed = 0;
            subscriptions.answered();
            return true;
        }
        let frames = match role {
            Role::UnsubscribeAll(kind) => subscriptions.confirmations(kind),
            Role::Subscription { frames } => frames,
            _ => 1,
        };
        // An error would have stood for all of them.
        if self.confirmed == 0 {
            *more = frames - 1;
        }
        if let (Role::UnsubscribeAll(_), Some(head)) = (role, self.queue.front_mut()) {
            head.role = Role::Subscription { frames };
        }
        subscriptions.confirm(frame);
        self.confirmed += 1;
        if self.confirmed < frames {
            return false;
        }
        self.confirmed = 0;
        subscriptions.answered();
        true
    }

    fn admit_probe(&mut self, reply: &[u8], found: &mut Vec<Finding>) {
        let Some(probe) = self.probes.front() else { return };
        let ttl = value::integer(reply);
        if probe.before {
            if let Some(ttl) = ttl {
                self.ttls_before.push((probe.key.clone(), ttl));
            }
            return;
        }
        let before = self.ttls_before.iter().position(|(key, _)| *key == probe.key).map(|at| self.ttls_before.swap_remove(at).1);
        let state = match ttl {
            Some(-1) => TtlState::None { dropped: before.is_some_and(|ttl| ttl >= 0) },
            Some(ttl) if is_longer(ttl, probe.rule.max) => TtlState::TooLong,
            Some(_) => TtlState::Fine,
            None if reply.starts_with(b"-NOPERM ") => TtlState::Refused,
            // A server that loads its dataset will answer again.
            None => TtlState::Unknown,
        };
        found.push(Finding::Ttl { probe: probe.clone(), state });
    }

    fn fault_group(&mut self, fault: Fault, out: &mut Vec<u8>, context: &Context<'_>, found: &mut Vec<Finding>) {
        let Some(group) = self.groups.front() else { return };
        if group.is_in_doubt() {
            return group.give_up(out, context.table, found);
        }
        let rule = Arc::clone(group.name());
        let (text, outcome) = match fault {
            Fault::Unavailable | Fault::Refused => (
                format!(
                    "EXECABORT Transaction discarded because of previous errors. respguard: group {rule} was not sent: {}",
                    fault.reason()
                ),
                Outcome::Aborted,
            ),
            Fault::Timeout | Fault::Lost => {
                (format!("TIMEOUT respguard: outcome of group {rule} unknown: {}", fault.reason()), Outcome::Unknown)
            }
        };
        group.reply_fault(out, &text);
        let kind = if outcome == Outcome::Unknown { Kind::UnknownOutcome } else { Kind::Aborted };
        found.push(Finding::Violation(group.violation(kind, context.table)));
        found.push(Finding::Group { index: group.index(), outcome });
    }
}

/// True when the request, if it still runs, leaves the lease in a state that nobody reckons with any more.
/// A lease that serves one client for good passes to nobody, and may only not get confirmations late.
fn changes_lease(role: Role, affinity: Affinity) -> bool {
    match role {
        Role::Subscription { .. } | Role::UnsubscribeAll(_) => true,
        Role::Multi | Role::Exec => affinity.is_pinned() && affinity.is_passing(),
        _ => false,
    }
}

/// `ttl` in milliseconds, negative for none.
fn is_longer(ttl: i64, max: Option<Duration>) -> bool {
    max.is_some_and(|max| u128::try_from(ttl).is_ok_and(|ttl| ttl > max.as_millis()))
}

fn fault_text(fault: Fault, command: &str) -> String {
    let command = command.replace('|', " ").to_uppercase();
    match fault {
        Fault::Timeout | Fault::Lost => format!("TIMEOUT respguard: outcome of {command} unknown: {}", fault.reason()),
        Fault::Unavailable | Fault::Refused => format!("ERR respguard: {command} was not sent: {}", fault.reason()),
    }
}

fn tell_score(score: &Score, table: &Table, found: &mut Vec<Finding>) {
    let failure = score.partial_failure();
    match (&score.scope, failure) {
        (Scope::Pipeline { .. }, None) => {}
        (Scope::Pipeline { report }, Some(failure)) => {
            found.push(Finding::PartialFailure(Place::Pipeline));
            if *report {
                found.push(Finding::Violation(score::partial_failure(None, failure, score.companions.iter(), table)));
            }
        }
        (Scope::Group { index, rule, unwrapped }, failure) => {
            if let Some(failure) = failure {
                found.push(Finding::PartialFailure(Place::Group));
                let commands = score.companions.iter();
                found.push(Finding::Violation(score::partial_failure(Some(&rule.name), failure, commands, table)));
            }
            if let Some(breach) = score.demands.as_ref().and_then(|demands| demands.breach()) {
                found.push(Finding::Violation(breach.violation(&rule.name, score.companions.iter(), table)));
            }
            if *unwrapped {
                found.push(Finding::Violation(Violation {
                    rule: Some(Arc::clone(&rule.name)),
                    ..Violation::new(Kind::Unwrapped)
                }));
            }
            let outcome = match (unwrapped, failure) {
                (true, _) => Outcome::Unwrapped,
                (false, Some(_)) => Outcome::Torn,
                (false, None) => Outcome::Observed,
            };
            found.push(Finding::Group { index: *index, outcome });
        }
    }
}

/// A client's own transaction in which some of its `commands` failed and others did not.
fn tell_transaction(commands: &Companions, piece: &[u8], part: Part, table: &Table, found: &mut Vec<Finding>) {
    if part.top.errors >= part.top.elements {
        return;
    }
    // Which errors these are is known when EXEC's answer came in one piece.
    let failure = match part.first {
        true => (1..).zip(elements(piece)).find(|(_, reply)| score::is_failure(reply)),
        false => Some((part.top.first_error + 1, &b""[..])),
    };
    let Some((place, error)) = failure else { return };
    let failure = Failure::new(place, error);
    found.push(Finding::PartialFailure(Place::Transaction));
    found.push(Finding::Violation(score::partial_failure(None, &failure, commands.iter(), table)));
}

/// Puts the proxy's id of the client in the place of the upstream connection's.
fn encode_hello(reply: &[u8], client_id: u64, out: &mut Vec<u8>) {
    let Some(id) = value_of_id(reply) else {
        out.extend_from_slice(reply);
        return;
    };
    let start = id.as_ptr() as usize - reply.as_ptr() as usize;
    out.extend_from_slice(&reply[..start]);
    encode::integer(out, i64::try_from(client_id).unwrap_or(i64::MAX));
    out.extend_from_slice(&reply[start + id.len()..]);
}

/// The element behind the key `id` of HELLO's answer, a map or a flat array
/// (<https://redis.io/docs/latest/commands/hello/>).
fn value_of_id(reply: &[u8]) -> Option<&[u8]> {
    if !matches!(reply.first(), Some(b'%' | b'*')) {
        return None;
    }
    let mut parts = elements(reply);
    while let Some(key) = parts.next() {
        let value = parts.next()?;
        if value::bulk(key) == Some(b"id") {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests;
