//! Where something is that a relation is about.

use std::sync::Arc;

use crate::policy::pattern::Pattern;
use crate::policy::rule::PlaceKind;

/// Keys of one set, or things that one needs.
pub const NEEDS_MAX: usize = 8;
/// Of a value no more is read: a reference is short.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;
/// Two lifetimes that differ by less are the same: they are set by commands that run one after the other.
pub const LIFETIME_SLACK_MS: i64 = 1000;

/// Where something is: a key, or a part of what a key holds.
#[derive(Clone, Debug)]
pub struct Place {
    /// What sort of place it is.
    pub kind: PlaceKind,
    /// The keys that it is in.
    pub key: Pattern,
    /// The member, field, item or value; `None` for a key.
    pub element: Option<Pattern>,
    /// As it was written.
    pub text: Arc<str>,
}
