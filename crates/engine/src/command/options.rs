//! Parses options that may come in any order and case.

use super::parsed_args::ParsedArgs;

/// Options that one command has at most.
pub(super) const OPTIONS_MAX: usize = 6;

/// Where a command's options begin, and which there are, in their canonical order.
#[derive(PartialEq, Eq, Debug)]
pub struct Options {
    /// The first place where one can stand; the command's name is at 0.
    pub(super) from: usize,
    pub(super) known: &'static [Choice],
}

/// One option, and how many words belong to it.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Choice {
    pub(super) name: &'static str,
    pub(super) operands: usize,
}

/// The options that something written says.
pub(super) struct ParsedOptions {
    /// The place of each known option.
    pub(super) places: [Option<usize>; OPTIONS_MAX],
    /// Behind the last option.
    pub(super) end: usize,
}

impl Options {
    /// Reads options up to the first word that is none, is said twice or lacks an operand.
    pub(super) fn read<W: ParsedArgs + ?Sized>(&self, words: &W) -> ParsedOptions {
        let mut parsed = ParsedOptions { places: [None; OPTIONS_MAX], end: self.from };
        while let Some((at, choice)) = self.known_at(parsed.end, words) {
            let behind = parsed.end + 1 + choice.operands;
            let operands = (parsed.end + 1..behind).all(|place| place < words.words() && !words.is_rest(place));
            let free = parsed.places.get(at).is_some_and(Option::is_none);
            if !operands || !free {
                break;
            }
            parsed.places[at] = Some(parsed.end);
            parsed.end = behind;
        }
        parsed
    }

    fn known_at<W: ParsedArgs + ?Sized>(&self, place: usize, words: &W) -> Option<(usize, &Choice)> {
        let word = words.word(place).filter(|_| !words.is_rest(place))?;
        self.known.iter().enumerate().find(|(_, choice)| word.eq_ignore_ascii_case(choice.name.as_bytes()))
    }
}

const fn flag(name: &'static str) -> Choice {
    Choice { name, operands: 0 }
}

const fn with(name: &'static str, operands: usize) -> Choice {
    Choice { name, operands }
}

/// Of EXPIRE, PEXPIRE, EXPIREAT and PEXPIREAT.
pub(super) static EXPIRE: Options = Options { from: 3, known: &[flag("NX"), flag("XX"), flag("GT"), flag("LT")] };

static GETEX: Options =
    Options { from: 2, known: &[with("EX", 1), with("PX", 1), with("EXAT", 1), with("PXAT", 1), flag("PERSIST")] };
static ZADD: Options = Options { from: 2, known: &[flag("NX"), flag("XX"), flag("GT"), flag("LT"), flag("CH"), flag("INCR")] };
static GEOADD: Options = Options { from: 2, known: &[flag("NX"), flag("XX"), flag("CH")] };
static ZRANGE: Options =
    Options { from: 4, known: &[flag("BYSCORE"), flag("BYLEX"), flag("REV"), with("LIMIT", 2), flag("WITHSCORES")] };
static ZRANGE_BY_SCORE: Options = Options { from: 4, known: &[with("LIMIT", 2), flag("WITHSCORES")] };
static COPY: Options = Options { from: 3, known: &[with("DB", 1), flag("REPLACE")] };
static RESTORE: Options = Options { from: 4, known: &[flag("REPLACE"), flag("ABSTTL"), with("IDLETIME", 1), with("FREQ", 1)] };
static LPOS: Options = Options { from: 3, known: &[with("RANK", 1), with("COUNT", 1), with("MAXLEN", 1)] };
static SCAN: Options = Options { from: 2, known: &[with("MATCH", 1), with("COUNT", 1), with("TYPE", 1)] };
static SCAN_OF_KEY: Options = Options { from: 3, known: &[with("MATCH", 1), with("COUNT", 1), flag("NOVALUES")] };
static FLUSH: Options = Options { from: 1, known: &[flag("ASYNC"), flag("SYNC")] };

/// The options of a command whose options are all that its canonical form changes.
pub(super) fn of(name: &str) -> Option<&'static Options> {
    Some(match name {
        "getex" => &GETEX,
        "zadd" => &ZADD,
        "geoadd" => &GEOADD,
        "zrange" => &ZRANGE,
        "zrangebyscore" | "zrevrangebyscore" => &ZRANGE_BY_SCORE,
        "copy" => &COPY,
        "restore" => &RESTORE,
        "lpos" => &LPOS,
        "scan" => &SCAN,
        "hscan" | "sscan" | "zscan" => &SCAN_OF_KEY,
        "flushall" | "flushdb" => &FLUSH,
        _ => return None,
    })
}
