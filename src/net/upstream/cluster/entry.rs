//! One request of a client on its way through the cluster.

use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;
use std::time::Instant;

use crate::net::upstream::Recipient;
use crate::net::upstream::connection::Link;
use crate::net::upstream::lane::Lane;
use respguard_engine::command::CommandId;
use respguard_engine::link::handshake::OrphanedConnection;
use respguard_engine::pipeline::finding::Fault;

use super::gather::Gather;
use super::inquiry::Inquiry;
use super::login::Login;
use super::retry::Retry;
use super::scripts::ScriptNeeds;
use super::settings::NodeName;
use super::subscriptions::Change;

/// A connection that one request, or a client that watches, has for itself.
pub(super) struct Lease {
    pub(super) lane: Rc<Lane>,
    pub(super) link: Rc<Link>,
}

impl Lease {
    /// It is over; clean where it is as it was. What its node has not answered may still run there: that is ended before
    /// anything more of its client's is sent.
    pub(super) fn give_back(self, who: &Rc<dyn Recipient>, is_clean: bool) {
        if let Some(orphan) = self.link.orphan() {
            self.lane.shared_for(who).kill_orphan(orphan);
        }
        self.lane.give_back(&self.link, is_clean);
    }
}

/// What a request is made of.
pub(super) enum Kind {
    /// It goes to one node as it came.
    Single,
    /// The same, and it may wait there.
    Blocking(Option<Lease>),
    /// Its reply is the proxy's own.
    ProxyReply,
    /// All of it or nothing.
    Atomic(Box<Atomic>),
    /// Answered by several nodes, or by one whose answer is looked at.
    Gather(Box<Gather>),
    /// What has become of a group whose connection was lost.
    Inquiry(Box<Inquiry>),
    Watch,
    Unwatch,
    /// A subscription begins or ends.
    Subscribe(Box<Change>),
    /// The client wants to be somebody else, or to speak another protocol.
    Login(Box<Login>),
}

/// A transaction, with what stands before its MULTI; or a command that is looked at whether it would be queued.
pub(super) struct Atomic {
    /// What goes out; `None` where that is what came.
    pub(super) request: Option<Vec<u8>>,
    pub(super) frames: u32,
    /// Where each command before the first that is queued ends, from the beginning on: ASKING goes before each.
    pub(super) outer: Vec<usize>,
    pub(super) shows: VisibleFrames,
    /// The transaction that it belongs to, where that came in pieces.
    pub(super) own: Option<Rc<OpenTransaction>>,
    /// It was sent behind ASKING.
    pub(super) is_asked: bool,
    /// What it runs.
    pub(super) needs: ScriptNeeds,
    /// Where the frames that have come end.
    pub(super) ends: Vec<usize>,
    /// It has run, and its replies go on as they come.
    pub(super) passes: bool,
    /// The connection that it was sent on.
    pub(super) orphan: Option<OrphanedConnection>,
    /// How much of it is under way.
    pub(super) portion: Portion,
}

/// How much of a transaction goes at once.
#[derive(Default)]
pub(super) enum Portion {
    #[default]
    Whole,
    /// What stands before its MULTI, on this connection,
    First(Lease),
    /// and the rest.
    Second(Lease),
}

impl Atomic {
    /// Frames that stand before EXEC's own, and those of ASKING.
    fn frames_owed(&self) -> usize {
        let asked = usize::from(self.is_asked);
        match self.portion {
            Portion::First(_) => self.before_multi() * (1 + asked),
            Portion::Whole | Portion::Second(_) => self.frames as usize + self.outer.len() * asked,
        }
    }

    /// Commands that stand before MULTI.
    pub(super) fn before_multi(&self) -> usize {
        self.outer.len().saturating_sub(1)
    }

    /// A node has run something of what stands before its MULTI.
    pub(super) fn has_begun(&self, frames: &[Range<usize>], reply: &[u8]) -> bool {
        frames.iter().take(self.before_multi()).any(|frame| reply.get(frame.start) != Some(&b'-'))
    }

    /// What stands before its MULTI is under way.
    pub(super) fn is_first(&self) -> bool {
        matches!(self.portion, Portion::First(_))
    }

    /// It goes whole from now on; the connection that it had for itself.
    pub(super) fn end_portion(&mut self) -> Option<Lease> {
        match std::mem::take(&mut self.portion) {
            Portion::Whole => None,
            Portion::First(lease) | Portion::Second(lease) => Some(lease),
        }
    }

    /// The next frame is EXEC's, and begins like that of a transaction that has run.
    pub(super) fn is_run_by(&self, piece: &[u8]) -> bool {
        let is_last = self.ends.len() + 1 == self.frames_owed() && !self.is_first();
        let is_exec = matches!(self.shows, VisibleFrames::All | VisibleFrames::Last) && is_last;
        is_exec && piece.first() == Some(&b'*') && !piece.starts_with(b"*-")
    }

    /// All frames have come.
    pub(super) fn is_whole(&self) -> bool {
        self.ends.len() >= self.frames_owed()
    }

    /// Where the frames that have come lie, without those of ASKING, which is our own.
    pub(super) fn own_frames(&self) -> Vec<Range<usize>> {
        let outer = if self.is_asked { self.outer.len() } else { 0 };
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let frames = starts.zip(self.ends.iter().copied()).map(|(start, end)| start..end);
        frames.enumerate().filter(|(at, _)| *at >= 2 * outer || at % 2 == 1).map(|(_, frame)| frame).collect()
    }
}

/// Which of the frames are the client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum VisibleFrames {
    All,
    /// EXEC's.
    Last,
    /// That of the one that would be queued.
    Second,
}

/// A transaction of the client's own that came in pieces.
#[derive(Debug, Default)]
pub(super) struct OpenTransaction {
    pub(super) is_aborted: Cell<bool>,
}

/// How far a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It is to be sent.
    Waiting,
    Sent,
    Done,
    Failed(Fault),
}

/// What is known of the requests that were sent behind one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// None of them has run.
    Kept,
    /// One of them may run.
    Open,
    /// One of them may have run.
    Lost,
}

/// What is to be done otherwise when it is sent once more.
#[derive(Debug, Default)]
pub(super) struct Resend {
    /// To this node, behind ASKING.
    pub(super) asks: Option<NodeName>,
    /// To this node, for nobody knows its slot.
    pub(super) node: Option<NodeName>,
    pub(super) retry: Retry,
    /// What it runs is to be loaded first, where its node has not got it.
    pub(super) needs: Option<ScriptNeeds>,
    /// Behind these requests, so many, which load what it runs;
    pub(super) loads: Option<(Vec<u8>, u32)>,
    /// that was done before.
    pub(super) is_loaded: bool,
}

pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) command: CommandId,
    /// Where it stands in what was written.
    pub(super) bytes: Range<u64>,
    pub(super) slot: Option<u16>,
    /// Frames that its client is owed.
    pub(super) frames: u32,
    pub(super) phase: Phase,
    pub(super) deadline: Option<Instant>,
    /// When its time began: it is that of its nodes, not of what its client has sent before.
    pub(super) since: Instant,
    /// Frames of our own that come before its reply.
    pub(super) skip: u32,
    /// What has come and not left.
    pub(super) reply: Vec<u8>,
    /// A part of its reply has come.
    pub(super) begun: bool,
    pub(super) is_read: bool,
    /// Others of its slot must not go while it is under way: it may have to go again.
    pub(super) holds_slot: bool,
    /// Nothing goes while it is under way, and it goes when nothing is.
    pub(super) is_fence: bool,
    /// It counts among those that keep others waiting.
    pub(super) blocks_others: bool,
    /// It stands among those that are to be looked at again.
    pub(super) is_listed: bool,
    /// Its reply comes in this stream.
    pub(super) stream: Option<u16>,
    /// Where it was sent last, unless it is in a stream.
    pub(super) sent_to: Option<NodeName>,
    pub(super) again: Option<Box<Resend>>,
}

impl Entry {
    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Done | Phase::Failed(_))
    }

    /// True once for a request of which nodes may still run parts that were given up.
    pub(super) fn take_late(&mut self) -> bool {
        let Kind::Gather(gather) = &mut self.kind else { return false };
        std::mem::take(&mut gather.is_late)
    }

    /// It is answered with an error. If it was to be queued, its transaction will not run, as at a server.
    pub(super) fn abort_own(&self) {
        if let Kind::Atomic(atomic) = &self.kind
            && atomic.shows == VisibleFrames::Second
            && let Some(own) = &atomic.own
        {
            own.is_aborted.set(true);
        }
    }

    pub(super) fn again(&mut self) -> &mut Resend {
        self.again.get_or_insert_default()
    }

    /// It is sent, and its reply comes in this stream.
    pub(super) fn go_in(&mut self, stream: u16) {
        (self.phase, self.stream, self.skip) = (Phase::Sent, Some(stream), 0);
    }

    /// It waits for its time.
    pub(super) fn is_paused(&self, now: Instant) -> bool {
        self.again.as_ref().is_some_and(|again| !again.retry.is_due(now))
    }
}
