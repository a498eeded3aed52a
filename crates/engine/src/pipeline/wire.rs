//! A transaction of the proxy's own as it goes on the wire, with commands that its client has not sent.

use std::ops::Range;

use smallvec::SmallVec;

/// What goes before the members.
pub const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
/// What goes behind them.
pub const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

/// A command of our own within the transaction: its client sees neither the command nor its reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Injected {
    /// How many members go before it.
    pub behind: u32,
    /// As it goes on the wire.
    pub request: Vec<u8>,
    /// Where it gives a key a TTL: which.
    pub ttl_fix: Option<TtlFix>,
}

/// A TTL that a rule gives, and to whose writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TtlFix {
    /// The key, kept past its buffer because the answer comes after the request's bytes are gone.
    pub key: Box<[u8]>,
    /// The members that write it, by their places: where all of them fail, the key gets nothing.
    pub members: Vec<u32>,
}

/// What goes on the wire, in pieces: most transactions are few, and no room is asked for them.
pub type Pieces<'a> = SmallVec<[&'a [u8]; 6]>;

/// The whole transaction as it goes on the wire: `push_wire` adds the bytes of consecutive members, in as many pieces as
/// they lie in.
///
/// `injected` is in the order of the wire.
pub fn parts<'a>(members: u32, injected: &'a [Injected], push_wire: impl Fn(Range<u32>, &mut Pieces<'a>)) -> Pieces<'a> {
    let mut parts = Pieces::with_capacity(3 + 2 * injected.len());
    parts.push(MULTI);
    let mut next = 0;
    for own in injected {
        if own.behind > next {
            push_wire(next..own.behind, &mut parts);
        }
        parts.push(&own.request);
        next = own.behind;
    }
    if next < members {
        push_wire(next..members, &mut parts);
    }
    parts.push(EXEC);
    parts
}
