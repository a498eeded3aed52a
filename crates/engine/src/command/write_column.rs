//! The hand-kept columns of what commands write: time to live, keys made, what a second run does.

use super::effect::TtlColumn::{
    self, Copy, DeleteIf, ElementMoves, Expire, ExpireAt, GetEx, GroupCreate, IncrEx, Keyless, MSetEx, Migrate, Rename, Restore,
    Set, SortedSetAdd, StreamAdd, TimeThenValue, Written,
};
use super::effect::TtlEffect::{Create, Delete, Drop, Keep, KeepOrCreate, Persist, Unknown};
use super::effect::Unit::{Milliseconds, Seconds};
use super::spec::RetryClass::{self, NotIdempotent, SameReply, SameState};

/// Command, effect on keys' time to live, whether it can make a key, what a second run does.
pub(super) type Row = (&'static str, TtlColumn, bool, RetryClass);

/// A key that is not there is made.
const MAKES: bool = true;
/// Only what is there is changed.
const FINDS: bool = false;

#[rustfmt::skip]
pub(super) static ROWS: &[Row] = &[
    // Keys
    ("copy",                 Copy,                        MAKES, SameState),
    ("del",                  Written(Delete),             FINDS, SameState),
    ("delex",                DeleteIf,                    FINDS, SameState),
    ("delifeq",              DeleteIf,                    FINDS, SameState),
    ("expire",               Expire(Seconds),             FINDS, NotIdempotent),
    ("expireat",             ExpireAt(Seconds),           FINDS, SameReply),
    ("migrate",              Migrate,                     FINDS, NotIdempotent),
    ("move",                 Written(Delete),             FINDS, SameState),
    ("persist",              Written(Persist),            FINDS, SameState),
    ("pexpire",              Expire(Milliseconds),        FINDS, NotIdempotent),
    ("pexpireat",            ExpireAt(Milliseconds),      FINDS, SameReply),
    ("rename",               Rename,                      MAKES, SameState),
    ("renamenx",             Rename,                      MAKES, SameState),
    ("restore",              Restore,                     MAKES, NotIdempotent),
    ("restore-asking",       Restore,                     MAKES, NotIdempotent),
    ("sort",                 Written(Drop),               MAKES, SameReply),
    ("unlink",               Written(Delete),             FINDS, SameState),

    // Strings
    ("append",               Written(KeepOrCreate),       MAKES, NotIdempotent),
    ("bitfield",             Written(KeepOrCreate),       MAKES, NotIdempotent),
    ("bitop",                Written(Drop),               MAKES, NotIdempotent),
    ("decr",                 Written(KeepOrCreate),       MAKES, NotIdempotent),
    ("decrby",               Written(KeepOrCreate),       MAKES, NotIdempotent),
    ("getdel",               Written(Delete),             FINDS, SameState),
    ("getex",                GetEx,                       FINDS, NotIdempotent),
    ("getset",               Written(Drop),               MAKES, SameState),
    ("incr",                 Written(KeepOrCreate),       MAKES, NotIdempotent),
    ("incrby",               Written(KeepOrCreate),       MAKES, NotIdempotent),
    ("increx",               IncrEx,                      MAKES, NotIdempotent),
    ("incrbyfloat",          Written(KeepOrCreate),       MAKES, NotIdempotent),
    ("mset",                 Written(Drop),               MAKES, SameReply),
    ("msetex",               MSetEx,                      MAKES, SameState),
    ("msetnx",               Written(Create),             MAKES, SameState),
    ("psetex",               TimeThenValue(Milliseconds), MAKES, SameReply),
    ("set",                  Set,                         MAKES, SameState),
    ("setbit",               Written(KeepOrCreate),       MAKES, SameState),
    ("setex",                TimeThenValue(Seconds),      MAKES, SameReply),
    ("setnx",                Written(Create),             MAKES, SameState),
    ("setrange",             Written(KeepOrCreate),       MAKES, SameReply),

    // HyperLogLogs
    ("pfadd",                Written(KeepOrCreate),       MAKES, SameState),
    ("pfdebug",              Written(Keep),               FINDS, NotIdempotent),
    ("pfmerge",              Written(KeepOrCreate),       MAKES, SameReply),

    // Hashes
    ("hdel",                 Written(Keep),               FINDS, SameState),
    ("hexpire",              Written(Keep),               FINDS, NotIdempotent),
    ("hexpireat",            Written(Keep),               FINDS, SameState),
    ("hgetdel",              Written(Keep),               FINDS, SameState),
    ("hgetex",               Written(Keep),               FINDS, NotIdempotent),
    ("hincrby",              Written(KeepOrCreate),       MAKES, NotIdempotent),
    ("hincrbyfloat",         Written(KeepOrCreate),       MAKES, NotIdempotent),
    ("hmset",                Written(KeepOrCreate),       MAKES, SameReply),
    ("hpersist",             Written(Keep),               FINDS, SameState),
    ("hpexpire",             Written(Keep),               FINDS, NotIdempotent),
    ("hpexpireat",           Written(Keep),               FINDS, SameState),
    ("hset",                 Written(KeepOrCreate),       MAKES, SameState),
    ("hsetex",               Written(KeepOrCreate),       MAKES, SameState),
    ("hsetnx",               Written(KeepOrCreate),       MAKES, SameState),

    // Lists
    ("blmove",               ElementMoves,                MAKES, NotIdempotent),
    ("blmpop",               Written(Keep),               FINDS, NotIdempotent),
    ("blpop",                Written(Keep),               FINDS, NotIdempotent),
    ("brpop",                Written(Keep),               FINDS, NotIdempotent),
    ("brpoplpush",           ElementMoves,                MAKES, NotIdempotent),
    ("linsert",              Written(Keep),               FINDS, NotIdempotent),
    ("lmove",                ElementMoves,                MAKES, NotIdempotent),
    ("lmpop",                Written(Keep),               FINDS, NotIdempotent),
    ("lpop",                 Written(Keep),               FINDS, NotIdempotent),
    ("lpush",                Written(KeepOrCreate),       MAKES, NotIdempotent),
    ("lpushx",               Written(Keep),               FINDS, NotIdempotent),
    ("lrem",                 Written(Keep),               FINDS, NotIdempotent),
    ("lset",                 Written(Keep),               FINDS, SameReply),
    ("ltrim",                Written(Keep),               FINDS, NotIdempotent),
    ("rpop",                 Written(Keep),               FINDS, NotIdempotent),
    ("rpoplpush",            ElementMoves,                MAKES, NotIdempotent),
    ("rpush",                Written(KeepOrCreate),       MAKES, NotIdempotent),
    ("rpushx",               Written(Keep),               FINDS, NotIdempotent),

    // Sets
    ("sadd",                 Written(KeepOrCreate),       MAKES, SameState),
    ("saddex",               Written(KeepOrCreate),       MAKES, SameState),
    ("sdiffstore",           Written(Drop),               MAKES, NotIdempotent),
    ("sinterstore",          Written(Drop),               MAKES, NotIdempotent),
    ("smove",                ElementMoves,                MAKES, SameState),
    ("spop",                 Written(Keep),               FINDS, NotIdempotent),
    ("srem",                 Written(Keep),               FINDS, SameState),
    ("sunionstore",          Written(Drop),               MAKES, NotIdempotent),

    // Sorted sets
    ("bzmpop",               Written(Keep),               FINDS, NotIdempotent),
    ("bzpopmax",             Written(Keep),               FINDS, NotIdempotent),
    ("bzpopmin",             Written(Keep),               FINDS, NotIdempotent),
    ("geoadd",               SortedSetAdd,                MAKES, SameState),
    ("georadius",            Written(Drop),               MAKES, NotIdempotent),
    ("georadiusbymember",    Written(Drop),               MAKES, NotIdempotent),
    ("geosearchstore",       Written(Drop),               MAKES, NotIdempotent),
    ("zadd",                 SortedSetAdd,                MAKES, NotIdempotent),
    ("zdiffstore",           Written(Drop),               MAKES, NotIdempotent),
    ("zincrby",              Written(KeepOrCreate),       MAKES, NotIdempotent),
    ("zinterstore",          Written(Drop),               MAKES, NotIdempotent),
    ("zmpop",                Written(Keep),               FINDS, NotIdempotent),
    ("zpopmax",              Written(Keep),               FINDS, NotIdempotent),
    ("zpopmin",              Written(Keep),               FINDS, NotIdempotent),
    ("zrangestore",          Written(Drop),               MAKES, NotIdempotent),
    ("zrem",                 Written(Keep),               FINDS, SameState),
    ("zremrangebylex",       Written(Keep),               FINDS, SameState),
    ("zremrangebyrank",      Written(Keep),               FINDS, NotIdempotent),
    ("zremrangebyscore",     Written(Keep),               FINDS, SameState),
    ("zunionstore",          Written(Drop),               MAKES, NotIdempotent),

    // Streams
    ("xack",                 Written(Keep),               FINDS, SameState),
    ("xackdel",              Written(Keep),               FINDS, SameState),
    ("xadd",                 StreamAdd,                   MAKES, NotIdempotent),
    ("xautoclaim",           Written(Keep),               FINDS, NotIdempotent),
    ("xclaim",               Written(Keep),               FINDS, NotIdempotent),
    ("xdel",                 Written(Keep),               FINDS, SameState),
    ("xdelex",               Written(Keep),               FINDS, SameState),
    ("xgroup|create",        GroupCreate,                 MAKES, SameState),
    ("xgroup|createconsumer", Written(Keep),              FINDS, SameState),
    ("xgroup|delconsumer",   Written(Keep),               FINDS, SameState),
    ("xgroup|destroy",       Written(Keep),               FINDS, SameState),
    ("xgroup|setid",         Written(Keep),               FINDS, SameState),
    ("xreadgroup",           Written(Keep),               FINDS, NotIdempotent),
    ("xsetid",               Written(Keep),               FINDS, SameReply),
    ("xtrim",                Written(Keep),               FINDS, NotIdempotent),

    // Vector sets
    ("vadd",                 Written(KeepOrCreate),       MAKES, SameState),
    ("vrem",                 Written(Keep),               FINDS, SameState),
    ("vsetattr",             Written(Keep),               FINDS, SameState),

    // Scripts, which are not flagged as writes
    ("eval",                 Written(Unknown),            MAKES, NotIdempotent),
    ("evalsha",              Written(Unknown),            MAKES, NotIdempotent),
    ("fcall",                Written(Unknown),            MAKES, NotIdempotent),

    // The whole keyspace
    ("flushall",             Keyless,                     FINDS, SameReply),
    ("flushdb",              Keyless,                     FINDS, SameReply),
    ("function|delete",      Keyless,                     FINDS, SameState),
    ("function|flush",       Keyless,                     FINDS, SameReply),
    ("function|load",        Keyless,                     FINDS, SameState),
    ("function|restore",     Keyless,                     FINDS, SameState),
    ("swapdb",               Keyless,                     FINDS, NotIdempotent),
];

/// Commands that change nothing although Redis does not flag them as read-only; subcommands `help` are the others.
pub(super) static QUESTIONS: &[&str] = &[
    "acl|cat",
    "acl|dryrun",
    "acl|genpass",
    "acl|getuser",
    "acl|list",
    "acl|users",
    "acl|whoami",
    "client|getname",
    "client|getredir",
    "client|id",
    "client|info",
    "client|list",
    "client|trackinginfo",
    "cluster|count-failure-reports",
    "cluster|countkeysinslot",
    "cluster|getkeysinslot",
    "cluster|info",
    "cluster|keyslot",
    "cluster|links",
    "cluster|myid",
    "cluster|nodes",
    "cluster|replicas",
    "cluster|shards",
    "cluster|slaves",
    "cluster|slots",
    "command",
    "command|count",
    "command|docs",
    "command|getkeys",
    "command|getkeysandflags",
    "command|info",
    "command|list",
    "config|get",
    "echo",
    "function|dump",
    "function|list",
    "function|stats",
    "info",
    "lastsave",
    "latency|doctor",
    "latency|graph",
    "latency|histogram",
    "latency|history",
    "latency|latest",
    "memory|doctor",
    "memory|malloc-stats",
    "memory|stats",
    "module|list",
    "ping",
    "pubsub|channels",
    "pubsub|numpat",
    "pubsub|numsub",
    "pubsub|shardchannels",
    "pubsub|shardnumsub",
    "role",
    "script|exists",
    "slowlog|get",
    "slowlog|len",
    "time",
];

/// The row of `name`.
pub(super) fn row(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.0 == name)
}
