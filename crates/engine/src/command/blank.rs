//! The replies of Redis to commands on missing keys, and to writes that succeeded.

use super::canonical::SetOptions;
use super::spec::Spec;
use respguard_resp::request::Args;
use respguard_resp::{Protocol, encode};

/// A reply that can be given without a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Blank {
    /// A null.
    Null,
    /// `*-1` in RESP2.
    NullList,
    /// This number.
    Integer(i64),
    /// A string of no bytes.
    EmptyText,
    /// A list without elements.
    EmptyList,
    /// A set without members.
    EmptySet,
    /// A map without entries: an empty array in RESP2.
    EmptyMap,
    /// So many nulls.
    Nulls(usize),
    /// So many zeros.
    Zeros(usize),
    /// `+OK`, `+none`.
    Word(&'static str),
}

impl Blank {
    /// The reply to a read of keys that are not there; `None` where it cannot be told, or would be an error.
    pub fn of_read(spec: &Spec, args: Args<'_>) -> Option<Blank> {
        let says = |option: &str| args.from(1).iter().any(|word| word.eq_ignore_ascii_case(option.as_bytes()));
        Some(match spec.name() {
            "get" | "hget" | "lindex" | "zscore" | "geodist" => Blank::Null,
            "zrank" | "zrevrank" if says("WITHSCORE") => Blank::NullList,
            "zrank" | "zrevrank" => Blank::Null,
            "srandmember" | "hrandfield" | "zrandmember" if args.len() == 2 => Blank::Null,
            "srandmember" | "hrandfield" | "zrandmember" => Blank::EmptyList,
            "lpos" if says("COUNT") => Blank::EmptyList,
            "lpos" => Blank::Null,
            "exists" | "strlen" | "hlen" | "llen" | "scard" | "zcard" | "xlen" | "hexists" | "sismember" | "zcount"
            | "zlexcount" | "hstrlen" | "getbit" | "bitcount" | "pfcount" | "touch" | "sintercard" | "zintercard" => {
                Blank::Integer(0)
            }
            "ttl" | "pttl" | "expiretime" | "pexpiretime" => Blank::Integer(-2),
            "getrange" | "substr" => Blank::EmptyText,
            "lrange" | "hkeys" | "hvals" | "zrange" | "zrevrange" | "zrangebyscore" | "zrevrangebyscore" | "zrangebylex"
            | "zrevrangebylex" | "zdiff" | "zinter" | "zunion" | "xrange" | "xrevrange" => Blank::EmptyList,
            "smembers" | "sinter" | "sunion" | "sdiff" => Blank::EmptySet,
            "hgetall" => Blank::EmptyMap,
            "mget" => Blank::Nulls(args.len() - 1),
            "hmget" | "zmscore" => Blank::Nulls(args.len() - 2),
            "smismember" => Blank::Zeros(args.len() - 2),
            "type" => Blank::Word("none"),
            _ => return None,
        })
    }

    /// The reply to a write that has succeeded, where that is always the same: `+OK`. Where a condition decides whether it
    /// writes at all, as with `SET k v NX`, nobody can say without a server.
    pub fn of_write(spec: &Spec, args: Args<'_>) -> Option<Blank> {
        match spec.name() {
            "set" if !overwrites(args) => None,
            "set" | "setex" | "psetex" | "mset" | "hmset" | "ltrim" | "pfmerge" => Some(Blank::Word("OK")),
            _ => None,
        }
    }

    /// Appends the reply as a server that speaks `protocol` writes it.
    pub fn encode(self, out: &mut Vec<u8>, protocol: Protocol) {
        match self {
            Blank::Null => encode::null(out, protocol),
            Blank::NullList if protocol == Protocol::Resp2 => out.extend_from_slice(b"*-1\r\n"),
            Blank::NullList => encode::null(out, protocol),
            Blank::Integer(number) => encode::integer(out, number),
            Blank::EmptyText => encode::bulk(out, b""),
            Blank::EmptySet if protocol == Protocol::Resp3 => out.extend_from_slice(b"~0\r\n"),
            Blank::EmptyList | Blank::EmptySet => encode::array_header(out, 0),
            Blank::EmptyMap => encode::map_header(out, 0, protocol),
            Blank::Nulls(count) => {
                encode::array_header(out, count);
                (0..count).for_each(|_| encode::null(out, protocol));
            }
            Blank::Zeros(count) => {
                encode::array_header(out, count);
                (0..count).for_each(|_| encode::integer(out, 0));
            }
            Blank::Word(word) => encode::simple(out, word),
        }
    }
}

/// Whether a SET writes whatever is there, and answers no value. One whose options are wrong is for whoever reads them.
fn overwrites(args: Args<'_>) -> bool {
    SetOptions::parse(&args, 3).is_none_or(|options| options.overwrites())
}
