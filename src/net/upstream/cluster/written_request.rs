//! A request that is cut once more out of what was written.

use respguard_resp::request::{Args, Limits, Parsed, RequestParser, Span};

/// The first request of these bytes.
pub(super) struct WrittenRequest<'a> {
    bytes: &'a [u8],
    spans: Vec<Span>,
    arena: Vec<u8>,
    pub(super) is_inline: bool,
}

impl<'a> WrittenRequest<'a> {
    /// `None` where they begin with no whole request.
    pub(super) fn first_of(written: &'a [u8]) -> Option<WrittenRequest<'a>> {
        let (mut spans, mut arena) = (Vec::new(), Vec::new());
        match RequestParser::new(Limits::default()).parse(written, &mut spans, &mut arena, usize::MAX) {
            Parsed::Request { bytes, inline } => {
                Some(WrittenRequest { bytes: &written[..bytes], spans, arena, is_inline: inline })
            }
            _ => None,
        }
    }

    /// How many bytes it has.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn args(&self) -> Args<'_> {
        if self.is_inline { Args::new(&self.arena, &self.spans) } else { Args::new(self.bytes, &self.spans) }
    }
}
