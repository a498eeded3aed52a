//! Plans what happens to the commands that one client has sent: the only place where that is decided.

use std::ops::Range;
use std::sync::Arc;

use super::batch::Batch;
use super::decide::Decision;
use super::finding::{Finding, Unwrapped};
use super::gather::{self, Gathered, Obstacle};
use super::group::Injected;
use super::refusal::Refusal;
use super::reply_checks::ReplyChecks;
use super::slot::{Probe, Role};
use super::ttl::Undecided;
use super::violation::{Kind, Violation};
use roles::Roles;
pub use rules::{Holding, Rules};

use crate::command::{Blank, ClientCommand};
use crate::policy::TtlRule;
use crate::preflight::{Lack, Preflight};
use crate::session::affinity::Reason;
use crate::session::{Admission, Session};

/// What is to be done, in this order.
#[derive(Debug)]
#[expect(missing_docs, reason = "the sentence above each variant names its fields")]
pub enum Step {
    /// The bytes of these commands go out as they are, in one piece.
    Send { commands: Range<usize> },
    /// `MULTI`, the commands named at these places of `Plan::members`, `EXEC`, in one piece.
    Wrap { members: Range<usize>, group: usize, added: Option<Box<Added>> },
    /// The same behind a preflight.
    Guard { members: Range<usize>, group: usize, preflight: Box<Preflight>, added: Option<Box<Added>> },
    /// Groups with all that stands between their members.
    Span(Box<Span>),
    /// A group of which nothing is sent, and why.
    RefuseGroup { members: Range<usize>, group: usize, refusal: Refusal },
    /// These commands are a group that goes out as it is: its rule says so, or what is told in `unwrapped` is against it.
    Watch { commands: Range<usize>, group: usize, unwrapped: Option<Unwrapped> },
    /// A PTTL of our own.
    Probe(Box<Probe>),
    /// A PING of our own whose answer nobody sees: it brings the connection up to the server's last
    /// write, which WAIT speaks about (<https://redis.io/docs/latest/commands/wait/>).
    CatchUp,
    /// The proxy itself answers this command.
    Answer { command: usize, by: Answer },
    /// A rule does not let this command pass: it is answered with this error.
    Refuse { command: usize, reply: Vec<u8> },
    /// `MULTI`, this command, commands of our own that give its keys a TTL, `EXEC`, in one piece.
    TtlFix { command: usize, added: Box<Added> },
}

/// One transaction of groups whose members stand between each other, or between other commands: nothing changes places.
#[derive(Debug)]
pub struct Span {
    /// All of its commands, at these places of `Plan::members`.
    pub commands: Range<usize>,
    /// The groups that the transaction makes atomic.
    pub groups: Vec<SpanGroup>,
    /// Groups that are only observed: their members ride.
    pub observed: Vec<SpanGroup>,
    /// What is asked before it, where some group is guarded.
    pub preflight: Option<Box<Preflight>>,
    /// What rules add to it.
    pub added: Added,
}

/// One of the groups of a transaction that others share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanGroup {
    /// Its place among the rules' groups.
    pub group: usize,
    /// The places of its members among the transaction's commands.
    pub places: Vec<u32>,
    /// The preflight is about it.
    pub guarded: bool,
}

/// How the proxy answers a command itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the sentence above each variant names its fields")]
pub enum Answer {
    /// `+OK`, in a transaction whose connection is gone.
    Ok,
    /// `+QUEUED`, likewise.
    Queued,
    /// `-EXECABORT`, at its end.
    ExecAbort,
    /// SYNC and PSYNC: a replica must have the server's own stream.
    NoReplica,
    /// This error.
    Refuse(&'static str),
    /// As this degrade rule says, while there is no server.
    Degraded { rule: usize, blank: Blank },
}

/// Something that must be done before the next command can be planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Barrier {
    /// Take a leased connection, once nothing is owed on the shared one. The command is planned again.
    Pin(Reason),
    /// The client changes its user, protocol or db with this command.
    Lane,
    /// The command goes to a spare connection, past everything else.
    Spare,
    /// A command about clients: the server says whether it is allowed, then it is answered over the clients of
    /// the proxy. Within the client's own MULTI it is queued, and answered with its EXEC.
    ClientCommand(ClientCommand),
    /// The client's own EXEC, behind commands about clients: the proxy's answers go into the server's array.
    Exec,
    /// No client of Redis sends this: the connection is closed without a word.
    Close,
    /// The client says good-bye.
    Quit,
    /// The client starts over.
    Reset,
    /// A group may be sent again until it is answered: what stands behind it waits for that.
    Resolve,
    /// Go back to the shared connection, once nothing is owed on the client's own. The command is planned again.
    Share,
    /// What is there may become a group, or a transaction, and more is known to be coming.
    Wait,
    /// What is there begins groups, and the rest may come.
    Hold,
}

/// What planning has found out about a group that is not wrapped where its first member stands.
#[derive(Debug, PartialEq, Eq, Clone)]
#[expect(missing_docs, reason = "the sentence above each variant names its fields")]
pub enum Note {
    /// Its first members begin to wait for the rest.
    Held { group: usize, members: usize },
    /// The rest of what waited has come.
    Completed { group: usize },
    /// The wait was over first: the commands named at these places of `Plan::members` pass one by one.
    Expired { group: usize, members: Range<usize> },
    /// Something else came that ended the wait: the commands pass one by one. `None`: nobody has to know.
    Broken { group: usize, members: Range<usize>, why: Option<Obstacle> },
    /// All of it is there, but its members cannot be brought together.
    Obstructed { group: usize, members: Range<usize>, why: Obstacle },
    /// The last of these, which is optional, stays outside of its group.
    LeftOut { group: usize, members: Range<usize>, why: Obstacle },
    /// These commands would be the group but for one thing, which is about the one at `place` among them. Some of them
    /// may still wait for the group's rest.
    NearMiss { group: usize, members: Range<usize>, place: u32, waiting: bool, why: Box<str> },
    /// A guarded group goes out as a transaction, because its preflight cannot run.
    Degraded { group: usize, members: Range<usize>, lack: Lack },
}

/// The outcome of planning.
#[derive(Debug, Default)]
pub struct Plan {
    /// What is sent or answered, in this order.
    pub steps: Vec<Step>,
    /// One for each command that is planned, by its index.
    pub roles: Roles,
    /// The members of groups, by their index in the batch.
    pub members: Vec<usize>,
    /// What was found out about groups.
    pub notes: Vec<Note>,
    /// How many of the batch's commands are planned.
    pub commands: usize,
    /// Those of them that wait for the rest of their group, by their index; true for the first of a group.
    pub kept: Vec<(usize, bool)>,
    /// What must be done about the command behind them.
    pub turn: Option<Barrier>,
    /// Commands that do not go out as they came, by their index, with what goes out in their place.
    pub rewrites: Vec<(usize, Vec<u8>)>,
    /// Those of them that are a SETNX, with the rule: SET goes out, and what it answers is turned back.
    pub turned: Vec<(usize, Arc<str>)>,
    /// What rules have to tell about commands.
    pub found: Vec<Finding>,
    /// One of the commands is long by nature, or ends a transaction that has queued such a one.
    pub slow: bool,
    /// An EXEC among them may end such a transaction.
    pub slow_exec: bool,
    pub(super) gathered: Vec<Gathered>,
    /// Commands that are in no group and may have been meant to be in one.
    pub(super) strays: Vec<usize>,
    /// By the command's index: one more than the place of the gathered group that it belongs to, or 0.
    pub(super) claims: Vec<u32>,
    /// From this command on all wait.
    pub(super) waits_from: Option<usize>,
}

/// What rules add to a transaction of our own.
#[derive(Debug, Default)]
pub struct Added {
    /// Commands that the client has not sent.
    pub injected: Vec<Injected>,
    /// The rule that the first of them is for.
    pub rule: Option<Arc<TtlRule>>,
    /// What checks the replies to its own.
    pub checks: Option<Box<ReplyChecks>>,
}

impl Added {
    /// Nothing where nothing is added, which is most often so.
    pub(super) fn boxed(self) -> Option<Box<Added>> {
        let is_empty = self.injected.is_empty() && self.rule.is_none() && self.checks.is_none();
        (!is_empty).then(|| Box::new(self))
    }
}

impl Plan {
    fn clear(&mut self) {
        self.steps.clear();
        self.roles.clear();
        self.members.clear();
        self.notes.clear();
        self.commands = 0;
        self.kept.clear();
        self.turn = None;
        self.rewrites.clear();
        self.turned.clear();
        self.found.clear();
        (self.slow, self.slow_exec) = (false, false);
        self.gathered.clear();
        self.claims.clear();
        self.waits_from = None;
        self.strays.clear();
    }

    /// The rule for which the command, a SETNX, goes out as SET.
    pub(super) fn turned_by(&self, at: usize) -> Option<&Arc<str>> {
        self.turned.iter().find(|(turned, _)| *turned == at).map(|(_, rule)| rule)
    }

    /// The groups of which a part waits for the rest, with their members by their index.
    pub fn waiting(&self) -> impl Iterator<Item = (usize, &[usize])> {
        let waiting = self.gathered.iter().filter(|gathered| !gathered.whole);
        waiting.map(|gathered| (gathered.group, &self.members[gathered.first..gathered.first + gathered.members]))
    }

    /// True when a group is there as a whole, before the steps are gone through.
    pub fn has_group(&self) -> bool {
        self.steps
            .iter()
            .any(|step| matches!(step, Step::Wrap { .. } | Step::Guard { .. } | Step::Span(_) | Step::RefuseGroup { .. }))
    }

    /// True when requests go out in another order than the one in which they were read.
    pub fn reorders(&self) -> bool {
        !self.claims.is_empty()
    }
}

/// Plans the commands of `batch`, whose bytes are `bytes`.
///
/// `more` says that bytes behind the last whole command are known to be on their way; a group that
/// is not complete yet then waits for them.
///
/// `undecided` keeps what a transaction that is still open has written.
pub fn plan(
    session: &mut Session,
    undecided: &mut Undecided,
    rules: Rules<'_>,
    batch: &Batch,
    bytes: &[u8],
    more: bool,
    plan: &mut Plan,
) {
    plan.clear();
    let is_there = !rules.fenced && !fast_path::is_server_in_doubt(&rules);
    if is_there && passes_whole(session, undecided, (rules.table, rules.policy), batch, bytes) {
        plan.roles.push_plain(batch.len());
        plan.steps.push(Step::Send { commands: 0..batch.len() });
        plan.commands = batch.len();
        return;
    }
    let (within, looks_left) = (session.transaction.is_open(), gather::looks(batch.len()));
    let (run, concerned, fenced, reads_ahead) = (0, false, rules.fenced, rules.fenced && rules.reads_ahead);
    let within = within || session.caching;
    Planner { session, undecided, rules, batch, bytes, more, plan, run, within, concerned, looks_left, fenced, reads_ahead }
        .plan();
}

/// A plan in the making: this file puts its steps together, `decide` says what becomes of each command.
pub(super) struct Planner<'a> {
    pub(super) session: &'a mut Session,
    pub(super) undecided: &'a mut Undecided,
    pub(super) rules: Rules<'a>,
    pub(super) batch: &'a Batch,
    pub(super) bytes: &'a [u8],
    pub(super) more: bool,
    pub(super) plan: &'a mut Plan,
    /// First command that is to be sent and is not yet in a step.
    pub(super) run: usize,
    /// The run begins inside the client's own MULTI, or right behind its CLIENT CACHING: a question of ours in front of it
    /// would be taken for a command of the client's.
    within: bool,
    /// A rule may be about a command of the run.
    concerned: bool,
    /// Commands that may still be looked at for members that are apart.
    pub(super) looks_left: usize,
    /// A group has gone out that may be sent again.
    pub(super) fenced: bool,
    /// And reads may follow it before it is answered.
    pub(super) reads_ahead: bool,
}

impl Planner<'_> {
    fn plan(&mut self) {
        let mut at = 0;
        let awaits_login = self.session.admission == Admission::Awaited;
        while at < self.batch.len() && !self.fenced {
            at = self.pass_fast(at, awaits_login);
            if at == self.batch.len() {
                break;
            }
            self.concerned = true;
            self.note_slow(at..at + 1);
            if self.is_answered(at) {
                self.end_run(at);
                self.plan.roles.push(Role::Own);
                at += 1;
                self.run = at;
                continue;
            }
            if let Some(gathered) = self.claim(at) {
                let gathered = gathered.clone();
                self.pass_claimed(at, &gathered);
                at += 1;
                continue;
            }
            if !awaits_login && self.refuse_effect(at) {
                at += 1;
                continue;
            }
            let decision = if awaits_login { self.decide_unauthenticated(at) } else { self.decide(at) };
            match decision {
                Decision::Gathered => {}
                Decision::Spanned(next) => at = next,
                Decision::Send(Role::Plain) if self.ttl_fix(at) => at += 1,
                Decision::Send(role) => {
                    let ends = matches!(role, Role::Exec);
                    self.pass(at, role);
                    at += 1;
                    if ends {
                        self.end_run(at);
                    }
                }
                Decision::Transaction(commands) => {
                    self.note_slow(at..at + commands);
                    self.plan.roles.push(Role::Multi);
                    (at + 1..at + commands - 1).for_each(|queued| self.pass(queued, Role::Queued));
                    self.plan.roles.push(self.role_of_end(at + commands - 1));
                    at += commands;
                }
                Decision::Group { group, members, bare } => {
                    self.end_run(at);
                    self.push_group(group, at..at + members, bare);
                    at += members;
                    self.run = at;
                }
                Decision::Answer(by) => {
                    self.end_run(at);
                    self.plan.roles.push(Role::Own);
                    self.plan.steps.push(Step::Answer { command: at, by });
                    at += 1;
                    self.run = at;
                }
                Decision::Fault(reply) => {
                    self.end_run(at);
                    self.plan.roles.push(Role::Own);
                    self.plan.steps.push(Step::Refuse { command: at, reply });
                    at += 1;
                    self.run = at;
                }
                Decision::Barrier(turn) => {
                    if turn == Barrier::Close {
                        at = self.before_http(at);
                        self.plan.roles.truncate(at);
                    }
                    self.note_barrier(at, turn);
                    self.plan.turn = Some(turn);
                    break;
                }
            }
        }
        if self.fenced && self.plan.turn.is_none() {
            at = self.pass_reads_ahead(at);
        }
        self.end_run(at);
        self.plan.commands = at;
        if self.fenced {
            self.plan.turn = Some(Barrier::Resolve);
        }
        self.keep();
        self.keep_before_answered();
        self.find_near_misses();
    }

    /// What is long by nature has a deadline of its own, and so has the EXEC of a transaction with such a command.
    pub(super) fn note_slow(&mut self, commands: Range<usize>) {
        let table = self.rules.table;
        let is_slow = commands.into_iter().any(|at| table.spec(self.batch.id(at)).slow);
        self.plan.slow_exec |= self.session.queue.slow;
        self.plan.slow |= is_slow || self.plan.slow_exec;
    }

    /// Puts the commands that are to be sent as they are, up to `end`, into a step.
    pub(super) fn end_run(&mut self, end: usize) {
        let commands = self.run..end;
        self.run = end;
        if commands.is_empty() {
            return;
        }
        let step = Step::Send { commands: commands.clone() };
        if self.concerned || !self.undecided.is_empty() {
            self.with_probes(commands, step);
        } else {
            self.plan.steps.push(step);
        }
        self.within = self.session.transaction.is_open() || self.session.caching;
    }

    /// The step of one command, with its questions.
    pub(super) fn ttl_fix_step(&mut self, at: usize, step: Step) {
        self.with_probes(std::iter::once(at), step);
    }

    /// What stands before `next` is dealt with.
    pub(super) fn skip(&mut self, next: usize) {
        self.run = next;
    }

    /// The step, between the questions about TTLs that its commands leave open.
    pub(super) fn with_probes(&mut self, commands: impl Iterator<Item = usize>, step: Step) {
        if self.rules.policy.ttl_rules().is_empty() || !self.rules.probes {
            self.plan.steps.push(step);
            return;
        }
        let mut undecided = std::mem::take(self.undecided);
        for at in commands {
            self.ttl_effects(at, &mut |key, effect| undecided.note(self.rules.policy, self.batch.id(at), key, effect));
        }
        for (rule, command) in undecided.take_beyond() {
            let violation = Violation::new(Kind::TooLarge).rule(&rule.name).commands([self.rules.table.spec(command).name()]);
            let violation = Violation { reason: Some("more keys than are looked at".into()), ..violation };
            self.plan.found.push(Finding::Violation(violation));
        }
        *self.undecided = undecided;
        // Behind an open MULTI a question would be queued: it waits for the EXEC. Behind CLIENT CACHING it would be the
        // command that is meant.
        if self.session.transaction.is_open() || self.session.caching {
            self.plan.steps.push(step);
            return;
        }
        let probe = |probe| Step::Probe(Box::new(probe));
        // Before the EXEC of a MULTI sent earlier it would be queued too.
        if !self.within {
            self.plan.steps.extend(self.undecided.before().map(probe));
        }
        self.plan.steps.push(step);
        self.plan.steps.extend(self.undecided.after().map(probe));
        self.undecided.clear();
    }
}

mod fast_path;
mod groups;
pub mod roles;
mod rules;

pub use fast_path::passes_whole;

#[cfg(test)]
mod tests;
