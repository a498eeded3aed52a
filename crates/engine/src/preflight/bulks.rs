//! Arguments that are collected before their command is written.

use respguard_resp::encode;

/// Arguments of a command as they go on the wire, one behind the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bulks {
    pub(super) bytes: Vec<u8>,
    count: usize,
}

impl Bulks {
    pub(super) fn with_room(bytes: usize) -> Bulks {
        Bulks { bytes: Vec::with_capacity(bytes), count: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn push(&mut self, text: &[u8]) {
        encode::bulk(&mut self.bytes, text);
        self.count += 1;
    }

    pub(super) fn number(&mut self, number: u64) {
        encode::bulk_number(&mut self.bytes, number);
        self.count += 1;
    }

    /// Where what is pushed next begins.
    pub(super) fn mark(&self) -> Mark {
        Mark { bytes: self.bytes.len(), count: self.count }
    }

    /// What was pushed before the mark, and behind it.
    pub(super) fn parts(&self, mark: Mark) -> (Part<'_>, Part<'_>) {
        let (before, behind) = self.bytes.split_at(mark.bytes);
        (Part { bytes: before, count: mark.count }, Part { bytes: behind, count: self.count - mark.count })
    }

    /// The command that begins with these words.
    pub(super) fn write_behind(&self, words: &[&[u8]], out: &mut Vec<u8>) {
        self.write_between(words, &[], out);
    }

    /// The same, with more words behind them.
    pub(super) fn write_between(&self, words: &[&[u8]], behind: &[&[u8]], out: &mut Vec<u8>) {
        encode::array_header(out, words.len() + self.count + behind.len());
        words.iter().for_each(|word| encode::bulk(out, word));
        out.extend_from_slice(&self.bytes);
        behind.iter().for_each(|word| encode::bulk(out, word));
    }
}

/// A place between two of the arguments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    bytes: usize,
    count: usize,
}

/// Some of the arguments, for one command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    bytes: &'a [u8],
    count: usize,
}

impl Part<'_> {
    pub(super) fn len(self) -> usize {
        self.count
    }

    pub(super) fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.bytes);
    }
}
