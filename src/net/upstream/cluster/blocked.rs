//! At which nodes a command waits that blocks.

use std::rc::Rc;

use super::at_once::AtOnce;
use super::entry::{Kind, Lease};
use super::settings::NodeName;
use crate::net::address::Address;
use crate::net::upstream::connection::Link;
use crate::net::upstream::lane::Lane;

/// A connection on which a node waits with its answer to a command that blocks.
pub struct BlockedAt {
    /// The node.
    pub node: Address,
    /// The lane that the connection was taken from.
    pub lane: Rc<Lane>,
    /// The connection itself, which may still be being opened.
    pub link: Rc<Link>,
}

impl AtOnce {
    /// Where the command at the head waits, if it blocks: `WAIT` does so at each node. Empty while it has not been sent.
    pub fn blocked(&self) -> Vec<BlockedAt> {
        let state = self.0.state.borrow();
        let at = |lease: &Option<Lease>, node: &Option<NodeName>| {
            let (Lease { lane, link }, node) = lease.as_ref().zip(node.as_deref())?;
            Some(BlockedAt { node: node.clone(), lane: Rc::clone(lane), link: Rc::clone(link) })
        };
        match state.queue.front().map(|entry| (&entry.kind, &entry.sent_to)) {
            Some((Kind::Blocking(lease), node)) => at(lease, node).into_iter().collect(),
            Some((Kind::Gather(gather), _)) => gather.parts.iter().filter_map(|part| at(&part.lease, &part.sent_to)).collect(),
            _ => Vec::new(),
        }
    }

    /// The lane of this client's login to a node, as long as that is one of the cluster's primaries.
    pub fn lane_at(&self, node: &Address) -> Option<Rc<Lane>> {
        let primaries = self.0.nodes.primaries();
        let node = primaries.iter().find(|known| ***known == *node)?;
        self.0.lane_at(NodeName::clone(node)).map(|(_, lane)| lane)
    }
}
