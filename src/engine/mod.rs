//! The pure part: what bytes mean, without sockets, clocks, logs or metrics.

pub mod command;
pub mod policy;
pub mod resp;
