//! Determines by its marker the outcome of a group whose connection was lost.
//!
//! ```text
//!   Sent --- the connection is lost ---> Lost --- CLIENT KILL, EXISTS marker are sent ---> Asked
//!   Lost <-- so is the next one ------------------------------------------------------- Asked
//!   Asked -- the marker is there -------------------------------------> every member answers -COMMITTED
//!   Asked -- the old connection has ended, the marker is not there ---> Absent: sent again, or answered -EXECABORT
//!   Asked -- no such answer by the deadline --------------------------> every member answers -TIMEOUT
//! ```
//!
//! The marker is set by the transaction itself, so that it is there if the members are. That it is not there proves
//! nothing as long as the old connection may still be read from: it is ended first, by its id, on the connection that
//! the question is asked on, before a cluster at the node that it led to (<https://redis.io/docs/latest/commands/client-kill/>).

use std::time::{Duration, Instant};

use super::finding::{Finding, Resolution};
use crate::link::budget::Budget;
use crate::link::handshake::OrphanedConnection;
use crate::link::owed::Owed;
use crate::policy::Group;
use crate::session::Session;
use respguard_resp::encode;

/// How much longer a marker lives than anybody may ask for it: it must outlive what a clock may be set forward.
const MARKER_GRACE: Duration = Duration::from_secs(30);
/// Frames that answer what is asked about a group.
pub(super) const INQUIRY_FRAMES: u32 = 2;

/// Whether a group of this rule carries a marker when it is sent now. On a connection that holds something for the client
/// there is none: that would be lost with it, whatever became of the group. Before a cluster (`slots`) it is not a connection
/// of the client's that is lost.
pub fn takes_marker(rule: &Group, session: &Session, slots: bool) -> bool {
    rule.resolve && (slots || !session.affinity.is_pinned() || session.is_free())
}

/// The command that sets a marker, for a group that is waited for as long as `request_timeout`
/// (<https://redis.io/docs/latest/commands/set/>).
pub fn mark(marker: &[u8], request_timeout: Duration) -> Vec<u8> {
    let life = (request_timeout + MARKER_GRACE).as_millis().to_string();
    encode::request_frame(&[b"SET", marker, b"1", b"PX", life.as_bytes()])
}

/// What is known of a group that carries a marker, beside its answers.
#[derive(Debug)]
pub struct InDoubt {
    marker: Vec<u8>,
    /// Everything that was sent for the group; empty where it is too long to be kept.
    request: Vec<u8>,
    read_at: Instant,
    deadline: Instant,
    /// It has been sent again.
    pub(super) is_again: bool,
    /// False once it would go out over the connection of somebody else.
    pub(super) may_go_again: bool,
    /// The connection that it was sent on last, once that is lost.
    orphan: Option<OrphanedConnection>,
    pub(super) stage: Stage,
}

/// How far the group has come.
#[derive(Debug)]
pub(super) enum Stage {
    Sent,
    Lost,
    Asked(Inquiry),
    Absent,
}

/// What was answered about a group.
#[derive(Debug, Default)]
pub(super) struct Inquiry {
    pub(super) answers: u32,
    /// The old connection has ended for certain.
    pub(super) orphan_ended: bool,
    /// What the server answered instead.
    pub(super) refusal: Option<Box<[u8]>>,
}

/// What is to be sent for the group at the head.
#[derive(Debug, PartialEq, Eq)]
pub struct Recovery {
    /// What is sent.
    pub request: Vec<u8>,
    /// The frames that answer it.
    pub owed: Owed,
    /// When the group was read, and until when it is waited for.
    pub read_at: Instant,
    /// Until when an answer is waited for.
    pub deadline: Instant,
}

/// What follows for a group that is in doubt.
pub(super) enum Next {
    /// It is not its turn.
    Wait,
    /// This goes out: the questions, or all of it once more.
    Send(Vec<u8>),
    /// Nothing more is done, for this reason.
    End(&'static str),
}

impl InDoubt {
    /// For a group that is sent now as `request`, which holds the command that sets the marker.
    pub fn new(marker: Vec<u8>, request: Vec<u8>, read_at: Instant, deadline: Instant) -> InDoubt {
        InDoubt { marker, request, read_at, deadline, is_again: false, may_go_again: true, orphan: None, stage: Stage::Sent }
    }

    pub(super) fn times(&self) -> (Instant, Instant) {
        (self.read_at, self.deadline)
    }

    /// The connection that it was sent on is lost. Which one may be asked for the answer is lost later does not matter.
    pub(super) fn note_lost(&mut self, orphan: Option<OrphanedConnection>) {
        if self.orphan.is_none() {
            self.orphan = orphan;
        }
    }

    /// What follows now.
    pub(super) fn next(&mut self, now: Instant, budget: &mut Budget, found: &mut Vec<Finding>) -> Next {
        match self.stage {
            Stage::Sent | Stage::Asked(_) => Next::Wait,
            // Past the deadline the marker itself might be gone.
            Stage::Lost if now >= self.deadline => Next::End("and its deadline has passed"),
            Stage::Lost => {
                let Some(orphan) = &self.orphan else {
                    return Next::End("and the server has not told how that connection can be ended");
                };
                let mut request = Vec::with_capacity(self.marker.len() + 128);
                orphan.kill(&mut request);
                encode::request(&mut request, &[b"EXISTS", &self.marker]);
                self.stage = Stage::Asked(Inquiry::default());
                Next::Send(request)
            }
            Stage::Absent if now >= self.deadline => Next::End("its deadline has passed"),
            Stage::Absent if !self.may_go_again => Next::End("the connection of its client is gone"),
            Stage::Absent if self.request.is_empty() => Next::End("it is too long to be kept for that"),
            Stage::Absent if !budget.withdraw(1, now) => {
                found.push(Finding::RetryRefused);
                Next::End("too many requests are being sent again")
            }
            Stage::Absent => {
                (self.orphan, self.is_again, self.stage) = (None, true, Stage::Sent);
                found.push(Finding::Resolution(Resolution::Resent));
                Next::Send(self.request.clone())
            }
        }
    }
}
