//! From a client's requests to what is sent to the server, and from the server's replies to what the client reads.
//!
//! `batch` holds the commands read so far, `plan` decides what becomes of them, `slot` keeps one
//! place per request in the order of the requests, `resolve` fills the places with replies.

pub mod batch;
mod carry;
pub mod crossing;
mod decide;
pub mod dialogue;
pub mod expectations;
pub mod failure_tracker;
pub mod finding;
pub mod gather;
pub mod group;
pub mod group_pool;
pub mod guard;
pub mod in_doubt;
pub mod large;
pub mod named_keys;
mod near_miss;
pub mod packed_reply;
pub mod packed_value;
pub mod packing;
pub mod permission;
pub mod plan;
pub mod probe;
pub mod reading;
mod reads_ahead;
pub mod refusal;
pub mod refuse;
pub mod reply_check;
pub mod reply_checks;
pub mod resolve;
pub mod sequencer;
pub mod setnx;
pub mod slot;
pub mod ttl;
pub mod ttl_fix;
pub mod ttl_rewrite;
mod unauthenticated;
mod unpack;
pub mod violation;
pub mod wire;
