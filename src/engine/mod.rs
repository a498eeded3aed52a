//! The pure engine: bytes and instants in, decisions out.

pub mod command;
pub mod policy;
pub mod resp;
