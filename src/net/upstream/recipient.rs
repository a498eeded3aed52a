//! Whoever is owed replies by an upstream connection, which knows nothing else of them.

use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::connection::Link;
use crate::net::splice::Fill;
use crate::telemetry::slow::RequestOwner;
use respguard_engine::link::owed::{Owed, ReplyTo, Seq};
use respguard_engine::pipeline::finding::Fault;
use respguard_engine::pipeline::reading::Part;
use respguard_engine::session::subscription::Arrival;

/// Whoever is owed replies by an upstream connection.
///
/// None of the methods may call back into the connection.
pub trait Recipient {
    /// Takes one piece of a reply that is owed to this request or question of its.
    fn admit(&self, to: ReplyTo, piece: &[u8], part: Part) -> Admitted;

    /// Takes a part of a reply that has begun and not ended, where that is the client's as it is: `fill` moves it into a pipe. None
    /// where it must be handed over in pieces.
    fn splice_part(&self, _to: ReplyTo, _fill: &mut Fill<'_>) -> Option<Poll<io::Result<usize>>> {
        None
    }

    /// How many of the replies from this request's on, at most `most`, can be taken together as long as none is an error.
    fn takes_plain(&self, _first: Seq, _most: u32) -> u32 {
        0
    }

    /// Takes so many replies together, from this request's on.
    fn admit_plain(&self, _first: Seq, _replies: &[u8], _frames: u32) -> AdmittedPlain {
        AdmittedPlain::default()
    }

    /// Takes those answers to a group at the beginning of `bytes` that need not be looked at one by one: how many there are, and
    /// their bytes.
    fn take_queued(&self, _group: Seq, _bytes: &[u8]) -> (u32, usize) {
        (0, 0)
    }

    /// What was answered so far of a request that is owed several frames does not count: it goes out once more. False
    /// where that cannot be.
    fn start_over(&self, _to: ReplyTo) -> bool {
        false
    }

    /// What is owed will not come.
    fn fault(&self, owed: Owed, fault: Fault);

    /// So many parts of a request that is answered now were given up, and may still run.
    fn note_late(&self, _frames: u32) {}

    /// Replies came, or never will, to `frames` requests that had been answered with a timeout.
    fn settle_late(&self, _frames: u32) {}

    /// A reply of which a part was handed over has no end, and what is owed behind it will not come: all of `owed`.
    fn cut(&self, owed: Owed) {
        self.fault(owed, Fault::Lost);
    }

    /// The server has ended a connection that others share over what this one had sent.
    fn offend(&self) {}

    /// On a lease: the other side has ended the connection while something was owed.
    fn lease_ended(&self) {}

    /// On a lease: what the frame that begins with `head` is. A push is nobody's reply.
    fn classify(&self, head: &[u8]) -> Arrival {
        if head.first() == Some(&b'>') { Arrival::Message } else { Arrival::Reply }
    }

    /// On a lease: takes a piece of a frame that nobody asked for.
    fn push(&self, _piece: &[u8], _last: bool) {}

    /// On a lease: whatever comes is handed to `push` at once, whether it is a frame or not. Once it does it always does.
    fn takes_bytes(&self) -> bool {
        false
    }

    /// On a lease: the connection is gone.
    fn lease_lost(&self) {}

    /// On a lease: there will be none, for the server no longer takes the login, protocol or db that it would have.
    fn lease_refused(&self) {}

    /// Notes that something was handed over; true the first time since `flush`.
    fn mark(&self) -> bool {
        false
    }

    /// Who has sent what it is owed for: the same for all recipients of one client.
    fn sender(&self) -> *const () {
        std::ptr::from_ref(self).cast()
    }

    /// Whose requests they are; none for questions of our own.
    fn request_owner(&self) -> Option<RequestOwner> {
        None
    }

    /// Everything that one read brought has been handed over.
    fn flush(&self) {}

    /// For how long the recipient has been behind with its replies, if it is.
    fn behind_for(&self) -> Option<Duration> {
        None
    }

    /// Others wait behind what the recipient does not take: true when it is kept for it, or it is not waited for any more.
    fn keeps_for_others(&self) -> bool {
        true
    }

    /// Others need the room that it takes: true when it has read nothing for long, and is closed for that.
    fn gives_way(&self) -> bool {
        false
    }

    /// It is behind, and nobody else is owed anything on the connection, which others have left.
    fn stands_alone(&self) {}

    /// Nobody is there any more to take anything.
    fn is_gone(&self) -> bool {
        false
    }

    /// What it is owed may come over another connection of its lane.
    fn may_move(&self) -> bool {
        false
    }

    /// What it sends from now on goes over this one.
    fn move_to(&self, _next: &Rc<Link>) {}
}

/// What taking a piece of a reply has led to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Admitted {
    /// Further frames that belong to the same request.
    pub more: u32,
    /// The connection may be in a state that its next user must not meet.
    pub close: bool,
}

/// What taking whole replies has led to.
#[derive(Debug, Clone, Copy, Default)]
pub struct AdmittedPlain {
    /// The connection may be in a state that its next user must not meet.
    pub close: bool,
    /// They have been written, and nothing is left to be done: the recipient need not be told that all was handed over.
    pub is_done: bool,
}
