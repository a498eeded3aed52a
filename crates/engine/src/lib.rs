//! The pure part of respguard: parses requests and replies and decides what to do with them, without sockets, clocks, logs or
//! metrics.
//!
//! Time and the answers of servers are handed in; what is to be done and what was found out is handed back.
//!
//! The layers; each may use those to its left, none beside it and none to its right. A test reads
//! this list:
//!
//! ```text
//! words < {command, lazy} < {preflight, packed, route} < {session, policy, link} < {pipeline, learn}
//! ```

#![warn(missing_docs, unreachable_pub, clippy::missing_errors_doc)]

mod words;

pub mod command;
pub mod lazy;

pub mod packed;
pub mod preflight;

pub mod link;
pub mod policy;
pub mod route;
pub mod session;

pub mod learn;
pub mod pipeline;
