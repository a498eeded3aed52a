//! A plan in the making, and how runs of commands and questions become its steps.

use std::ops::Range;
use std::sync::Arc;

use super::outcome::Plan;
use super::rules::Rules;
use super::step::Step;
use crate::command::Spec;
use crate::pipeline::batch::Batch;
use crate::pipeline::finding::Finding;
use crate::pipeline::ttl::Undecided;
use crate::pipeline::violation::{Kind, Violation};
use crate::policy::{Group, Member};
use crate::session::Session;
use respguard_resp::request::Args;

/// A plan in the making.
pub(in crate::pipeline) struct Planner<'a> {
    pub(in crate::pipeline) session: &'a mut Session,
    pub(in crate::pipeline) undecided: &'a mut Undecided,
    pub(in crate::pipeline) rules: Rules<'a>,
    pub(in crate::pipeline) batch: &'a Batch,
    pub(in crate::pipeline) bytes: &'a [u8],
    pub(in crate::pipeline) more: bool,
    pub(in crate::pipeline) plan: &'a mut Plan,
    /// First command that is to be sent and is not yet in a step.
    pub(in crate::pipeline) run: usize,
    /// The run begins inside the client's own MULTI, or right behind its CLIENT CACHING: a question of ours in front of it
    /// would be taken for a command of the client's.
    pub(super) within: bool,
    /// A rule may be about a command of the run.
    pub(super) concerned: bool,
    /// Commands that may still be looked at for members that are apart.
    pub(in crate::pipeline) looks_left: usize,
    /// A group has gone out that may be sent again.
    pub(in crate::pipeline) fenced: bool,
    /// And reads may follow it before it is answered.
    pub(in crate::pipeline) reads_ahead: bool,
}

impl<'a> Planner<'a> {
    pub(in crate::pipeline) fn args(&self, at: usize) -> Args<'a> {
        self.batch.args(self.bytes, at)
    }

    pub(in crate::pipeline) fn spec(&self, at: usize) -> &'a Spec {
        self.rules.table.spec(self.batch.id(at))
    }

    pub(in crate::pipeline) fn member(&self, at: usize) -> Member<'a> {
        Member { id: self.batch.id(at), args: self.args(at) }
    }

    /// The rule of a group.
    pub(in crate::pipeline) fn group(&self, group: usize) -> &'a Arc<Group> {
        &self.rules.policy.groups()[group]
    }
}

impl Planner<'_> {
    /// What is long by nature has a deadline of its own, and so has the EXEC of a transaction with such a command.
    pub(in crate::pipeline) fn note_slow(&mut self, commands: Range<usize>) {
        let table = self.rules.table;
        let is_slow = commands.into_iter().any(|at| table.spec(self.batch.id(at)).slow);
        self.plan.slow_exec |= self.session.queue.slow;
        self.plan.slow |= is_slow || self.plan.slow_exec;
    }

    /// Puts the commands that are to be sent as they are, up to `end`, into a step.
    pub(in crate::pipeline) fn end_run(&mut self, end: usize) {
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
    pub(in crate::pipeline) fn ttl_fix_step(&mut self, at: usize, step: Step) {
        self.with_probes(std::iter::once(at), step);
    }

    /// What stands before `next` is dealt with.
    pub(in crate::pipeline) fn skip(&mut self, next: usize) {
        self.run = next;
    }

    /// The step, between the questions about TTLs that its commands leave open.
    pub(in crate::pipeline) fn with_probes(&mut self, commands: impl Iterator<Item = usize>, step: Step) {
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
