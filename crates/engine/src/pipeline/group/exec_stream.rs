//! What has been seen of the array that EXEC returns for a group, where that is passed on while it arrives.

use crate::pipeline::failure_tracker::Failures;
use respguard_resp::pieces::Pieces;

/// What has been seen of an array that is not kept.
#[derive(Debug, Default)]
pub(super) struct ExecStream {
    pub(super) pieces: Pieces,
    pub(super) failures: Failures,
    /// Nothing of it is passed on: what a member is answered is known only at its end, and it is too long to be kept.
    pub(super) unseen: bool,
    /// Of those: the first error, and the last element.
    pub(super) first_error: Vec<u8>,
    pub(super) last: Vec<u8>,
}

/// Bytes of an element that are kept where the rest is not.
const ELEMENT_BYTES_MAX: usize = 4096;

impl ExecStream {
    /// Nothing of it has gone to the client.
    pub(super) fn is_unseen(&self) -> bool {
        self.unseen
    }

    /// An element of an array of which nothing is passed on.
    pub(super) fn keep_little(&mut self, bytes: &[u8], first: bool, is_failure: bool) {
        if first {
            self.last.clear();
        }
        let room = ELEMENT_BYTES_MAX.saturating_sub(self.last.len());
        self.last.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if is_failure && self.first_error.is_empty() {
            self.first_error = self.last.clone();
        }
    }
}
