//! One upstream connection without its socket: what is owed on it, how it begins, when it is tried again, when it is worth it.

pub mod backoff;
pub mod breaker;
pub mod budget;
pub mod handshake;
pub mod inflight;
pub mod owed;
pub mod pace;
