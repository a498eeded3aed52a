//! One upstream connection without its socket: outstanding replies, handshake, reconnecting, and the breaker.

pub mod backoff;
pub mod breaker;
pub mod budget;
pub mod handshake;
pub mod inflight;
pub mod owed;
pub mod pace;
pub mod times;
