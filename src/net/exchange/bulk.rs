//! Whether a client's replies have been so large of late that it should have a connection of its own.

use std::cell::Cell;

use respguard_engine::pipeline::resolve::Part;

/// A reply from this size on is large: while it passes, others on the same connection wait.
const LARGE_BYTES: usize = 1024 * 1024;
/// For so many batches behind a large reply the client has a connection of its own.
const BATCHES: u8 = 8;

/// What is remembered of one client.
#[derive(Debug, Default)]
pub struct Bulk {
    /// Bytes so far of the reply that comes in pieces.
    bytes: Cell<usize>,
    /// Batches that are still to go over a connection of their own.
    batches: Cell<u8>,
}

impl Bulk {
    /// A piece of a reply has come.
    pub fn note(&self, piece: &[u8], part: Part) {
        // Small replies come whole.
        if part.first && part.last {
            return;
        }
        let bytes = self.bytes.get().saturating_add(piece.len());
        if bytes >= LARGE_BYTES {
            self.batches.set(BATCHES);
        }
        self.bytes.set(if part.last { 0 } else { bytes });
    }

    /// What came in has no end.
    pub fn cut(&self) {
        self.bytes.set(0);
    }

    /// True while a large reply comes in.
    pub fn is_coming_in(&self) -> bool {
        self.bytes.get() >= LARGE_BYTES
    }

    /// True when the next batch should go over a connection of its own.
    pub fn is_expected(&self) -> bool {
        self.batches.get() > 0
    }

    /// A batch goes over a connection of its own.
    pub fn count(&self) {
        self.batches.set(self.batches.get().saturating_sub(1));
    }

    /// There is no connection for it alone: it goes with the others.
    pub fn forget(&self) {
        self.batches.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use respguard_resp::scan::Top;

    fn reply(bulk: &Bulk, pieces: &[usize]) {
        for (at, &bytes) in pieces.iter().enumerate() {
            let part = Part { first: at == 0, last: at + 1 == pieces.len(), top: Top::default() };
            bulk.note(&vec![0; bytes], part);
        }
    }

    #[test]
    fn a_reply_comes_in_until_its_end_or_until_it_is_cut() {
        let (bulk, piece) = (Bulk::default(), vec![0; LARGE_BYTES]);
        let begin = || bulk.note(&piece, Part { first: true, last: false, top: Top::default() });
        begin();
        assert!(bulk.is_coming_in());
        bulk.note(b"\r\n", Part { first: false, last: true, top: Top::default() });
        assert!(!bulk.is_coming_in());
        begin();
        bulk.cut();
        assert!(!bulk.is_coming_in());
    }

    #[test]
    fn a_large_reply_is_remembered_for_some_batches() {
        let bulk = Bulk::default();
        reply(&bulk, &[LARGE_BYTES / 2, LARGE_BYTES / 2 - 1]);
        reply(&bulk, &[LARGE_BYTES / 2, LARGE_BYTES / 2 - 1]);
        assert!(!bulk.is_expected(), "each is one byte short of large");
        reply(&bulk, &[LARGE_BYTES / 2, LARGE_BYTES / 2]);
        for _ in 0..BATCHES {
            assert!(bulk.is_expected());
            bulk.count();
        }
        assert!(!bulk.is_expected());
    }
}
