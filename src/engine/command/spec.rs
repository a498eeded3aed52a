//! One row of the command table.

use super::blocking::{BlockFor, Timeout};
use super::connection::ConnectionEffect;
use super::effect::TtlColumn;
use super::flags::Flags;
use super::keys::{Access, KeyList, Keys};
use crate::engine::resp::request::Args;

/// What is known about one command or subcommand.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Lower case; `container|subcommand` for a subcommand.
    pub name: Box<str>,
    /// Words of the name in a request: 2 for a subcommand.
    pub name_words: u8,
    /// Arguments with the name: exactly so many or, if negative, at least so many.
    pub arity: i16,
    pub flags: Flags,
    pub keys: Keys,
    pub connection: ConnectionEffect,
    /// Where the command says how long it waits.
    pub timeout: Timeout,
    pub ttl: TtlColumn,
    /// Whether it can make a key that was not there.
    pub creates_key: bool,
    pub retry: RetryClass,
    pub rewrite: Rewrite,
    /// Whether the upstream has it, as far as one was asked.
    pub present: bool,
}

/// What happens when a command runs twice. Where arguments decide, the worst case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RetryClass {
    /// Changes nothing.
    Read,
    /// The second run leaves the same state and answers the same.
    SameReply,
    /// The second run leaves the same state but may answer differently.
    SameState,
    /// The second run changes something again.
    NotIdempotent,
}

/// How a command is brought into its canonical form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rewrite {
    /// It is its own canonical form.
    None,
    /// SET: options in a fixed order.
    SetOptions,
    /// SETEX: SET with EX.
    SetEx,
    /// PSETEX: SET with PX.
    SetPx,
    /// INCR: INCRBY 1.
    Increment,
    /// DECR: DECRBY 1.
    Decrement,
}

/// Why a command cannot be a member of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ungroupable {
    /// Inside a transaction it would not wait.
    Blocking,
    /// Its reply is not one frame.
    PubSub,
    /// It is about the connection, which members share with others.
    ConnectionState,
    /// It is about a transaction.
    Transaction,
    /// Redis refuses it inside a transaction.
    NoMulti,
    /// Nothing is known that would prove it harmless.
    Unknown,
}

impl Ungroupable {
    /// The word for messages and documentation.
    pub fn as_str(self) -> &'static str {
        match self {
            Ungroupable::Blocking => "blocking",
            Ungroupable::PubSub => "pub/sub",
            Ungroupable::ConnectionState => "connection state",
            Ungroupable::Transaction => "transaction",
            Ungroupable::NoMulti => "not allowed in a transaction",
            Ungroupable::Unknown => "unknown",
        }
    }
}

impl Spec {
    /// The name for reports: `set`, `client|setname`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether Redis accepts so many arguments.
    pub fn arity_fits(&self, args: Args<'_>) -> bool {
        let least = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 {
            args.len() >= least
        } else {
            args.len() == least
        }
    }

    /// Whether Redis flags it as a write. Scripts are not flagged, whatever they write.
    pub fn is_write(&self) -> bool {
        self.flags.has(Flags::WRITE)
    }

    /// Whether Redis flags it as read-only.
    pub fn is_readonly(&self) -> bool {
        self.flags.has(Flags::READONLY)
    }

    /// Whether this request may keep its connection waiting: XREAD only does with BLOCK.
    pub fn is_blocking(&self, args: Args<'_>) -> bool {
        self.timeout.waits(args)
    }

    /// How long this request may wait; `None` when it does not, or names no valid timeout.
    pub fn blocking_timeout(&self, args: Args<'_>) -> Option<BlockFor> {
        self.timeout.read(args)
    }

    /// What this request does to its connection: as the column says, but nothing for an XREAD without BLOCK.
    pub fn connection_effect(&self, args: Args<'_>) -> ConnectionEffect {
        match self.connection {
            ConnectionEffect::Blocking if !self.is_blocking(args) => ConnectionEffect::None,
            effect => effect,
        }
    }

    /// Whether some request of this command can be a member of a group. XREAD and XREADGROUP can, without BLOCK:
    /// `is_blocking` tells for each request.
    pub fn groupable(&self) -> Result<(), Ungroupable> {
        use super::connection::PinReason;
        if self.flags.has(Flags::NO_MULTI) {
            return Err(Ungroupable::NoMulti);
        }
        match self.connection {
            ConnectionEffect::None => Ok(()),
            ConnectionEffect::Blocking if self.timeout == Timeout::BlockOption => Ok(()),
            ConnectionEffect::Blocking | ConnectionEffect::Pin(PinReason::Wait) => {
                Err(Ungroupable::Blocking)
            }
            ConnectionEffect::Subscribe(_) | ConnectionEffect::Unsubscribe(_) => {
                Err(Ungroupable::PubSub)
            }
            ConnectionEffect::Transaction(_) => Err(Ungroupable::Transaction),
            ConnectionEffect::Pin(PinReason::Unknown) => Err(Ungroupable::Unknown),
            ConnectionEffect::Local(_)
            | ConnectionEffect::Lane(_)
            | ConnectionEffect::Monitor
            | ConnectionEffect::Pin(_)
            | ConnectionEffect::Spare
            | ConnectionEffect::Quit
            | ConnectionEffect::Reset => Err(Ungroupable::ConnectionState),
        }
    }

    /// Calls `visit` with the place of each key and what is done with it.
    pub fn for_each_key(&self, args: Args<'_>, visit: &mut dyn FnMut(usize, Access)) -> KeyList {
        self.keys.visit(args, visit)
    }

    /// Whether this request is about its keys and nothing else: at least one key, all of them known, no effect on the
    /// connection, no waiting, no script, no publishing, no administration.
    pub fn is_plain_keyed(&self, args: Args<'_>) -> bool {
        let other = Flags::SCRIPTING
            .or(Flags::PUBSUB)
            .or(Flags::ADMIN)
            .or(Flags::NO_MULTI);
        let data = Flags::WRITE.or(Flags::READONLY);
        if self.flags.has(other) || !self.flags.has(data) {
            return false;
        }
        if self.connection_effect(args) != ConnectionEffect::None {
            return false;
        }
        let mut keys = 0;
        self.for_each_key(args, &mut |_, _| keys += 1) == KeyList::Complete && keys > 0
    }
}
