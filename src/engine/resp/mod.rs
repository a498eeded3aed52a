//! The wire format, bytes first.

mod args;
pub mod request;
