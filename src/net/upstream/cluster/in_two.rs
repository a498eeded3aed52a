//! A transaction that goes in two parts: what stands before its MULTI on a connection of its own, and the rest there only once
//! that was answered.
//!
//! In one part a node may refuse the WATCH and run the transaction, if it begins to serve the slot in between: servers look at
//! their slots between two reads, and a network may cut one write into several. EXEC would run then whatever has changed, and
//! whatever a preflight has said. So what has a WATCH goes in two where the slot, or the cluster, has just changed.

use std::rc::Rc;

use super::core::Core;
use super::dispatch::ASKING;
use super::entry::{Atomic, Entry, Kind, Lease, Phase, Portion, VisibleFrames};
use super::replies::NextStep;
use super::state::State;
use crate::net::clock;
use crate::net::upstream::connection::Phase as LinkPhase;
use respguard_engine::link::owed::Owed;
use respguard_engine::link::times::Times;
use respguard_engine::route::redirect::Redirect;

impl Core {
    /// Whether a transaction goes in two parts, or its second is to be sent.
    pub(super) fn goes_in_two(&self, entry: &Entry) -> bool {
        let Kind::Atomic(atomic) = &entry.kind else { return false };
        if matches!(atomic.portion, Portion::Second(_)) {
            return true;
        }
        let has_watch = atomic.shows == VisibleFrames::All && atomic.before_multi() > 0;
        has_watch && (entry.again.is_some() || self.nodes.unsettled.has(entry.slot, clock::now()))
    }

    /// Sends the part whose turn it is.
    pub(super) fn send_in_two(&self, state: &mut State, place: usize) -> usize {
        match &state.queue[place].kind {
            Kind::Atomic(atomic) if matches!(atomic.portion, Portion::Second(_)) => self.send_second(state, place),
            _ => self.send_first(state, place),
        }
    }

    fn send_first(&self, state: &mut State, place: usize) -> usize {
        let Some((address, lane)) = self.lane_for(&state.queue[place]) else { return 0 };
        let Some(link) = self.lease(&lane) else { return 0 };
        let seq = state.seq(place);
        let entry = &mut state.queue[place];
        let asks = entry.again.as_mut().and_then(|again| again.asks.take()).is_some();
        let bytes = entry.bytes.clone();
        let Kind::Atomic(atomic) = &mut entry.kind else { return 0 };
        let missing = match atomic.needs.any() {
            true => self.nodes.missing(&address, lane.shared().opened_at(), &atomic.needs),
            false => None,
        };
        let (loading, loads) = missing.unwrap_or_default();
        (atomic.is_asked, atomic.orphan) = (asks, None);
        let before = atomic.before_multi();
        let outer = atomic.outer[..before].to_vec();
        let frames = loads + before as u32 * (1 + u32::from(asks));
        let deadline = state.deadline(place);
        let is_sent = {
            let all = state.written(&bytes);
            let (mut parts, mut at): (Vec<&[u8]>, _) = (vec![&loading], 0);
            for end in outer {
                parts.extend([if asks { ASKING } else { b"" }, &all[at..end]]);
                at = end;
            }
            let times = Times { read_at: clock::now(), deadline };
            link.send(self.recipient(&link), &parts, Owed::request(seq, frames), times)
        };
        if !is_sent {
            lane.give_back(&link, false);
            return 0;
        }
        let entry = &mut state.queue[place];
        entry.deadline = deadline;
        if let Kind::Atomic(atomic) = &mut entry.kind {
            atomic.portion = Portion::First(Lease { lane, link });
        }
        (entry.phase, entry.skip, entry.sent_to) = (Phase::Sent, loads, Some(address.clone()));
        state.note_written(&address);
        1
    }

    /// The first part is answered: if the node has refused nothing of it for the slot's sake, the second may go.
    pub(super) fn admit_first(&self, state: &mut State, place: usize) {
        let entry = &mut state.queue[place];
        let Kind::Atomic(atomic) = &mut entry.kind else { return };
        let (slot, from, reply) = (entry.slot, entry.sent_to.clone(), std::mem::take(&mut entry.reply));
        let frames = atomic.own_frames();
        let redirect = frames.iter().find_map(|frame| Redirect::read(&reply[frame.clone()], slot));
        let Some(redirect) = redirect else {
            entry.reply = reply;
            atomic.portion = match std::mem::take(&mut atomic.portion) {
                Portion::First(lease) => Portion::Second(lease),
                other => other,
            };
            state.wait_again(place);
            return self.has_news.set(true);
        };
        // Where nothing was taken, nothing is watched.
        let has_begun = atomic.has_begun(&frames, &reply);
        state.returning.extend(atomic.end_portion().map(|lease| (lease, !has_begun)));
        let step = self.follow(&redirect, slot, from.as_ref()).after(has_begun);
        state.queue[place].reply = reply;
        self.again(state, place, step);
    }

    fn send_second(&self, state: &mut State, place: usize) -> usize {
        let seq = state.seq(place);
        let entry = &state.queue[place];
        let Kind::Atomic(atomic) = &entry.kind else { return 0 };
        let Atomic { portion: Portion::Second(lease), is_asked, outer, frames, .. } = &**atomic else { return 0 };
        let link = Rc::clone(&lease.link);
        let before = atomic.before_multi();
        let frames = frames - before as u32 + u32::from(*is_asked);
        let is_sent = link.phase() == LinkPhase::Ready && {
            let rest = &state.written(&entry.bytes)[outer[before - 1]..];
            let parts: &[&[u8]] = if *is_asked { &[ASKING, rest] } else { &[rest] };
            let times = Times { read_at: clock::now(), deadline: state.deadline(place) };
            link.send(self.recipient(&link), parts, Owed::request(seq, frames), times)
        };
        if !is_sent {
            // The connection on which it watched has gone.
            self.again(state, place, NextStep::Owner);
            return 1;
        }
        let entry = &mut state.queue[place];
        if let Kind::Atomic(atomic) = &mut entry.kind {
            atomic.orphan = link.orphan();
        }
        (entry.phase, entry.skip) = (Phase::Sent, 0);
        1
    }
}
