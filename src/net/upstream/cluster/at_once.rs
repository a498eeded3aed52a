//! What goes through a client's connection to the cluster without a turn of its link's task: nearly everything.
//!
//! What a client writes is sent to the nodes by the client's own task. When the last reply that it is owed has come, the task
//! that has read it from its node hands all that wait to the link, which hands them to the client; what comes before that goes
//! `together` with it, or soon by itself. What is not that simple goes the way of a socket, by `AsyncRead` and `AsyncWrite`.

use std::rc::Rc;
use std::time::Instant;

use super::connection::{ClusterConnection, INPUT_BYTES_MAX};
use super::core::Core;
use super::state::{Plain, State};
use super::together::Waits;
use crate::net::clock;
use crate::net::upstream::commands::Commands;
use crate::net::upstream::connection::Link;
use crate::net::upstream::{AdmittedPlain, Recipient};

/// What is more goes on without what follows it.
const TOGETHER_BYTES_MAX: usize = 16 * 1024;

/// The end of a connection to the cluster that a link writes to at once.
pub struct AtOnce(pub(super) Rc<Core>);

impl ClusterConnection {
    /// What its reader writes is taken at once from now on, and what has come handed to it.
    pub fn at_once(&self, reader: &Rc<Link>) -> AtOnce {
        self.0.reader.replace(Rc::downgrade(reader));
        AtOnce(Rc::clone(&self.0))
    }
}

impl AtOnce {
    /// True while what is written need not wait.
    pub fn has_room(&self) -> bool {
        self.0.state.try_borrow().is_ok_and(|state| state.has_room())
    }

    /// Takes what the client has written, and sends it. Where these are the bytes of `commands`, they need not be cut again.
    pub fn write(&self, bytes: &[u8], commands: Option<&Commands<'_>>) {
        let core = &self.0;
        let is_sent = match commands.filter(|_| core.may_take_cut(bytes.len())) {
            Some(commands) => core.take_cut(bytes, commands),
            None => {
                core.take_in(bytes);
                false
            }
        };
        if !is_sent {
            core.dispatch();
        }
        core.note_kept();
        // What waits for others to come is handed on soon.
        if core.waits_since.get().is_none() && core.state.borrow().has_to_be_read() {
            core.wake();
        }
    }

    /// So many replies of this recipient's were given up: it is told when no node may run anything any more of what was.
    pub fn wait_for_late(&self, who: Rc<dyn Recipient>, frames: u32) {
        self.0.late.wait(who, frames);
        self.0.release_late();
    }

    /// Whether a recipient of this client's waits for that.
    pub fn owes_late(&self, sender: *const ()) -> bool {
        self.0.late.is_waited_for(|who| std::ptr::eq(who.sender(), sender))
    }
}

impl Core {
    /// Those who have waited until nodes owe nothing late any more go on, and may send at once.
    #[inline]
    pub(super) fn release_late(&self) {
        for (who, frames) in self.late.take_settled() {
            who.settle_late(frames);
            who.flush();
        }
    }

    /// Sees to it that what has come is read: together with what is about to come, or at once.
    pub(super) fn pass_on(&self) {
        let (is_there, waits) = {
            let state = self.state.borrow();
            (state.has_to_be_read() || self.has_news.get(), state.waits_for_rest() && !self.has_news.get())
        };
        if waits {
            self.wait_together();
        } else if is_there && !self.hand_on() {
            self.wake();
        }
    }

    /// What has come waits for what is about to come.
    fn wait_together(&self) {
        if self.waits_since.get().is_none() {
            self.waits_since.set(Some(clock::now()));
        }
        if !self.is_listed.replace(true)
            && let Some(me) = self.me.upgrade()
        {
            self.nodes.together.add(me);
        }
    }

    /// What has come changes nothing until more has.
    pub(super) fn waits_quietly(&self, state: &State) -> bool {
        let is_quiet = !state.has_to_be_read() || self.waits_since.get().is_some() && state.waits_for_rest();
        is_quiet && !self.has_news.get() && self.kept.get() == 0 && state.held.is_empty() && state.is_little()
    }

    /// Hands replies, which are all that the client is owed, on to it; `None` where they have to wait for something.
    pub(super) fn hand_on_all(&self, stream: u16, count: u64, replies: &[u8], frames: u32) -> Option<AdmittedPlain> {
        if self.has_news.get() || self.kept.get() > 0 || self.behind_since.get().is_some() {
            return None;
        }
        let reader = self.reader.borrow().upgrade()?;
        if !self.state.borrow_mut().ends_with(stream, count, frames as usize) {
            return None;
        }
        let (handed, bytes) = reader.hand_on(replies, frames);
        if bytes < replies.len() {
            self.state.borrow_mut().pass_plain(&replies[bytes..], (frames - handed) as usize);
        }
        Some(AdmittedPlain { is_done: bytes == replies.len() && reader.is_flushed(), ..AdmittedPlain::default() })
    }

    /// Lets the client write what was handed on to it, as far as it has not.
    pub(super) fn flush_handed_on(&self) {
        let reader = self.reader.borrow().upgrade();
        reader.into_iter().for_each(|reader| reader.flush_handed_on());
    }

    /// Hands what has come to the client, if these are plain replies; false where something is left for the link's task.
    pub(super) fn hand_on(&self) -> bool {
        let reader = self.reader.borrow().upgrade();
        let (Some(reader), Ok(mut state)) = (reader, self.state.try_borrow_mut()) else { return false };
        if !state.is_plain() || self.has_news.get() {
            return false;
        }
        let (mut replies, plain) = (std::mem::take(&mut state.out), std::mem::take(&mut state.plain));
        drop(state);
        self.waits_since.set(None);
        let (frames, bytes) = reader.hand_on(&replies, plain.frames);
        let is_done = bytes == replies.len();
        {
            let state = &mut *self.state.borrow_mut();
            debug_assert!(state.out.is_empty(), "nothing has come meanwhile");
            replies.drain(..bytes);
            state.out = replies;
            if is_done {
                state.forget_read();
            } else {
                state.plain = Plain { bytes: state.out.len(), frames: plain.frames - frames };
            }
            self.let_through(state);
        }
        reader.flush_handed_on();
        is_done
    }
}

impl Waits for Core {
    fn end_wait(&self, since: Instant) -> bool {
        if self.waits_since.get().is_some_and(|begin| begin > since) && !self.has_left.get() {
            return false;
        }
        self.is_listed.set(false);
        self.waits_since.set(None);
        let is_there = self.has_news.get() || self.state.borrow().has_to_be_read();
        if is_there && !self.has_left.get() {
            if !self.hand_on() {
                self.wake();
            }
            self.note_kept();
        }
        true
    }
}

impl State {
    pub(super) fn has_room(&self) -> bool {
        (self.input.len() <= INPUT_BYTES_MAX || self.requests() == 0) && self.room_wanted.is_none()
    }

    pub(super) fn has_to_be_read(&self) -> bool {
        self.out_at < self.out.len() || self.fault.is_some() || self.is_closed
    }

    /// Something waits to be read, and all of it are plain replies.
    pub(super) fn is_plain(&self) -> bool {
        let is_plain = self.plain.bytes == self.out.len() && self.out_at == 0 && !self.out.is_empty();
        is_plain && self.fault.is_none() && !self.is_closed && self.held.is_empty() && self.returning.is_empty()
    }

    /// All that waits to be read are plain replies, and others of which nothing stands in the way come soon.
    fn waits_for_rest(&self) -> bool {
        let is_next = !self.simple.is_empty() || self.queue.front().is_some_and(|entry| entry.stream.is_some());
        is_next && self.out.len() < TOGETHER_BYTES_MAX && self.is_plain()
    }
}
