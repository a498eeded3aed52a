//! Reads that are sent after a transaction before it is answered, although it may be sent again.
//!
//! ```text
//!   client sends    A1 x A2   GET k   SET k
//!   on the wire     MULTI A1 x A2 EXEC, GET k      SET k waits for EXEC's answer
//! ```
//!
//! Where the transaction has run, their replies are like any others. Where it has not, what stood in it goes out again and they go
//! out behind it: they have changed nothing, and what they were answered is dropped.

/// One of them.
#[derive(Debug)]
pub struct ReadAhead {
    /// As it is sent again.
    pub(super) request: Vec<u8>,
    /// The transaction in front of it has not run.
    pub(super) is_void: bool,
}

/// Those of one client that are unanswered.
#[derive(Debug, Default)]
pub(super) struct ReadsAhead {
    pub(super) count: u32,
    /// Those of them that are sent again.
    pub(super) void: u32,
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

    pub(super) fn forget(&mut self, read: &ReadAhead) {
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
