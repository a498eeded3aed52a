//! Lets replies go to the client in their order, and counts those that wait.

use super::Sequencer;
use crate::link::owed::Seq;
use crate::pipeline::slot::{BufferedReply, Role, Slot};

/// So many places are taken out faster one by one than together.
const FEW: usize = 9;

impl Sequencer {
    /// The whole reply to a request, from us.
    pub(in crate::pipeline) fn fill(&mut self, seq: Seq, mut reply: Vec<u8>, out: &mut Vec<u8>) {
        if self.slot(seq).is_some_and(|slot| slot.silent) {
            reply.clear();
        }
        if seq == self.first {
            out.extend_from_slice(&reply);
            self.leave(1, out);
        } else if let Some(slot) = self.slot(seq) {
            let bytes = reply.len();
            slot.role = Role::Buffered(Box::new(BufferedReply { reply, rest: None }));
            self.waits_longer(0, bytes);
        }
    }

    /// The first replies have left; those behind them that wait whole leave too.
    pub(in crate::pipeline) fn leave(&mut self, replies: usize, out: &mut Vec<u8>) {
        let replies = replies.min(self.queue.len());
        self.first = self.first.plus(replies);
        match replies {
            1 => drop(self.queue.pop_front()),
            _ => drop(self.queue.drain(..replies)),
        }
        self.release(out);
    }

    /// The same for replies in whose places nothing needs to be dropped: those that are the client's as they are, and those of a
    /// group's members.
    #[inline]
    pub(in crate::pipeline) fn leave_plain(&mut self, replies: usize, out: &mut Vec<u8>) {
        let has_nothing = |slot: &Slot| matches!(slot.role, Role::Plain | Role::Member | Role::ProxyReply);
        debug_assert!(self.queue.iter().take(replies).all(has_nothing), "nothing is forgotten that must be dropped");
        self.first = self.first.plus(replies);
        // Looking in each place for what is to be dropped is what a long pipeline would pay most for.
        match replies {
            0..FEW => (0..replies).for_each(|_| std::mem::forget(self.queue.pop_front())),
            _ => self.queue.drain(..replies).for_each(std::mem::forget),
        }
        self.release(out);
    }

    /// Lets go what has come of the replies that are next to leave.
    #[inline]
    fn release(&mut self, out: &mut Vec<u8>) {
        if let Some(Slot { role: Role::Buffered(_), .. }) = self.queue.front() {
            self.release_buffered(out);
        }
    }

    #[cold]
    fn release_buffered(&mut self, out: &mut Vec<u8>) {
        while let Some(slot) = self.queue.pop_front_if(|slot| matches!(&slot.role, Role::Buffered(early) if early.rest.is_none()))
        {
            self.first = self.first.plus(1);
            if let Role::Buffered(early) = slot.role {
                self.waits_longer(early.reply.len(), 0);
                out.extend_from_slice(&early.reply);
            }
        }
        self.begin_to_leave(out);
    }

    /// What has come of the reply that is next to leave goes out, and the rest as it comes.
    fn begin_to_leave(&mut self, out: &mut Vec<u8>) {
        let Some(slot) = self.queue.front_mut() else { return };
        if let Role::Buffered(early) = &mut slot.role
            && let Some(rest) = early.rest.take()
        {
            let mut begun = std::mem::take(&mut early.reply);
            slot.role = rest;
            self.waits_longer(begun.len(), 0);
            out.append(&mut begun);
        }
    }

    /// Bytes of replies, and of answers of our own, that wait for those before them.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// What waits in one place has become more, or less.
    pub(in crate::pipeline) fn waits_longer(&mut self, before: usize, after: usize) {
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
                Role::Buffered(early) => early.reply = Vec::new(),
                Role::Group(group) => group.replies = Vec::new(),
                _ => {}
            }
        }
        self.waiting_bytes = 0;
    }
}
