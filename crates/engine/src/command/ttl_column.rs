//! The column of the command table about the time to live of keys.

/// What happens to the time to live of one key, if the command succeeds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TtlEffect {
    /// The key expires.
    Set {
        /// From now; `None` when the time cannot be read. Not positive only together with
        /// `conditional`: then the key is deleted if the condition holds.
        milliseconds: Option<i64>,
        /// Whether an option can make the command succeed without doing this.
        conditional: bool,
    },
    /// The key expires at a moment.
    SetAt {
        /// Milliseconds since the epoch; `None` when the moment cannot be read.
        milliseconds: Option<i64>,
        /// Whether an option can make the command succeed without doing this.
        conditional: bool,
    },
    /// An existing time to live is dropped, a new key has none.
    Drop,
    /// An existing time to live is kept, a new key has none.
    KeepOrCreate,
    /// A key that is not there is made, and has none; one that is there stays as it is.
    Create,
    /// An existing time to live is kept, no key is created. The key may become empty, and so be gone.
    Keep,
    /// An existing time to live is dropped, no key is created.
    Persist,
    /// The key is gone.
    Delete,
    /// The key gets the time to live, or the lack of one, of the key that was renamed or copied.
    Inherit,
    /// Anything may happen: a script or a module wrote it.
    Unknown,
}

/// The unit of a written time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// As in EXPIRE.
    Seconds,
    /// As in PEXPIRE.
    Milliseconds,
}

/// How a command's arguments tell what happens to the time to live of its keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TtlColumn {
    /// No key's time to live changes.
    None,
    /// It writes, but names no keys.
    Keyless,
    /// The same for every key written.
    Written(TtlEffect),
    /// By the options of SET.
    Set,
    /// By the time in front of the value: SETEX, PSETEX.
    TimeThenValue(Unit),
    /// By the options of GETEX.
    GetEx,
    /// From now, with conditions: EXPIRE, PEXPIRE.
    Expire(Unit),
    /// At a time, with conditions: EXPIREAT, PEXPIREAT.
    ExpireAt(Unit),
    /// By the options of MSETEX, alike for all keys.
    MSetEx,
    /// By the options of INCREX.
    IncrEx,
    /// By the time and the options of RESTORE.
    Restore,
    /// An element goes from the first key to the second.
    ElementMoves,
    /// The value goes from the first key to the second.
    Rename,
    /// The value is copied from the first key to the second, in this database or another.
    Copy,
    /// Deleted here unless COPY is said.
    Migrate,
    /// Creates unless XX is said: ZADD, GEOADD.
    SortedSetAdd,
    /// Creates unless NOMKSTREAM is said.
    StreamAdd,
    /// Creates only if MKSTREAM is said: XGROUP CREATE.
    GroupCreate,
    /// Deleted, unless by a condition: DELEX.
    DeleteIf,
}
