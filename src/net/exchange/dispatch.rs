//! Goes through the steps of a plan, each of which is sent or answered.

use std::collections::VecDeque;
use std::iter::Peekable;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use super::Exchange;
use super::send::{Sending, Timing};
use crate::net::upstream::PING;
use respguard_engine::command::CommandId;
use respguard_engine::pipeline::batch::Batch;
use respguard_engine::pipeline::group::WrappedGroup;
use respguard_engine::pipeline::plan::{Answer, Plan, Step};
use respguard_engine::pipeline::reply_check::ReplyCheck;
use respguard_engine::pipeline::score::{Scope, Score};
use respguard_engine::pipeline::slot::{Probe, Role};
use respguard_engine::pipeline::violation::{Kind, Violation};
use respguard_engine::policy::Group;
use respguard_resp::{Protocol, encode};

/// What belongs to single commands of one plan, in order.
pub(super) struct PerCommand<'a> {
    pub(super) checks: &'a mut VecDeque<Box<ReplyCheck>>,
    pub(super) refused: &'a mut VecDeque<Vec<u8>>,
}

impl Exchange {
    /// Sends what was planned.
    ///
    /// Where requests go out in another order than the one in which they were read, the places of all that are planned
    /// come back, by their index.
    pub fn dispatch(self: &Rc<Self>, plan: &mut Plan, batch: &Batch, bytes: &[u8], timing: Timing) -> Vec<u64> {
        let link = self.link();
        let (table, policy) = (self.context.table(), self.context.policy());
        let rewrites = std::mem::take(&mut plan.rewrites);
        let sending = Sending { link: &link, table: &table, policy: &policy, batch, bytes, timing, rewrites: &rewrites };
        let places = if plan.reorders() || !batch.all_held().is_empty() { self.reserve(plan, batch) } else { Vec::new() };
        let mut probes = plan.probes.drain(..);
        let (mut preflights, mut refusals) = (plan.preflights.drain(..), plan.refusals.drain(..));
        let mut per_command = PerCommand { checks: &mut plan.checks, refused: &mut plan.refused };
        let mut steps = plan.steps.iter().peekable();
        while let Some(step) = steps.next() {
            match step {
                Step::Send { commands } => {
                    let roles = &plan.roles[commands.clone()];
                    let score = pipeline_score(&sending, commands.clone(), roles);
                    self.aim(&places, commands.clone());
                    self.send_run(&sending, commands.clone(), roles, score, &mut per_command);
                }
                Step::Watch { commands, group, unwrapped } => {
                    let index = self.context.metrics.group_row(*group);
                    let rule = Arc::clone(&policy.groups()[*group]);
                    let expectations = sending.expectations(commands.clone(), &rule);
                    let scope = Scope::Group { index, rule, unwrapped: *unwrapped };
                    let score = Score::new(scope, u32::try_from(commands.len()).unwrap_or(u32::MAX)).expecting(expectations);
                    self.aim(&places, commands.clone());
                    self.send_run(&sending, commands.clone(), &plan.roles[commands.clone()], Some(score), &mut per_command);
                }
                Step::Wrap { members, group } => {
                    let members = &plan.members[members.clone()];
                    self.aim(&places, members.iter().copied());
                    let added = plan.added.pop_front().unwrap_or_default();
                    let rule = &policy.groups()[*group];
                    let resolved =
                        self.marker(&sending, members, rule).map(|marker| (marker, questions(&mut steps, &mut probes)));
                    self.send_group(&sending, members, (*group, rule), added, resolved);
                }
                Step::TtlFix { command } => {
                    self.aim(&places, std::iter::once(*command));
                    let added = plan.added.pop_front().unwrap_or_default();
                    if let Some(rule) = &added.rule {
                        let alone = Arc::new(Group::alone(&rule.name));
                        self.send_group(&sending, &[*command], (WrappedGroup::ALONE, &alone), added, None);
                    }
                }
                Step::Refuse { command } => {
                    self.context.metrics.command(batch.id(*command).index());
                    self.aim(&places, std::iter::once(*command));
                    self.answer(per_command.refused.pop_front().unwrap_or_default());
                }
                Step::Guard { members, group } => {
                    let members = &plan.members[members.clone()];
                    self.aim(&places, members.iter().copied());
                    if let Some(preflight) = preflights.next() {
                        let added = plan.added.pop_front().unwrap_or_default();
                        let rule = &policy.groups()[*group];
                        let resolved =
                            self.marker(&sending, members, rule).map(|marker| (marker, questions(&mut steps, &mut probes)));
                        self.send_guarded(&sending, members, *group, preflight, added, resolved);
                    }
                }
                Step::RefuseGroup { members, group } => {
                    let members = &plan.members[members.clone()];
                    self.aim(&places, members.iter().copied());
                    if let Some(refusal) = refusals.next() {
                        self.refuse(&sending, members, *group, &refusal);
                    }
                }
                Step::Probe => {
                    let first = probes.next();
                    let others = questions(&mut steps, &mut probes);
                    self.send_probes(&link, first.into_iter().chain(others), timing);
                }
                Step::CatchUp => {
                    let mut state = self.state.borrow_mut();
                    state.slots.push(Role::Discard, CommandId::UNKNOWN, false);
                    self.send(&link, &mut state, &[PING], 1, timing.read_at, timing.deadline());
                }
                Step::Answer { command, by } => {
                    if let Answer::Degraded { rule, .. } = by {
                        self.tell_degraded(&sending, *command, *rule);
                    }
                    self.context.metrics.command(batch.id(*command).index());
                    self.aim(&places, std::iter::once(*command));
                    let protocol = self.state.borrow().session.protocol;
                    self.answer(own_reply(*by, protocol));
                }
            }
        }
        drop(probes);
        self.conclude_plan(&mut plan.found);
        places
    }

    /// The place of each planned command, in the order in which they were read.
    fn reserve(&self, plan: &Plan, batch: &Batch) -> Vec<u64> {
        let slots = &mut self.state.borrow_mut().slots;
        (0..plan.commands).map(|at| batch.held(at).map_or_else(|| slots.reserve(), |held| held.place)).collect()
    }

    /// The commands that are sent next have these places, if they have any.
    fn aim(&self, places: &[u64], commands: impl Iterator<Item = usize>) {
        if places.is_empty() {
            return;
        }
        let slots = &mut self.state.borrow_mut().slots;
        commands.for_each(|at| slots.aim(places[at]));
    }

    fn tell_degraded(&self, sending: &Sending<'_>, command: usize, rule: usize) {
        let Sending { table, policy, batch, bytes, .. } = *sending;
        let (spec, args, rule) = (table.spec(batch.id(command)), batch.args(bytes, command), &policy.degrade_rules()[rule]);
        let mut key = None;
        spec.for_each_key(args, &mut |place, _| key = key.or(args.get(place)));
        let key_pattern = key.and_then(|key| rule.pattern_of(key)).map(Into::into);
        let violation = Violation { key_pattern, ..Violation::new(Kind::Degraded) };
        self.context.reporter.violation(violation.rule(&rule.name).commands([spec.name()]), &self.peer);
    }
}

/// Counts together what is sent in one go, if that is more than one command. Where none of them may write nothing can be
/// half written: a failure in part is counted and not told, as in a burst of questions with which a library begins.
fn pipeline_score(sending: &Sending<'_>, commands: Range<usize>, roles: &[Role]) -> Option<Score> {
    let Sending { table, policy, batch, .. } = *sending;
    let scored = roles.iter().filter(|role| role.is_scored()).count();
    if scored <= 1 {
        return None;
    }
    let mut scored_commands = commands.zip(roles).filter(|(_, role)| role.is_scored());
    let report = policy.report_pipelines && scored_commands.any(|(at, _)| table.spec(batch.id(at)).may_write());
    Some(Score::new(Scope::Pipeline { report }, u32::try_from(scored).unwrap_or(u32::MAX)))
}

/// The questions that stand right behind a step.
fn questions<'s>(steps: &mut Peekable<impl Iterator<Item = &'s Step>>, probes: &mut impl Iterator<Item = Probe>) -> Vec<Probe> {
    let count = std::iter::from_fn(|| steps.next_if(|step| matches!(step, Step::Probe))).count();
    probes.by_ref().take(count).collect()
}

/// The reply that the proxy gives itself.
pub fn own_reply(answer: Answer, protocol: Protocol) -> Vec<u8> {
    let mut out = Vec::new();
    match answer {
        Answer::Ok => encode::simple(&mut out, "OK"),
        Answer::Queued => encode::simple(&mut out, "QUEUED"),
        Answer::NoReplica => {
            encode::error(&mut out, "ERR respguard: no replication through a proxy: connect the replica to the server itself");
        }
        Answer::ExecAbort => encode::error(
            &mut out,
            "EXECABORT Transaction discarded because of: respguard: the connection to the server was lost, nothing was applied",
        ),
        Answer::Refuse(text) => encode::error(&mut out, text),
        Answer::Degraded { blank, .. } => blank.encode(&mut out, protocol),
    }
    out
}
