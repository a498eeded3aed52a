//! The arguments of one request, as ranges in the buffer.

/// Where one argument lies, relative to its frame's first byte (or to the arena for inline requests).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its first byte.
    pub start: u32,
    /// The byte behind its last.
    pub end: u32,
}

/// A view of one request's arguments: `args.get(0)` is the command name.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    bytes: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Args<'a> {
    /// The arguments at `spans` of `bytes`: the frame, or the arena of an inline request.
    pub fn new(bytes: &'a [u8], spans: &'a [Span]) -> Self {
        Self { bytes, spans }
    }

    /// How many arguments there are, the command name among them.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is no argument, not even a name.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The argument at `index`.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        let span = self.spans.get(index)?;
        self.bytes.get(span.start as usize..span.end as usize)
    }

    /// The arguments in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + 'a {
        let bytes = self.bytes;
        self.spans.iter().filter_map(move |span| bytes.get(span.start as usize..span.end as usize))
    }

    /// The arguments from `index` on; none if there are not so many.
    pub fn from(&self, index: usize) -> Args<'a> {
        Self { bytes: self.bytes, spans: self.spans.get(index..).unwrap_or_default() }
    }
}
