//! Fills a client's places with what came back, and says what that tells about its groups and pipelines.
//!
//! `confirmation`, `hello`, `probe` and `transaction` read the replies that are more than bytes for the client; `fault`
//! answers in the place of those that will not come.

mod confirmation;
mod fault;
mod hello;
mod probe;
mod transaction;

use super::finding::Finding;
use super::slot::{Role, Slots};
use crate::command::{CommandId, Table};
use crate::session::Session;
use respguard_resp::scan::Top;
use respguard_resp::value;

/// Which part of a reply frame a piece is.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// It begins the frame.
    pub first: bool,
    /// It ends the frame.
    pub last: bool,
    /// What is known of the frame so far.
    pub top: Top,
}

/// What the replies are read against.
#[derive(Debug)]
pub struct Context<'a> {
    pub table: &'a Table,
    /// The client's id as CLIENT ID tells it.
    pub client_id: u64,
}

impl Slots {
    /// Takes one piece of the reply at the head. Returns how many further frames turned out to
    /// belong to the same request (unsubscribing from all).
    pub fn admit(
        &mut self,
        piece: &[u8],
        part: Part,
        session: &mut Session,
        out: &mut Vec<u8>,
        context: &Context<'_>,
        found: &mut Vec<Finding>,
    ) -> u32 {
        let Some(&slot) = self.queue.front() else {
            found.push(Finding::CloseUpstream);
            return 0;
        };
        let mut more = 0;
        let alone = self.owed == 1;
        let (done, replies) = self.write_at_head(out, |slots, sink| match slot.role {
            Role::Plain => {
                sink.extend_from_slice(piece);
                if part.first && slot.scored {
                    slots.score(slot.command, piece, part.last, context, found);
                }
                part.last
            }
            Role::Checked => {
                if let Some(check) = slots.checks.front_mut() {
                    check.admit(slot.command, piece, part, sink, context.table, found);
                }
                if part.first && slot.scored {
                    slots.score(slot.command, piece, part.last, context, found);
                }
                part.last
            }
            Role::Refused => {
                if part.last {
                    sink.extend_from_slice(slots.refused.front().map(Vec::as_slice).unwrap_or_default());
                }
                part.last
            }
            Role::Exec => {
                slots.pass_exec(piece, sink, context, found);
                slots.admit_transaction(slot, piece, part, session, context, found)
            }
            Role::Multi | Role::Queued | Role::QueuedChecked => {
                sink.extend_from_slice(piece);
                slots.admit_transaction(slot, piece, part, session, context, found)
            }
            Role::Subscription { .. } | Role::UnsubscribeAll(_) => {
                sink.extend_from_slice(piece);
                part.last && slots.admit_confirmation(slot.role, piece, &mut session.subscriptions, &mut more)
            }
            Role::Lane => {
                sink.extend_from_slice(piece);
                session.hear(!value::is_error(piece));
                part.last
            }
            Role::Redirect => {
                session.tracking.translate(piece, sink);
                part.last
            }
            Role::Verdict => {
                if part.first {
                    session.hear(!value::is_error(piece));
                }
                if !session.accepted {
                    sink.extend_from_slice(piece);
                }
                part.last
            }
            Role::Hello => {
                hello::admit(piece, part.first, session, context.client_id, sink);
                part.last
            }
            Role::Group => slots.admit_group(piece, part, alone, sink, context, found),
            Role::Probe => {
                if part.first {
                    slots.admit_probe(piece, found);
                }
                part.last
            }
            Role::Discard => part.last,
            // An answer of our own is never at the head while the upstream owes a reply.
            Role::Answer => true,
        });
        if part.last {
            self.owed = (self.owed + more as usize).saturating_sub(1);
        }
        if done {
            self.leave(slot.role, replies, out);
        }
        self.check();
        more
    }

    /// Takes `frames` whole replies at the head, no more than [`Self::plain_at_head`] says, of which none is an error.
    pub fn admit_plain(
        &mut self,
        replies: &[u8],
        frames: u32,
        out: &mut Vec<u8>,
        context: &Context<'_>,
        found: &mut Vec<Finding>,
    ) {
        out.extend_from_slice(replies);
        self.owed -= frames as usize;
        let scored = self.queue.front().is_some_and(|slot| slot.scored);
        let answered = self.queue.drain(..frames as usize).map(|slot| slot.command);
        let is_last = match self.scores.front_mut().filter(|_| scored) {
            Some(score) => score.admit_unread(answered),
            None => {
                drop(answered);
                false
            }
        };
        if let Some(score) = self.scores.pop_front_if(|_| is_last) {
            score.tell(context.table, found);
        }
        if !self.answers.is_empty() {
            self.release(out);
        }
        self.check();
    }

    /// A group that goes out once more is owed everything again, one that is asked about the answers to that.
    fn admit_group(
        &mut self,
        piece: &[u8],
        part: Part,
        alone: bool,
        out: &mut Vec<u8>,
        context: &Context<'_>,
        found: &mut Vec<Finding>,
    ) -> bool {
        let Some(group) = self.groups.front_mut() else { return true };
        let before = group.remaining();
        let done = group.admit(piece, part, alone, out, context, found);
        if part.last && !done {
            self.owed += (group.remaining() + 1 - before) as usize;
        }
        done
    }

    /// What is to be sent once more for the group at the head, and the replies that it is owed.
    pub fn take_again(&mut self) -> Option<(&[u8], u32)> {
        let group = self.groups.front_mut()?;
        group.take_again()
    }

    /// True when nothing of the reply that has begun has gone to the client.
    pub fn head_is_unseen(&self) -> bool {
        match self.head() {
            _ if self.queue.front().is_some_and(|slot| slot.silent) => true,
            Some(Role::Group) => self.groups.front().is_some_and(|group| !group.has_replied_in_part()),
            Some(Role::Probe | Role::Discard) => true,
            _ => false,
        }
    }

    /// What the slot at the head is.
    pub fn head(&self) -> Option<Role> {
        self.queue.front().map(|slot| slot.role)
    }

    /// Lets the slot at the head write to where its replies go, and says how many of the client's these are.
    #[inline]
    pub(super) fn write_at_head<R>(
        &mut self,
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut Slots, &mut Vec<u8>) -> R,
    ) -> (R, usize) {
        let replies = if self.reorder.is_some() { self.replies_at_head() } else { 0 };
        let mut reorder = self.reorder.take();
        let mut dropped = Vec::new();
        let sink = match &mut reorder {
            _ if self.queue.front().is_some_and(|slot| slot.silent) => &mut dropped,
            None => out,
            Some(reorder) => reorder.sink(replies, out),
        };
        let written = write(self, sink);
        self.reorder = reorder;
        (written, replies)
    }

    /// The slot at the head, which stands for so many `replies` of the client's, is done.
    pub(super) fn leave(&mut self, role: Role, replies: usize, out: &mut Vec<u8>) {
        match role {
            Role::Group => drop(self.groups.pop_front()),
            Role::Probe => drop(self.probes.pop_front()),
            Role::Checked => drop(self.checks.pop_front()),
            Role::Refused => drop(self.refused.pop_front()),
            _ => {}
        }
        self.queue.pop_front();
        if let Some(reorder) = &mut self.reorder {
            reorder.came(replies, out);
        }
        if self.reorder.is_some() || !self.answers.is_empty() {
            self.release(out);
        }
    }

    fn score(&mut self, command: CommandId, reply: &[u8], whole: bool, context: &Context<'_>, found: &mut Vec<Finding>) {
        if let Some(score) = self.scores.front_mut()
            && score.admit(command, reply, whole)
            && let Some(score) = self.scores.pop_front()
        {
            score.tell(context.table, found);
        }
    }
}

#[cfg(test)]
mod tests;
