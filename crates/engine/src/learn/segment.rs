//! Splits a key into the words that it is composed of.

/// Marks that part words, whatever else is in the key.
const MARKS: &[u8] = b":/|{}#";
/// Marks that part words where there are none of those before.
const LATER_MARKS: [u8; 3] = [b'.', b'_', b'-'];
/// A longer word is no word that somebody chose.
const WORD_BYTES_MAX: usize = 32;
/// Words of one key; the last is all the rest.
const WORDS_MAX: usize = 6;
/// Digits that a word may end with, as `user1` does.
const DIGITS_MAX: usize = 3;

/// A key and its words; between two of them stands one mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cut<'a> {
    pub(super) words: Vec<&'a [u8]>,
    pub(super) marks: Vec<u8>,
}

/// The words of a key.
pub(super) fn cut(key: &[u8]) -> Cut<'_> {
    let is_mark = marks_of(key);
    let mut cut = Cut { words: Vec::new(), marks: Vec::new() };
    let mut start = 0;
    for (at, byte) in key.iter().enumerate().filter(|(_, byte)| is_mark(**byte)).take(WORDS_MAX - 1) {
        cut.words.push(&key[start..at]);
        cut.marks.push(*byte);
        start = at + 1;
    }
    cut.words.push(&key[start..]);
    cut
}

fn marks_of(key: &[u8]) -> impl Fn(u8) -> bool {
    let later = LATER_MARKS.into_iter().find(|mark| key.contains(mark));
    let has_marks = key.iter().any(|byte| MARKS.contains(byte));
    move |byte| if has_marks { MARKS.contains(&byte) } else { Some(byte) == later }
}

/// Whether the word names one thing among many: a number, a hash, an address, a token.
pub(super) fn is_id(word: &[u8]) -> bool {
    let digits = word.iter().filter(|byte| byte.is_ascii_digit()).count();
    let closing = word.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let plain = word.iter().all(|&byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    let numbered = digits == closing && digits <= DIGITS_MAX && digits < word.len();
    !word.is_empty() && (word.len() > WORD_BYTES_MAX || !plain || (digits > 0 && !numbered))
}

/// Whether a key's first word names one thing among many; `2fa` and `oauth2` are names there.
pub(super) fn is_first_id(word: &[u8]) -> bool {
    let plain = word.iter().all(|&byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    let letters = word.iter().any(u8::is_ascii_alphabetic);
    !word.is_empty() && (!plain || !letters || (word.len() >= 16 && is_id(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(key: &str) -> Vec<String> {
        cut(key.as_bytes()).words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    }

    #[test]
    fn marks_part_words_and_points_only_where_there_are_no_others() {
        assert_eq!(words("rt:ann:a4"), ["rt", "ann", "a4"]);
        assert_eq!(words("{u1}:cart"), ["", "u1", "", "cart"]);
        assert_eq!(words("rate:10.0.0.1"), ["rate", "10.0.0.1"]);
        assert_eq!(words("app.cache.7"), ["app", "cache", "7"]);
        assert_eq!(words("cache_user_42"), ["cache", "user", "42"]);
        assert_eq!(words("plain"), ["plain"]);
        assert_eq!(words("a:b:c:d:e:f:g"), ["a", "b", "c", "d", "e", "f:g"]);
        assert_eq!(words(""), [""]);
    }

    #[test]
    fn numbers_hashes_tokens_and_addresses_are_ids_and_names_are_not() {
        for id in ["7", "604800", "a41f", "550e8400-e29b-41d4-a716-446655440000", "ann@example.org", "user-0-n", "10.0.0.1"] {
            assert!(is_id(id.as_bytes()), "{id}");
        }
        assert!(is_id(&[b't'; 33]) && !is_id(&[b't'; 32]));
        for word in ["users", "by_time", "user1", "v2", "oauth2", "latest", ""] {
            assert!(!is_id(word.as_bytes()), "{word}");
        }
    }

    #[test]
    fn a_first_word_is_a_name_more_often() {
        assert!(!is_first_id(b"2fa") && !is_first_id(b"s3x"));
        assert!(is_first_id(b"42") && is_first_id(b"550e8400e29b41d4a716") && is_first_id(b"a@b"));
    }
}
