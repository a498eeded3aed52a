//! The words that a canonical form can put in, and their numbers.

/// All of them. The options of SET come first, so that they can be looked for there.
pub(super) const TOKENS: [&str; 38] = [
    "NX",
    "XX",
    "IFEQ",
    "IFNE",
    "IFDEQ",
    "IFDNE",
    "GET",
    "EX",
    "PX",
    "EXAT",
    "PXAT",
    "KEEPTTL", // of SET
    "1",
    "+",
    "-", // amounts
    "GT",
    "LT",
    "CH",
    "INCR",
    "PERSIST",
    "DB",
    "REPLACE",
    "ABSTTL",
    "IDLETIME",
    "FREQ",
    "MATCH",
    "COUNT",
    "TYPE",
    "NOVALUES",
    "BYSCORE",
    "BYLEX",
    "REV",
    "LIMIT",
    "WITHSCORES",
    "RANK",
    "MAXLEN",
    "ASYNC",
    "SYNC",
];
/// How many of them are options of SET.
pub(super) const OF_SET: usize = 12;

pub(super) const GET: u8 = 6;
pub(super) const EX: u8 = 7;
pub(super) const PX: u8 = 8;
pub(super) const EXAT: u8 = 9;
pub(super) const PXAT: u8 = 10;
pub(super) const ONE: u8 = 12;
pub(super) const PLUS: u8 = 13;
pub(super) const MINUS: u8 = 14;
