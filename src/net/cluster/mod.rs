//! Finds out which node of a cluster serves which slots, and follows the changes.
//!
//! `session` asks one node, `watch` asks all of them and decides.

mod session;
pub mod watch;

pub use session::{Session, SessionError};
