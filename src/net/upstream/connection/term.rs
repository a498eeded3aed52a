//! Whether the server of a connection is still the primary; checked before anything is written.
//!
//! A server that ceases to be it may say so before anybody else does: it refuses writes with `-READONLY`. Such a reply is
//! kept until the server was asked; if it is the primary after all, the reply is about something else and its client's.

use std::fmt;
use std::time::{Duration, Instant};

use super::Link;
use crate::net::clock;

/// <https://redis.io/docs/latest/operate/oss_and_stack/management/replication/>
const READONLY: &[u8] = b"-READONLY ";

impl Link {
    /// Where it leads to, for the log.
    pub(super) fn server(&self) -> impl fmt::Display {
        struct Server(Option<std::sync::Arc<crate::net::topology::Node>>);
        impl fmt::Display for Server {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match &self.0 {
                    Some(node) => node.address.fmt(f),
                    None => f.write_str("no primary"),
                }
            }
        }
        Server(self.view.borrow().node.clone())
    }

    /// True while its server is the primary.
    pub(super) fn is_in_term(&self) -> bool {
        self.settings.primary.is_in_term(self.term.get())
    }

    /// True when the frame is to wait until the server was asked whether it is the primary.
    pub(super) fn doubts(&self, frame: &[u8]) -> bool {
        if frame.first() != Some(&b'-') || !self.settings.primary.is_watched() || !frame.starts_with(READONLY) {
            return false;
        }
        if self.is_believed.take() {
            return false;
        }
        let doubt = self.settings.primary.doubt();
        let waits = self.shared.get() && self.state.borrow().inflight.head_may_repeat();
        if waits {
            self.doubt.set(Some(doubt));
        }
        waits
    }

    /// True while the server is being asked; its answer is taken note of.
    pub(super) fn is_in_doubt(&self) -> bool {
        let Some(doubt) = self.doubt.get() else { return false };
        let is_settled = self.settings.primary.is_settled(doubt);
        if is_settled {
            self.doubt.set(None);
            self.is_believed.set(true);
        }
        !is_settled
    }

    /// Until when a lease waits for a primary, where there may come another one.
    pub(super) fn waits_for_primary(&self, since: Instant) -> bool {
        let waited = clock::now().saturating_duration_since(since);
        let may_come = self.settings.primary.is_watched() || self.settings.nodes.is_some();
        may_come && !self.was_open() && waited < self.settings.patience()
    }
}

/// Between two attempts to connect to a primary that may be another one at any moment.
pub(super) const PAUSE_MAX: Duration = Duration::from_millis(100);
