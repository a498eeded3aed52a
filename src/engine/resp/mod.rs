//! The wire format, bytes first.

pub mod request;
