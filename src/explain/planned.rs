//! A plan that is explained, with what it was made from.

use respguard_engine::command::Table;
use respguard_engine::pipeline::batch::Batch;
use respguard_engine::pipeline::plan::Plan;
use respguard_engine::policy::Policy;
use respguard_engine::route::place::Routes;

/// A plan, and what it was made from.
pub(super) struct Planned<'a> {
    pub(super) table: &'a Table,
    pub(super) policy: &'a Policy,
    pub(super) batch: &'a Batch,
    pub(super) bytes: &'a [u8],
    pub(super) plan: &'a Plan,
    /// On a connection of the client's own.
    pub(super) pinned: bool,
    /// Before a cluster.
    pub(super) clustered: Option<Clustered<'a>>,
}

/// What is known of the cluster that commands would go to.
pub(super) struct Clustered<'a> {
    pub(super) routes: &'a Routes,
    /// MSET over several slots is cut up.
    pub(super) splits_writes: bool,
}
