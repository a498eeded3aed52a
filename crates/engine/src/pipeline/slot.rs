//! One place for each request of a client, in the order of the requests: replies leave from the head alone.

use std::collections::VecDeque;
use std::sync::Arc;

use super::group::WrappedGroup;
use super::lazy_queue::LazyQueue;
use super::reorder::Reorder;
use super::reply_check::ReplyCheck;
use super::reply_checks::ExecChecks;
use super::score::{Companions, Score};
use crate::command::CommandId;
use crate::command::SubscriptionKind;
use crate::policy::ttl::TtlRule;
use crate::session::reply_mode::ReplyMode;

/// What the frame that fills a place means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The reply is the client's as it is.
    Plain,
    /// The client's own MULTI.
    Multi,
    /// A command within the client's own MULTI: answered `+QUEUED`.
    Queued,
    /// The client's own EXEC or DISCARD: its answer proves that the transaction has ended.
    Exec,
    /// The answer to (un)subscribing: one confirmation for each name.
    Subscription { frames: u32 },
    /// Unsubscribing from all: the first confirmation tells how many there are.
    UnsubscribeAll(SubscriptionKind),
    /// The reply to HELLO, in which the client's id stands.
    Hello,
    /// The reply to AUTH or SELECT on a lease.
    Lane,
    /// The server's verdict on a command about clients: an error is the client's, any other reply only means that
    /// the proxy may answer.
    Verdict,
    /// The reply may name a client, by the id that it has at the server.
    Redirect,
    /// Answered by the proxy; the bytes wait in `answers`.
    Answer,
    /// A group on the wire as `MULTI` .. `EXEC`.
    Group,
    /// A question of our own: the client never sees its answer.
    Probe,
    /// A command of our own whose answer nobody needs.
    Discard,
    /// The reply is the client's, unless a rule says otherwise.
    Checked,
    /// A command within the client's own MULTI whose reply, in EXEC's answer, rules check.
    QueuedChecked,
    /// A command within the client's own MULTI that a rule refuses: the client gets the proxy's error instead.
    Refused,
}

impl Role {
    /// Whether the reply counts among those of a pipeline.
    pub fn is_scored(self) -> bool {
        matches!(self, Role::Plain | Role::Checked)
    }
}

/// A place and the command that it belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Slot {
    pub role: Role,
    pub command: CommandId,
    /// The reply counts for the score at the head of the scores.
    pub scored: bool,
    /// The client does not want to see it.
    pub silent: bool,
}

/// A PTTL of our own, before or after a client's write (<https://redis.io/docs/latest/commands/pttl/>).
#[derive(Debug, Clone)]
pub struct Probe {
    /// The rule that wants to know, and its place among the rules.
    pub index: usize,
    pub rule: Arc<TtlRule>,
    /// The key, kept past its buffer because the answer comes after the request's bytes are gone.
    pub key: Arc<[u8]>,
    /// The write that is looked at.
    pub command: CommandId,
    /// Asked before the write, to know what it dropped.
    pub before: bool,
}

/// An answer of the proxy's own, in its place.
#[derive(Debug)]
pub(super) enum Answer {
    /// It is there.
    Ready(Vec<u8>),
    /// It has been promised under this number.
    Deferred(u64),
}

/// A client that is owed nothing keeps room for no more places than this.
const IDLE_SLOTS_MAX: usize = 64;

/// The places of one client.
#[derive(Debug, Default)]
pub struct Slots {
    pub(super) queue: VecDeque<Slot>,
    pub(super) answers: LazyQueue<Answer>,
    pub(super) groups: LazyQueue<Box<WrappedGroup>>,
    pub(super) probes: LazyQueue<Probe>,
    /// One for each slot that is checked, now or in EXEC's answer, in order.
    pub(super) checks: LazyQueue<Box<ReplyCheck>>,
    /// The error for each slot that is refused, in order.
    pub(super) refused: LazyQueue<Vec<u8>>,
    /// What the client's own open transaction has queued.
    pub(super) transaction: Option<Box<Companions>>,
    /// What checks the replies within it.
    pub(super) exec_checks: ExecChecks,
    pub(super) scores: VecDeque<Score>,
    /// TTLs in milliseconds that probes before a write have found.
    pub(super) ttls_before: VecDeque<(Arc<[u8]>, i64)>,
    /// Frames owed by the upstream.
    pub(super) owed: usize,
    /// Frames whose requests were answered with a timeout, and that the upstream still owes.
    pub(super) late: usize,
    /// Confirmations that the subscription at the head has already got.
    pub(super) confirmed: u32,
    pub(super) deferrals: u64,
    /// What was sent or answered last.
    last: CommandId,
    /// The order of the requests, while some of them have overtaken others.
    pub(super) reorder: Option<Box<Reorder>>,
    reply_mode: ReplyMode,
    /// The answer to EXEC, kept back for the proxy's own answers that go into it.
    pub(super) kept: Option<Vec<u8>>,
}

impl Slots {
    /// True when no reply of any kind is owed to the client.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.reorder.is_none()
    }

    /// The command that is answered next, or the last one when all are answered.
    pub fn current(&self) -> CommandId {
        let next = self.queue.iter().map(|slot| slot.command).find(|command| *command != CommandId::UNKNOWN);
        next.unwrap_or(self.last)
    }

    /// The command has been dealt with without a place.
    pub fn note(&mut self, command: CommandId) {
        self.last = command;
    }

    /// Once no reply is owed, the room that a burst has taken goes.
    pub fn shrink(&mut self) {
        if self.queue.is_empty() && self.queue.capacity() > IDLE_SLOTS_MAX {
            self.queue = VecDeque::new();
            self.answers = LazyQueue::default();
            self.groups = LazyQueue::default();
            self.scores = VecDeque::new();
        }
    }

    /// Places that are not yet filled.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// True when the upstream owes nothing, also not to requests that were answered with a timeout:
    /// they may still run, and nothing of this client may overtake them.
    pub fn is_drained(&self) -> bool {
        self.owed == 0 && self.late == 0
    }

    /// True while the upstream owes answers to requests that were answered with a timeout.
    pub fn has_late(&self) -> bool {
        self.late > 0
    }

    /// The client does not hear what the request pushed last is answered.
    pub fn unheard_last(&mut self) {
        if let Some(slot) = self.queue.back_mut().filter(|slot| !matches!(slot.role, Role::Answer | Role::Group)) {
            slot.role = Role::Discard;
        }
    }

    /// True while something that was sent, or promised, has not been answered; what is only held has not been sent.
    pub fn is_under_way(&self) -> bool {
        !self.queue.is_empty() || !self.is_drained()
    }

    /// True when the upstream owes nothing but the `frames` pushed last: those can be given up at once.
    pub fn owes_no_more_than(&self, frames: u32) -> bool {
        self.owed <= frames as usize
    }

    /// How many replies from the head on, at most `most`, go to the client as they are and are scored alike.
    pub fn plain_at_head(&self, most: u32) -> u32 {
        let passes = |first: &&Slot| first.role == Role::Plain && !first.silent && self.reorder.is_none();
        let Some(first) = self.queue.front().filter(passes) else {
            return 0;
        };
        let most = if first.scored { self.scores.front().map_or(0, |score| score.takes_unread(most)) } else { most };
        let alike = |slot: &&Slot| slot.role == Role::Plain && slot.scored == first.scored && !slot.silent;
        self.queue.iter().take(most as usize).take_while(alike).count() as u32
    }

    /// The upstream has answered, or will never answer, requests that had been given up.
    pub fn settle_late(&mut self, frames: u32) {
        self.late = self.late.saturating_sub(frames as usize);
    }

    /// A place for a command whose reply is one frame. (Un)subscribing may turn out to be owed more: its first
    /// confirmation tells, for an error would be the only one.
    ///
    /// `scored` says that the reply counts for the score pushed before it.
    pub fn push(&mut self, role: Role, command: CommandId, scored: bool) {
        self.owed += 1;
        self.enqueue(role, command, scored);
    }

    /// Places for commands whose replies are the client's as they are.
    pub fn push_plain(&mut self, commands: impl ExactSizeIterator<Item = CommandId>, scored: bool) {
        if self.reorder.is_some() || self.reply_mode != ReplyMode::On {
            return commands.for_each(|command| self.push(Role::Plain, command, scored));
        }
        self.owed += commands.len();
        self.queue.extend(commands.map(|command| Slot { role: Role::Plain, command, scored, silent: false }));
        self.last = self.queue.back().map_or(self.last, |slot| slot.command);
    }

    /// A place for a command whose reply rules check.
    pub fn push_checked(&mut self, role: Role, check: Box<ReplyCheck>, command: CommandId, scored: bool) {
        self.checks.push_back(check);
        self.push(role, command, scored);
    }

    /// A place for a command that is answered with `error`, whatever the upstream says.
    pub fn push_refused(&mut self, error: Vec<u8>, command: CommandId) {
        self.refused.push_back(error);
        self.push(Role::Refused, command, false);
    }

    /// A place for each reply of a group that is wrapped.
    pub fn push_group(&mut self, group: Box<WrappedGroup>) {
        self.owed += group.frames() as usize;
        self.groups.push_back(group);
        self.enqueue(Role::Group, CommandId::UNKNOWN, false);
    }

    /// A place for an answer that the client never sees.
    pub fn push_probe(&mut self, probe: Probe) {
        self.push(Role::Probe, probe.command, false);
        self.probes.push_back(probe);
    }

    /// The next plain commands that are pushed are scored together.
    pub fn push_score(&mut self, score: Score) {
        if self.scores.capacity() == 0 {
            // Most clients have one pipeline under way.
            self.scores.reserve_exact(1);
        }
        self.scores.push_back(score);
    }

    /// An answer of our own, in its place; goes to `out` at once when nothing is owed before it.
    pub fn answer(&mut self, reply: Vec<u8>, out: &mut Vec<u8>) {
        if self.is_empty() {
            if !self.takes_silent(Role::Answer) {
                out.extend_from_slice(&reply);
            }
        } else {
            self.answers.push_back(Answer::Ready(reply));
            self.enqueue(Role::Answer, CommandId::UNKNOWN, false);
            self.release(out);
        }
    }

    /// A place for an answer that will come from elsewhere; `keep` fills it.
    pub fn deferred(&mut self) -> u64 {
        self.deferrals += 1;
        self.answers.push_back(Answer::Deferred(self.deferrals));
        self.enqueue(Role::Answer, CommandId::UNKNOWN, false);
        self.deferrals
    }

    /// Keeps a place for a request: from here on requests may be sent in another order than they were read in, each
    /// after `aim` with its place.
    pub fn reserve(&mut self) -> u64 {
        if self.reorder.is_none() {
            let mut reorder = Box::new(Reorder::default());
            let mut groups = self.groups.iter();
            for slot in &self.queue {
                reorder.sent(replies(slot.role, || groups.next().map_or(0, |group| group.reply_count())));
            }
            self.reorder = Some(reorder);
        }
        self.reorder.as_mut().map_or(0, |reorder| reorder.reserve())
    }

    /// The request that is pushed next has the place that was kept for it; a group has several.
    pub fn aim(&mut self, place: u64) {
        if let Some(reorder) = &mut self.reorder {
            reorder.aim(place);
        }
    }

    /// Bytes of replies that wait for those of requests which were overtaken.
    pub fn kept_bytes(&self) -> usize {
        self.reorder.as_ref().map_or(0, |reorder| reorder.kept_bytes())
    }

    fn enqueue(&mut self, role: Role, command: CommandId, scored: bool) {
        if command != CommandId::UNKNOWN {
            self.last = command;
        }
        let silent = self.takes_silent(role);
        self.queue.push_back(Slot { role, command, scored, silent });
        if let Some(reorder) = &mut self.reorder {
            reorder.sent(replies(role, || self.groups.back().map_or(0, |group| group.reply_count())));
        }
    }

    /// What the client has said with CLIENT REPLY.
    pub fn reply_mode(&self) -> ReplyMode {
        self.reply_mode
    }

    /// The client says so about the replies to the commands behind this one.
    pub fn set_reply_mode(&mut self, wanted: ReplyMode) {
        self.reply_mode = self.reply_mode.after(wanted);
    }

    /// The reply that was to be skipped is over.
    pub fn skipped(&mut self) {
        if self.reply_mode == ReplyMode::SkipNext {
            self.reply_mode = ReplyMode::On;
        }
    }

    /// Whether the client does not want the reply in the next place. Confirmations are pushes, which CLIENT REPLY is not
    /// about; of a question of the proxy's own, and of an answer that is only kept, the client gets nothing anyway.
    fn takes_silent(&mut self, role: Role) -> bool {
        let is_own = matches!(role, Role::Probe | Role::Discard | Role::Verdict) || role == Role::Exec && self.kept.is_some();
        let is_push = matches!(role, Role::Subscription { .. } | Role::UnsubscribeAll(_));
        let silent = self.reply_mode != ReplyMode::On;
        if silent && !is_own {
            self.skipped();
        }
        silent && !is_push
    }

    /// True when the reply at the head is the client's as it is: behind its first piece nobody needs to look at it.
    pub fn head_passes(&self) -> bool {
        self.reorder.is_none() && matches!(self.queue.front(), Some(Slot { role: Role::Plain, silent: false, .. }))
    }

    /// How many replies of the client's the slot at the head stands for.
    pub(super) fn replies_at_head(&self) -> usize {
        let group = || self.groups.front().map_or(0, |group| group.reply_count());
        self.queue.front().map_or(0, |slot| replies(slot.role, group))
    }

    /// Bytes of answers of our own that wait for their turn.
    pub fn answer_bytes(&self) -> usize {
        let bytes = self.answers.iter().map(|answer| match answer {
            Answer::Ready(reply) => reply.len(),
            Answer::Deferred(_) => 0,
        });
        bytes.sum()
    }

    /// True while a promised answer has not come. Nothing more may be sent upstream until it has:
    /// a reply from there would find the promise in its place.
    pub fn is_deferred(&self) -> bool {
        self.answers.iter().any(|answer| matches!(answer, Answer::Deferred(_)))
    }

    /// Fills the place that was promised under `number`.
    pub fn keep(&mut self, number: u64, reply: Vec<u8>, out: &mut Vec<u8>) {
        if let Some(place) = self.answers.iter_mut().find(|answer| matches!(answer, Answer::Deferred(n) if *n == number)) {
            *place = Answer::Ready(reply);
        }
        self.release(out);
    }

    /// The next answer to EXEC is kept back, unless it is very long.
    pub fn keep_exec(&mut self) {
        self.kept = Some(Vec::new());
    }

    /// The answer that was kept back; nothing if it has gone to the client.
    pub fn take_exec(&mut self) -> Vec<u8> {
        self.kept.take().unwrap_or_default()
    }

    /// Lets the answers at the head go.
    pub(super) fn release(&mut self, out: &mut Vec<u8>) {
        while let Some(&Slot { role: Role::Answer, silent, .. }) = self.queue.front() {
            let Some(Answer::Ready(reply)) = self.answers.front() else { return };
            let reply = if silent { &[][..] } else { reply };
            match &mut self.reorder {
                None => out.extend_from_slice(reply),
                Some(reorder) => {
                    reorder.sink(1, out).extend_from_slice(reply);
                    reorder.came(1, out);
                }
            }
            self.answers.pop_front();
            self.queue.pop_front();
        }
        self.end_reordering();
    }

    /// Everything that was overtaken has its reply.
    fn end_reordering(&mut self) {
        if self.reorder.as_ref().is_some_and(|reorder| reorder.is_over()) {
            self.reorder = None;
        }
    }

    pub(super) fn check(&self) {
        debug_assert!(self.answers.len() + self.groups.len() + self.probes.len() <= self.queue.len());
        debug_assert!(!self.queue.is_empty() || self.owed == 0);
    }
}

/// How many replies of the client's a slot stands for; `group` tells it for a group.
fn replies(role: Role, group: impl FnOnce() -> usize) -> usize {
    match role {
        Role::Group => group(),
        Role::Probe | Role::Discard => 0,
        _ => 1,
    }
}
