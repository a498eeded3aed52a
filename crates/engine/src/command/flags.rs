//! The flags that COMMAND reports for a command.

use std::fmt;

/// A set of command flags (<https://redis.io/docs/latest/commands/command/#flags>).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Flags(u32);

/// Every flag under the name that COMMAND uses for it.
const NAMES: [(&str, Flags); 20] = [
    ("write", Flags::WRITE),
    ("readonly", Flags::READONLY),
    ("denyoom", Flags::DENYOOM),
    ("admin", Flags::ADMIN),
    ("pubsub", Flags::PUBSUB),
    ("noscript", Flags::NOSCRIPT),
    ("blocking", Flags::BLOCKING),
    ("loading", Flags::LOADING),
    ("stale", Flags::STALE),
    ("skip_monitor", Flags::SKIP_MONITOR),
    ("skip_slowlog", Flags::SKIP_SLOWLOG),
    ("asking", Flags::ASKING),
    ("fast", Flags::FAST),
    ("no_auth", Flags::NO_AUTH),
    ("no_mandatory_keys", Flags::NO_MANDATORY_KEYS),
    ("movablekeys", Flags::MOVABLEKEYS),
    ("no_async_loading", Flags::NO_ASYNC_LOADING),
    ("no_multi", Flags::NO_MULTI),
    ("allow_busy", Flags::ALLOW_BUSY),
    ("module", Flags::MODULE),
];

impl Flags {
    /// No flag.
    pub const NONE: Flags = Flags(0);
    /// It may change keys.
    pub const WRITE: Flags = Flags(1);
    /// It only reads keys.
    pub const READONLY: Flags = Flags(1 << 1);
    /// It is refused when the server is out of memory.
    pub const DENYOOM: Flags = Flags(1 << 2);
    /// It is for administrators.
    pub const ADMIN: Flags = Flags(1 << 3);
    /// It is about messages.
    pub const PUBSUB: Flags = Flags(1 << 4);
    /// No script may call it.
    pub const NOSCRIPT: Flags = Flags(1 << 5);
    /// It may block its client.
    pub const BLOCKING: Flags = Flags(1 << 6);
    /// It runs while the data set is loaded.
    pub const LOADING: Flags = Flags(1 << 7);
    /// It runs on a replica whose data is stale.
    pub const STALE: Flags = Flags(1 << 8);
    /// MONITOR does not show it.
    pub const SKIP_MONITOR: Flags = Flags(1 << 9);
    /// The slow log leaves it out.
    pub const SKIP_SLOWLOG: Flags = Flags(1 << 10);
    /// It runs in a slot that is being imported.
    pub const ASKING: Flags = Flags(1 << 11);
    /// It takes little time, whatever the data.
    pub const FAST: Flags = Flags(1 << 12);
    /// It needs no login.
    pub const NO_AUTH: Flags = Flags(1 << 13);
    /// Its keys may be left out.
    pub const NO_MANDATORY_KEYS: Flags = Flags(1 << 14);
    /// Where its keys are depends on its arguments.
    pub const MOVABLEKEYS: Flags = Flags(1 << 15);
    /// It is refused while a replica loads in the background.
    pub const NO_ASYNC_LOADING: Flags = Flags(1 << 16);
    /// It is refused within a transaction.
    pub const NO_MULTI: Flags = Flags(1 << 17);
    /// It runs while a script keeps the server busy.
    pub const ALLOW_BUSY: Flags = Flags(1 << 18);
    /// A module brings it.
    pub const MODULE: Flags = Flags(1 << 19);
    /// The ACL category `@scripting`: runs, loads or steers scripts and functions.
    pub const SCRIPTING: Flags = Flags(1 << 20);
    /// The ACL category `@connection`: tells or asks something about the connection.
    pub const CONNECTION: Flags = Flags(1 << 21);

    /// The flags of both.
    pub const fn or(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Whether at least one of `other` is set.
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }

    /// The flag that COMMAND calls `name`; none for a flag this table has no use for.
    pub(super) fn from_name(name: &[u8]) -> Flags {
        NAMES.iter().find(|(known, _)| known.as_bytes() == name).map_or(Flags::NONE, |(_, flag)| *flag)
    }

    /// The flag for an ACL category such as `@scripting`; none for the others.
    pub(super) fn from_category(name: &[u8]) -> Flags {
        match name {
            b"@scripting" => Flags::SCRIPTING,
            b"@connection" => Flags::CONNECTION,
            _ => Flags::NONE,
        }
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let categories = [("@scripting", Flags::SCRIPTING), ("@connection", Flags::CONNECTION)];
        let set = NAMES.iter().chain(&categories).filter(|(_, flag)| self.has(*flag));
        f.write_str(&set.map(|(name, _)| *name).collect::<Vec<_>>().join(" "))
    }
}
