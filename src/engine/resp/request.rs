//! Requests as clients send them.

pub use super::args::{Args, Span};
