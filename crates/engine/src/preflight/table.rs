//! Which function predicts which command. Commands that are not listed are not predicted.
//!
//! Missing on purpose: scripts, SORT, RESTORE, MIGRATE, MOVE, XSETID, OBJECT FREQ and IDLETIME, the searches on the
//! globe, LCS (its memory), modules, the whole keyspace, and commands that came after Redis 7.0.

use std::sync::LazyLock;

use super::analysis::GroupAnalysis;
use super::types::Types;
use super::{Fault, hashes, keyspace, lists, sets, sorted_sets, streams, strings};
use crate::command::{CommandId, Spec, Table};

pub(super) type Rule = fn(&mut GroupAnalysis<'_>) -> Result<(), Fault>;

/// The rule of a command: one that only an upstream knows has none.
pub(super) fn rule(id: CommandId) -> Option<Rule> {
    BY_ID.get(id.index()).copied().flatten()
}

/// Whether the command reads a number in a field of a hash.
pub(super) fn counts_field(spec: &Spec) -> bool {
    matches!(spec.name(), "hincrby" | "hincrbyfloat")
}

/// By the command's id, which is the same in every table.
static BY_ID: LazyLock<Vec<Option<Rule>>> = LazyLock::new(|| {
    let table = Table::builtin();
    let mut rules = vec![None; table.len()];
    table.iter().for_each(|(id, spec)| rules[id.index()] = rule_of(spec.name()));
    rules
});

/// The rule of the command `name`, in lower case.
pub(super) fn rule_of(name: &str) -> Option<Rule> {
    let place = ROWS.binary_search_by_key(&name, |row| row.0).ok()?;
    Some(ROWS[place].1)
}

#[rustfmt::skip]
static ROWS: &[(&str, Rule)] = &[
    ("append", strings::append),
    ("bitcount", strings::bitcount),
    ("bitfield", strings::bitfield),
    ("bitfield_ro", strings::bitfield_ro),
    ("bitop", strings::bitop),
    ("bitpos", strings::bitpos),
    ("copy", keyspace::copy),
    ("decr", |a| a.counts(1, Some(-1))),
    ("decrby", strings::decrby),
    ("del", keyspace::del),
    ("dump", keyspace::cannot_fail),
    ("echo", keyspace::cannot_fail),
    ("exists", keyspace::cannot_fail),
    ("expire", |a| keyspace::expires(a, true, false, "expire")),
    ("expireat", |a| keyspace::expires(a, true, true, "expireat")),
    ("expiretime", keyspace::cannot_fail),
    ("geoadd", sorted_sets::geoadd),
    ("geodist", sorted_sets::geodist),
    ("geohash", sorted_sets::read),
    ("geopos", sorted_sets::read),
    ("get", strings::read),
    ("getbit", strings::getbit),
    ("getdel", strings::getdel),
    ("getex", strings::getex),
    ("getrange", strings::getrange),
    ("getset", strings::getset),
    ("hdel", hashes::hdel),
    ("hexists", hashes::read),
    ("hget", hashes::read),
    ("hgetall", hashes::read),
    ("hincrby", hashes::hincrby),
    ("hincrbyfloat", hashes::hincrbyfloat),
    ("hkeys", hashes::read),
    ("hlen", hashes::read),
    ("hmget", hashes::read),
    ("hmset", |a| hashes::set(a, "hmset")),
    ("hrandfield", hashes::hrandfield),
    ("hscan", hashes::hscan),
    ("hset", |a| hashes::set(a, "hset")),
    ("hsetnx", hashes::hsetnx),
    ("hstrlen", hashes::read),
    ("hvals", hashes::read),
    ("incr", |a| a.counts(1, Some(1))),
    ("incrby", |a| a.counts(1, Some(a.integer(2)?))),
    ("incrbyfloat", strings::incrbyfloat),
    ("lindex", lists::lindex),
    ("linsert", lists::linsert),
    ("llen", lists::read),
    ("lmove", lists::lmove),
    ("lmpop", lists::lmpop),
    ("lpop", |a| lists::pop(a, "lpop")),
    ("lpos", lists::lpos),
    ("lpush", lists::push),
    ("lpushx", lists::read),
    ("lrange", lists::lrange),
    ("lrem", lists::lrem),
    ("lset", lists::lset),
    ("ltrim", lists::ltrim),
    ("memory|usage", keyspace::memory_usage),
    ("mget", keyspace::cannot_fail),
    ("mset", strings::mset),
    ("msetnx", strings::msetnx),
    ("object|encoding", keyspace::cannot_fail),
    ("object|refcount", keyspace::cannot_fail),
    ("persist", keyspace::cannot_fail),
    ("pexpire", |a| keyspace::expires(a, false, false, "pexpire")),
    ("pexpireat", |a| keyspace::expires(a, false, true, "pexpireat")),
    ("pexpiretime", keyspace::cannot_fail),
    ("pfadd", |a| a.distinct(1, true)),
    ("pfcount", strings::pfcount),
    ("pfmerge", strings::pfmerge),
    ("psetex", |a| strings::timed(a, false, "psetex")),
    ("pttl", keyspace::cannot_fail),
    ("publish", keyspace::cannot_fail),
    ("rename", keyspace::rename),
    ("renamenx", keyspace::renamenx),
    ("rpop", |a| lists::pop(a, "rpop")),
    ("rpoplpush", lists::moved),
    ("rpush", lists::push),
    ("rpushx", lists::read),
    ("sadd", |a| a.makes(1, Types::SET)),
    ("scard", sets::read),
    ("sdiff", sets::all),
    ("sdiffstore", sets::store),
    ("set", strings::set),
    ("setbit", strings::setbit),
    ("setex", |a| strings::timed(a, true, "setex")),
    ("setnx", |a| a.perhaps_written(1, a.arg(2)?, true)),
    ("setrange", strings::setrange),
    ("sinter", sets::all),
    ("sintercard", sets::sintercard),
    ("sinterstore", sets::store),
    ("sismember", sets::read),
    ("smembers", sets::read),
    ("smismember", sets::read),
    ("smove", sets::smove),
    ("spop", |a| sets::pop(a, Types::SET)),
    ("spublish", keyspace::cannot_fail),
    ("srandmember", sets::srandmember),
    ("srem", |a| a.takes(1, Types::SET)),
    ("sscan", sets::sscan),
    ("strlen", strings::read),
    ("substr", strings::getrange),
    ("sunion", sets::all),
    ("sunionstore", sets::store),
    ("touch", keyspace::cannot_fail),
    ("ttl", keyspace::cannot_fail),
    ("type", keyspace::cannot_fail),
    ("unlink", keyspace::del),
    ("xack", streams::xack),
    ("xadd", streams::xadd),
    ("xautoclaim", streams::xautoclaim),
    ("xclaim", streams::xclaim),
    ("xdel", streams::xdel),
    ("xgroup|create", streams::create),
    ("xgroup|createconsumer", streams::with_group),
    ("xgroup|delconsumer", streams::with_group),
    ("xgroup|destroy", streams::destroy),
    ("xgroup|setid", streams::setid),
    ("xinfo|consumers", streams::info_consumers),
    ("xinfo|groups", streams::info_groups),
    ("xinfo|stream", streams::info_stream),
    ("xlen", streams::read),
    ("xpending", streams::xpending),
    ("xrange", streams::xrange),
    ("xread", streams::xread),
    ("xreadgroup", streams::xreadgroup),
    ("xrevrange", streams::xrange),
    ("xtrim", streams::xtrim),
    ("zadd", sorted_sets::zadd),
    ("zcard", sorted_sets::read),
    ("zcount", sorted_sets::zcount),
    ("zdiff", |a| sorted_sets::combined(a, 1, false, true)),
    ("zdiffstore", |a| sorted_sets::combine_store(a, false)),
    ("zincrby", sorted_sets::zincrby),
    ("zinter", |a| sorted_sets::combined(a, 1, true, true)),
    ("zintercard", sorted_sets::zintercard),
    ("zinterstore", |a| sorted_sets::combine_store(a, true)),
    ("zlexcount", sorted_sets::zlexcount),
    ("zmpop", sorted_sets::zmpop),
    ("zmscore", sorted_sets::read),
    ("zpopmax", |a| sets::pop(a, Types::ZSET)),
    ("zpopmin", |a| sets::pop(a, Types::ZSET)),
    ("zrandmember", sorted_sets::zrandmember),
    ("zrange", sorted_sets::zrange),
    ("zrangebylex", sorted_sets::zrangebylex),
    ("zrangebyscore", sorted_sets::zrangebyscore),
    ("zrangestore", sorted_sets::zrangestore),
    ("zrank", sorted_sets::zrank),
    ("zrem", |a| a.takes(1, Types::ZSET)),
    ("zremrangebylex", sorted_sets::zremrangebylex),
    ("zremrangebyrank", sorted_sets::zremrangebyrank),
    ("zremrangebyscore", sorted_sets::zremrangebyscore),
    ("zrevrange", sorted_sets::zrevrange),
    ("zrevrangebylex", sorted_sets::zrangebylex),
    ("zrevrangebyscore", sorted_sets::zrangebyscore),
    ("zrevrank", sorted_sets::zrank),
    ("zscan", sorted_sets::zscan),
    ("zscore", sorted_sets::read),
    ("zunion", |a| sorted_sets::combined(a, 1, true, true)),
    ("zunionstore", |a| sorted_sets::combine_store(a, true)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_name_known_commands() {
        for pair in ROWS.windows(2) {
            assert!(pair[0].0 < pair[1].0, "{} before {}", pair[0].0, pair[1].0);
        }
        let table = Table::builtin();
        for (name, _) in ROWS {
            assert!(table.by_name(name).is_some(), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_predicted_has_no_row() {
        for name in ["eval", "sort", "restore", "object|freq", "move", "flushdb", "xsetid", "georadius", "hexpire", "unknown"] {
            assert!(rule_of(name).is_none(), "{name}");
        }
    }
}
