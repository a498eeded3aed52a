//! What becomes of reads that were sent behind a transaction, once that is answered.

use crate::command::CommandId;
use crate::link::owed::Seq;
use crate::pipeline::reads_ahead::ReadAhead;
use crate::pipeline::sequencer::Sequencer;
use crate::pipeline::slot::{Role, Slot};
use crate::session::reply_mode::ReplyMode;

/// Bytes of such reads that one client may have under way.
const BYTES_MAX: usize = 256 * 1024;

impl Sequencer {
    /// Whether reads may be sent behind the transaction that is under way, on the connection that it is under way on.
    pub fn takes_reads_ahead(&mut self) -> bool {
        let Some(&seq) = self.rare.marked.front().filter(|_| self.rare.marked.len() == 1) else { return false };
        let is_idle = self.rare.returned.commands.is_empty() && !self.ahead.any_void() && self.reply_mode() == ReplyMode::On;
        is_idle && self.ahead.bytes() < BYTES_MAX && self.group(seq).is_some_and(|slot| slot.group.lets_reads_ahead())
    }

    /// The transaction in front of them has not run.
    pub(in crate::pipeline) fn void_reads_ahead(&mut self) {
        if self.ahead.count == 0 {
            return;
        }
        for slot in &mut self.queue {
            if let Role::ReadAhead(read) = &mut slot.role {
                self.ahead.void += u32::from(!read.is_void);
                read.is_void = true;
            }
        }
    }

    /// A piece has come of the reply to one of them, or none will; `last`: nothing more of it comes. False where it is to be sent again.
    pub(in crate::pipeline) fn settle_read_ahead(&mut self, seq: Seq, last: bool) -> bool {
        let Some(Slot { role: Role::ReadAhead(read), .. }) = self.slot(seq) else { return true };
        let is_void = read.is_void;
        if is_void && !last {
            return false;
        }
        let Some(read) = self.end_read_ahead(seq).filter(|_| is_void) else { return true };
        if let Some(slot) = self.slot(seq) {
            *slot = Slot { role: Role::Held, command: CommandId::UNKNOWN, tracker: None, silent: false };
        }
        self.rare.make_mut().returned.commands.push((seq, read.request));
        false
    }

    /// It is a read like others from now on.
    pub(in crate::pipeline) fn end_read_ahead(&mut self, seq: Seq) -> Option<ReadAhead> {
        let slot = self.slot(seq)?;
        if !matches!(slot.role, Role::ReadAhead(_)) {
            return None;
        }
        let Role::ReadAhead(read) = std::mem::replace(&mut slot.role, Role::Plain) else { return None };
        self.ahead.forget(&read);
        Some(*read)
    }
}
