//! What a command does to the connection it is sent on.

use strum::IntoStaticStr;

/// What a command does to the connection it is sent on, and so where it may be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectionEffect {
    /// Nothing: any connection of the lane will do.
    None,
    /// Answered without the upstream, which would speak about its own connection.
    ClientCommand(ClientCommand),
    /// Changes which lane the client is in.
    Lane(Lane),
    /// Begins, ends or prepares a transaction.
    Transaction(Transaction),
    /// Adds subscriptions; the reply is one push per channel.
    Subscribe(SubscriptionKind),
    /// Removes subscriptions; the reply is one push per channel.
    Unsubscribe(SubscriptionKind),
    /// May keep the connection waiting; `Spec::is_blocking` tells for one request.
    Blocking,
    /// Turns the connection into a feed of all commands.
    Monitor,
    /// Leaves state behind, or refers to state, that only a connection of the client's own can have.
    Pin(PinReason),
    /// Must not wait behind other commands: what it ends may be what they wait for.
    Spare,
    /// Closes the connection after its reply.
    Quit,
    /// Forgets everything that was told on the connection.
    Reset,
}

/// A command about clients, answered over the clients of the proxy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientCommand {
    /// CLIENT SETNAME
    ClientSetName,
    /// CLIENT GETNAME
    ClientGetName,
    /// CLIENT SETINFO
    ClientSetInfo,
    /// CLIENT ID
    ClientId,
    /// CLIENT INFO
    ClientInfo,
    /// CLIENT LIST
    ClientList,
    /// CLIENT KILL
    ClientKill,
    /// CLIENT UNBLOCK
    ClientUnblock,
    /// CLIENT TRACKING
    ClientTracking,
    /// CLIENT GETREDIR
    ClientGetRedir,
    /// CLIENT TRACKINGINFO
    ClientTrackingInfo,
    /// CLIENT REPLY
    ClientReply,
    /// CLIENT MAINT_NOTIFICATIONS
    ClientMaintNotifications,
}

/// A command that changes user, database or protocol version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lane {
    /// HELLO
    Hello,
    /// AUTH
    Auth,
    /// SELECT
    Select,
}

/// A command about the connection's transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transaction {
    /// MULTI
    Multi,
    /// EXEC
    Exec,
    /// DISCARD
    Discard,
    /// WATCH
    Watch,
    /// UNWATCH
    Unwatch,
}

/// What a subscription names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SubscriptionKind {
    /// A channel, by SUBSCRIBE.
    Channel,
    /// A pattern of channels, by PSUBSCRIBE.
    Pattern,
    /// A channel of a cluster's shard, by SSUBSCRIBE.
    Shard,
}

/// Why a command needs a connection of the client's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum PinReason {
    /// Invalidation pushes go to this connection.
    Tracking,
    /// CLIENT NO-EVICT is about this connection.
    NoEvict,
    /// CLIENT NO-TOUCH is about this connection.
    NoTouch,
    /// WAIT and WAITAOF speak about this connection's last write, and wait.
    Wait,
    /// SCRIPT DEBUG: the next EVAL opens a dialogue.
    ScriptDebug,
    /// DEBUG: anything from session state to a crash.
    Debug,
    /// The connection becomes a replica's.
    Replication,
    /// READONLY, READWRITE and ASKING: how a cluster node treats this connection.
    ClusterMode,
    /// CLIENT CAPA and IMPORT-SOURCE of Valkey.
    Capability,
    /// No reply may ever come.
    Shutdown,
    /// Nothing is known that would prove it stateless.
    Unknown,
}

impl PinReason {
    /// The word for logs, metric labels and documentation.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}
