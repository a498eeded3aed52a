//! Plans what happens to the commands that one client has sent: the only place where that is decided.

mod fast_path;
mod groups;
mod note;
mod outcome;
mod planner;
mod reads_ahead;
pub mod roles;
mod rules;
mod step;

use super::batch::Batch;
use super::decide::Decision;
use super::gather;
use super::slot::Role;
use super::ttl::Undecided;
use crate::session::{Admission, Session};

pub use fast_path::passes_whole;
pub use note::{Note, SplitReason};
pub(super) use outcome::Gathered;
pub use outcome::Plan;
pub(super) use planner::Planner;
pub use rules::{Holding, Rules};
pub use step::{Added, Answer, Barrier, Span, SpanGroup, Step};

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
                self.plan.roles.push(Role::ProxyReply);
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
                    self.plan.roles.push(Role::ProxyReply);
                    self.plan.steps.push(Step::Answer { command: at, by });
                    at += 1;
                    self.run = at;
                }
                Decision::Fault(reply) => {
                    self.end_run(at);
                    self.plan.roles.push(Role::ProxyReply);
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
}

#[cfg(test)]
mod tests;
