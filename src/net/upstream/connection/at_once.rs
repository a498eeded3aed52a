//! The way through a connection to a cluster, which lies within the process, past the turns of its task.
//!
//! On a lease what is queued goes to the cluster at once where nothing stands before it, and plain replies are handed to the
//! client by the task that has read them from a node.

use std::cell::RefMut;
use std::rc::Rc;

use super::pump::Taken;
use super::reading::Latency;
use super::{AtOnce, Link, Phase, State};
use crate::net::clock;
use crate::net::upstream::commands::Commands;
use crate::telemetry::label::{Direction, Side};
use respguard_engine::link::inflight::Owner;
use respguard_resp::scan::plain_frames;

impl Link {
    /// What is sent now need not be queued: nothing waits before it, and the cluster takes it.
    #[inline]
    pub(super) fn goes_at_once(&self, state: &State) -> bool {
        self.at_once.borrow().as_ref().is_some_and(|cluster| self.has_free_way(state, cluster))
    }

    fn has_free_way(&self, state: &State, cluster: &AtOnce) -> bool {
        let is_first = state.out.is_empty() && state.pipe.is_none() && !self.finishing.get();
        is_first && self.is_simple(state) && self.paced.get().is_none() && self.end_apart(state).is_none() && cluster.has_room()
    }

    /// Sends what `goes_at_once`, for which a reply is awaited already; these may be the bytes of `commands`.
    pub(super) fn write_at_once(&self, mut state: RefMut<'_, State>, requests: &[u8], commands: Option<&Commands<'_>>) {
        state.out_start += requests.len() as u64;
        // By itself it is known when that was: as it was read.
        if !state.writes.is_empty() {
            let (position, answered) = (state.out_start, state.inflight.first_start().unwrap_or(u64::MAX));
            state.writes.note(position, answered, clock::now());
        }
        drop(state);
        self.context.metrics.add_bytes(Side::Upstream, Direction::Out, requests.len());
        if let Some(cluster) = &*self.at_once.borrow() {
            cluster.write(requests, commands);
        }
    }

    /// Hands so many plain replies to whom they belong, as if its task had read them; how many of them that were, and their
    /// bytes. Behind it comes `flush_handed_on`.
    pub fn hand_on(&self, replies: &[u8], frames: u32) -> (u32, usize) {
        let may_read = {
            let state = self.state.borrow();
            // What waits to be written has waited for the cluster to have room again: its task is to be woken.
            state.out.is_empty() && self.is_simple(&state) && !self.is_inside_frame.get() && self.held_up.why().is_none()
        };
        if !may_read || !matches!(self.next_taken(), Taken::ByClient) {
            return (0, 0);
        }
        self.note_read(replies.len());
        let mut touched = self.touched.borrow_mut();
        let mut latency = Latency::begin(self);
        let (mut handed, mut at) = (0, 0);
        while handed < frames {
            let next = self.takes_plain(frames - handed);
            let bytes = if next == frames - handed { replies.len() - at } else { plain_frames(&replies[at..], next as usize) };
            if next == 0 || self.hand_over_plain(&replies[at..at + bytes], next, &mut touched).is_err() {
                break;
            }
            latency.count(self, next);
            (handed, at) = (handed + next, at + bytes);
        }
        latency.end(self);
        self.look_away();
        (handed, at)
    }

    /// Nobody has to be told that something was handed on.
    pub fn is_flushed(&self) -> bool {
        self.touched.borrow().is_empty()
    }

    /// Lets those write to whom something was handed.
    pub fn flush_handed_on(&self) {
        let mut touched = self.touched.take();
        touched.drain(..).for_each(|who| who.flush());
        self.touched.replace(touched);
    }

    /// Others need the room that its client takes: true when that is closed, for it has read nothing for long.
    pub fn client_gives_way(&self) -> bool {
        let state = self.state.borrow();
        let Owner::Recipient(who, _) = state.inflight.owner() else { return false };
        let who = Rc::clone(who);
        drop(state);
        who.gives_way()
    }

    /// It is a lease that is there, and nothing is the matter with it.
    fn is_simple(&self, state: &State) -> bool {
        state.phase == Phase::Ready && !self.shared.get() && self.doubt.get().is_none() && self.is_in_term()
    }

    /// So much has come from the server.
    pub(super) fn note_read(&self, bytes: usize) {
        self.context.metrics.add_bytes(Side::Upstream, Direction::In, bytes);
        self.health().alive();
        self.state.borrow_mut().last_read = clock::now();
        self.head_of_line.moves();
    }
}
