//! Fills a client's places with what came back, and says what that tells about its groups and pipelines.

use std::sync::Arc;
use std::time::Duration;

use super::group::proves_end;
use super::score::{self, Failure, Scope, Score};
use super::slot::{Probe, Role, Slot, Slots};
use super::violation::{Kind, Violation};
use crate::engine::command::{CommandId, Table};
use crate::engine::resp::scan::{Top, elements};
use crate::engine::resp::{encode, value};
use crate::engine::session::subscription::Subscriptions;

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

/// Why a request has no reply of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No reply came within the request's deadline.
    Timeout,
    /// The connection was lost after the request, or a part of it, was sent.
    Lost,
    /// No byte of the request was sent: there is no upstream.
    Unavailable,
}

impl Fault {
    /// The word in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Fault::Timeout => "timeout",
            Fault::Lost => "lost",
            Fault::Unavailable => "unavailable",
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Fault::Timeout => "no reply within the deadline",
            Fault::Lost => "the connection to the server was lost before the reply",
            Fault::Unavailable => "the server is unavailable",
        }
    }
}

/// What became of a recognised group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All of it, without an error.
    Applied,
    /// Some members failed, the others were applied.
    Torn,
    /// Every member failed.
    Failed,
    /// Nothing was applied.
    Aborted,
    /// Its members ran, without their transaction.
    Unwrapped,
    /// Nobody can say.
    Unknown,
    /// Left as it was by its rule.
    Observed,
}

impl Outcome {
    /// The metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Applied => "applied",
            Outcome::Torn => "torn",
            Outcome::Failed => "failed",
            Outcome::Aborted => "aborted",
            Outcome::Unwrapped => "unwrapped",
            Outcome::Unknown => "unknown",
            Outcome::Observed => "observed",
        }
    }
}

/// Where a partial failure was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Pipeline,
    Group,
    Transaction,
}

impl Place {
    /// The metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Place::Pipeline => "pipeline",
            Place::Group => "group",
            Place::Transaction => "transaction",
        }
    }
}

/// What resolving a reply brought to light.
#[derive(Debug)]
pub enum Finding {
    Violation(Violation),
    /// A recognised group has come to its end.
    Group {
        index: usize,
        outcome: Outcome,
    },
    /// Some commands failed and others did not.
    PartialFailure(Place),
    /// A probe was answered.
    Ttl {
        probe: Probe,
        state: TtlState,
    },
    /// The connection may be in a state that the next client must not meet.
    CloseUpstream,
}

/// What a probe behind a write has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TtlState {
    /// There is no such key, or its TTL is within the rule.
    Fine,
    /// The key has none; `dropped` when it had one before the write.
    None { dropped: bool },
    /// Longer than the rule's `max`.
    TooLong,
    /// The probe was refused (NOPERM): the check is off for this user.
    Refused,
    /// The probe was not answered.
    Unknown,
}

impl Slots {
    /// Takes one piece of the reply at the head. Returns how many further frames turned out to
    /// belong to the same request (unsubscribing from all).
    pub fn admit(
        &mut self,
        piece: &[u8],
        part: Part,
        subscriptions: &mut Subscriptions,
        out: &mut Vec<u8>,
        context: &Context<'_>,
        found: &mut Vec<Finding>,
    ) -> u32 {
        let Some(&slot) = self.queue.front() else {
            found.push(Finding::CloseUpstream);
            return 0;
        };
        let mut more = 0;
        let done = match slot.role {
            Role::Plain => {
                out.extend_from_slice(piece);
                if part.first && slot.scored {
                    self.score(slot.command, piece, context, found);
                }
                part.last
            }
            Role::Multi | Role::Queued | Role::Exec => {
                out.extend_from_slice(piece);
                self.admit_transaction(slot, piece, part, context, found)
            }
            Role::Subscription { .. } | Role::UnsubscribeAll(_) => {
                out.extend_from_slice(piece);
                part.last && self.admit_confirmation(slot.role, piece, subscriptions, &mut more)
            }
            Role::Hello => {
                encode_hello(piece, context.client_id, out);
                part.last
            }
            Role::Group => self.groups.front_mut().is_none_or(|group| group.admit(piece, part, out, context, found)),
            Role::Probe => {
                if part.first {
                    self.admit_probe(piece, found);
                }
                part.last
            }
            // An answer of our own is never at the head while the upstream owes a reply.
            Role::Answer => true,
        };
        if part.last {
            self.owed = (self.owed + more as usize).saturating_sub(1);
        }
        if done {
            self.leave(slot.role, out);
        }
        self.check();
        more
    }

    /// The upstream will never fill the next `frames` frames: their requests are answered with what is known.
    pub fn fault(
        &mut self,
        mut frames: u32,
        fault: Fault,
        subscriptions: &mut Subscriptions,
        out: &mut Vec<u8>,
        context: &Context<'_>,
        found: &mut Vec<Finding>,
    ) {
        while frames > 0 {
            let Some(&slot) = self.queue.front() else { break };
            let lacking = self.lacking(slot);
            frames = frames.saturating_sub(lacking);
            self.owed = self.owed.saturating_sub(lacking as usize);
            match slot.role {
                Role::Probe => {
                    if let Some(probe) = self.probes.front() {
                        found.push(Finding::Ttl { probe: probe.clone(), state: TtlState::Unknown });
                    }
                }
                Role::Group => self.fault_group(fault, out, context, found),
                role => {
                    encode::error(out, &fault_text(fault, context.table.spec(slot.command).name()));
                    if slot.scored {
                        self.forgo_score();
                    }
                    if matches!(role, Role::Subscription { .. } | Role::UnsubscribeAll(_)) {
                        subscriptions.answered();
                    }
                }
            }
            self.leave(slot.role, out);
        }
        self.check();
    }

    /// What the slot at the head is.
    pub fn head(&self) -> Option<Role> {
        self.queue.front().map(|slot| slot.role)
    }

    fn lacking(&self, slot: Slot) -> u32 {
        match slot.role {
            Role::Subscription { frames } => frames.saturating_sub(self.confirmed).max(1),
            Role::Group => self.groups.front().map_or(1, |group| group.remaining()),
            _ => 1,
        }
    }

    fn leave(&mut self, role: Role, out: &mut Vec<u8>) {
        match role {
            Role::Group => drop(self.groups.pop_front()),
            Role::Probe => drop(self.probes.pop_front()),
            _ => {}
        }
        self.queue.pop_front();
        if !self.answers.is_empty() {
            self.release(out);
        }
    }

    fn score(&mut self, command: CommandId, reply: &[u8], context: &Context<'_>, found: &mut Vec<Finding>) {
        if let Some(score) = self.scores.front_mut()
            && score.admit(command, reply)
            && let Some(score) = self.scores.pop_front()
        {
            tell_score(&score, context.table, found);
        }
    }

    fn forgo_score(&mut self) {
        if self.scores.front_mut().is_some_and(Score::forgo) {
            self.scores.pop_front();
        }
    }

    fn admit_transaction(
        &mut self,
        slot: Slot,
        piece: &[u8],
        part: Part,
        context: &Context<'_>,
        found: &mut Vec<Finding>,
    ) -> bool {
        match slot.role {
            Role::Multi if part.first && piece != b"+OK\r\n" => found.push(Finding::CloseUpstream),
            Role::Exec if part.last => {
                if part.first && !proves_end(piece, part.top) {
                    found.push(Finding::CloseUpstream);
                }
                if part.top.errors > 0 {
                    tell_transaction(slot, piece, part, context.table, found);
                }
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
            Role::UnsubscribeAll(kind) => {
                let frames = subscriptions.confirmations(kind);
                *more = frames - 1;
                frames
            }
            Role::Subscription { frames } => frames,
            _ => 1,
        };
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
            None => TtlState::Refused,
        };
        found.push(Finding::Ttl { probe: probe.clone(), state });
    }

    fn fault_group(&mut self, fault: Fault, out: &mut Vec<u8>, context: &Context<'_>, found: &mut Vec<Finding>) {
        let Some(group) = self.groups.front() else { return };
        let rule = Arc::clone(group.name());
        let (text, outcome) = match fault {
            Fault::Unavailable => (
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

/// `ttl` in milliseconds, negative for none.
fn is_longer(ttl: i64, max: Option<Duration>) -> bool {
    max.is_some_and(|max| u128::try_from(ttl).is_ok_and(|ttl| ttl > max.as_millis()))
}

fn fault_text(fault: Fault, command: &str) -> String {
    let command = command.replace('|', " ").to_uppercase();
    match fault {
        Fault::Timeout | Fault::Lost => format!("TIMEOUT respguard: outcome of {command} unknown: {}", fault.reason()),
        Fault::Unavailable => format!("ERR respguard: {command} was not sent: {}", fault.reason()),
    }
}

fn tell_score(score: &Score, table: &Table, found: &mut Vec<Finding>) {
    let failure = score.partial_failure();
    match (&score.scope, failure) {
        (Scope::Pipeline { .. }, None) => {}
        (Scope::Pipeline { report }, Some(failure)) => {
            found.push(Finding::PartialFailure(Place::Pipeline));
            if *report {
                found.push(Finding::Violation(score::partial_failure(None, failure, table)));
            }
        }
        (Scope::Group { index, rule, unwrapped }, failure) => {
            if let Some(failure) = failure {
                found.push(Finding::PartialFailure(Place::Group));
                found.push(Finding::Violation(score::partial_failure(Some(Arc::clone(&rule.name)), failure, table)));
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

/// A client's own transaction in which some commands failed and others did not.
fn tell_transaction(slot: Slot, piece: &[u8], part: Part, table: &Table, found: &mut Vec<Finding>) {
    if part.top.errors >= part.top.elements {
        return;
    }
    // Which error it was is known when EXEC's answer came in one piece.
    let word = elements(piece).nth(part.top.first_error as usize).filter(|_| part.first).and_then(score::failure_word);
    if part.first && word.is_none() {
        return;
    }
    let failure = Failure { place: part.top.first_error + 1, command: slot.command, error: word.unwrap_or("ERR").into() };
    found.push(Finding::PartialFailure(Place::Transaction));
    found.push(Finding::Violation(score::partial_failure(None, &failure, table)));
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
