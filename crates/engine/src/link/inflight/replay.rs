//! Which requests of a lost connection are retried: reads, if their client sent nothing after them that may have run.

use std::collections::{HashSet, VecDeque};
use std::ops::Range;
use std::time::{Duration, Instant};

use super::{Cut, Entry, Inflight, Repeat};
use crate::link::owed::{Owed, ReplyTo};
use respguard_resp::scan::{ReplyScanner, ScanLimits};

/// How often reads go out at most, the first time not counted.
const REPEATS_MAX: u8 = 2;
/// How often they are asked for over another connection: each time the server does the work again.
const MOVES_MAX: u8 = 3;

/// The bytes of a connection that is lost.
#[derive(Debug, Clone, Copy)]
pub struct Sent<'a> {
    /// What is left of them, the requests that were not written at the end.
    pub bytes: &'a [u8],
    /// Position of the first of them.
    pub start: u64,
    /// Position behind the last that was written.
    pub written: u64,
}

/// Why a connection is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Nobody knows what became of what was sent.
    Unknown,
    /// The server has refused the request at the head, for it is no primary any more: it has carried out no write behind it.
    NoPrimary,
}

/// The questions about the recipients of requests that may be retried.
pub struct Ask<I, M, S> {
    /// Tells recipients apart.
    pub identity: I,
    /// Whether an entry that is owed so many frames may go out once more.
    pub may_replay: M,
    /// Makes a request whose answers have begun to come forget them; false where it cannot.
    pub start_over: S,
}

/// A read that is moved to another connection.
#[derive(Debug)]
pub struct Moved<R> {
    /// Who is owed the replies.
    pub recipient: R,
    /// What is owed.
    pub owed: Owed,
    /// Where its requests lie among the bytes of the connection.
    pub bytes: Range<usize>,
    /// They were not written, and must not be any more.
    pub is_unsent: bool,
    /// How often it has been sent.
    sent: u8,
    /// Until when it is waited for.
    pub deadline: Option<Instant>,
}

/// Whether requests may go out once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// They may.
    Allowed,
    /// They may not.
    Refused,
}

impl<R> Inflight<R> {
    /// The entry pushed last contains reads that were moved from another connection.
    pub fn mark_moved(&mut self, moved: &Moved<R>) {
        self.mark_reads();
        if let Some(last) = self.entries.back_mut() {
            last.repeated = moved.sent;
        }
    }

    /// The entry pushed last holds nothing but reads, one frame for each.
    pub fn mark_reads(&mut self) {
        self.mark_last(Repeat::Reads);
    }

    /// The entry pushed last holds commands that mean nothing to each other, one frame for each.
    pub fn mark_single(&mut self) {
        self.mark_last(Repeat::Refused);
    }

    fn mark_last(&mut self, repeat: Repeat) {
        if let Some(last) = self.entries.back_mut() {
            last.repeat = repeat;
        }
    }

    /// True when the request at the head can go out once more, should the server refuse it.
    pub fn head_may_repeat(&self) -> bool {
        let head = self.entries.front().filter(|head| !head.expired && !self.head_started);
        head.is_some_and(|head| head.repeat != Repeat::Unsent || matches!(head.owed, Owed::All { .. }))
    }

    /// Position of the first byte that may be needed again.
    pub fn first_start(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.start)
    }

    /// Of what is in the first `written` bytes of the stream, where the pieces lie that are more than reads.
    pub fn more_than_reads(&self, written: u64) -> impl Iterator<Item = Range<u64>> {
        let lost = self.entries.iter().enumerate().take_while(move |(_, entry)| entry.start < written);
        let pieces = lost.filter(|(_, entry)| entry.repeat != Repeat::Reads);
        pieces.map(|(at, entry)| entry.start..self.entries.get(at + 1).map_or(self.queued, |next| next.start))
    }

    /// The connection is lost, as for `lose`, but reads are kept and go out once more, before what was not sent yet.
    ///
    /// A read is not moved behind what its client sent later and what may have run: then it is told as the rest.
    /// Where no write has been carried out, writes are kept too. Returns what is to be sent from now on.
    pub fn lose_all_but_reads(
        &mut self,
        sent: Sent<'_>,
        (now, loss): (Instant, Loss),
        ask: Ask<impl Fn(&R) -> usize, impl FnMut(u32) -> Replay, impl FnMut(&R, ReplyTo) -> bool>,
        mut tell: impl FnMut(&R, Owed, Cut),
    ) -> Vec<u8> {
        let Ask { identity, mut may_replay, mut start_over } = ask;
        let mut cut = if std::mem::take(&mut self.head_started) { Cut::InsideReply } else { Cut::BeforeReply };
        let lost = self.entries.partition_point(|entry| entry.start < sent.written);
        let mut kept: VecDeque<(usize, Range<usize>)> = VecDeque::new();
        let mut passed = HashSet::new();
        for at in (0..lost).rev() {
            let entry = &self.entries[at];
            let is_whole = at > 0 || cut == Cut::BeforeReply;
            let may = is_whole && entry.may_replay(now, loss) && !passed.contains(&identity(&entry.recipient));
            let unanswered = if may { self.unanswered(at, sent) } else { None };
            let unanswered = unanswered.filter(|_| may_replay(self.entries[at].owed.frames()) == Replay::Allowed);
            let entry = &mut self.entries[at];
            match unanswered.filter(|_| entry.start_over(&mut start_over)) {
                Some(bytes) => kept.push_front((at, bytes)),
                None => drop(passed.insert(identity(&self.entries[at].recipient))),
            }
        }
        let rest = self.entries.get(lost).map_or(self.queued, |entry| entry.start);
        let unsent = self.entries.split_off(lost);
        let mut out = Vec::new();
        for (at, mut entry) in std::mem::take(&mut self.entries).into_iter().enumerate() {
            if let Some((_, bytes)) = kept.pop_front_if(|(kept, _)| *kept == at) {
                entry.repeated = entry.repeated.saturating_add(1);
                (entry.sent_frames, entry.start) = (entry.owed.frames(), self.queued + out.len() as u64);
                out.extend_from_slice(&sent.bytes[bytes]);
                self.entries.push_back(entry);
            } else {
                tell(&entry.recipient, entry.owed, if entry.expired { Cut::Late } else { cut });
            }
            cut = Cut::BeforeReply;
        }
        let base = self.queued + out.len() as u64;
        self.entries.extend(unsent.into_iter().map(|entry| Entry { start: base + (entry.start - rest), ..entry }));
        out.extend_from_slice(sent.bytes.get(place(rest, sent)..).unwrap_or_default());
        self.queued += out.len() as u64;
        self.check();
        out
    }

    /// The recipients, by `identity`, that are owed nothing but reads of which no reply has begun, each with its entries.
    fn movable(
        &self,
        sent: Sent<'_>,
        now: Instant,
        identity: impl Fn(&R) -> usize,
        may_move: impl Fn(&R) -> bool,
    ) -> Vec<(usize, usize, Range<usize>)> {
        let mut staying = HashSet::new();
        let mut moving = Vec::new();
        for (at, entry) in self.entries.iter().enumerate() {
            let is_whole = at > 0 || !self.head_started;
            let may_go = match entry.start >= sent.written {
                // Its bytes must be nobody else's.
                true => matches!(entry.owed, Owed::Each { .. }) && (at == 0 || self.entries[at - 1].start < entry.start),
                false => entry.repeated < MOVES_MAX,
            };
            let is_read =
                entry.repeat == Repeat::Reads && !entry.expired && entry.deadline.is_some_and(|deadline| deadline > now);
            let may = is_whole && may_go && is_read && may_move(&entry.recipient);
            let who = identity(&entry.recipient);
            match if may && !staying.contains(&who) { self.unanswered(at, sent) } else { None } {
                Some(bytes) => moving.push((at, who, bytes)),
                None => drop(staying.insert(who)),
            }
        }
        moving.retain(|(_, who, _)| !staying.contains(who));
        moving
    }

    /// How many recipients there are whose reads could be asked for over another connection.
    pub fn readers(&self, sent: Sent<'_>, now: Instant, identity: impl Fn(&R) -> usize, may_move: impl Fn(&R) -> bool) -> usize {
        let Some(head) = self.entries.front().map(|head| identity(&head.recipient)) else { return 0 };
        if !self.entries.iter().any(|entry| entry.repeat == Repeat::Reads && identity(&entry.recipient) != head) {
            return 0;
        }
        self.movable(sent, now, identity, may_move).iter().map(|(_, who, _)| who).collect::<HashSet<_>>().len()
    }

    /// What has not been written within the first `written` bytes waits for its turn here: it has its whole time, `longest`,
    /// when that comes, but no more than twice that from when it was read: what stands before it may never be answered.
    pub fn postpone_unsent(&mut self, written: u64, now: Instant, longest: Duration) {
        for entry in self.entries.iter_mut().rev().take_while(|entry| entry.start >= written) {
            let latest = (now + longest).min(entry.read_at + longest * 2);
            entry.deadline = entry.deadline.map(|before| before.max(latest));
        }
        self.unordered = true;
    }

    /// Takes out the reads of those who are owed nothing but reads, none of whose replies has begun: they may be asked for
    /// over another connection: those of `most` of them, the last ones. What still comes for them here is `nobody`'s. What
    /// was not written is gone from here: later bytes move up.
    pub fn move_reads(
        &mut self,
        (sent, most): (Sent<'_>, usize),
        now: Instant,
        identity: impl Fn(&R) -> usize,
        may_move: impl Fn(&R) -> bool,
        nobody: impl Fn() -> R,
    ) -> Vec<Moved<R>> {
        let mut moving = self.movable(sent, now, identity, may_move);
        let mut last = HashSet::new();
        for (_, who, _) in moving.iter().rev() {
            if last.len() < most {
                last.insert(*who);
            }
        }
        moving.retain(|(_, who, _)| last.contains(who));
        let mut moving = moving.into_iter().peekable();
        let (mut moved, mut gone) = (Vec::new(), 0);
        for (at, mut entry) in std::mem::take(&mut self.entries).into_iter().enumerate() {
            let is_unsent = entry.start >= sent.written;
            entry.start -= gone;
            let Some((_, _, bytes)) = moving.next_if(|(moving, ..)| *moving == at) else {
                self.entries.push_back(entry);
                continue;
            };
            let (owed, deadline) = (entry.owed, entry.deadline);
            let sent = entry.repeated + u8::from(!is_unsent);
            let recipient = if is_unsent {
                gone += bytes.len() as u64;
                entry.recipient
            } else {
                (entry.expired, entry.repeat) = (true, Repeat::Unsent);
                let recipient = std::mem::replace(&mut entry.recipient, nobody());
                self.entries.push_back(entry);
                recipient
            };
            moved.push(Moved { recipient, owed, bytes, is_unsent, sent, deadline });
        }
        self.queued -= gone;
        self.check();
        moved
    }

    /// Where the bytes of an entry lie that have no reply yet; `None` where they are no longer there, or not what they
    /// should be: one request for each frame.
    fn unanswered(&self, at: usize, sent: Sent<'_>) -> Option<Range<usize>> {
        let entry = &self.entries[at];
        if entry.start < sent.start {
            return None;
        }
        let end = self.entries.get(at + 1).map_or(self.queued, |next| next.start);
        let (start, end) = (place(entry.start, sent), place(end, sent));
        let bytes = sent.bytes.get(start..end)?;
        if let Owed::All { .. } = entry.owed {
            // Its bytes may be another's.
            return (!bytes.is_empty()).then_some(start..end);
        }
        let answered = entry.sent_frames.checked_sub(entry.owed.frames())?;
        let (mut scanner, mut passed, mut requests, mut first) = (ReplyScanner::new(ScanLimits::default()), 0, 0, None);
        while passed < bytes.len() {
            if requests == answered {
                first = Some(start + passed);
            }
            let rest = &bytes[passed..];
            if rest[0] != b'*' {
                // An inline request is a line, and a blank line is none.
                let line = rest.iter().position(|byte| *byte == b'\n')? + 1;
                requests += u32::from(!rest[..line].trim_ascii().is_empty());
                passed += line;
                continue;
            }
            let is_request = matches!(rest.get(1), Some(b'1'..=b'9'));
            let scanned = scanner.scan(rest).ok().filter(|scanned| is_request && scanned.end)?;
            passed += scanned.bytes;
            requests += 1;
        }
        first.filter(|_| requests == entry.sent_frames).map(|first| first..end)
    }
}

impl<R> Entry<R> {
    fn may_replay(&self, now: Instant, loss: Loss) -> bool {
        let in_time = self.deadline.is_some_and(|deadline| deadline > now);
        let may = match (loss, self.repeat) {
            (Loss::Unknown, Repeat::Reads) => self.repeated < REPEATS_MAX,
            (Loss::Unknown, _) => false,
            // As often as its deadline allows.
            (Loss::NoPrimary, repeat) => repeat != Repeat::Unsent || matches!(self.owed, Owed::All { .. }),
        };
        may && !self.expired && in_time
    }

    /// All frames of what several belong to are owed again.
    fn start_over(&mut self, start_over: &mut impl FnMut(&R, ReplyTo) -> bool) -> bool {
        let Owed::All { to, .. } = self.owed else { return true };
        let may = start_over(&self.recipient, to);
        if may {
            self.owed = Owed::All { to, frames: self.sent_frames };
        }
        may
    }
}

fn place(position: u64, sent: Sent<'_>) -> usize {
    usize::try_from(position.saturating_sub(sent.start)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
