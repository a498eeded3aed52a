//! Which requests may be carried in a group's transaction, and what that means for blocked clients.

use super::connection::ConnectionEffect;
use super::flags::Flags;
use super::spec::{PlainKeys, Spec};
use respguard_resp::request::Args;

/// What a request gives to clients that block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unblocks {
    /// Nothing that a client can wait for.
    Nothing,
    /// What it adds to its key; it takes nothing.
    ByPush,
    /// What its keys become.
    Keys,
    /// Nobody knows.
    Anything,
}

impl Spec {
    /// Whether it answers within a transaction as it does outside, and leaves nothing on its connection: it may go in the
    /// transaction of a group that it stands in.
    pub fn may_be_carried(&self, args: Args<'_>) -> bool {
        if self.connection_effect(args) != ConnectionEffect::None || self.flags.has(Flags::NO_MULTI) {
            return false;
        }
        match self.name() {
            "dbsize" | "eval" | "eval_ro" | "evalsha" | "evalsha_ro" | "fcall" | "fcall_ro" | "publish" | "sort" | "sort_ro"
            | "spublish" => true,
            _ => self.touches_nothing(args) || self.plain_keys(args, &mut |_| {}) != PlainKeys::None,
        }
    }

    /// What the server may serve to clients that block, once this request has run: they are served behind a transaction, and
    /// between two commands that are in none (<https://redis.io/docs/latest/commands/blpop/>).
    pub fn unblocks(&self) -> Unblocks {
        if self.flags.has(Flags::READONLY) {
            return Unblocks::Nothing;
        }
        match self.name() {
            "lpush" | "rpush" | "lpushx" | "rpushx" | "linsert" | "zadd" | "zincrby" | "geoadd" | "xadd" => Unblocks::ByPush,
            "lmove" | "rpoplpush" | "zunionstore" | "zinterstore" | "zdiffstore" | "zrangestore" | "geosearchstore"
            | "georadius" | "georadiusbymember" | "rename" | "renamenx" | "copy" | "restore" | "sort" => Unblocks::Keys,
            _ if self.flags.has(Flags::SCRIPTING) => Unblocks::Anything,
            _ => Unblocks::Nothing,
        }
    }

    /// Whether it may see what lists, sorted sets and streams hold, or whether they are there: clients that block change those.
    pub fn sees_queues(&self) -> bool {
        match self.name() {
            "append" | "bitcount" | "bitfield" | "bitfield_ro" | "bitop" | "bitpos" | "decr" | "decrby" | "get" | "getbit"
            | "getdel" | "getex" | "getrange" | "getset" | "incr" | "incrby" | "incrbyfloat" | "lcs" | "mget" | "mset"
            | "msetnx" | "psetex" | "set" | "setbit" | "setex" | "setnx" | "setrange" | "strlen" | "substr" => false,
            "sadd" | "scard" | "sdiff" | "sdiffstore" | "sinter" | "sintercard" | "sinterstore" | "sismember" | "smembers"
            | "smismember" | "smove" | "spop" | "srandmember" | "srem" | "sscan" | "sunion" | "sunionstore" => false,
            "publish" | "spublish" | "ping" | "echo" => false,
            name => !name.starts_with('h') && !name.starts_with("pf"),
        }
    }
}
