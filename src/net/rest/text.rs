//! Writes a reply's strings into JSON piece by piece: as text, or in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const HEX: &[u8; 16] = b"0123456789abcdef";
const REPLACEMENT: &str = "\u{fffd}";

/// How strings are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// As they are; what is no UTF-8 becomes U+FFFD.
    #[default]
    Text,
    Base64,
}

/// One string in progress: the bytes that cannot be written before those behind them have come.
#[derive(Debug, Default)]
pub struct Text {
    carry: Vec<u8>,
}

impl Text {
    /// Writes the next bytes of the string.
    pub fn piece(&mut self, encoding: Encoding, bytes: &[u8], out: &mut Vec<u8>) {
        match encoding {
            Encoding::Text => self.plain(bytes, false, out),
            Encoding::Base64 => self.base64(bytes, out),
        }
    }

    /// The string has come to its end.
    pub fn end(&mut self, encoding: Encoding, out: &mut Vec<u8>) {
        match encoding {
            Encoding::Text => self.plain(b"", true, out),
            Encoding::Base64 => {
                encode(&self.carry, out);
                self.carry.clear();
            }
        }
    }

    fn plain(&mut self, bytes: &[u8], last: bool, out: &mut Vec<u8>) {
        let joined;
        let mut rest = bytes;
        if !self.carry.is_empty() {
            self.carry.extend_from_slice(bytes);
            joined = std::mem::take(&mut self.carry);
            rest = &joined;
        }
        loop {
            let error = match std::str::from_utf8(rest) {
                Ok(_) => return escape(rest, out),
                Err(error) => error,
            };
            let (valid, behind) = rest.split_at(error.valid_up_to());
            escape(valid, out);
            match error.error_len() {
                None if !last => return self.carry.extend_from_slice(behind),
                None => return out.extend_from_slice(REPLACEMENT.as_bytes()),
                Some(bytes) => {
                    out.extend_from_slice(REPLACEMENT.as_bytes());
                    rest = &behind[bytes..];
                }
            }
        }
    }

    /// Three bytes are four letters: what is left over waits for what comes.
    fn base64(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        if !self.carry.is_empty() {
            let missing;
            (missing, bytes) = bytes.split_at(bytes.len().min(3 - self.carry.len()));
            self.carry.extend_from_slice(missing);
            if self.carry.len() < 3 {
                return;
            }
            encode(&self.carry, out);
            self.carry.clear();
        }
        let (whole, rest) = bytes.split_at(bytes.len() / 3 * 3);
        encode(whole, out);
        self.carry.extend_from_slice(rest);
    }
}

fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(bytes, &mut out[start..]);
    debug_assert_eq!(written, Ok(out.len() - start), "there is just the room");
}

/// True when all of it is ASCII that stands in a JSON string as it is.
pub fn is_plain(text: &[u8]) -> bool {
    // Without a branch for each byte it is done many at a time.
    text.iter().fold(true, |plain, &byte| plain & (0x20..0x80).contains(&byte) & (byte != b'"') & (byte != b'\\'))
}

/// The place of the first byte that cannot stand in a JSON string as it is.
pub fn special(text: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGHEST: u64 = u64::from_ne_bytes([0x80; 8]);
    // Below the first byte that is less than `bound` none is marked (https://graphics.stanford.edu/~seander/bithacks.html#HasLessInWord).
    let less = |word: u64, bound: u8| word.wrapping_sub(ONES * u64::from(bound)) & !word & HIGHEST;
    let equal = |word: u64, byte: u8| less(word ^ (ONES * u64::from(byte)), 1);
    let (words, rest) = text.as_chunks::<8>();
    for (place, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let marked = less(word, 0x20) | equal(word, b'"') | equal(word, b'\\');
        if marked != 0 {
            return Some(place * 8 + marked.trailing_zeros() as usize / 8);
        }
    }
    let at = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))?;
    Some(text.len() - rest.len() + at)
}

/// The text as the inside of a JSON string.
pub fn escape(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = special(rest) {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            byte @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', byte]),
            byte => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// `{"error":"text"}`, whatever bytes the text has.
pub fn error(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"error\":\"");
    let mut escaped = Text::default();
    escaped.piece(Encoding::Text, text, out);
    escaped.end(Encoding::Text, out);
    out.extend_from_slice(b"\"}");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(encoding: Encoding, bytes: &[u8], size: usize) -> String {
        let (mut text, mut out) = (Text::default(), Vec::new());
        bytes.chunks(size).for_each(|piece| text.piece(encoding, piece, &mut out));
        text.end(encoding, &mut out);
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    #[test]
    fn base64_is_that_of_the_standard() {
        for (text, wanted) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("OK", "T0s=")] {
            assert_eq!(written(Encoding::Base64, text.as_bytes(), 9), wanted);
        }
    }

    proptest! {
        #[test]
        fn the_first_byte_that_needs_an_escape_is_found(bytes in prop::collection::vec(any::<u8>(), 0..40), at in 0..40_usize) {
            let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
            prop_assert_eq!(special(&bytes), bytes.iter().position(is_special));
            // Few of many.
            let mut plain = vec![b'\x7f'; 40];
            plain[at] = bytes.first().copied().unwrap_or(b'"');
            prop_assert_eq!(special(&plain), plain.iter().position(is_special));
            let is_plain_ascii = |text: &[u8]| text.is_ascii() && !text.iter().any(is_special);
            prop_assert_eq!((is_plain(&bytes), is_plain(&plain)), (is_plain_ascii(&bytes), is_plain_ascii(&plain)));
        }

        #[test]
        fn text_is_read_back_by_others_however_it_came(bytes in prop::collection::vec(any::<u8>(), 0..64), size in 1..9_usize) {
            let json = format!("\"{}\"", written(Encoding::Text, &bytes, size));
            let read: String = serde_json::from_str(&json).expect("JSON");
            prop_assert_eq!(read, String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn text_with_letters_of_all_lengths_is_itself(text in any::<String>(), size in 1..9_usize) {
            let json = format!("\"{}\"", written(Encoding::Text, text.as_bytes(), size));
            prop_assert_eq!(serde_json::from_str::<String>(&json).expect("JSON"), text);
        }

        #[test]
        fn base64_is_the_same_however_it_came(bytes in prop::collection::vec(any::<u8>(), 0..64), size in 1..9_usize) {
            prop_assert_eq!(written(Encoding::Base64, &bytes, size), STANDARD.encode(&bytes));
        }
    }
}
