//! A request's place in the order of its client's replies, with everything needed to read its reply.

use std::num::NonZeroU32;

use super::group::WrappedGroup;
use super::probe::Probe;
use super::reads_ahead::ReadAhead;
use super::reply_check::ReplyCheck;
use super::reply_checks::ExecChecks;
use crate::command::{CommandId, SubscriptionKind};
use crate::link::owed::Seq;
use crate::session::ClientMode;

/// What the frame that fills a place means.
#[derive(Debug)]
#[expect(missing_docs, reason = "the sentence above each variant names its fields")]
pub enum Role {
    /// The reply is the client's as it is.
    Plain,
    /// The client's own MULTI.
    Multi,
    /// A command within the client's own MULTI: answered `+QUEUED`.
    Queued,
    /// The client's own EXEC or DISCARD: its answer proves that the transaction has ended.
    Exec,
    /// The same, whose answer has come and has values that are still being read, with what checks it.
    ExecRead(Box<ExecChecks>),
    /// The answer to (un)subscribing: one confirmation for each name, of which some have come.
    Subscription { frames: u32, confirmed: u32 },
    /// Unsubscribing from all: the first confirmation tells how many there are.
    UnsubscribeAll(SubscriptionKind),
    /// The reply to HELLO, in which the client's id stands.
    Hello,
    /// The reply to AUTH or SELECT on a lease.
    Lane,
    /// The reply to CLIENT NO-EVICT or NO-TOUCH on a lease.
    Mode(ClientMode, bool),
    /// The server's verdict on a command about clients: an error is the client's, any other reply only means that
    /// the proxy may answer.
    Verdict,
    /// The reply to CLIENT UNBLOCK, unless it says that the client is not blocked: it may be asked again.
    Unblock,
    /// The reply may name a client, by the id that it has at the server.
    Redirect,
    /// The client does not hear the answer.
    Discard,
    /// The reply is the client's, unless a rule says otherwise.
    Checked(Box<ReplyCheck>),
    /// A command within the client's own MULTI whose reply, in EXEC's answer, rules check.
    QueuedChecked(Box<ReplyCheck>),
    /// A command within the client's own MULTI that a rule refuses: the client gets this error instead.
    Refused(Box<Vec<u8>>),
    /// A member of a group: it is answered with the group, which stands in the place of the first member.
    Member,
    /// The first member of a group on the wire as `MULTI` .. `EXEC`.
    Group(Box<GroupSlot>),
    /// The proxy answers it, later.
    ProxyReply,
    /// It has not been sent yet.
    Held,
    /// A reply that has come, or begun to come, before those in front of it.
    Buffered(Box<BufferedReply>),
    /// A read that was sent before the transaction in front of it was answered.
    ReadAhead(Box<ReadAhead>),
}

impl Role {
    /// Whether the reply counts among those of a pipeline.
    pub fn is_tracked(&self) -> bool {
        matches!(self, Role::Plain | Role::Checked(_))
    }

    /// Whether the reply is the client's as it is.
    pub fn is_plain(&self) -> bool {
        matches!(self, Role::Plain)
    }

    /// Whether the command is queued in the client's own MULTI.
    pub fn is_queued(&self) -> bool {
        matches!(self, Role::Queued | Role::QueuedChecked(_))
    }
}

/// A group, with the places of its members' replies.
#[derive(Debug)]
pub struct GroupSlot {
    pub(super) group: WrappedGroup,
    /// Where its members stand, unless they stand side by side.
    pub(super) apart: Option<Box<[Seq]>>,
    /// Replies of its members that cannot leave yet.
    pub(super) replies: Vec<u8>,
}

impl GroupSlot {
    /// Lets go of all memory but its own.
    pub(super) fn empty(&mut self) {
        if !self.is_small() {
            (self.apart, self.replies) = (None, Vec::new());
            self.group.empty();
        }
    }

    /// It owns no memory but its own.
    pub(super) fn is_small(&self) -> bool {
        self.apart.is_none() && self.replies.capacity() == 0 && self.group.is_small()
    }
}

/// A reply before its turn.
#[derive(Debug)]
pub struct BufferedReply {
    pub(super) reply: Vec<u8>,
    /// What the rest of it means; `None` once it is whole.
    pub(super) rest: Option<Role>,
}

/// A place and the command that it belongs to.
#[derive(Debug)]
pub struct Slot {
    pub(super) role: Role,
    pub(super) command: CommandId,
    /// The pipeline that the reply counts for.
    pub(super) tracker: Option<TrackerId>,
    /// The client does not want to see it.
    pub(super) silent: bool,
}

impl Slot {
    /// How many of the first of these, at most `most`, await replies that the client sees as they are and that count for
    /// this pipeline.
    #[inline]
    pub(super) fn plain_run(slots: &[Slot], tracker: Option<TrackerId>, most: usize) -> usize {
        let slots = &slots[..slots.len().min(most)];
        let alike = |slot: &Slot| slot.role.is_plain() && slot.tracker == tracker && !slot.silent;
        slots.iter().position(|slot| !alike(slot)).unwrap_or(slots.len())
    }
}

/// One of the pipelines of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrackerId(pub(super) NonZeroU32);

/// A question of our own on behalf of a client, under its number.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) number: u64,
    /// What is asked; `None` where any answer will do.
    pub(super) probe: Option<Probe>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_small() {
        assert!(size_of::<Slot>() <= 24, "{}", size_of::<Slot>());
    }
}
