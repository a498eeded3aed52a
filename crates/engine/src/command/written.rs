//! Requests written as text, for tests.

use respguard_resp::request::{Args, Span};

pub(crate) struct WrittenRequest {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

impl WrittenRequest {
    /// Words separated by single blanks; two blanks make an empty word.
    pub(crate) fn new(text: &str) -> WrittenRequest {
        WrittenRequest::of(text.split(' '))
    }

    pub(crate) fn of<'w>(words: impl IntoIterator<Item = &'w str>) -> WrittenRequest {
        let (mut bytes, mut spans) = (Vec::new(), Vec::new());
        for word in words {
            let start = bytes.len() as u32;
            bytes.extend_from_slice(word.as_bytes());
            spans.push(Span { start, end: bytes.len() as u32 });
        }
        WrittenRequest { bytes, spans }
    }

    pub(crate) fn args(&self) -> Args<'_> {
        Args::new(&self.bytes, &self.spans)
    }
}
