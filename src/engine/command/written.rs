//! Requests written as text, for tests.

use crate::engine::resp::request::{Args, Span};

pub(super) struct Written {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

impl Written {
    /// Words separated by single blanks; two blanks make an empty word.
    pub(super) fn new(text: &str) -> Written {
        let mut written = Written { bytes: Vec::new(), spans: Vec::new() };
        for word in text.split(' ') {
            let start = written.bytes.len() as u32;
            written.bytes.extend_from_slice(word.as_bytes());
            let end = written.bytes.len() as u32;
            written.spans.push(Span { start, end });
        }
        written
    }

    pub(super) fn args(&self) -> Args<'_> {
        Args::new(&self.bytes, &self.spans)
    }
}
