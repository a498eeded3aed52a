//! Sends consecutive commands one by one, unchanged or rewritten.

use std::ops::Range;
use std::rc::Rc;
use std::time::Instant;

use super::send::{Sending, SlowExec};
use super::{Exchange, Places, State};
use respguard_engine::command::{BlockFor, RetryClass, Timeout};
use respguard_engine::link::owed::{Owed, Seq};
use respguard_engine::link::times::Times;
use respguard_engine::pipeline::failure_tracker::FailureTracker;
use respguard_engine::pipeline::plan::roles::Roles;
use respguard_engine::pipeline::sequencer::Sequencer;
use respguard_engine::pipeline::slot::{Role, TrackerId};
use respguard_engine::pipeline::wire::Pieces;

impl Exchange {
    pub(super) fn send_run(
        self: &Rc<Self>,
        sending: &Sending<'_>,
        commands: Range<usize>,
        roles: &mut Roles,
        tracker: Option<FailureTracker>,
    ) {
        let Sending { batch, .. } = *sending;
        if self.goes_plainly(sending, commands.clone(), roles) {
            return self.send_plain(sending, commands, tracker);
        }
        let is_slow = is_slow(sending, commands.clone(), roles);
        let timing = if is_slow { sending.timing.slow() } else { sending.timing };
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let tracker = tracker.and_then(|tracker| state.slots.push_tracker(tracker));
        commands.clone().for_each(|at| self.context.metrics.command(batch.id(at).index()));
        // What goes before a command that blocks is not blocked itself, and has a deadline of its own.
        let blocking = blocking(sending, state, commands.clone(), roles);
        let behind = blocking.last().map_or(commands.start, |(at, _)| at + 1);
        let reads = self.reads_behind(sending, state, behind..commands.end, roles);
        let is_single = sending.link.goes_again() && is_single(commands.clone(), roles);
        let parts = self.parts(sending, commands.clone(), roles);
        let run = Run { is_single, first: push(&mut state.slots, sending, commands.clone(), roles, tracker), at: commands.start };
        let mut start = commands.start;
        for (at, deadline) in blocking {
            self.send_part(sending, state, run, start..at, timing.deadline());
            self.send_part(sending, state, run, at..at + 1, deadline);
            sending.link.mark_blocking();
            start = at + 1;
        }
        if is_slow {
            return parts.cut(start..commands.end).for_each(|part| {
                self.send_part(sending, state, run, part, timing.deadline());
            });
        }
        parts.cut(start..reads.start).for_each(|part| {
            self.send_part(sending, state, run, part, timing.deadline());
        });
        parts.cut(reads).for_each(|part| {
            if self.send_part(sending, state, run, part, timing.deadline()) {
                sending.link.mark_reads();
            }
        });
    }

    /// Nothing is to be known of these commands but which of them are reads: they go out in one piece, or in two.
    fn goes_plainly(&self, sending: &Sending<'_>, commands: Range<usize>, roles: &Roles) -> bool {
        let is_plain = sending.places.are_next() && sending.slow.is_none() && roles.are_plain(commands.clone());
        if !is_plain || self.context.health.refuses() || sending.link.replies_owed_max() < usize::MAX {
            return false;
        }
        // On a lease one may block.
        let waits = |id| sending.table.spec(id).timeout != Timeout::Never;
        !self.state.borrow().session.affinity.is_pinned() || !sending.batch.ids(commands).any(waits)
    }

    fn send_plain(self: &Rc<Self>, sending: &Sending<'_>, commands: Range<usize>, tracker: Option<FailureTracker>) {
        let Sending { link, batch, table, timing, .. } = *sending;
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let tracker = tracker.and_then(|tracker| state.slots.push_tracker(tracker));
        let ids = batch.ids(commands.clone());
        ids.clone().for_each(|id| self.context.metrics.command(id.index()));
        // A lease is lost with its client's state.
        let may_repeat = !state.session.affinity.is_pinned();
        let reads = ids.clone().rev().take_while(|id| may_repeat && table.spec(*id).retry == RetryClass::Read).count();
        let (first, is_single) = (state.slots.push_plain(ids, tracker), link.goes_again());
        let (others, deadline) = (commands.end - reads - commands.start, timing.deadline());
        if others > 0 {
            self.send_piece(sending, state, (first, is_single), commands.start..commands.end - reads, deadline);
        }
        if reads > 0 {
            let first = (first.plus(others), is_single);
            if self.send_piece(sending, state, first, commands.end - reads..commands.end, deadline) {
                link.mark_reads();
            }
        }
    }

    /// How these commands are cut into pieces that need not go out together.
    fn parts(&self, sending: &Sending<'_>, commands: Range<usize>, roles: &Roles) -> Parts {
        let most = sending.link.replies_owed_max();
        // What is refused, because it is the first, is refused as a whole.
        if most == usize::MAX || self.context.health.refuses() {
            return Parts { most: usize::MAX, tied: Vec::new() };
        }
        // A transaction of the client's own goes out whole.
        let begins = |role: &Role| role.is_tracked() || matches!(role, Role::Multi);
        let tied = commands.filter(|at| !roles.get(*at).is_some_and(begins)).collect();
        // While one piece is answered the next ones are on their way.
        Parts { most: most.div_ceil(4), tied }
    }

    /// The reads at the end of these commands, which may be sent once more should the connection be lost. A lease is lost
    /// with its client's state.
    fn reads_behind(&self, sending: &Sending<'_>, state: &State, commands: Range<usize>, roles: &Roles) -> Range<usize> {
        // What is refused, because it is the first, is refused as a whole.
        if state.session.affinity.is_pinned() || self.context.health.refuses() {
            return commands.end..commands.end;
        }
        let all = roles.are_plain(commands.clone());
        let is_read = |at: &usize| {
            let retry = sending.table.spec(sending.batch.id(*at)).retry;
            let is_sent_again = |role: &Role| role.is_tracked() || matches!(role, Role::ReadAhead(_));
            retry == RetryClass::Read && (all || roles.get(*at).is_some_and(is_sent_again))
        };
        let reads = commands.clone().rev().take_while(is_read).count();
        commands.end - reads..commands.end
    }

    /// True when it is on its way in one piece.
    fn send_part(
        self: &Rc<Self>,
        sending: &Sending<'_>,
        state: &mut State,
        run: Run,
        commands: Range<usize>,
        deadline: Option<Instant>,
    ) -> bool {
        if commands.is_empty() {
            return false;
        }
        if *sending.places == Places::Next {
            let first = run.first.plus(commands.start - run.at);
            return self.send_piece(sending, state, (first, run.is_single), commands, deadline);
        }
        // Some have overtaken others: only those whose places are side by side go together.
        let mut is_whole = true;
        let mut start = commands.start;
        while start < commands.end {
            let end = sending.places.end_of_run(start..commands.end);
            let first = sending.places.of_held(start);
            is_whole &= self.send_piece(sending, state, (first, run.is_single), start..end, deadline);
            is_whole &= end - start == commands.len();
            start = end;
        }
        is_whole
    }

    fn send_piece(
        self: &Rc<Self>,
        sending: &Sending<'_>,
        state: &mut State,
        (first, is_single): (Seq, bool),
        commands: Range<usize>,
        deadline: Option<Instant>,
    ) -> bool {
        let Sending { link, batch, bytes, timing, .. } = *sending;
        let owed = Owed::each(first, u32::try_from(commands.len()).unwrap_or(u32::MAX));
        let is_sent = if sending.rewrites.is_empty() {
            self.send(link, state, &[&bytes[batch.wire(commands)]], owed, Times { read_at: timing.read_at, deadline })
        } else {
            let mut pieces = Pieces::new();
            sending.push_pieces(commands, &mut pieces);
            self.send(link, state, &pieces, owed, Times { read_at: timing.read_at, deadline })
        };
        if is_sent && is_single {
            link.mark_single();
        }
        is_sent
    }
}

/// How consecutive commands are cut into pieces.
struct Parts {
    /// Commands of one piece.
    most: usize,
    /// Those that stay with the one before them, in rising order.
    tied: Vec<usize>,
}

impl Parts {
    fn cut(&self, commands: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let mut at = commands.start;
        std::iter::from_fn(move || {
            let start = at;
            at = at.saturating_add(self.most).min(commands.end);
            while at < commands.end && self.tied.binary_search(&at).is_ok() {
                at += 1;
            }
            (start < commands.end).then_some(start..at)
        })
    }
}

/// Consecutive commands that have places in their order.
#[derive(Clone, Copy)]
struct Run {
    /// The place of the first, where they are the next ones.
    first: Seq,
    /// Its index.
    at: usize,
    /// None of them means anything to another, and each is owed one frame.
    is_single: bool,
}

/// Whether none of the commands means anything to another.
fn is_single(commands: Range<usize>, roles: &Roles) -> bool {
    roles.are_plain(commands.clone()) || commands.into_iter().all(|at| roles.get(at).is_some_and(Role::is_tracked))
}

/// Whether one of these commands is long by nature, or the EXEC of a transaction with such a one. The server answers what it
/// has read in one piece together: those before it wait, too.
fn is_slow(sending: &Sending<'_>, mut commands: Range<usize>, roles: &Roles) -> bool {
    let Some(SlowExec(exec)) = sending.slow else { return false };
    let is_exec = |at| exec && matches!(roles.get(at), Some(Role::Exec));
    commands.any(|at| sending.table.spec(sending.batch.id(at)).slow || is_exec(at))
}

/// Gives each command its place, with what its reply means; the first of the places.
fn push(
    slots: &mut Sequencer,
    sending: &Sending<'_>,
    commands: Range<usize>,
    roles: &mut Roles,
    tracker: Option<TrackerId>,
) -> Seq {
    let batch = sending.batch;
    if *sending.places == Places::Next && roles.are_plain(commands.clone()) {
        return slots.push_plain(commands.map(|at| batch.id(at)), tracker);
    }
    let first = sending.places.of(commands.start).unwrap_or_else(|| slots.next_place());
    for at in commands {
        let role = roles.take(at);
        let tracker = tracker.filter(|_| role.is_tracked());
        slots.push(sending.places.of(at), role, batch.id(at), tracker);
    }
    first
}

/// The commands that may block, on a lease, with their deadlines; `None` for ever.
fn blocking(sending: &Sending<'_>, state: &State, commands: Range<usize>, roles: &Roles) -> Vec<(usize, Option<Instant>)> {
    if !state.session.affinity.is_pinned() {
        return Vec::new();
    }
    let waits = commands.filter(|&at| !roles.get(at).is_some_and(Role::is_queued));
    waits.filter_map(|at| Some((at, blocking_deadline(sending, at)?))).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(most: usize, tied: &[usize], commands: Range<usize>) -> Vec<(usize, usize)> {
        Parts { most, tied: tied.to_vec() }.cut(commands).map(|part| (part.start, part.end)).collect()
    }

    #[test]
    fn a_piece_ends_where_nothing_is_tied_to_it() {
        assert_eq!(cut(2, &[], 1..6), [(1, 3), (3, 5), (5, 6)]);
        assert_eq!(cut(2, &[2, 3, 4], 0..7), [(0, 5), (5, 7)]);
        assert_eq!(cut(2, &[1], 0..4), [(0, 2), (2, 4)]);
        assert_eq!(cut(1, &[1, 2], 0..3), [(0, 3)]);
    }

    #[test]
    fn without_a_limit_there_is_one_piece_and_of_nothing_none() {
        assert_eq!(cut(usize::MAX, &[], 3..9), [(3, 9)]);
        assert!(cut(usize::MAX, &[], 3..3).is_empty());
    }
}
