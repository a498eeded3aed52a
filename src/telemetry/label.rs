//! The closed sets of label values.

pub use respguard_engine::link::breaker::State as BreakerState;
pub use respguard_engine::pipeline::finding::{
    Direction as ValueDirection, Outcome as GroupOutcome, Place as FailureScope, Resolution as ResolutionOutcome,
};
use respguard_engine::words;

/// Label keys.
pub mod key {
    pub const ACTION: &str = "action";
    pub const CLASS: &str = "class";
    pub const CODE: &str = "code";
    pub const COMMAND: &str = "command";
    pub const DIRECTION: &str = "direction";
    pub const ENDPOINT: &str = "endpoint";
    pub const FORM: &str = "form";
    pub const GROUP: &str = "group";
    pub const KIND: &str = "kind";
    pub const MODE: &str = "mode";
    pub const NODE: &str = "node";
    pub const OUTCOME: &str = "outcome";
    pub const REASON: &str = "reason";
    pub const RELATION: &str = "relation";
    pub const RULE: &str = "rule";
    pub const SIDE: &str = "side";
    pub const STATE: &str = "state";
    pub const TO: &str = "to";
    pub const VERSION: &str = "version";
    pub const WHERE: &str = "where";
    pub const WORKER: &str = "worker";
}

words! {
    /// Which of the proxy's two sides.
    Side { Client = "client", Upstream = "upstream" }

    /// The way bytes go, seen from the proxy: `In` was read, `Out` was written.
    Direction { In = "in", Out = "out" }

    /// Why a node of a cluster did not serve a request.
    Redirected { Moved = "moved", Ask = "ask", TryAgain = "try_again", ClusterDown = "cluster_down" }

    /// What a client's connection came to when it asked for one.
    Admission { Accepted = "accepted", Refused = "refused" }

    /// What was asked for in one piece.
    RequestClass {
        /// Reads alone, on a connection that clients share.
        Reads = "reads",
        /// The transaction of a group.
        Groups = "groups",
        /// Everything else.
        Others = "others",
    }

    /// What an upstream connection is doing.
    UpstreamState {
        /// The socket or the handshake is not there yet.
        Connecting = "connecting",
        /// Carries a lane, for many clients.
        Shared = "shared",
        /// Answers what is owed on it, and carries nothing new: its lane has another one.
        Retired = "retired",
        /// Belongs to one pinned client.
        Leased = "leased",
        /// Clean and waiting for the next lease.
        Idle = "idle",
        /// Kept for what may be the cure of a server in trouble, or carries it.
        Spare = "spare",
    }

    /// What has changed about the servers behind the proxy.
    TopologyChange {
        /// A server has become the primary.
        Primary = "primary",
        /// The primary has ceased to be it, and no other is known.
        Lost = "lost",
        /// Other nodes of a cluster serve other slots.
        Slots = "slots",
    }

    /// Why a client was closed for what it made the proxy keep.
    EarlyClose {
        /// Others waited for what it did not read.
        Slow = "slow",
        /// Its replies had to wait for one before them.
        Crowded = "crowded",
        /// What it sent was unfinished and too large.
        Unfinished = "unfinished",
    }

    /// What is sent once more.
    RetryKind {
        /// A group whose connection was lost.
        Group = "group",
        /// Reads whose connection was lost.
        Read = "read",
        /// Reads that were stuck behind somebody else's reply.
        Moved = "moved",
        /// What a server has refused that is no primary any more.
        Refused = "refused",
    }

    /// What came of ending a connection that was lost, by its id.
    KillOutcome {
        /// It was still there.
        Ended = "ended",
        /// It was gone already.
        Gone = "gone",
        /// The server does not let this user.
        Denied = "denied",
        /// No answer; it is tried again.
        Unanswered = "unanswered",
    }

    /// What came of waiting for the rest of a group.
    HoldOutcome {
        /// The rest came.
        Completed = "completed",
        /// The wait was over before the rest came.
        Expired = "expired",
        /// Something else came.
        Broken = "broken",
    }

    /// What a look at a key's TTL found.
    TtlOutcome {
        /// A TTL within the rule's bounds.
        Present = "present",
        /// None yet; looked at once more after the grace.
        Rechecked = "rechecked",
        /// Present at the second look.
        Late = "late",
        /// None.
        Missing = "missing",
        /// None, where there had been one.
        Dropped = "dropped",
        /// Longer than the rule allows.
        TooLong = "too_long",
        /// The key is no longer there.
        Gone = "gone",
        /// The upstream does not let this user look (NOPERM).
        Denied = "denied",
        /// The upstream does not let this user set TTLs: its writes are no longer fixed.
        Unfixed = "unfixed",
        /// No answer, or one that cannot be read.
        Unanswered = "unanswered",
    }

    /// What came of reading the configuration again.
    ReloadOutcome {
        /// Its rules are in force.
        Applied = "applied",
        /// Something in it is wrong; the rules before are in force.
        Refused = "refused",
        /// There is no file to read, or it cannot be read; the rules before are in force.
        Unreadable = "unreadable",
    }

    /// What an audit of a relation came to; the later, the worse.
    AuditOutcome {
        /// Nothing is broken.
        Clean = "clean",
        /// Everything that was broken is repaired.
        Repaired = "repaired",
        /// Something is broken.
        Drift = "drift",
        /// Somebody ended it.
        Cancelled = "cancelled",
        /// A repair came to one of its limits.
        Stopped = "stopped",
        /// The server does not let this user find out.
        Unknown = "unknown",
        /// It did not come to its end.
        Failed = "failed",
    }

    /// What a REST request asks for.
    RestEndpoint {
        /// One command, in the path or in the body.
        Command = "command",
        Pipeline = "pipeline",
        MultiExec = "multi_exec",
        Subscribe = "subscribe",
        Psubscribe = "psubscribe",
        Monitor = "monitor",
    }

    /// What a repair did with something.
    RepairAction {
        /// A key was deleted.
        Delete = "delete",
        /// A reference was taken out of its key.
        Remove = "remove",
        /// It was put back.
        Undo = "undo",
    }

    /// Whose bytes are counted.
    ValueForm {
        /// The client's.
        Original = "original",
        /// The server's.
        Stored = "stored",
    }

    /// The HTTP status that a REST request is answered.
    RestCode {
        Ok = "200",
        NoContent = "204",
        BadRequest = "400",
        Unauthorized = "401",
        Forbidden = "403",
        MethodNotAllowed = "405",
        RequestTimeout = "408",
        PayloadTooLarge = "413",
        TooManyRequests = "429",
        ServiceUnavailable = "503",
        GatewayTimeout = "504",
        /// Any other.
        Other = "other",
    }

    /// The kinds of rule a configuration holds.
    RuleKind { Group = "group", Ttl = "ttl", Degrade = "degrade", Expect = "expect", Guard = "guard", Relation = "relation",
        Compress = "compress" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_stands_at_its_index() {
        for (index, outcome) in TtlOutcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome.index(), index);
        }
        assert_eq!(Side::ALL.map(Side::as_str), ["client", "upstream"]);
    }
}
