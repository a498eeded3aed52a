//! Finds out whose request made the server close a shared connection.
//!
//! Servers end a connection over one request: its reply exceeds a limit on output buffers, or clients use too much memory
//! (<https://redis.io/docs/latest/develop/reference/clients/>). At first everything that was under way may be the reason. If
//! the same server is there at once, what waits by then goes out piece by piece, the next one when the one before it is
//! answered: reads that were lost, and what was not sent. Should the server end that connection too, it is over what was
//! under way alone, and others have lost nothing. The writes that were lost with the first one are known again, and go over
//! leases for a while.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use super::{Link, Loss, LostReply, State};
use crate::net::offenders::fingerprints;
use crate::net::upstream::Recipient;
use respguard_engine::link::handshake::ServerInfo;

/// So many of the commands that were lost are suspected; beyond, the next loss tells.
const SUSPECTS_MAX: usize = 64;
/// What waits goes out in no more parts than so many, each as long as the server takes to answer.
const PARTS_MAX: usize = 64;

/// What a shared connection remembers of the one that the server has ended.
#[derive(Default)]
pub(super) struct Blame {
    /// Until what stands here in the stream is answered, no more than this is under way.
    apart_until: Cell<u64>,
    pieces: Cell<usize>,
    /// The server has ended the last connection, and nothing speaks against it being there.
    is_by_server: Cell<bool>,
    /// Whose request was under way alone.
    offender: RefCell<Option<Weak<dyn Recipient>>>,
    /// The commands that were under way.
    commands: RefCell<Vec<u64>>,
}

impl Blame {
    /// True while what waits goes out piece by piece.
    pub(super) fn is_apart(&self) -> bool {
        self.apart_until.get() > 0
    }

    /// There is no server, or another one: nobody's request was the reason.
    pub(super) fn forget(&self) {
        self.is_by_server.set(false);
        self.offender.take();
        self.commands.take();
    }
}

impl Link {
    /// The connection is lost after `written` bytes of the stream. True when a single request was under way over which the
    /// server has ended it: that is not sent again.
    pub(super) fn note_cause(&self, state: &State, written: u64, loss: &Loss) -> bool {
        let blame = &self.blame;
        let was_apart = blame.apart_until.take() > 0;
        blame.forget();
        blame.is_by_server.set(self.shared.get() && is_by_server(loss));
        if !blame.is_by_server.get() {
            return false;
        }
        let table = self.context.table();
        let commands = |range: std::ops::Range<u64>| {
            let place = |position: u64| usize::try_from(position.checked_sub(state.out_start)?).ok();
            let bytes = place(range.start).zip(place(range.end)).and_then(|(start, end)| state.out.get(start..end));
            fingerprints(bytes.unwrap_or_default(), &table, SUSPECTS_MAX)
        };
        let alone = state.inflight.owed_alone(written).filter(|_| was_apart);
        if let (Some(who), Some(start)) = (alone, state.inflight.first_start()) {
            blame.offender.replace(Some(Rc::downgrade(who)));
            blame.commands.replace(commands(start..state.inflight.end_of_first(1)));
            return true;
        }
        let lost = state.inflight.more_than_reads(written).take(SUSPECTS_MAX);
        blame.commands.replace(lost.flat_map(commands).take(SUSPECTS_MAX).collect());
        false
    }

    /// A lease has ended while these were owed something.
    pub(super) fn note_lease_end(&self, told: &[LostReply], loss: &Loss) {
        if !self.shared.get() && is_by_server(loss) {
            told.iter().for_each(|(who, ..)| who.lease_ended());
        }
    }

    /// A connection is there again. A server numbers its connections; one that was started anew begins from 1.
    pub(super) fn lay_blame(&self, state: &State, info: &ServerInfo) {
        let blame = &self.blame;
        let is_same = state.info.client_id.zip(info.client_id).is_none_or(|(before, now)| now > before);
        if blame.is_by_server.take() && is_same {
            let (offenders, commands, offender) = (&self.context.offenders, blame.commands.take(), blame.offender.take());
            match commands[..] {
                [command] if offender.is_some() => offenders.convict(command),
                _ => commands.iter().for_each(|command| offenders.suspect(*command)),
            }
            if let Some(who) = offender.and_then(|who| who.upgrade()) {
                who.offend();
            }
            if !state.inflight.is_empty() {
                blame.apart_until.set(state.inflight.queued());
                blame.pieces.set(state.inflight.len().div_ceil(PARTS_MAX));
            }
        }
        blame.forget();
    }

    /// Up to which position of the stream may be written while what waits goes out piece by piece; `None` when it does not.
    pub(super) fn end_apart(&self, state: &State) -> Option<u64> {
        let blame = &self.blame;
        if !blame.is_apart() {
            return None;
        }
        if state.inflight.first_start().is_none_or(|first| first >= blame.apart_until.get()) {
            blame.apart_until.set(0);
            return None;
        }
        Some(state.inflight.end_of_first(blame.pieces.get()))
    }
}

fn is_by_server(loss: &Loss) -> bool {
    matches!(loss, Loss::Eof | Loss::Io(_))
}
