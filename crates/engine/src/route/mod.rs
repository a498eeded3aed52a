//! Where commands go: which server is the primary, and which node of a cluster serves which slots.

pub mod assignment;
pub mod info;
pub mod key_events;
pub mod merge;
pub mod node_slots;
pub mod place;
pub mod redirect;
pub mod sentinel;
pub mod slots;
