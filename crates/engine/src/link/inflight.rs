//! The FIFO of one upstream connection: who gets the next reply, and which request has exceeded its deadline.

mod head;
pub mod replay;

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Instant;

use super::owed::{Owed, ReplyTo};

pub use head::{Class, Head};

/// The outstanding replies of one recipient for bytes that were queued in one piece.
#[derive(Debug)]
pub struct Entry<R> {
    recipient: R,
    /// Frames still to come, and whom they belong to.
    owed: Owed,
    /// When the requests were read from their client.
    read_at: Instant,
    /// When the recipient stops waiting; `None` for ever.
    deadline: Option<Instant>,
    /// Position of the entry's first byte in the connection's stream.
    start: u64,
    /// The recipient was told that the outcome is unknown: late frames are swallowed.
    expired: bool,
    /// It may wait for longer than requests do, at the server's will.
    blocks: bool,
    /// Frames that it was owed when it was sent.
    sent_frames: u32,
    /// What of it may go out once more.
    repeat: Repeat,
    /// How often it has been sent again.
    repeated: u8,
}

/// What of an entry may go out once more, should its connection be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Repeat {
    /// Only what has not been written.
    #[default]
    Unsent,
    /// One command for each frame, none of which means anything to another: what the server has refused.
    Refused,
    /// Nothing but reads.
    Reads,
}

/// Requests in the order in which they were queued, with the replies that each is owed.
///
/// `R` tells who gets the replies. Positions count bytes since the connection object was made; they
/// go on over a reconnect, so that it can be told which requests no byte of was written.
#[derive(Debug)]
pub struct Inflight<R> {
    entries: VecDeque<Entry<R>>,
    /// The position after the last byte ever queued.
    queued: u64,
    /// The head frame has been handed over in part; it can no longer expire.
    head_started: bool,
    /// Some entry is older than one before it, or has an earlier deadline.
    unordered: bool,
}

/// Whom the frame that just came in belongs to.
#[derive(Debug, PartialEq, Eq)]
pub enum Owner<'a, R> {
    /// The recipient at the head of the queue, for one of its requests or questions.
    Recipient(&'a R, ReplyTo),
    /// The recipient was told that the outcome is unknown: it only learns that the reply came.
    Late(&'a R),
    /// Nobody awaits anything: the connection is out of sync.
    Nobody,
}

impl<R> Entry<R> {
    fn new(recipient: R, owed: Owed, (read_at, deadline): (Instant, Option<Instant>), start: u64) -> Entry<R> {
        let (expired, blocks, repeat, repeated) = Default::default();
        Entry { recipient, owed, read_at, deadline, start, expired, blocks, sent_frames: owed.frames(), repeat, repeated }
    }

    fn cut(&self) -> Cut {
        match self.expired {
            true => Cut::Late,
            false if self.repeated > 0 => Cut::SentBefore,
            false => Cut::BeforeReply,
        }
    }
}

/// Where a lost connection cut the replies of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// None of the next reply was handed over.
    BeforeReply,
    /// The same, of reads that were lost with a connection before and wait to go out again.
    SentBefore,
    /// A part of the next reply was handed over: the recipient's own stream is cut too.
    InsideReply,
    /// The recipient was told before that the outcome is unknown.
    Late,
}

impl<R> Default for Inflight<R> {
    fn default() -> Self {
        Inflight { entries: VecDeque::new(), queued: 0, head_started: false, unordered: false }
    }
}

impl<R> Inflight<R> {
    /// True when no reply is outstanding.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether `is_such` holds for a recipient with outstanding or timed-out replies.
    pub fn owes(&self, is_such: impl Fn(&R) -> bool) -> bool {
        self.entries.iter().any(|entry| is_such(&entry.recipient))
    }

    /// Number of entries with outstanding replies.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Records that `bytes` more bytes were queued, for which `recipient` expects the replies in `owed`.
    pub fn push(&mut self, recipient: R, owed: Owed, bytes: usize, read_at: Instant, deadline: Option<Instant>) {
        let start = self.queued;
        self.queued += bytes as u64;
        if owed.frames() > 0 {
            // What is asked about an earlier request has the times of that.
            let last = self.entries.back();
            self.unordered = last.is_some_and(|last| self.unordered || deadline < last.deadline || read_at < last.read_at);
            self.entries.push_back(Entry::new(recipient, owed, (read_at, deadline), start));
        }
    }

    /// Adds a second recipient with the replies `owed` for the bytes queued last.
    pub fn push_too(&mut self, recipient: R, owed: Owed, read_at: Instant, deadline: Option<Instant>) {
        if owed.frames() == 0 {
            return;
        }
        let start = self.entries.back().map_or(self.queued, |last| last.start);
        self.entries.push_back(Entry::new(recipient, owed, (read_at, deadline), start));
    }

    /// The same before everything that is queued, of which nothing has been written: its first byte comes to stand at
    /// `start`.
    pub fn push_first(&mut self, recipient: R, owed: Owed, bytes: usize, times: (Instant, Option<Instant>), start: u64) {
        let (read_at, deadline) = times;
        self.entries.iter_mut().for_each(|entry| entry.start += bytes as u64);
        self.queued += bytes as u64;
        self.unordered |= self.entries.front().is_some_and(|next| next.deadline < deadline || next.read_at < read_at);
        self.entries.push_front(Entry::new(recipient, owed, (read_at, deadline), start));
        self.check();
    }

    /// The entry queued last blocks: the server answers when it likes, within the time that the request itself names.
    pub fn mark_blocking(&mut self) {
        if let Some(last) = self.entries.back_mut() {
            last.blocks = true;
        }
    }

    /// Adds bytes, read at `read_at`, to the entry queued last: a request that is cut through arrives
    /// in pieces, and its time runs from the last of them.
    pub fn extend_last(&mut self, bytes: usize, read_at: Instant, deadline: Option<Instant>) {
        self.queued += bytes as u64;
        if let Some(last) = self.entries.back_mut() {
            last.read_at = read_at;
            last.deadline = deadline;
        }
    }

    /// Who owns the frame that is coming in, and when its request was read.
    pub fn owner(&self) -> Owner<'_, R> {
        match self.entries.front() {
            None => Owner::Nobody,
            Some(entry) if entry.expired => Owner::Late(&entry.recipient),
            Some(entry) => Owner::Recipient(&entry.recipient, entry.owed.next()),
        }
    }

    /// A part of the head frame was handed over, its end has yet to come.
    pub fn start_head(&mut self) {
        self.head_started = true;
    }

    /// The head frame ended; `more` further frames turned out to belong to the same request.
    pub fn finish_head(&mut self, more: u32) {
        self.head_started = false;
        if let Some(entry) = self.entries.front_mut() {
            entry.owed.came(more);
            if entry.owed.frames() == 0 {
                self.entries.pop_front();
            }
        }
        self.check();
    }

    /// So many whole frames went to the recipient at the head, no more than it is owed for [`Self::head_requests`] or
    /// [`Self::head_group`].
    pub fn finish_frames(&mut self, frames: u32) {
        if let Some(entry) = self.entries.front_mut() {
            entry.owed.came_plain(frames);
            if entry.owed.frames() == 0 {
                self.entries.pop_front();
            }
        }
        self.check();
    }

    /// The time of the head begins now: on a lease, what goes before it may have blocked for long.
    pub fn restart_head(&mut self, now: Instant) {
        if let Some(head) = self.entries.front_mut().filter(|head| !head.expired) {
            let late = now.saturating_duration_since(head.read_at);
            head.read_at += late;
            head.deadline = head.deadline.and_then(|deadline| deadline.checked_add(late));
        }
    }

    /// Marks every entry whose deadline has passed and hands each to `tell` with what it is still owed.
    ///
    /// The entries keep their place: their late replies are swallowed. A frame of which a part was
    /// handed over is past its deadline (which runs to the first byte of the reply), and until it ends the
    /// `same` recipient cannot be told anything else: its other entries wait.
    pub fn expire(&mut self, now: Instant, same: impl Fn(&R, &R) -> bool, mut tell: impl FnMut(&R, Owed)) {
        let (head, rest) = self.entries.make_contiguous().split_at_mut(usize::from(self.head_started));
        // Who is still waited for, and cannot be told of anything behind that.
        let mut waiting: Vec<&R> = Vec::new();
        for entry in rest {
            match entry.deadline {
                Some(_) if head.first().is_some_and(|head| same(&head.recipient, &entry.recipient)) => {}
                Some(_) if waiting.iter().any(|who| same(who, &entry.recipient)) => {}
                Some(deadline) if deadline <= now => {
                    if !entry.expired {
                        entry.expired = true;
                        tell(&entry.recipient, entry.owed);
                    }
                }
                _ if self.unordered => waiting.push(&entry.recipient),
                // Deadlines on a shared connection rise; a blocking command has a lease of its own.
                _ => break,
            }
        }
    }

    /// The connection is lost after `written` bytes of the stream: hands every entry of which a
    /// byte was written to `tell` with what it is still owed, and keeps the rest.
    ///
    /// Returns the position from which on bytes are still to be sent.
    pub fn lose(&mut self, written: u64, mut tell: impl FnMut(&R, Owed, Cut)) -> u64 {
        let mut cut = if std::mem::take(&mut self.head_started) { Cut::InsideReply } else { Cut::BeforeReply };
        while let Some(entry) = self.entries.pop_front_if(|entry| entry.start < written) {
            tell(&entry.recipient, entry.owed, if entry.expired { Cut::Late } else { cut });
            cut = Cut::BeforeReply;
        }
        self.entries.front().map_or(self.queued, |entry| entry.start)
    }

    /// Takes out what waits unsent since before `read_before`: none of its bytes will be sent.
    ///
    /// For a connection that is not there: everything in the queue is unsent. What is asked about a group stands before
    /// reads that are older, so that age does not rise along the queue; only behind an entry of the `same` recipient that
    /// stays, an old one stays too, for replies come in order. Returns the positions, from the first to the last, of the
    /// bytes that must not be sent: none when nothing was taken out, for bytes that are owed no reply wait too. What
    /// stays moves up to what was queued last.
    pub fn abandon_read_before(
        &mut self,
        read_before: Instant,
        same: impl Fn(&R, &R) -> bool,
        mut tell: impl FnMut(&R, Owed, Cut),
    ) -> Vec<Range<u64>> {
        let mut cuts: Vec<Range<u64>> = Vec::new();
        let is_old = |entry: &Entry<R>| entry.read_at <= read_before;
        let looked_at = if self.unordered { self.entries.len() } else { 1 };
        if !self.entries.iter().take(looked_at).any(is_old) {
            return cuts;
        }
        let mut kept: VecDeque<Entry<R>> = VecDeque::new();
        while let Some(entry) = self.entries.pop_front_if(|entry| self.unordered || is_old(entry)) {
            if !is_old(&entry) || kept.iter().any(|before| same(&before.recipient, &entry.recipient)) {
                kept.push_back(entry);
                continue;
            }
            tell(&entry.recipient, entry.owed, entry.cut());
            let end = self.entries.front().map_or(self.queued, |next| next.start);
            match cuts.last_mut().filter(|cut| cut.end == entry.start) {
                Some(cut) => cut.end = end,
                // What is owed no reply goes with the head that it stands before.
                None => cuts.push(if kept.is_empty() { 0 } else { entry.start }..end),
            }
        }
        for entry in &mut kept {
            entry.start += cuts.iter().filter(|cut| cut.start > entry.start).map(|cut| cut.end - cut.start).sum::<u64>();
        }
        kept.append(&mut self.entries);
        self.entries = kept;
        self.check();
        cuts
    }

    /// So many frames at the head will not come, those behind them may: hands what they belong to, to `tell`. False where
    /// they end within what one request is owed: whose the next frame would be, nobody could say.
    pub fn give_up_head(&mut self, mut frames: u32, mut tell: impl FnMut(&R, Owed, Cut)) -> bool {
        self.head_started = false;
        while frames > 0
            && let Some(entry) = self.entries.front_mut()
        {
            let owed = match entry.owed {
                Owed::Each { first, more, .. } => Owed::Each { first, requests: 1, more },
                all @ Owed::All { .. } => all,
            };
            if owed.frames() > frames {
                return false;
            }
            tell(&entry.recipient, owed, entry.cut());
            (0..owed.frames()).for_each(|_| entry.owed.came(0));
            frames = frames.saturating_sub(owed.frames());
            if entry.owed.frames() == 0 {
                self.entries.pop_front();
            }
        }
        self.check();
        true
    }

    /// True when the request at the head blocks, or has no deadline.
    pub fn head_blocks(&self) -> bool {
        self.entries.front().is_some_and(|head| head.blocks || head.deadline.is_none())
    }

    /// True when a recipient other than the one at the head (by `same`) waits behind it.
    pub fn is_waited_for(&self, same: impl Fn(&R, &R) -> bool) -> bool {
        let Some(head) = self.entries.front() else { return false };
        self.entries.iter().skip(1).any(|entry| !same(&head.recipient, &entry.recipient))
    }

    /// True when everything behind the head has already timed out, or nothing is there.
    pub fn is_given_up_behind_head(&self) -> bool {
        self.entries.iter().skip(1).all(|entry| entry.expired)
    }

    /// All recipients with outstanding replies.
    pub fn recipients(&self) -> impl Iterator<Item = &R> {
        self.entries.iter().map(|entry| &entry.recipient)
    }

    /// Gives up on everything that waits: hands each entry to `tell`.
    pub fn abandon_all(&mut self, mut tell: impl FnMut(&R, Owed, Cut)) {
        for entry in self.entries.drain(..) {
            tell(&entry.recipient, entry.owed, entry.cut());
        }
        self.head_started = false;
    }

    /// Since when a connection that was last heard of at `last_read` keeps its head waiting, and until when the head waits;
    /// `None` while nothing is owed, or the head may wait for ever.
    pub fn waits_since(&self, last_read: Instant) -> Option<(Instant, Instant)> {
        let head = self.entries.front()?;
        Some((last_read.max(head.read_at), head.deadline?))
    }

    /// The position after the last byte ever queued.
    pub fn queued(&self) -> u64 {
        self.queued
    }

    fn check(&self) {
        debug_assert!(self.entries.iter().all(|entry| entry.owed.frames() > 0));
        debug_assert!(self.entries.back().is_none_or(|entry| entry.start <= self.queued));
    }
}

#[cfg(test)]
mod tests;
