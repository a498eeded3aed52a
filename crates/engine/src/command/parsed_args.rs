//! What requests and patterns for requests have in common: words, read one by one.

use respguard_resp::request::Args;

/// Something written as a command: a request, or a pattern for requests.
pub trait ParsedArgs {
    /// How many words, with the command's name.
    fn words(&self) -> usize;
    /// The word at `i`.
    fn word(&self, i: usize) -> Option<&[u8]>;
    /// Whether the word at `i` stands for any number of words. Only a last word can.
    fn is_rest(&self, _i: usize) -> bool {
        false
    }
}

impl ParsedArgs for Args<'_> {
    fn words(&self) -> usize {
        self.len()
    }

    fn word(&self, i: usize) -> Option<&[u8]> {
        self.get(i)
    }
}

/// A pattern, word by word: `...` is the rest.
impl ParsedArgs for [String] {
    fn words(&self) -> usize {
        self.len()
    }

    fn word(&self, i: usize) -> Option<&[u8]> {
        self.get(i).map(|word| word.as_bytes())
    }

    fn is_rest(&self, i: usize) -> bool {
        self.get(i).is_some_and(|word| word == "...")
    }
}
