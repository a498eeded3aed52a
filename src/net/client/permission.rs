//! What a user may do of that which TTL rules make of writes, and the question about it.

use std::cell::Cell;
use std::sync::Arc;

use crate::net::upstream::lane::{Lane, TtlFixPermission};
use respguard_engine::policy::TtlRule;

/// What a user may do or not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Permission {
    /// PEXPIRE behind a write.
    Expire,
    /// SET in the place of SETNX.
    Set,
}

/// A question about a user's rights, and the rule that raises it.
pub(super) struct PermissionQuery {
    pub(super) question: Vec<u8>,
    pub(super) permission: Permission,
    pub(super) rule: Arc<TtlRule>,
}

impl Permission {
    /// Where its lane keeps what is known of it.
    pub(super) fn of(self, lane: &Lane) -> &Cell<TtlFixPermission> {
        match self {
            Permission::Expire => &lane.ttl_fix,
            Permission::Set => &lane.setnx_fix,
        }
    }
}
