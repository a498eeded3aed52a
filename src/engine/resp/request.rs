//! Views of the arguments of one request.

/// Where one argument lies, relative to its frame's first byte (or to the arena for inline requests).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset behind the last byte.
    pub end: u32,
}

/// A view of one request's arguments: `args.get(0)` is the command name.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    bytes: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Args<'a> {
    /// A view of the arguments that `spans` cut out of `bytes`.
    pub fn new(bytes: &'a [u8], spans: &'a [Span]) -> Self {
        Self { bytes, spans }
    }

    /// Arguments, the command name included.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is not even a command name.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The argument at `i`.
    #[inline]
    pub fn get(&self, i: usize) -> Option<&'a [u8]> {
        let span = self.spans.get(i)?;
        self.bytes.get(span.start as usize..span.end as usize)
    }

    /// All arguments in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + 'a {
        let bytes = self.bytes;
        self.spans
            .iter()
            .filter_map(move |span| bytes.get(span.start as usize..span.end as usize))
    }

    /// The rest from `i` on; empty when there are not as many.
    pub fn from(&self, i: usize) -> Args<'a> {
        Args {
            bytes: self.bytes,
            spans: self.spans.get(i..).unwrap_or_default(),
        }
    }
}
