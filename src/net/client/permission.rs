//! A question about what a user may do of that which TTL rules make of writes.

use std::sync::Arc;

use respguard_engine::pipeline::permission::Permission;
use respguard_engine::policy::TtlRule;

/// A question about a user's rights, and the rule that raises it.
pub(super) struct PermissionQuery {
    pub(super) question: Vec<u8>,
    pub(super) permission: Permission,
    pub(super) rule: Arc<TtlRule>,
}
