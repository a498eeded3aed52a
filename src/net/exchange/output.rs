//! Replies that are ready for a client and partly written.

use crate::net::splice::SplicePipe;

/// Bytes for the client; those before `at` were taken.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// What goes to it before them, without having been copied.
    pub(super) pipe: Option<Box<SplicePipe>>,
    pub(super) bytes: Vec<u8>,
    at: usize,
}

impl Output {
    /// No buffer is kept, and no pipe.
    #[inline]
    pub(super) fn has_no_buffer(&self) -> bool {
        self.bytes.capacity() == 0 && self.pipe.is_none()
    }

    /// What the client has yet to take.
    #[inline]
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    /// How much that is, with what is in its pipe.
    pub(super) fn waiting(&self) -> usize {
        self.pipe_bytes() + self.rest().len()
    }

    /// How much is in its pipe.
    pub(super) fn pipe_bytes(&self) -> usize {
        self.pipe.as_ref().map_or(0, |pipe| pipe.bytes())
    }

    /// The client has taken so many more bytes.
    #[inline]
    pub(super) fn advance(&mut self, bytes: usize) {
        self.at += bytes;
    }

    /// Nothing of it goes to the client any more.
    pub(super) fn clear(&mut self) {
        self.pipe = None;
        self.bytes.clear();
        self.at = 0;
    }

    /// The buffer, for another client.
    pub(super) fn take_buffer(&mut self) -> Vec<u8> {
        self.at = 0;
        std::mem::take(&mut self.bytes)
    }

    /// Keeps the buffer from growing for ever under a client that reads slowly but steadily.
    pub(super) fn forget_written_part(&mut self) {
        if self.at >= self.bytes.len() / 2 {
            self.bytes.drain(..self.at);
            self.at = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(bytes: &[u8], at: usize) -> Output {
        Output { pipe: None, bytes: bytes.to_vec(), at }
    }

    #[test]
    fn the_client_gets_what_it_has_not_taken_and_nothing_twice() {
        let mut output = taken(b"+OK\r\n:1\r\n", 0);
        output.advance(5);
        assert_eq!(output.rest(), b":1\r\n");
        output.bytes.extend_from_slice(b":2\r\n");
        output.advance(4);
        assert_eq!(output.rest(), b":2\r\n");
    }

    #[test]
    fn what_was_taken_is_forgotten_from_half_of_the_buffer_on() {
        let mut output = taken(b"123456", 2);
        output.forget_written_part();
        assert_eq!((output.bytes.len(), output.rest()), (6, &b"3456"[..]));
        output.advance(1);
        output.forget_written_part();
        assert_eq!((output.bytes.len(), output.rest()), (3, &b"456"[..]));
    }

    #[test]
    fn a_buffer_that_was_given_away_leaves_nothing_behind() {
        let mut output = taken(b"123", 3);
        assert_eq!(output.take_buffer(), b"123");
        assert!(output.has_no_buffer() && output.rest().is_empty());
        let mut output = taken(b"123", 1);
        output.clear();
        assert!(output.rest().is_empty() && !output.has_no_buffer());
    }
}
