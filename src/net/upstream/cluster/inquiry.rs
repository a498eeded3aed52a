//! The questions about a group whose connection to its node was lost: that connection is ended at the node to which it led, and
//! then the marker is asked for at the node that serves its slot by then.
//!
//! The slot may have moved meanwhile. What was sent on the old connection can still be read by the old node, and runs there if
//! it gets the slot back: as long as that is so, it proves nothing that another node has no marker.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::core::Core;
use super::dispatch::ASKING;
use super::entry::{Kind, Phase};
use super::intake::Request;
use super::settings::NodeName;
use super::state::State;
use super::written_request::WrittenRequest;
use crate::net::clock;
use crate::net::upstream::connection::Phase as LinkPhase;
use respguard_engine::command::Table;
use respguard_engine::link::handshake::OrphanedConnection;
use respguard_engine::link::owed::Owed;
use respguard_engine::link::times::Times;
use respguard_engine::pipeline::reading::Part;
use respguard_engine::route::place::Slots;
use respguard_engine::route::redirect::Redirect;

/// Frames that answer it: one to each question.
const FRAMES: u32 = 2;
/// Lost connections of which it is known to which node they led.
const LOST_MAX: usize = 256;
/// In the place of the server's answer.
const NODE_UNKNOWN: &[u8] = b"-ERR respguard: it is not known any more to which node the connection led\r\n";
/// The node has been replaced, and the connection has gone with it: what it may still do there is lost.
const NODE_GONE: &[u8] = b":0\r\n";

/// Both questions.
pub(super) struct Inquiry {
    /// How long the first of them is.
    kill_bytes: usize,
    /// The node to which the connection led.
    node: Option<NodeName>,
    /// What was answered to the first.
    killed: Option<Vec<u8>>,
}

/// The nodes to which lost connections led, with the request that ends each.
#[derive(Default)]
pub(super) struct LostConnections(RefCell<VecDeque<(Vec<u8>, NodeName)>>);

impl LostConnections {
    /// A group was lost with this connection.
    pub(super) fn note(&self, connection: &OrphanedConnection, node: &NodeName) {
        let mut kill = Vec::new();
        connection.kill(&mut kill);
        let mut lost = self.0.borrow_mut();
        lost.retain(|(known, _)| *known != kill);
        if lost.len() >= LOST_MAX {
            lost.pop_front();
        }
        lost.push_back((kill, Rc::clone(node)));
    }

    fn node(&self, kill: &[u8]) -> Option<NodeName> {
        self.0.borrow().iter().find(|(known, _)| known == kill).map(|(_, node)| Rc::clone(node))
    }
}

/// Takes a CLIENT KILL of one lost connection with the EXISTS of a marker behind it; how many bytes both have.
pub(super) fn take(
    core: &Core,
    state: &mut State,
    table: &Table,
    request: &Request<'_>,
    rest: &[u8],
    start: u64,
    bytes: usize,
) -> Option<usize> {
    let is_option = |place: usize, name: &[u8]| request.args.get(place) == Some(name);
    if request.spec.name() != "client|kill" || request.args.len() != 6 || !is_option(2, b"ID") || !is_option(4, b"ADDR") {
        return None;
    }
    let behind = WrittenRequest::first_of(&rest[bytes..]).filter(|behind| !behind.is_inline)?;
    let second = Request::read(core, table, behind.args());
    let Slots::One { slot, .. } = second.slots else { return None };
    let prefix = core.nodes.context.policy().guard_prefix.clone();
    let is_marker = second.args.get(1).is_some_and(|key| key.starts_with(prefix.as_bytes()));
    if second.spec.name() != "exists" || second.args.len() != 2 || !is_marker {
        return None;
    }
    let all = bytes + behind.len();
    let mut entry = core.entry(&second, start..start + all as u64);
    entry.slot = Some(slot);
    entry.frames = FRAMES;
    entry.is_read = true;
    let node = core.nodes.lost.node(&rest[..bytes]);
    let killed = node.is_none().then(|| NODE_UNKNOWN.to_vec());
    entry.kind = Kind::Inquiry(Box::new(Inquiry { kill_bytes: bytes, node, killed }));
    state.put(entry);
    Some(all)
}

impl Inquiry {
    /// The node that has to answer first, as long as it has not.
    pub(super) fn old_node(&self) -> Option<&NodeName> {
        self.node.as_ref().filter(|_| self.killed.is_none())
    }
}

impl Core {
    /// Sends the question whose turn it is.
    pub(super) fn send_inquiry(&self, state: &mut State, place: usize) -> usize {
        let entry = &mut state.queue[place];
        let Kind::Inquiry(inquiry) = &mut entry.kind else { return 0 };
        if inquiry.old_node().is_some_and(|node| self.nodes.is_gone(node)) {
            inquiry.killed = Some(NODE_GONE.to_vec());
        }
        let (kill_bytes, old_node) = (inquiry.kill_bytes as u64, inquiry.old_node().cloned());
        let is_kill = old_node.is_some();
        let found = old_node.map_or_else(|| self.lane_for(entry), |node| self.lane_at(node));
        let Some((address, lane)) = found else { return 0 };
        let link = lane.shared_for(&self.as_recipient());
        if link.phase() != LinkPhase::Ready {
            return 0;
        }
        let asks = !is_kill && entry.again.as_mut().and_then(|again| again.asks.take()).is_some();
        let bytes = entry.bytes.clone();
        let middle = bytes.start + kill_bytes;
        let bytes = if is_kill { bytes.start..middle } else { middle..bytes.end };
        let (owed, deadline) = (Owed::request(state.seq(place), 1 + u32::from(asks)), state.deadline(place));
        let is_sent = {
            let written = state.written(&bytes);
            let parts: &[&[u8]] = if asks { &[ASKING, written] } else { &[written] };
            link.send(self.recipient(&link), parts, owed, Times { read_at: clock::now(), deadline })
        };
        if !is_sent {
            return 0;
        }
        let entry = &mut state.queue[place];
        (entry.phase, entry.skip, entry.sent_to) = (Phase::Sent, u32::from(asks), Some(address));
        1
    }

    pub(super) fn admit_inquiry(&self, state: &mut State, place: usize, piece: &[u8], part: Part) {
        let entry = &mut state.queue[place];
        entry.reply.extend_from_slice(piece);
        if !part.last {
            return;
        }
        let reply = std::mem::take(&mut entry.reply);
        let Kind::Inquiry(inquiry) = &mut entry.kind else { return };
        let Some(killed) = &inquiry.killed else {
            inquiry.killed = Some(reply);
            state.wait_again(place);
            self.has_news.set(true);
            return;
        };
        if let Some(redirect) = Redirect::read(&reply, entry.slot) {
            let (slot, from) = (entry.slot, entry.sent_to.clone());
            let step = self.follow(&redirect, slot, from.as_ref());
            return self.again(state, place, step);
        }
        entry.reply = [killed, &*reply].concat();
        state.reply_bytes += entry.reply.len();
        self.over(state, place, Phase::Done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::address::Address;
    use respguard_engine::link::handshake::ServerInfo;

    #[test]
    fn the_last_lost_connections_are_known_by_what_ends_them() {
        let lost = LostConnections::default();
        let node = |port| NodeName::new(Address::Tcp { host: "h".to_owned(), port });
        let connection = |id: i64| {
            let info = ServerInfo { client_id: Some(id), address: Some(Box::from(&b"c:1"[..])), ..ServerInfo::default() };
            info.orphan().expect("it can be ended")
        };
        let known = |id| {
            let mut kill = Vec::new();
            connection(id).kill(&mut kill);
            lost.node(&kill)
        };
        for id in 0..=LOST_MAX as i64 {
            lost.note(&connection(id), &node(1));
        }
        assert_eq!([known(0), known(1)], [None, Some(node(1))]);
        // Two nodes may count alike.
        lost.note(&connection(2), &node(2));
        assert_eq!([known(1), known(2), known(3)], [Some(node(1)), Some(node(2)), Some(node(1))]);
    }
}
