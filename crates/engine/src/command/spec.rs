//! One row of the command table.

use std::time::Duration;

use super::blocking::{BlockFor, Timeout};
use super::connection::ConnectionEffect;
use super::flags::Flags;
use super::keys::{Access, KeyList, Keys};
use super::measure::TimeKind;
use super::options::Options;
use super::tips::Tips;
use super::ttl_column::{TtlColumn, TtlEffect};
use respguard_resp::request::Args;

/// What is known about one command or subcommand.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Lower case; `container|subcommand` for a subcommand.
    pub name: Box<str>,
    /// Words of the name in a request: 2 for a subcommand.
    pub name_words: u8,
    /// Arguments with the name: exactly so many or, if negative, at least so many.
    pub arity: i16,
    /// What the server says of it in COMMAND INFO.
    pub flags: Flags,
    /// Where its keys are.
    pub keys: Keys,
    /// What it does to the connection.
    pub connection: ConnectionEffect,
    /// Where the command says how long it waits.
    pub timeout: Timeout,
    /// What it does to the time to live of its keys.
    pub ttl: TtlColumn,
    /// What happens when it runs twice.
    pub retry: RetryClass,
    /// How its canonical form is made.
    pub rewrite: Rewrite,
    /// Whether it is long by nature: a healthy server may need many seconds for it.
    pub slow: bool,
    /// Whether the upstream has it, as far as one was asked.
    pub present: bool,
    /// How nodes share it, where only the upstream knows.
    pub tips: Tips,
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
    /// GETSET: SET with GET.
    GetSet,
    /// HMSET: HSET, whose reply is another.
    HMSet,
    /// INCR: INCRBY + 1.
    Increment,
    /// DECR: INCRBY - 1.
    Decrement,
    /// INCRBY: the sign in front of the number.
    IncrementBy,
    /// DECRBY: INCRBY with the other sign.
    DecrementBy,
    /// EXPIRE and its kin: EXPIRE with the unit of the time in front of it.
    Expire(TimeKind),
    /// Options in a fixed order.
    Options(&'static Options),
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

    /// The name as in Redis' documentation: `SET`, `CLIENT SETNAME`.
    pub fn shown(&self) -> String {
        self.name.replace('|', " ").to_uppercase()
    }

    /// Whether it takes the fast path if no rule matches: it does nothing to its connection and has the ordinary deadline.
    #[inline]
    pub fn is_ordinary(&self) -> bool {
        self.connection == ConnectionEffect::None && !self.slow
    }

    /// Whether Redis accepts this number of arguments.
    pub fn arity_fits(&self, args: Args<'_>) -> bool {
        self.takes_arguments(args.len())
    }

    /// Whether the server would accept this number of arguments, including the command's name.
    pub fn takes_arguments(&self, arguments: usize) -> bool {
        let least = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 { arguments >= least } else { arguments == least }
    }

    /// Whether an operator may want it of a server in trouble. None of these has keys, or leaves anything on its connection.
    pub fn is_cure(&self) -> bool {
        let container = self.name.split('|').next().unwrap_or_default();
        matches!(
            container,
            "acl" | "config" | "failover" | "info" | "latency" | "ping" | "replicaof" | "role" | "slaveof" | "slowlog"
        ) || matches!(&*self.name, "client|pause" | "function|stats")
    }

    /// Whether Redis flags it as a write. Scripts are not flagged, whatever they write.
    pub fn is_write(&self) -> bool {
        self.flags.has(Flags::WRITE)
    }

    /// Whether it may write its keys: Redis flags it so, or it is a script or a command of which nothing better is known.
    pub fn may_write_keys(&self) -> bool {
        self.is_write() || self.ttl == TtlColumn::Written(TtlEffect::Unknown)
    }

    /// Whether it changes all keys of a database without naming them
    /// (<https://redis.io/docs/latest/commands/flushall/>, <https://redis.io/docs/latest/commands/swapdb/>).
    pub fn is_about_all_keys(&self) -> bool {
        matches!(self.name(), "flushall" | "flushdb" | "swapdb")
    }

    /// Whether Redis flags it as read-only.
    pub fn is_readonly(&self) -> bool {
        self.flags.has(Flags::READONLY)
    }

    /// Whether it may change what others read: a write, a script that may write, a message to others; also a command that
    /// the table does not know.
    #[inline]
    pub fn may_write(&self) -> bool {
        !self.flags.has(Flags::READONLY) && (self.is_write() || self.may_write_unflagged())
    }

    /// Redis flags neither scripts nor messages as writes.
    fn may_write_unflagged(&self) -> bool {
        use super::connection::PinReason;
        let runs_script = self.flags.has(Flags::SCRIPTING) && self.flags.has(Flags::MOVABLEKEYS);
        runs_script
            || matches!(self.name(), "publish" | "spublish")
            || self.connection == ConnectionEffect::Pin(PinReason::Unknown)
    }

    /// Whether this request may keep its connection waiting: XREAD only does with BLOCK.
    pub fn is_blocking(&self, args: Args<'_>) -> bool {
        self.timeout.waits(args)
    }

    /// How long this request may wait; `None` when it does not, or names no valid timeout.
    pub fn blocking_timeout(&self, args: Args<'_>) -> Option<BlockFor> {
        self.timeout.read(args)
    }

    /// This request with another timeout, of a millisecond at least; `None` where it does not wait, or waits for ever.
    pub fn with_blocking_timeout(&self, args: Args<'_>, timeout: Duration) -> Option<Vec<u8>> {
        self.timeout.shorten(args, timeout)
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
    ///
    /// # Errors
    /// Why none can.
    pub fn groupable(&self) -> Result<(), Ungroupable> {
        use super::connection::PinReason;
        if self.flags.has(Flags::NO_MULTI) {
            return Err(Ungroupable::NoMulti);
        }
        match self.connection {
            ConnectionEffect::None => Ok(()),
            ConnectionEffect::Blocking if self.timeout == Timeout::BlockOption => Ok(()),
            ConnectionEffect::Blocking | ConnectionEffect::Pin(PinReason::Wait) => Err(Ungroupable::Blocking),
            ConnectionEffect::Subscribe(_) | ConnectionEffect::Unsubscribe(_) => Err(Ungroupable::PubSub),
            ConnectionEffect::Transaction(_) => Err(Ungroupable::Transaction),
            ConnectionEffect::Pin(PinReason::Unknown) => Err(Ungroupable::Unknown),
            ConnectionEffect::ClientCommand(_)
            | ConnectionEffect::Lane(_)
            | ConnectionEffect::Monitor
            | ConnectionEffect::Pin(_)
            | ConnectionEffect::Spare
            | ConnectionEffect::Quit
            | ConnectionEffect::Reset => Err(Ungroupable::ConnectionState),
        }
    }

    /// Whether its first argument is also the first of its canonical form.
    pub fn keeps_first_argument(&self) -> bool {
        !matches!(self.rewrite, Rewrite::Options(options) if options.from <= usize::from(self.name_words))
    }

    /// Whether its first argument is always a key.
    pub fn first_argument_is_key(&self) -> bool {
        self.keys.begin_at(self.name_words)
    }

    /// Whether its first argument is always a key, and the only one.
    #[inline]
    pub fn first_argument_is_only_key(&self) -> bool {
        self.keys.are_one_at(self.name_words)
    }

    /// Calls `visit` with the place of each key and what is done with it.
    pub fn for_each_key(&self, args: Args<'_>, visit: &mut dyn FnMut(usize, Access)) -> KeyList {
        self.keys.visit(args, visit)
    }

    /// Whether it neither reads nor writes anything: its reply depends on its arguments alone
    /// (<https://redis.io/docs/latest/commands/echo/>).
    pub fn touches_nothing(&self, args: Args<'_>) -> bool {
        matches!(self.name(), "ping" | "echo") && self.connection_effect(args) == ConnectionEffect::None
    }

    /// Whether this request is about its keys and nothing else: at least one key, all of them known, no effect on the
    /// connection, no waiting, no script, no publishing, no administration.
    pub fn is_plain_keyed(&self, args: Args<'_>) -> bool {
        self.plain_keys(args, &mut |_| {}) == PlainKeys::Complete
    }

    /// What is known of the keys of a request that is about keys and nothing else; `visit` is called with the place of each.
    pub fn plain_keys(&self, args: Args<'_>, visit: &mut dyn FnMut(usize)) -> PlainKeys {
        let other = Flags::SCRIPTING.or(Flags::PUBSUB).or(Flags::ADMIN).or(Flags::NO_MULTI);
        let data = Flags::WRITE.or(Flags::READONLY);
        if self.flags.has(other) || !self.flags.has(data) || self.keys.is_keyless() {
            return PlainKeys::None;
        }
        if self.connection_effect(args) != ConnectionEffect::None {
            return PlainKeys::None;
        }
        let mut keys = 0;
        let known = self.for_each_key(args, &mut |place, _| {
            keys += 1;
            visit(place);
        });
        match known {
            KeyList::Complete if keys > 0 => PlainKeys::Complete,
            KeyList::Complete | KeyList::Malformed => PlainKeys::Malformed,
            KeyList::Unknown => PlainKeys::None,
        }
    }
}

/// What is known of the keys of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlainKeys {
    /// It has no keys, may have others than it names, or is about more than keys.
    None,
    /// All of them were visited.
    Complete,
    /// Its command has keys, and this request does not say them as it must: the server refuses it when it runs.
    Malformed,
}

#[cfg(test)]
mod tests {

    use super::super::Table;
    use super::super::connection::PinReason;
    use super::super::written::WrittenRequest;
    use super::*;

    fn with<T>(request: &str, ask: impl FnOnce(&Spec, Args<'_>) -> T) -> T {
        let table = Table::builtin();
        let written = WrittenRequest::new(request);
        ask(table.spec(table.lookup(written.args())), written.args())
    }

    fn waits(request: &str) -> Option<BlockFor> {
        with(request, |spec, args| {
            assert!(spec.is_blocking(args), "{request}");
            spec.blocking_timeout(args)
        })
    }

    #[test]
    fn a_timeout_is_shortened_where_each_command_says_it() {
        let shortened = |request: &str, timeout| {
            let request = with(request, |spec, args| spec.with_blocking_timeout(args, Duration::from_millis(timeout)));
            request.map(|request| String::from_utf8_lossy(&request).lines().skip(2).step_by(2).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(shortened("BLPOP a b 7", 1500).as_deref(), Some("BLPOP a b 1.500"));
        assert_eq!(shortened("BLMPOP 7 1 a LEFT", 0).as_deref(), Some("BLMPOP 0.001 1 a LEFT"));
        assert_eq!(shortened("XREAD COUNT 2 BLOCK 7000 STREAMS s $", 42).as_deref(), Some("XREAD COUNT 2 BLOCK 42 STREAMS s $"));
        assert_eq!([shortened("BLPOP a 0", 1), shortened("XREAD STREAMS s 0", 1), shortened("GET a", 1)], [None, None, None]);
    }

    #[test]
    fn timeouts_are_read_where_each_command_says_them() {
        let milliseconds = |n| Some(BlockFor::AtMost(Duration::from_millis(n)));
        assert_eq!(waits("BLPOP a b 1.5"), milliseconds(1500));
        assert_eq!(waits("BLPOP a 0"), Some(BlockFor::Forever));
        assert_eq!(waits("BLMPOP 2 1 a LEFT"), milliseconds(2000));
        assert_eq!(waits("BZMPOP 0.001 1 a MIN"), milliseconds(1));
        assert_eq!(waits("BRPOPLPUSH a b 3"), milliseconds(3000));
        assert_eq!(waits("BLMOVE a b LEFT LEFT 3"), milliseconds(3000));
        assert_eq!(waits("XREAD count 2 block 40 STREAMS s $"), milliseconds(40));
        assert_eq!(waits("XREADGROUP GROUP g c BLOCK 0 STREAMS s >"), Some(BlockFor::Forever));
        assert_eq!(waits("WAIT 1 100"), milliseconds(100));
        assert_eq!(waits("WAITAOF 1 0 0"), Some(BlockFor::Forever));
    }

    #[test]
    fn what_is_no_timeout_still_blocks_without_one() {
        for request in ["BLPOP a x", "BLPOP a -1", "BLPOP a nan", "BLPOP a 1e300", "WAIT 1", "XREAD BLOCK"] {
            assert_eq!(waits(request), None, "{request}");
        }
    }

    #[test]
    fn reading_streams_blocks_only_with_the_option() {
        for request in [
            "XREAD STREAMS block 0",
            "XREAD COUNT 1 STREAMS s BLOCK",
            "XREADGROUP GROUP block c STREAMS s >",
            "XREADGROUP GROUP g block NOACK STREAMS s >",
            "GET block",
        ] {
            with(request, |spec, args| {
                assert!(!spec.is_blocking(args), "{request}");
                assert_eq!(spec.connection_effect(args), ConnectionEffect::None);
            });
        }
    }

    #[test]
    fn plain_keyed_requests_are_about_their_keys_alone() {
        for request in [
            "GET k",
            "SET k v",
            "MSET a 1 b 2",
            "XREAD STREAMS s 0",
            "SORT k",
            "SORT k BY nosort STORE d",
            "XGROUP CREATE s g $",
            "OBJECT ENCODING k",
            "DEL a",
            "HEXPIRE h 1 FIELDS 1 f",
            "ZUNION 2 a b",
        ] {
            assert!(with(request, |spec, args| spec.is_plain_keyed(args)), "{request}");
        }
        for request in [
            "PING",
            "GET",
            "BLPOP k 1",
            "XREAD BLOCK 1 STREAMS s $",
            "EVAL x 1 k",
            "FCALL_RO f 1 k",
            "PUBLISH c m",
            "SPUBLISH c m",
            "FLUSHALL",
            "SORT k BY w_*",
            "SORT k GET o_*",
            "WATCH k",
            "nonsense k",
            "KEYS *",
            "PFDEBUG ENCODING k",
            "ZUNION 3 a b",
            "ZUNION x a b",
            "CLIENT ID",
            "SELECT 1",
            "SCAN 0",
            "SUBSCRIBE c",
        ] {
            assert!(!with(request, |spec, args| spec.is_plain_keyed(args)), "{request}");
        }
    }

    #[test]
    fn groupable_names_the_reason() {
        for (request, expected) in [
            ("SET k v", Ok(())),
            ("EVAL x 0", Ok(())),
            ("XREADGROUP", Ok(())),
            ("PUBLISH c m", Ok(())),
            ("BLPOP", Err(Ungroupable::Blocking)),
            ("WAIT", Err(Ungroupable::Blocking)),
            ("SUBSCRIBE", Err(Ungroupable::PubSub)),
            ("SUNSUBSCRIBE", Err(Ungroupable::PubSub)),
            ("SELECT", Err(Ungroupable::ConnectionState)),
            ("CLIENT SETNAME", Err(Ungroupable::ConnectionState)),
            ("CLIENT TRACKING", Err(Ungroupable::ConnectionState)),
            ("SCRIPT KILL", Err(Ungroupable::ConnectionState)),
            ("EXEC", Err(Ungroupable::Transaction)),
            ("WATCH", Err(Ungroupable::Transaction)),
            ("SAVE", Err(Ungroupable::NoMulti)),
            ("SYNC", Err(Ungroupable::NoMulti)),
            ("nonsense", Err(Ungroupable::Unknown)),
        ] {
            assert_eq!(with(request, |spec, _| spec.groupable()), expected, "{request}");
        }
    }

    #[test]
    fn arity_is_exact_or_a_minimum() {
        let fits = |request: &str| with(request, |spec, args| spec.arity_fits(args));
        assert!(fits("GET k") && !fits("GET") && !fits("GET k k"));
        assert!(fits("SET k v") && fits("SET k v NX") && !fits("SET k"));
        assert!(fits("CLIENT SETNAME x") && !fits("CLIENT SETNAME"));
    }

    #[test]
    fn an_unknown_command_pins() {
        with("nonsense", |spec, args| {
            let pinned = ConnectionEffect::Pin(PinReason::Unknown);
            assert_eq!(spec.connection_effect(args), pinned);
            assert!(spec.arity_fits(args) && !spec.is_write() && !spec.is_readonly());
        });
    }
}
