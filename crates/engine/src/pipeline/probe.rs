//! A question about a key's lifetime that goes with a client's write.

use std::sync::Arc;

use crate::command::CommandId;
use crate::policy::ttl::TtlRule;

/// A PTTL of our own, before or after a client's write (<https://redis.io/docs/latest/commands/pttl/>).
#[derive(Debug, Clone)]
pub struct Probe {
    /// The rule that wants to know, and its place among the rules.
    pub index: usize,
    /// The rule that wants to know.
    pub rule: Arc<TtlRule>,
    /// The key, kept past its buffer because the answer comes after the request's bytes are gone.
    pub key: Arc<[u8]>,
    /// The write that is looked at.
    pub command: CommandId,
    /// Asked before the write, to know what it dropped.
    pub before: bool,
}
