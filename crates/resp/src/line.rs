//! The lines of a request that contain a number, parsed as Redis does.

use super::frame::{Decimal, plain_length};

/// Whether a line is finished, and what it said.
pub(super) enum LineEnd {
    Pending,
    TooLong,
    Done { kind: u8, value: Option<i64>, used: usize },
}

/// A line under way: its first byte, then a number up to a carriage return and whatever byte follows.
///
/// Redis looks for the end of a line as C looks for a character in a string: a NUL byte ends the search,
/// hence such a line never ends, until it is too long.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Line {
    kind: u8,
    bytes: usize,
    decimal: Decimal,
    closing: bool,
    endless: bool,
}

impl Line {
    /// The line at once, if it begins here, all of it is there, and nothing about it is odd.
    #[inline(always)]
    pub(super) fn quick(&self, bytes: &[u8], kind: u8) -> Option<(u32, usize)> {
        if self.bytes != 0 || *bytes.first()? != kind {
            return None;
        }
        plain_length(&bytes[1..]).map(|(value, used)| (value, used + 1))
    }

    #[cold]
    pub(super) fn take(&mut self, bytes: &[u8], bytes_max: usize) -> LineEnd {
        for (index, &byte) in bytes.iter().enumerate() {
            if self.closing {
                let line = std::mem::take(self);
                return LineEnd::Done { kind: line.kind, value: line.decimal.value(), used: index + 1 };
            }
            if !self.push(byte, bytes_max) {
                return LineEnd::TooLong;
            }
        }
        LineEnd::Pending
    }

    /// Takes a byte of the line; false when the line is too long with it.
    fn push(&mut self, byte: u8, bytes_max: usize) -> bool {
        if self.bytes == 0 {
            self.kind = byte;
        } else if byte != b'\r' {
            self.decimal.push(byte);
        }
        self.endless |= byte == 0;
        self.closing = byte == b'\r' && !self.endless;
        self.bytes += 1;
        self.closing || self.bytes <= bytes_max
    }

    /// Where the line feed of an inline request is.
    pub(super) fn find_inline_end(&mut self, bytes: &[u8]) -> Option<usize> {
        if self.endless {
            return None;
        }
        let end = memchr::memchr2(b'\n', 0, bytes)?;
        self.endless = bytes[end] == 0;
        (!self.endless).then_some(end)
    }
}
