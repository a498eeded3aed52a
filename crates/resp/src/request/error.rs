//! Why Redis closes a client's connection, in the words of Redis.

use crate::encode;

/// Why Redis closes a connection; the text is the one it sends behind `-ERR `.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The number of arguments is not a number, or too large.
    #[error("Protocol error: invalid multibulk length")]
    InvalidMultibulkLength,
    /// More than ten arguments before authentication.
    #[error("Protocol error: unauthenticated multibulk length")]
    UnauthenticatedMultibulkLength,
    /// The length of an argument is not a number, negative, or too large.
    #[error("Protocol error: invalid bulk length")]
    InvalidBulkLength,
    /// More than 16 KiB in an argument before authentication.
    #[error("Protocol error: unauthenticated bulk length")]
    UnauthenticatedBulkLength,
    /// An argument starts with another byte than `$`.
    #[error("Protocol error: expected '$', got '{}'", printable(*.0))]
    ExpectedDollar(u8),
    /// An inline request is too long.
    #[error("Protocol error: too big inline request")]
    TooBigInlineRequest,
    /// The line of the number of arguments does not end.
    #[error("Protocol error: too big mbulk count string")]
    TooBigMultibulkCount,
    /// The line of the length of an argument does not end.
    #[error("Protocol error: too big bulk count string")]
    TooBigBulkCount,
    /// An inline request ends within quotes, or goes on right behind them.
    #[error("Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
}

impl ProtocolError {
    /// Appends the error reply of Redis, byte for byte; its text may hold a byte that no `str` can.
    pub fn reply(&self, out: &mut Vec<u8>) {
        match *self {
            Self::ExpectedDollar(byte) if !byte.is_ascii() => {
                out.extend_from_slice(b"-ERR Protocol error: expected '$', got '");
                out.push(byte);
                out.extend_from_slice(b"'\r\n");
            }
            _ => encode::error(out, &format!("ERR {self}")),
        }
    }
}

/// Redis replaces line breaks in an error by spaces.
fn printable(byte: u8) -> char {
    match byte {
        b'\r' | b'\n' => ' ',
        byte => char::from(byte),
    }
}
