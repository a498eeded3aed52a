//! Hand-written column: what commands do to their connection. A command without a row does nothing to it.

use super::blocking::Timeout;
use super::connection::ClientCommand::{
    ClientGetName, ClientGetRedir, ClientId, ClientInfo, ClientKill, ClientList, ClientMaintNotifications, ClientReply,
    ClientSetInfo, ClientSetName, ClientTracking, ClientTrackingInfo, ClientUnblock,
};
use super::connection::ConnectionEffect::{self, Blocking, Monitor, Pin, Quit, Reset, Spare, Subscribe, Unsubscribe};
use super::connection::SubscriptionKind::{Channel, Pattern, Shard};
use super::connection::Transaction::{Discard, Exec, Multi, Unwatch, Watch};
use super::connection::{Lane, PinReason};

/// Command, what it does to the connection, where it says how long it waits.
pub(super) type Row = (&'static str, ConnectionEffect, Timeout);

const fn client(name: &'static str, command: super::connection::ClientCommand) -> Row {
    (name, ConnectionEffect::ClientCommand(command), Timeout::Never)
}

const fn lane(name: &'static str, lane: Lane) -> Row {
    (name, ConnectionEffect::Lane(lane), Timeout::Never)
}

const fn transaction(name: &'static str, verb: super::connection::Transaction) -> Row {
    (name, ConnectionEffect::Transaction(verb), Timeout::Never)
}

const fn pin(name: &'static str, reason: PinReason) -> Row {
    (name, Pin(reason), Timeout::Never)
}

const fn plain(name: &'static str, effect: ConnectionEffect) -> Row {
    (name, effect, Timeout::Never)
}

const fn blocking(name: &'static str, timeout: Timeout) -> Row {
    (name, Blocking, timeout)
}

#[rustfmt::skip]
pub(super) static ROWS: &[Row] = &[
    // Who the client is, and where
    lane("auth",                     Lane::Auth),
    lane("hello",                    Lane::Hello),
    lane("select",                   Lane::Select),
    plain("quit",                    Quit),
    plain("reset",                   Reset),

    // Transactions
    transaction("multi",             Multi),
    transaction("exec",              Exec),
    transaction("discard",           Discard),
    transaction("watch",             Watch),
    transaction("unwatch",           Unwatch),

    // Feeds
    plain("subscribe",               Subscribe(Channel)),
    plain("psubscribe",              Subscribe(Pattern)),
    plain("ssubscribe",              Subscribe(Shard)),
    plain("unsubscribe",             Unsubscribe(Channel)),
    plain("punsubscribe",            Unsubscribe(Pattern)),
    plain("sunsubscribe",            Unsubscribe(Shard)),
    plain("monitor",                 Monitor),

    // Commands that wait
    blocking("blpop",                Timeout::SecondsLast),
    blocking("brpop",                Timeout::SecondsLast),
    blocking("blmove",               Timeout::SecondsLast),
    blocking("brpoplpush",           Timeout::SecondsLast),
    blocking("blmpop",               Timeout::SecondsAt(1)),
    blocking("bzpopmin",             Timeout::SecondsLast),
    blocking("bzpopmax",             Timeout::SecondsLast),
    blocking("bzmpop",               Timeout::SecondsAt(1)),
    blocking("xread",                Timeout::BlockOption),
    blocking("xreadgroup",           Timeout::BlockOption),
    ("wait",    Pin(PinReason::Wait), Timeout::MillisecondsAt(2)),
    ("waitaof", Pin(PinReason::Wait), Timeout::MillisecondsAt(3)),

    // Commands about clients
    client("client|setname",          ClientSetName),
    client("client|getname",          ClientGetName),
    client("client|setinfo",          ClientSetInfo),
    client("client|id",               ClientId),
    client("client|info",             ClientInfo),
    client("client|list",             ClientList),
    client("client|kill",             ClientKill),
    client("client|unblock",          ClientUnblock),
    client("client|tracking",         ClientTracking),
    client("client|getredir",         ClientGetRedir),
    client("client|trackinginfo",     ClientTrackingInfo),
    client("client|reply",            ClientReply),
    pin("client|caching",            PinReason::Tracking),
    pin("client|no-evict",           PinReason::NoEvict),
    pin("client|no-touch",           PinReason::NoTouch),
    pin("client|capa",               PinReason::Capability),
    pin("client|import-source",      PinReason::Capability),
    client("client|maint_notifications", ClientMaintNotifications),

    // Commands that free what is stuck
    plain("script|kill",             Spare),
    plain("function|kill",           Spare),
    plain("client|unpause",          Spare),

    // Sessions of other kinds
    pin("script|debug",              PinReason::ScriptDebug),
    pin("debug",                     PinReason::Debug),
    pin("sync",                      PinReason::Replication),
    pin("psync",                     PinReason::Replication),
    pin("replconf",                  PinReason::Replication),
    pin("cluster|syncslots",         PinReason::Replication),
    pin("readonly",                  PinReason::ClusterMode),
    pin("readwrite",                 PinReason::ClusterMode),
    pin("asking",                    PinReason::ClusterMode),
    pin("shutdown",                  PinReason::Shutdown),

    // Containers: what a subcommand that the table does not know resolves to
    pin("acl",                       PinReason::Unknown),
    pin("client",                    PinReason::Unknown),
    pin("cluster",                   PinReason::Unknown),
    pin("commandlog",                PinReason::Unknown),
    pin("config",                    PinReason::Unknown),
    pin("function",                  PinReason::Unknown),
    pin("latency",                   PinReason::Unknown),
    pin("memory",                    PinReason::Unknown),
    pin("module",                    PinReason::Unknown),
    pin("object",                    PinReason::Unknown),
    pin("pubsub",                    PinReason::Unknown),
    pin("script",                    PinReason::Unknown),
    pin("slowlog",                   PinReason::Unknown),
    pin("xgroup",                    PinReason::Unknown),
    pin("xinfo",                     PinReason::Unknown),
];

/// The row of `name`.
pub(super) fn row(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.0 == name)
}
