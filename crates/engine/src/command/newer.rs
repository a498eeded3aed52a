//! Commands that the server of `generated` does not have: Redis above 7.0 and Valkey, from their published pages.

use super::flags::Flags as F;
use super::generated::Row;
use super::keys::Access::{Read, Remove, Write};
use super::keys::{KeySpec, index, key, number, range};

const READ_FIRST: &[KeySpec] = &[key(Read, index(1), range(0, 1, 0))];
const WRITE_FIRST: &[KeySpec] = &[key(Write, index(1), range(0, 1, 0))];
const READ: F = F::READONLY.or(F::FAST);
const WRITE: F = F::WRITE.or(F::FAST);
const GROW: F = F::WRITE.or(F::DENYOOM).or(F::FAST);
const SESSION: F = F::NOSCRIPT.or(F::LOADING).or(F::STALE).or(F::CONNECTION);

#[rustfmt::skip]
pub(super) static ROWS: &[Row] = &[
    // Connection: Redis 7.2, Valkey 8 and 9
    ("client|setinfo",       4, SESSION, &[]),
    ("client|no-touch",      3, SESSION, &[]),
    ("client|capa",         -3, SESSION, &[]),
    ("client|import-source", 3, SESSION.or(F::ADMIN), &[]),
    ("waitaof",              4, F::BLOCKING, &[]),

    // Connection: Redis Software and Cloud; client libraries ask every server for it, and live with an error
    ("client|maint_notifications", -3, SESSION, &[]),

    // Time to live of hash fields: Redis 7.4, Valkey 9
    ("hexpire",             -6, GROW, WRITE_FIRST),
    ("hpexpire",            -6, GROW, WRITE_FIRST),
    ("hexpireat",           -6, GROW, WRITE_FIRST),
    ("hpexpireat",          -6, GROW, WRITE_FIRST),
    ("hpersist",            -5, WRITE, WRITE_FIRST),
    ("hexpiretime",         -5, READ, READ_FIRST),
    ("hpexpiretime",        -5, READ, READ_FIRST),
    ("httl",                -5, READ, READ_FIRST),
    ("hpttl",               -5, READ, READ_FIRST),

    // Hash fields with a time to live: Redis 8.0, Valkey 9
    ("hsetex",              -6, GROW, WRITE_FIRST),
    ("hgetex",              -5, WRITE, WRITE_FIRST),
    ("hgetdel",             -5, WRITE, WRITE_FIRST),

    // Strings: Redis 8.4, Valkey 9
    ("msetex",              -4, F::WRITE.or(F::DENYOOM).or(F::MOVABLEKEYS), &[key(Write, index(1), number(0, 1, 2))]),
    ("delex",               -2, WRITE, &[key(Remove, index(1), range(0, 1, 0))]),
    ("delifeq",              3, WRITE, &[key(Remove, index(1), range(0, 1, 0))]),
    ("digest",               2, READ, READ_FIRST),

    // Counters: Redis 8.8, Valkey 9.2; sets whose members expire: Redis 8.12
    ("increx",              -2, GROW, WRITE_FIRST),
    ("saddex",              -5, GROW, WRITE_FIRST),

    // Streams: Redis 8.2
    ("xackdel",             -6, WRITE, WRITE_FIRST),
    ("xdelex",              -5, WRITE, WRITE_FIRST),

    // Vector sets: Redis 8.0
    ("vadd",                -5, F::WRITE.or(F::DENYOOM).or(F::MODULE), WRITE_FIRST),
    ("vrem",                 3, F::WRITE.or(F::MODULE), WRITE_FIRST),
    ("vsetattr",             4, F::WRITE.or(F::FAST).or(F::MODULE), WRITE_FIRST),
    ("vcard",                2, READ.or(F::MODULE), READ_FIRST),
    ("vdim",                 2, READ.or(F::MODULE), READ_FIRST),
    ("vemb",                -3, READ.or(F::MODULE), READ_FIRST),
    ("vgetattr",             3, READ.or(F::MODULE), READ_FIRST),
    ("vinfo",                2, READ.or(F::MODULE), READ_FIRST),
    ("vismember",            3, READ.or(F::MODULE), READ_FIRST),
    ("vlinks",              -3, READ.or(F::MODULE), READ_FIRST),
    ("vrandmember",         -2, READ.or(F::MODULE), READ_FIRST),
    ("vsim",                -4, F::READONLY.or(F::MODULE), READ_FIRST),
];
