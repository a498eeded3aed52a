//! From what a client wrote to what goes on the wire, and from what came back to what the client reads.
//!
//! `batch` holds the commands read so far, `plan` decides what becomes of them, `slot` keeps one
//! place per request in the order of the requests, `resolve` fills the places with replies.

pub mod batch;
mod decide;
pub mod demand;
pub mod finding;
pub mod gather;
pub mod group;
pub mod guard;
pub mod judge;
pub mod large;
pub mod mend;
pub mod panel;
pub mod plan;
pub mod refusal;
pub mod refuse;
mod reorder;
pub mod resolve;
pub mod score;
mod seldom;
pub mod settle;
pub mod slot;
mod stranger;
pub mod ttl;
pub mod violation;
