//! What one client has written together, cut by the node that it goes to.

use std::time::Instant;

/// Requests of one piece.
const REQUESTS_MAX: u32 = 256;
/// A buffer that grew beyond this is not kept.
const BUFFER_BYTES_MAX: usize = 256 * 1024;

/// What goes to one node in one piece.
#[derive(Debug, Default)]
pub(super) struct Piece {
    pub(super) stream: u16,
    /// Which request of the stream the first is.
    pub(super) first: u64,
    pub(super) requests: u32,
    pub(super) deadline: Option<Instant>,
    /// One of them may write.
    pub(super) writes: bool,
    pub(super) bytes: Vec<u8>,
}

/// A request that comes to a piece.
pub(super) struct Collected<'a> {
    /// Which request of its stream it is.
    pub(super) count: u64,
    pub(super) written: &'a [u8],
    pub(super) deadline: Option<Instant>,
    pub(super) is_read: bool,
}

/// Pieces that are being collected; one for all clients of a worker, of whom one sends at a time.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    all: Vec<Piece>,
    used: usize,
}

impl Pieces {
    pub(super) fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// What was collected.
    pub(super) fn all(&self) -> &[Piece] {
        &self.all[..self.used]
    }

    fn begin(&mut self, stream: u16, deadline: Option<Instant>) -> usize {
        if self.used == self.all.len() {
            self.all.push(Piece::default());
        }
        let piece = &mut self.all[self.used];
        (piece.stream, piece.requests, piece.deadline, piece.writes) = (stream, 0, deadline, false);
        self.used += 1;
        self.used - 1
    }

    /// A request comes to what goes to its node: to the piece at `at`, if there is room, or to another one.
    #[inline]
    pub(super) fn add(&mut self, stream: u16, at: &mut Option<usize>, request: Collected<'_>) {
        let Collected { count, written, deadline, is_read } = request;
        let is_next = |at: &usize| self.all[*at].deadline == deadline && self.all[*at].requests < REQUESTS_MAX;
        let place = match at.filter(is_next) {
            Some(place) => place,
            None => self.begin(stream, deadline),
        };
        *at = Some(place);
        let piece = &mut self.all[place];
        if piece.requests == 0 {
            piece.first = count;
        }
        piece.requests += 1;
        piece.writes |= !is_read;
        piece.bytes.extend_from_slice(written);
    }

    /// Nothing is collected any more.
    pub(super) fn forget(&mut self) {
        for piece in &mut self.all[..self.used] {
            if piece.bytes.capacity() > BUFFER_BYTES_MAX {
                piece.bytes = Vec::new();
            }
            piece.bytes.clear();
        }
        self.used = 0;
    }
}
