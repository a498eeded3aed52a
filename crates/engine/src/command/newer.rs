//! Commands that no server of `generated` lists: taken from the documentation of newer Redis and Valkey, and not verified on a
//! server. `tests/command_table` fails if a server lists one: it then belongs in `generated`.

use super::flags::Flags as F;
use super::generated::Row;
use super::keys::Access::{Read, Remove, Write};
use super::keys::{KeySpec, index, key, range};

const READ_FIRST: &[KeySpec] = &[key(Read, index(1), range(0, 1, 0))];
const WRITE_FIRST: &[KeySpec] = &[key(Write, index(1), range(0, 1, 0))];
const WRITE_TWO: &[KeySpec] = &[key(Write, index(1), range(0, 1, 0)), key(Write, index(2), range(0, 1, 0))];
const READ: F = F::READONLY.or(F::FAST);
const WRITE: F = F::WRITE.or(F::FAST);
const GROW: F = F::WRITE.or(F::DENYOOM).or(F::FAST);
const SESSION: F = F::NOSCRIPT.or(F::LOADING).or(F::STALE).or(F::CONNECTION);

#[rustfmt::skip]
pub(super) static ROWS: &[Row] = &[
    // Redis Software and Cloud; client libraries ask every server for it, and live with an error
    ("client|maint_notifications", 0, "", -3, SESSION, &[]),

    // Strings
    ("delex",       0, "Redis 8.4, Valkey 9.2", -2, WRITE, &[key(Remove, index(1), range(0, 1, 0))]),
    ("digest",      0, "Redis 8.4", 2, READ, READ_FIRST),

    // Counters
    ("increx",      0, "Redis 8.8, Valkey 9.2", -2, GROW, WRITE_FIRST),

    // Sets whose members expire
    ("saddex",      0, "Redis 8.12", -5, GROW, WRITE_FIRST),
    ("sexpire",     0, "Redis 8.12", -6, WRITE, WRITE_FIRST),
    ("sexpireat",   0, "Redis 8.12", -6, WRITE, WRITE_FIRST),
    ("spersist",    0, "Redis 8.12", -5, WRITE, WRITE_FIRST),
    ("spexpire",    0, "Redis 8.12", -6, WRITE, WRITE_FIRST),
    ("spexpireat",  0, "Redis 8.12", -6, WRITE, WRITE_FIRST),
    ("sttl",        0, "Redis 8.12", -5, READ, READ_FIRST),

    // Members that change their sorted set
    ("zmove",       0, "Redis 8.12", -4, F::WRITE, WRITE_TWO),
    ("zmovemember", 0, "Redis 8.12", -6, F::WRITE, WRITE_TWO),
];
