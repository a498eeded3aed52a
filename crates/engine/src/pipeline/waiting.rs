//! Bounds the replies that wait in a client's places for earlier ones.

use super::sequencer::Sequencer;
use super::slot::Role;

impl Sequencer {
    /// Bytes of replies, and of answers of our own, that wait for those before them.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// What waits in one place has become more, or less.
    pub(super) fn waits_longer(&mut self, before: usize, after: usize) {
        debug_assert!(self.waiting_bytes + after >= before, "what does not wait cannot leave");
        self.waiting_bytes = (self.waiting_bytes + after).saturating_sub(before);
    }

    /// Nobody reads the replies any more: those that wait go, and of those that still come nothing is kept.
    pub fn mute(&mut self) {
        if self.waiting_bytes == 0 {
            return;
        }
        for slot in &mut self.queue {
            slot.silent = true;
            match &mut slot.role {
                Role::Early(early) => early.reply = Vec::new(),
                Role::Group(group) => group.replies = Vec::new(),
                _ => {}
            }
        }
        self.waiting_bytes = 0;
    }
}
