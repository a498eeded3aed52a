//! What is known of the requests that are answered next, and where the pieces in front end.

use std::ops::Range;
use std::time::Instant;

use super::{Entry, Inflight, Repeat};
use crate::link::owed::{Owed, ReplyTo, Seq};

/// What was queued in one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Reads, which may go out once more.
    Reads,
    /// The transaction of a group.
    Group,
    /// Anything else.
    Other,
}

/// The request that is answered next.
#[derive(Debug)]
pub struct Head<'a, R> {
    /// Who is owed the reply.
    pub recipient: &'a R,
    /// Where the piece that it was queued in lies.
    pub bytes: Range<u64>,
    /// When the request was read.
    pub read_at: Instant,
    /// Frames of the piece that have come.
    pub answered: u32,
    /// Each command of the piece is owed one frame.
    pub is_each: bool,
    /// It may take as long as it likes.
    pub blocks: bool,
    /// Its recipient was told that the outcome is unknown.
    pub expired: bool,
}

impl<R> Inflight<R> {
    /// The only recipient of replies for the first `written` bytes, if these were queued in one piece.
    pub fn owed_alone(&self, written: u64) -> Option<&R> {
        let head = self.entries.front().filter(|head| head.start < written)?;
        let is_alone =
            self.entries.iter().skip(1).find(|entry| entry.start > head.start).is_none_or(|next| next.start >= written);
        is_alone.then_some(&head.recipient)
    }

    /// The position after this many pieces at the front, at least one.
    pub fn end_of_first(&self, pieces: usize) -> u64 {
        let Some(head) = self.entries.front() else { return self.queued };
        let mut behind = self.entries.iter().skip(pieces.max(1)).map(|entry| entry.start);
        behind.find(|start| *start > head.start).unwrap_or(self.queued)
    }

    /// The position after the pieces at the front, at least one, that have at most `most` outstanding replies.
    pub fn end_of_replies(&self, most: usize) -> u64 {
        let Some(head) = self.entries.front() else { return self.queued };
        let mut replies = 0_usize;
        let exceeds = |entry: &&Entry<R>| {
            replies = replies.saturating_add(entry.owed.frames() as usize);
            replies > most && entry.start > head.start
        };
        self.entries.iter().find(exceeds).map_or(self.queued, |entry| entry.start)
    }

    /// When the request at the head was read from its client.
    pub fn head_read_at(&self) -> Option<Instant> {
        self.entries.front().map(|entry| entry.read_at)
    }

    /// When the request that is answered next was read, and what it is one of.
    pub fn head_class(&self) -> Option<(Instant, Class)> {
        let entry = self.entries.front()?;
        let class = match (entry.owed, entry.repeat) {
            (Owed::All { to: ReplyTo::Request(_), .. }, _) => Class::Group,
            (_, Repeat::Reads) => Class::Reads,
            _ => Class::Other,
        };
        Some((entry.read_at, class))
    }

    /// The request that is answered next.
    pub fn head(&self) -> Option<Head<'_, R>> {
        let entry = self.entries.front()?;
        let end = self.entries.iter().map(|next| next.start).find(|start| *start > entry.start).unwrap_or(self.queued);
        Some(Head {
            recipient: &entry.recipient,
            bytes: entry.start..end,
            read_at: entry.read_at,
            answered: entry.sent_frames.saturating_sub(entry.owed.frames()),
            is_each: matches!(entry.owed, Owed::Each { .. }),
            blocks: entry.blocks || entry.deadline.is_none(),
            expired: entry.expired,
        })
    }

    /// The requests of the recipient at the head that wait for one reply each: the first, and how many; none where the head
    /// frame was begun, or nobody waits any more.
    pub fn head_requests(&self) -> Option<(Seq, u32)> {
        let entry = self.entries.front().filter(|entry| !entry.expired && !self.head_started)?;
        match entry.owed {
            Owed::Each { first: ReplyTo::Request(first), requests, more: 0 } => Some((first, requests)),
            _ => None,
        }
    }

    /// Who is owed the next frame as one of several for one request, none of which was begun, and for which.
    pub fn head_group(&self) -> Option<(&R, Seq)> {
        let entry = self.entries.front().filter(|entry| !entry.expired && !self.head_started)?;
        match entry.owed {
            Owed::All { to: ReplyTo::Request(seq), .. } => Some((&entry.recipient, seq)),
            _ => None,
        }
    }
}
