//! How a cluster is stood before.

use std::rc::Rc;

use super::scripts::Scripts;
use super::traffic::Traffic;
use crate::net::address::Address;
use crate::net::topology::cluster::Cluster;

/// The address that cluster-aware clients see as the only node.
#[derive(Debug, Clone)]
pub struct Announced {
    /// Empty for the address that they have connected to.
    pub host: String,
    pub port: u16,
    pub id: String,
}

/// How a cluster is stood before.
#[derive(Debug)]
pub struct ClusterSettings {
    pub cluster: Cluster,
    pub announced: Announced,
    pub split_writes: bool,
    /// Clients may SELECT other databases than 0, as far as the nodes let them.
    pub databases: bool,
    /// What was loaded through the proxy.
    pub scripts: Scripts,
    /// What goes to each node.
    pub traffic: Traffic,
}

/// A node, by where it is reached.
pub(super) type NodeName = Rc<Address>;
