//! Whether a client should have its own connection for a while: its recent replies were large, or the server has closed a
//! connection that it shared, perhaps because of its requests.

use std::cell::Cell;

use respguard_engine::lazy::Lazy;
use respguard_engine::pipeline::reading::Part;

/// While so large a reply passes others on the same connection wait, and its client has a connection of its own for what
/// follows; sooner where the server has a limit.
pub const LARGE_BYTES: usize = 1024 * 1024;
/// For so many batches behind a large reply the client has a connection of its own.
const BATCHES: u16 = 8;
/// The same behind the loss of a connection over what nobody else can have sent.
const OFFENDER_BATCHES: u16 = 4096;

/// What is remembered of one client.
#[derive(Debug, Default)]
pub struct Bulk(Lazy<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    /// Bytes so far of the reply that comes in pieces.
    bytes: Cell<usize>,
    /// Batches that are still to go over a connection of their own.
    batches: Cell<u16>,
    /// The command that is under way there because the server may have ended a connection over it.
    suspect: Cell<Option<u64>>,
}

impl Bulk {
    /// A piece of a reply has come; one of `large` bytes is large.
    pub fn note(&self, piece: &[u8], part: Part, large: usize) {
        // Small replies come whole.
        if part.first && part.last {
            return;
        }
        self.note_more(piece.len(), large);
        if part.last {
            self.cut();
        }
    }

    /// So much more has come of the reply that arrives in pieces.
    pub fn note_more(&self, bytes: usize, large: usize) {
        let remembered = self.0.make();
        let bytes = remembered.bytes.get().saturating_add(bytes);
        if bytes >= large {
            self.expect(BATCHES);
        }
        remembered.bytes.set(bytes);
    }

    /// The server has ended a connection over what the client has sent.
    pub fn offend(&self) {
        self.expect(OFFENDER_BATCHES);
    }

    /// This command goes over a connection of its own, because the server may have ended another one over it; or nothing
    /// does.
    pub fn set_suspect(&self, command: Option<u64>) {
        if command.is_some() || self.0.get().is_some() {
            self.0.make().suspect.set(command);
        }
    }

    /// The server has ended that connection too: the command was the reason. So end those of others when the server is
    /// gone, but over nothing that was suspected.
    pub fn take_suspect(&self) -> Option<u64> {
        self.0.get()?.suspect.take()
    }

    fn expect(&self, batches: u16) {
        let remembered = self.0.make();
        remembered.batches.set(remembered.batches.get().max(batches));
    }

    /// What came in has no end.
    pub fn cut(&self) {
        if let Some(remembered) = self.0.get() {
            remembered.bytes.set(0);
        }
    }

    /// True while a large reply comes in.
    pub fn is_coming_in(&self) -> bool {
        self.0.get().is_some_and(|remembered| remembered.bytes.get() >= LARGE_BYTES)
    }

    /// True when the next batch should go over a connection of its own.
    pub fn is_expected(&self) -> bool {
        self.batches() > 0
    }

    /// A batch goes over a connection of its own.
    pub fn count(&self) {
        self.set_batches(self.batches().saturating_sub(1));
    }

    /// There is no connection for it alone: it goes with the others.
    pub fn forget(&self) {
        self.set_batches(0);
    }

    #[inline]
    fn batches(&self) -> u16 {
        self.0.get().map_or(0, |remembered| remembered.batches.get())
    }

    fn set_batches(&self, batches: u16) {
        if let Some(remembered) = self.0.get() {
            remembered.batches.set(batches);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use respguard_resp::scan::Top;

    fn reply(bulk: &Bulk, pieces: &[usize]) {
        for (at, &bytes) in pieces.iter().enumerate() {
            let part = Part { first: at == 0, last: at + 1 == pieces.len(), top: Top::default() };
            bulk.note(&vec![0; bytes], part, LARGE_BYTES);
        }
    }

    #[test]
    fn a_reply_comes_in_until_its_end_or_until_it_is_cut() {
        let (bulk, piece) = (Bulk::default(), vec![0; LARGE_BYTES]);
        let begin = || bulk.note(&piece, Part { first: true, last: false, top: Top::default() }, LARGE_BYTES);
        begin();
        assert!(bulk.is_coming_in());
        bulk.note(b"\r\n", Part { first: false, last: true, top: Top::default() }, LARGE_BYTES);
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

    #[test]
    fn a_large_reply_does_not_clear_who_has_cost_others_their_connection() {
        let bulk = Bulk::default();
        bulk.offend();
        reply(&bulk, &[LARGE_BYTES, LARGE_BYTES]);
        for _ in 0..OFFENDER_BATCHES {
            assert!(bulk.is_expected());
            bulk.count();
        }
        assert!(!bulk.is_expected());
    }
}
