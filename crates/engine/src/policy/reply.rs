//! Parses what a rule expects of a reply, and compares replies with it.

use std::fmt;

use respguard_resp::head::Head;

/// What can be written, for error messages.
pub const EXPECTED: &str = "a comparison such as \">= 1\", \"length > 0\" or \"bytes <= 1024\", a word such as \"OK\", \"nil\" or \"error\", or one with \"!\"";

const WORD_BYTES_MAX: usize = 64;

/// What a reply must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedReply {
    what: ReplyKind,
    text: Box<str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum ReplyKind {
    /// An integer that compares so.
    Integer(Comparison, i64),
    /// An aggregate with so many elements.
    Length(Comparison, i64),
    /// A string of so many bytes.
    Bytes(Comparison, i64),
    /// A status or a string of these bytes, or, negated, anything else.
    Word {
        word: Box<[u8]>,
        negated: bool,
    },
    Nil {
        negated: bool,
    },
    Error {
        negated: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

impl ExpectedReply {
    /// Reads what a user wrote; `None` where it means nothing.
    pub fn parse(text: &str) -> Option<ExpectedReply> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let what = match *words {
            ["length", ..] => compared(&words[1..]).map(|(how, number)| ReplyKind::Length(how, number)),
            ["bytes", ..] => compared(&words[1..]).map(|(how, number)| ReplyKind::Bytes(how, number)),
            _ => compared(&words).map(|(how, number)| ReplyKind::Integer(how, number)).or_else(|| a_word(&words)),
        };
        what.map(|what| ExpectedReply { what, text: words.join(" ").into() })
    }

    /// Whether a reply that begins so is what it must be. An error is expected only where the rule says so.
    pub fn is_met_by(&self, reply: Head<'_>) -> bool {
        match (&self.what, reply) {
            (ReplyKind::Error { negated }, reply) => (reply == Head::Error) != *negated,
            (_, Head::Error) => false,
            (ReplyKind::Nil { negated }, reply) => (reply == Head::Null) != *negated,
            (ReplyKind::Integer(how, wanted), Head::Integer(number)) => how.holds(number, *wanted),
            (ReplyKind::Length(how, wanted), Head::Elements(count)) => how.holds(as_i64(count), *wanted),
            (ReplyKind::Bytes(how, wanted), Head::Bulk { bytes, .. }) => how.holds(as_i64(bytes), *wanted),
            (ReplyKind::Bytes(how, wanted), Head::Status(text)) => how.holds(as_i64(text.len() as u64), *wanted),
            (ReplyKind::Word { word, negated }, Head::Status(text)) => (**word == *text) != *negated,
            (ReplyKind::Word { word, negated }, Head::Bulk { bytes, text }) => {
                (as_i64(bytes) == as_i64(word.len() as u64) && **word == *text) != *negated
            }
            (ReplyKind::Word { negated, .. }, _) => *negated,
            (ReplyKind::Integer(..) | ReplyKind::Length(..) | ReplyKind::Bytes(..), _) => false,
        }
    }
}

/// As it was written.
impl fmt::Display for ExpectedReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn as_i64(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// `>= 1`, `>=1`, or a number alone.
fn compared(words: &[&str]) -> Option<(Comparison, i64)> {
    let joined = match words {
        [one] => (*one).to_owned(),
        [sign, number] if !sign.is_empty() && sign.bytes().all(|byte| b"=!<>".contains(&byte)) => format!("{sign}{number}"),
        _ => return None,
    };
    let signs = joined.bytes().take_while(|byte| b"=!<>".contains(byte)).count();
    let (sign, number) = joined.split_at(signs);
    let how = match sign {
        "" | "=" => Comparison::Equal,
        "!=" => Comparison::Unequal,
        "<" => Comparison::Less,
        "<=" => Comparison::AtMost,
        ">" => Comparison::Greater,
        ">=" => Comparison::AtLeast,
        _ => return None,
    };
    number.parse().ok().map(|number| (how, number))
}

fn a_word(words: &[&str]) -> Option<ReplyKind> {
    let [word] = words else { return None };
    let (negated, word) = word.strip_prefix('!').map_or((false, *word), |word| (true, word));
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"=!<>".contains(&byte);
    match word {
        "nil" => Some(ReplyKind::Nil { negated }),
        "error" => Some(ReplyKind::Error { negated }),
        _ if word.is_empty() || word.len() > WORD_BYTES_MAX || !word.bytes().all(plain) => None,
        _ => Some(ReplyKind::Word { word: word.as_bytes().into(), negated }),
    }
}

impl Comparison {
    fn holds(self, number: i64, wanted: i64) -> bool {
        match self {
            Comparison::Equal => number == wanted,
            Comparison::Unequal => number != wanted,
            Comparison::Less => number < wanted,
            Comparison::AtMost => number <= wanted,
            Comparison::Greater => number > wanted,
            Comparison::AtLeast => number >= wanted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(wanted: &str, frame: &str) -> bool {
        ExpectedReply::parse(wanted).unwrap_or_else(|| panic!("{wanted} can be read")).is_met_by(Head::read(frame.as_bytes()))
    }

    #[test]
    fn numbers_are_compared() {
        for (wanted, less, equal, greater) in [
            ("= 2", false, true, false),
            ("2", false, true, false),
            ("!= 2", true, false, true),
            ("< 2", true, false, false),
            ("<= 2", true, true, false),
            ("> 2", false, false, true),
            (">=2", false, true, true),
        ] {
            let found = [":1\r\n", ":2\r\n", ":3\r\n"].map(|frame| met(wanted, frame));
            assert_eq!(found, [less, equal, greater], "{wanted}");
        }
        assert!(met("= -1", ":-1\r\n"));
        assert!(!met("!= 2", "+OK\r\n") && !met("!= 2", "$-1\r\n") && !met(">= 0", "$1\r\n1\r\n"));
    }

    #[test]
    fn sizes_are_compared() {
        assert!(met("length = 2", "*2\r\n:1\r\n:2\r\n") && !met("length > 2", "*2\r\n:1\r\n:2\r\n"));
        assert!(met("length 4", "%2\r\n") && !met("length >= 0", "*-1\r\n"));
        assert!(met("bytes <= 3", "$3\r\nabc\r\n") && !met("bytes <= 3", "$4\r\nabcd\r\n"));
        assert!(met("bytes = 2", "+OK\r\n") && !met("bytes >= 0", "$-1\r\n"));
    }

    #[test]
    fn words_nil_and_errors_are_told_apart() {
        assert!(met("OK", "+OK\r\n") && met("OK", "$2\r\nOK\r\n") && !met("OK", "+QUEUED\r\n") && !met("OK", "$3\r\nOKO\r\n"));
        assert!(met("!OK", "+QUEUED\r\n") && met("!OK", "$-1\r\n") && !met("!OK", "-ERR\r\n") && !met("!OK", "+OK\r\n"));
        assert!(met("nil", "$-1\r\n") && met("nil", "_\r\n") && !met("nil", "$0\r\n\r\n") && !met("nil", "-ERR\r\n"));
        assert!(met("!nil", "$0\r\n\r\n") && met("!nil", ":0\r\n") && !met("!nil", "*-1\r\n") && !met("!nil", "-ERR\r\n"));
        assert!(met("error", "-ERR\r\n") && !met("error", ":1\r\n") && met("!error", "$-1\r\n") && !met("!error", "-ERR\r\n"));
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for text in
            ["", " ", ">=", ">= x", "=> 1", "== 1", "!", "!!nil", "OK OK", "length", "length x", "bytes >", "a=b", "1.5x=", "ä"]
        {
            assert_eq!(ExpectedReply::parse(text), None, "{text:?}");
        }
        assert!(
            ExpectedReply::parse(&"x".repeat(WORD_BYTES_MAX)).is_some()
                && ExpectedReply::parse(&"x".repeat(WORD_BYTES_MAX + 1)).is_none()
        );
    }

    #[test]
    fn it_prints_as_it_was_written() {
        assert_eq!(ExpectedReply::parse("  >=   1 ").map(|wanted| wanted.to_string()), Some(">= 1".to_owned()));
    }
}
