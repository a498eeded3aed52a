//! Notices slow requests, and reports where their time went.

use std::cell::Cell;
use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use super::{Link, State};
use crate::net::clock;
use crate::telemetry::slow::{Slow, Timings, key_pattern};
use respguard_engine::command::Table;
use respguard_engine::link::inflight::Class;
use respguard_engine::pipeline::batch::Batch;
use respguard_resp::request::{Limits, RequestParser};

/// Of a piece that was written in one go no more is looked at.
const LOOKED_AT_BYTES: usize = 64 * 1024;
/// Commands of a transaction that are named.
const NAMED_MAX: usize = 8;
/// Writes are told apart by no less than this.
const WRITES_APART: Duration = Duration::from_millis(1);
const WRITES_MAX: usize = 16;

/// When what was queued was written: the position behind it, and the time.
#[derive(Debug, Default)]
pub(super) struct Writes {
    kept: VecDeque<(u64, Instant)>,
}

impl Writes {
    /// Everything before `position` is written now; nobody asks any more about what lies before `answered`.
    pub(super) fn note(&mut self, position: u64, answered: u64, now: Instant) {
        match self.kept.back_mut() {
            Some((last, at)) if now.saturating_duration_since(*at) < WRITES_APART => *last = position,
            _ => {
                if self.kept.len() >= WRITES_MAX {
                    self.make_room(answered);
                }
                if self.kept.capacity() == 0 {
                    self.kept.reserve_exact(WRITES_MAX);
                }
                self.kept.push_back((position, now));
            }
        }
    }

    /// Nothing was noted that is not known by when it was read.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    #[cold]
    fn make_room(&mut self, answered: u64) {
        while self.kept.front().is_some_and(|(position, _)| *position <= answered) {
            self.kept.pop_front();
        }
        if self.kept.len() >= WRITES_MAX {
            // A long wait is known less exactly.
            let mut at = 0;
            self.kept.retain(|_| {
                at += 1;
                at % 2 == 0
            });
        }
    }

    /// When the byte at `position` was written.
    fn at(&self, position: u64) -> Option<Instant> {
        self.kept.iter().find(|(end, _)| *end > position).map(|(_, at)| *at)
    }
}

/// What one connection knows of requests that take long.
#[derive(Debug, Default)]
pub(super) struct SlowWatch {
    /// When the server answered last.
    replied_at: Cell<Option<Instant>>,
    /// The request that was noted last: where it begins, and which of its piece.
    noted: Cell<Option<(u64, u32)>>,
    /// The number that it has.
    sequence: Cell<u64>,
}

impl Link {
    /// The server has answered what was asked last.
    pub(super) fn replied(&self, now: Instant) {
        self.slow.replied_at.set(Some(now));
    }

    /// Looks whether the request that is answered next has taken long.
    #[inline]
    pub(super) fn look_for_slow(&self, asked: Option<(Instant, Class)>) {
        // What a cluster's node answers is looked at where it is the client's.
        if self.settings.is_node {
            return;
        }
        self.context.answering.set(asked.map(|(read_at, _)| read_at));
        let Some((read_at, _)) = asked else { return };
        if self.context.slow.is_slow(clock::now().saturating_duration_since(read_at)) {
            self.note_slow(&self.state.borrow(), false);
        }
    }

    /// No request is answered any more.
    pub(super) fn look_away(&self) {
        self.context.answering.set(None);
    }

    /// The request at the head has taken long, or is given up.
    #[cold]
    pub(super) fn note_slow(&self, state: &State, timed_out: bool) {
        let Some(head) = state.inflight.head().filter(|head| !head.blocks) else { return };
        if self.context.slow.threshold().is_none() || self.slow.noted.get() == Some((head.bytes.start, head.answered)) {
            return;
        }
        self.slow.noted.set(Some((head.bytes.start, head.answered)));
        let written_at = state.writes.at(head.bytes.start).unwrap_or(head.read_at).max(head.read_at);
        let free_at = self.slow.replied_at.get().unwrap_or(written_at);
        let waited = Timings::between(head.read_at, written_at, free_at, clock::now());
        if head.expired || !timed_out && !self.context.slow.is_slow(waited.proxy) && !self.context.slow.is_slow(waited.server) {
            self.context.slow.delay(self.slow.sequence.get());
            return;
        }
        let Some(request_owner) = head.recipient.request_owner() else { return };
        let kept = state.sent(head.bytes.start, head.bytes.end);
        let number = head.is_each.then_some(head.answered);
        let policy = self.context.policy();
        let told = kept.and_then(|bytes| describe(bytes, &self.context.table(), &policy.guard_prefix, number));
        let (command, key_pattern) = told.unwrap_or_else(|| (request_owner.command.clone(), None));
        let (at, delayed) = (SystemTime::now(), 0);
        let slow = Slow { sequence: 0, at, request_owner, command, key_pattern, waited, timed_out, delayed };
        self.slow.sequence.set(self.context.slow.take(slow));
    }
}

impl State {
    /// What was queued there, as far as it is still kept.
    fn sent(&self, start: u64, end: u64) -> Option<&[u8]> {
        let place = |position: u64| position.checked_sub(self.out_start).and_then(|place| usize::try_from(place).ok());
        let (start, end) = (place(start)?, place(end)?.min(self.out.len()));
        self.out.get(start..end.min(start + LOOKED_AT_BYTES)).filter(|bytes| !bytes.is_empty())
    }
}

/// The command of a piece with this number, or all of them, and what the first key of the client's begins with: guards and
/// markers are respguard's own.
fn describe(bytes: &[u8], table: &Table, guard_prefix: &str, number: Option<u32>) -> Option<(Box<str>, Option<Box<str>>)> {
    let (mut batch, mut parser) = (Batch::default(), RequestParser::new(Limits::default()));
    batch.parse(&mut parser, table, bytes, usize::MAX);
    let commands = match number {
        Some(number) => number as usize..number as usize + 1,
        None => 0..batch.len().min(NAMED_MAX),
    };
    if commands.is_empty() || commands.end > batch.len() {
        return None;
    }
    let names: Vec<_> = commands.clone().map(|at| table.spec(batch.id(at)).name()).collect();
    let mut pattern = None;
    for at in commands {
        let args = batch.args(bytes, at);
        table.spec(batch.id(at)).for_each_key(args, &mut |place, _| {
            let key = args.get(place).filter(|key| pattern.is_none() && !key.starts_with(guard_prefix.as_bytes()));
            if let Some(key) = key {
                pattern = Some(key_pattern(key));
            }
        });
    }
    Some((names.join(" ").into(), pattern))
}

#[cfg(test)]
mod tests {
    use respguard_resp::encode;

    use super::*;

    fn piece(commands: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for command in commands {
            encode::request(&mut bytes, &command.split(' ').map(str::as_bytes).collect::<Vec<_>>());
        }
        bytes
    }

    #[test]
    fn the_command_of_its_number_is_named_or_a_whole_transaction() {
        let table = Table::builtin();
        let bytes = piece(&["MULTI", "SET a:1 v", "CLIENT SETNAME n", "EXEC"]);
        let told = |number| describe(&bytes, &table, "guard:", number);
        assert_eq!(told(Some(1)), Some(("set".into(), Some("a:*".into()))));
        assert_eq!(told(Some(2)), Some(("client|setname".into(), None)));
        assert_eq!(told(None), Some(("multi set client|setname exec".into(), Some("a:*".into()))));
        assert_eq!(told(Some(4)), None);
        assert_eq!(describe(&bytes[..9], &table, "guard:", None), None);
    }

    #[test]
    fn the_key_of_a_guarded_group_is_the_clients_and_not_its_guards() {
        let bytes = piece(&["WATCH guard:{1}:7 a:1", "EVAL s 2 guard:{1}:7 a:1", "MULTI", "SET a:1 v", "EXEC"]);
        let told = describe(&bytes, &Table::builtin(), "guard:", None);
        assert_eq!(told, Some(("watch eval multi set exec".into(), Some("a:*".into()))));
    }

    #[test]
    fn what_was_written_is_known_by_its_time_within_bounds() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let mut writes = Writes::default();
        assert_eq!(writes.at(0), None);
        (0..5).for_each(|ms| writes.note(10 * (ms + 1), 0, at(ms)));
        writes.note(55, 0, at(4));
        assert_eq!([0, 9, 10, 49, 54].map(|position| writes.at(position)), [0, 0, 1, 4, 4].map(|ms| Some(at(ms))));
        assert_eq!(writes.at(55), None);
        (5..100).for_each(|ms| writes.note(10 * (ms + 1), 0, at(ms)));
        assert!(writes.kept.len() <= WRITES_MAX);
        let far = writes.at(500).expect("known, if not exactly");
        assert!(far >= at(50) && far < at(100));
        let capacity = writes.kept.capacity();
        (100..1000).for_each(|ms| writes.note(10 * (ms + 1), 10 * ms, at(ms)));
        assert_eq!((writes.at(9999), writes.kept.capacity()), (Some(at(999)), capacity));
    }
}
