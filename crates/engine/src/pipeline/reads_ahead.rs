//! Reads that are sent after a transaction before it is answered, although it may be sent again.
//!
//! ```text
//!   client sends    A1 x A2   GET k   SET k
//!   on the wire     MULTI A1 x A2 EXEC, GET k      SET k waits for EXEC's answer
//! ```
//!
//! Where the transaction has run, their replies are like any others. Where it has not, what stood in it goes out again and they go
//! out behind it: they have changed nothing, and what they were answered is dropped.

use super::plan::Planner;
use super::sequencer::Sequencer;
use super::slot::{Role, Slot};
use crate::command::{CommandId, RetryClass};
use crate::link::owed::Seq;
use crate::session::reply_mode::ReplyMode;
use respguard_resp::encode;

/// Bytes of such reads that one client may have under way.
const BYTES_MAX: usize = 256 * 1024;

/// One of them.
#[derive(Debug)]
pub struct ReadAhead {
    /// As it is sent again.
    request: Vec<u8>,
    /// The transaction in front of it has not run.
    is_void: bool,
}

/// Those of one client that are unanswered.
#[derive(Debug, Default)]
pub(super) struct ReadsAhead {
    count: u32,
    /// Those of them that are sent again.
    void: u32,
    bytes: u32,
}

impl ReadAhead {
    fn bytes(&self) -> u32 {
        u32::try_from(self.request.len()).unwrap_or(u32::MAX)
    }
}

impl ReadsAhead {
    pub(super) fn note(&mut self, read: &ReadAhead) {
        self.count += 1;
        self.bytes = self.bytes.saturating_add(read.bytes());
    }

    fn forget(&mut self, read: &ReadAhead) {
        self.count = self.count.saturating_sub(1);
        self.void = self.void.saturating_sub(u32::from(read.is_void));
        self.bytes = self.bytes.saturating_sub(read.bytes());
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// True while some have to be sent again.
    pub(super) fn any_void(&self) -> bool {
        self.void > 0
    }
}

impl Planner<'_> {
    /// Lets the reads from `at` on go out that no rule is about; gives the place of the first other command.
    pub(super) fn pass_reads_ahead(&mut self, mut at: usize) -> usize {
        if !self.reads_ahead || !self.undecided.is_empty() || self.is_bound() {
            return at;
        }
        while at < self.batch.len() && self.passes(at) && self.rules.table.spec(self.batch.id(at)).retry == RetryClass::Read {
            let args: Vec<&[u8]> = self.args(at).iter().collect();
            let mut request = Vec::with_capacity(self.batch.wire(at..at + 1).len());
            encode::request(&mut request, &args);
            self.plan.roles.push(Role::Ahead(Box::new(ReadAhead { request, is_void: false })));
            at += 1;
        }
        at
    }
}

impl Sequencer {
    /// Whether reads may be sent behind the transaction that is under way, on the connection that it is under way on.
    pub fn takes_reads_ahead(&mut self) -> bool {
        let Some(&seq) = self.marked.front().filter(|_| self.marked.len() == 1) else { return false };
        let is_idle = self.returned.commands.is_empty() && !self.ahead.any_void() && self.reply_mode() == ReplyMode::On;
        is_idle && self.ahead.bytes() < BYTES_MAX && self.group(seq).is_some_and(|slot| slot.group.lets_reads_ahead())
    }

    /// The transaction in front of them has not run.
    pub(super) fn void_reads_ahead(&mut self) {
        if self.ahead.count == 0 {
            return;
        }
        for slot in &mut self.queue {
            if let Role::Ahead(read) = &mut slot.role {
                self.ahead.void += u32::from(!read.is_void);
                read.is_void = true;
            }
        }
    }

    /// A piece has come of the reply to one of them, or none will; `last`: nothing more of it comes. False where it is to be sent again.
    pub(super) fn settle_read_ahead(&mut self, seq: Seq, last: bool) -> bool {
        let Some(Slot { role: Role::Ahead(read), .. }) = self.slot(seq) else { return true };
        let is_void = read.is_void;
        if is_void && !last {
            return false;
        }
        let Some(read) = self.end_read_ahead(seq).filter(|_| is_void) else { return true };
        if let Some(slot) = self.slot(seq) {
            *slot = Slot { role: Role::Held, command: CommandId::UNKNOWN, score: None, silent: false };
        }
        self.returned.commands.push((seq, read.request));
        false
    }

    /// It is a read like others from now on.
    pub(super) fn end_read_ahead(&mut self, seq: Seq) -> Option<ReadAhead> {
        let slot = self.slot(seq)?;
        if !matches!(slot.role, Role::Ahead(_)) {
            return None;
        }
        let Role::Ahead(read) = std::mem::replace(&mut slot.role, Role::Plain) else { return None };
        self.ahead.forget(&read);
        Some(*read)
    }
}
