//! One upstream connection without its socket: what is owed on it, how it begins, when it is tried again.

pub mod backoff;
pub mod handshake;
pub mod inflight;
