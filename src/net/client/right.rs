//! What a user may do of that which TTL rules make of writes, and the question about it.

use std::cell::Cell;
use std::sync::Arc;

use crate::net::upstream::lane::{Lane, TtlFixRight};
use respguard_engine::policy::TtlRule;

/// What a user may do or not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    /// PEXPIRE behind a write.
    Expire,
    /// SET in the place of SETNX.
    Set,
}

/// A question about a user's rights, and the rule that raises it.
pub(super) struct Asking {
    pub(super) question: Vec<u8>,
    pub(super) right: Right,
    pub(super) rule: Arc<TtlRule>,
}

impl Right {
    /// Where its lane keeps what is known of it.
    pub(super) fn of(self, lane: &Lane) -> &Cell<TtlFixRight> {
        match self {
            Right::Expire => &lane.ttl_fix,
            Right::Set => &lane.setnx_fix,
        }
    }
}
