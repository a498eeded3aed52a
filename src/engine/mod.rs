//! The pure engine: bytes and instants in, decisions out.

pub mod resp;
