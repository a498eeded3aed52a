//! Executes the steps of a plan, each of which is sent or answered.

use std::iter::Peekable;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use super::send::{Sending, SlowExec, Timing};
use super::{Exchange, Places};
use crate::net::upstream::PING;
use respguard_engine::pipeline::batch::Batch;
use respguard_engine::pipeline::failure_tracker::{FailureTracker, Scope};
use respguard_engine::pipeline::group::WrappedGroup;
use respguard_engine::pipeline::named_keys;
use respguard_engine::pipeline::plan::roles::Roles;
use respguard_engine::pipeline::plan::{Added, Answer, Plan, Step};
use respguard_engine::pipeline::probe::Probe;
use respguard_engine::pipeline::slot::Role;
use respguard_engine::pipeline::violation::{Kind, Violation};
use respguard_engine::policy::Group;
use respguard_engine::preflight::first_key;
use respguard_resp::{Protocol, encode};

impl Exchange {
    /// Sends what was planned.
    ///
    /// Where requests go out in another order than the one in which they were read, a place is kept for each.
    pub fn dispatch(self: &Rc<Self>, plan: &mut Plan, batch: &Batch, bytes: &[u8], timing: Timing) -> Places {
        let link = self.link();
        self.counts.requests.set(self.counts.requests.get() + plan.commands as u64);
        let (table, policy) = (self.context.table(), self.context.policy());
        let reorders = plan.reorders() || !plan.kept.is_empty() || !batch.all_held().is_empty();
        let places = if reorders { self.reserve(plan, batch) } else { Places::Next };
        let slow = plan.slow.then_some(SlowExec(plan.slow_exec));
        let Plan { steps, roles, members: all_members, rewrites, turned, found, .. } = plan;
        let sending = Sending {
            link: &link,
            table: &table,
            policy: &policy,
            batch,
            bytes,
            timing,
            rewrites,
            turned,
            places: &places,
            slow,
        };
        // Most plans are one step.
        if let [Step::Send { commands }] = &mut steps[..] {
            let commands = std::mem::take(commands);
            steps.clear();
            let tracker = pipeline_tracker(&sending, commands.clone(), roles);
            self.send_run(&sending, commands, roles, tracker);
            self.conclude_plan(found);
            return places;
        }
        let mut steps = steps.drain(..).peekable();
        while let Some(step) = steps.next() {
            match step {
                Step::Send { commands } => {
                    let tracker = pipeline_tracker(&sending, commands.clone(), roles);
                    self.send_run(&sending, commands, roles, tracker);
                }
                Step::Watch { commands, group, unwrapped } => {
                    let index = self.context.metrics.group_row(group);
                    let rule = Arc::clone(&policy.groups()[group]);
                    let expectations = sending.expectations(commands.clone(), &rule);
                    let scope = Scope::Group { index, rule, unwrapped };
                    let tracker =
                        FailureTracker::new(scope, u32::try_from(commands.len()).unwrap_or(u32::MAX)).expecting(expectations);
                    let tracker = tracker.naming(sending.keys(commands.clone()));
                    self.send_run(&sending, commands, roles, Some(tracker));
                }
                Step::Wrap { members, group, added } => {
                    let (members, rule) = (&all_members[members], &policy.groups()[group]);
                    let marked = self.marker(&sending, members, rule).map(|marker| (marker, questions(&mut steps)));
                    self.send_group(&sending, members, (group, rule), added.map_or_else(Added::default, |added| *added), marked);
                }
                Step::TtlFix { command, added } => {
                    let name = added.rule.as_ref().map(|rule| Arc::clone(&rule.name)).unwrap_or_default();
                    let alone = Arc::new(Group::alone(&name));
                    self.send_group(&sending, &[command], (WrappedGroup::ALONE, &alone), *added, None);
                }
                Step::Refuse { command, reply } => {
                    self.context.metrics.command(batch.id(command).index());
                    self.answer_in(sending.places.of(command), reply);
                }
                Step::Guard { members, group, guard, added } => {
                    let (members, rule) = (&all_members[members], &policy.groups()[group]);
                    let marked = self.marker(&sending, members, rule).map(|marker| (marker, questions(&mut steps)));
                    let added = added.map_or_else(Added::default, |added| *added);
                    self.send_guarded(&sending, members, group, guard, added, marked);
                }
                Step::Span(span) => {
                    let commands = &all_members[span.commands.clone()];
                    let marked = self.marker_of_span(&sending, commands, &span).map(|marker| (marker, questions(&mut steps)));
                    self.send_span(&sending, commands, *span, marked);
                }
                Step::RefuseGroup { members, group, refusal } => {
                    self.refuse(&sending, &all_members[members], group, &refusal);
                }
                Step::Probe(probe) => {
                    let others = questions(&mut steps);
                    self.send_probes(&link, std::iter::once(*probe).chain(others), timing);
                }
                Step::CatchUp => {
                    let mut state = self.state.borrow_mut();
                    let owed = state.slots.push_discards(1);
                    self.send(&link, &mut state, &[PING], owed, timing.times());
                }
                Step::Answer { command, by } => {
                    if let Answer::Degraded { rule, .. } = by {
                        self.report_degraded(&sending, command, rule);
                    }
                    self.context.metrics.command(batch.id(command).index());
                    let protocol = self.state.borrow().session.protocol;
                    self.answer_in(sending.places.of(command), own_reply(by, protocol));
                }
            }
        }
        drop(steps);
        self.conclude_plan(found);
        places
    }

    /// The place of each planned command, in the order in which they were read.
    fn reserve(&self, plan: &Plan, batch: &Batch) -> Places {
        let slots = &mut self.state.borrow_mut().slots;
        Places::Kept((0..plan.commands).map(|at| batch.held(at).map_or_else(|| slots.reserve(), |held| held.seq)).collect())
    }

    fn report_degraded(&self, sending: &Sending<'_>, command: usize, rule: usize) {
        let Sending { table, policy, batch, bytes, .. } = *sending;
        let (spec, args, rule) = (table.spec(batch.id(command)), batch.args(bytes, command), &policy.degrade_rules()[rule]);
        let key = first_key(spec, args);
        let key_pattern = key.and_then(|key| rule.pattern_of(key)).map(Into::into);
        let shown = key.and_then(|key| named_keys::shown(policy.violation_keys, key));
        let violation = Violation { key_pattern, key: shown, ..Violation::new(Kind::Degraded) };
        self.context.reporter.violation(violation.rule(&rule.name).commands([spec.name()]), self.peer());
    }
}

/// Counts together what is sent in one go, if that is more than one command. Where none of them may write nothing can be
/// half written: a failure in part is counted and not told, as in a burst of questions with which a library begins.
fn pipeline_tracker(sending: &Sending<'_>, commands: Range<usize>, roles: &Roles) -> Option<FailureTracker> {
    let Sending { table, policy, batch, .. } = *sending;
    let is_tracked = |at: &usize| roles.get(*at).is_some_and(Role::is_tracked);
    let all = roles.are_plain(commands.clone());
    let tracked = if all { commands.len() } else { commands.clone().filter(is_tracked).count() };
    if tracked <= 1 {
        return None;
    }
    let report = policy.report_pipelines
        && match all {
            true => batch.ids(commands.clone()).any(|id| table.spec(id).may_write()),
            false => commands.clone().filter(is_tracked).any(|at| table.spec(batch.id(at)).may_write()),
        };
    let tracker = FailureTracker::new(Scope::Pipeline { report }, u32::try_from(tracked).unwrap_or(u32::MAX));
    Some(if report { tracker.naming(sending.keys(commands.filter(|at| all || is_tracked(at)))) } else { tracker })
}

/// The questions that stand right behind a step.
fn questions(steps: &mut Peekable<impl Iterator<Item = Step>>) -> Vec<Probe> {
    let question = |step: Step| match step {
        Step::Probe(probe) => Some(*probe),
        _ => None,
    };
    std::iter::from_fn(|| steps.next_if(|step| matches!(step, Step::Probe(_))).and_then(question)).collect()
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
            "EXECABORT Transaction discarded because of previous errors. respguard: its connection was lost or a WATCH was refused, nothing was applied",
        ),
        Answer::Refuse(text) => encode::error(&mut out, text),
        Answer::Degraded { blank, .. } => blank.encode(&mut out, protocol),
    }
    out
}
