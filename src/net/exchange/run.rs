//! Sends consecutive commands that go out one by one, as they came or rewritten.

use std::ops::Range;
use std::rc::Rc;
use std::time::Instant;

use super::dispatch::PerCommand;
use super::send::Sending;
use super::{Exchange, State};
use respguard_engine::command::{BlockFor, RetryClass};
use respguard_engine::pipeline::batch::Batch;
use respguard_engine::pipeline::score::Score;
use respguard_engine::pipeline::slot::{Role, Slots};

impl Exchange {
    pub(super) fn send_run(
        self: &Rc<Self>,
        sending: &Sending<'_>,
        commands: Range<usize>,
        roles: &[Role],
        score: Option<Score>,
        per_command: &mut PerCommand<'_>,
    ) {
        let Sending { batch, timing, .. } = *sending;
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let scored = score.is_some();
        if let Some(score) = score {
            state.slots.push_score(score);
        }
        commands.clone().for_each(|at| self.context.metrics.command(batch.id(at).index()));
        if roles.iter().all(|role| *role == Role::Plain) {
            state.slots.push_plain(commands.clone().map(|at| batch.id(at)), scored);
        } else {
            push_by_role(&mut state.slots, batch, commands.clone().zip(roles), scored, per_command);
        }
        let mut rest = commands.clone();
        // What goes before a command that blocks is not blocked itself, and has a deadline of its own.
        if state.session.affinity.is_pinned() {
            for (at, &role) in commands.zip(roles) {
                if !matches!(role, Role::Queued | Role::QueuedChecked)
                    && let Some(deadline) = blocking_deadline(sending, at)
                {
                    self.send_part(sending, state, rest.start..at, timing.deadline());
                    self.send_part(sending, state, at..at + 1, deadline);
                    rest.start = at + 1;
                }
            }
        }
        let reads = self.reads_behind(sending, state, rest.clone(), &roles[roles.len() - rest.len()..]);
        self.send_part(sending, state, rest.start..reads.start, timing.deadline());
        if !reads.is_empty() && self.send_part(sending, state, reads, timing.deadline()) {
            sending.link.mark_reads();
        }
    }

    /// The reads at the end of these commands, which may be sent once more should the connection be lost. A lease is lost
    /// with its client's state.
    fn reads_behind(&self, sending: &Sending<'_>, state: &State, commands: Range<usize>, roles: &[Role]) -> Range<usize> {
        // What is refused, because it is the first, is refused as a whole.
        if state.session.affinity.is_pinned() || self.context.health.refuses() {
            return commands.end..commands.end;
        }
        let is_read =
            |(at, role): &(usize, &Role)| role.is_scored() && sending.table.spec(sending.batch.id(*at)).retry == RetryClass::Read;
        let reads = commands.clone().zip(roles).rev().take_while(is_read).count();
        commands.end - reads..commands.end
    }

    /// True when it is on its way.
    fn send_part(
        self: &Rc<Self>,
        sending: &Sending<'_>,
        state: &mut State,
        commands: Range<usize>,
        deadline: Option<Instant>,
    ) -> bool {
        let Sending { link, batch, bytes, timing, .. } = *sending;
        if commands.is_empty() {
            return false;
        }
        let frames = u32::try_from(commands.len()).unwrap_or(u32::MAX);
        if sending.rewrites.is_empty() {
            self.send(link, state, &[&bytes[batch.wire(commands)]], frames, timing.read_at, deadline)
        } else {
            let mut pieces = Vec::new();
            sending.push_pieces(commands, &mut pieces);
            self.send(link, state, &pieces, frames, timing.read_at, deadline)
        }
    }
}

/// A place for each command, by what its reply means.
fn push_by_role<'r>(
    slots: &mut Slots,
    batch: &Batch,
    commands: impl Iterator<Item = (usize, &'r Role)>,
    scored: bool,
    per_command: &mut PerCommand<'_>,
) {
    for (at, &role) in commands {
        let id = batch.id(at);
        match role {
            Role::Checked | Role::QueuedChecked if let Some(check) = per_command.checks.pop_front() => {
                slots.push_checked(role, check, id, scored && role == Role::Checked);
            }
            Role::Refused => slots.push_refused(per_command.refused.pop_front().unwrap_or_default(), id),
            role => slots.push(role, id, scored && role == Role::Plain),
        }
    }
}

/// Until when a command on a lease is waited for that may block: its own timeout is added, `None` within for ever. `None`
/// for one that does not block.
fn blocking_deadline(sending: &Sending<'_>, at: usize) -> Option<Option<Instant>> {
    let Sending { table, batch, bytes, timing, .. } = *sending;
    let (spec, args) = (table.spec(batch.id(at)), batch.args(bytes, at));
    if !spec.is_blocking(args) {
        return None;
    }
    match spec.blocking_timeout(args)? {
        BlockFor::Forever => Some(None),
        BlockFor::AtMost(timeout) => Some(timing.deadline().and_then(|deadline| deadline.checked_add(timeout))),
    }
}
