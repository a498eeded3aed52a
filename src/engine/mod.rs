//! The pure part: what bytes mean and what becomes of them, without sockets, clocks, logs or metrics.

pub mod command;
pub mod learn;
pub mod link;
pub mod pipeline;
pub mod policy;
pub mod preflight;
pub mod resp;
pub mod session;
