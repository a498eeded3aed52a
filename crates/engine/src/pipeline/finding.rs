//! Findings from replies or missing replies: outcomes of groups, partial failures, TTLs.

use std::sync::Arc;

use super::permission::Permission;
use super::probe::Probe;
use super::violation::{Kind, Violation};
use crate::link::handshake::Kill;
use crate::words;

/// Why a request gets no reply from the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No reply came within the request's deadline.
    Timeout,
    /// The connection was lost after the request, or a part of it, was sent.
    Lost,
    /// No byte of the request was sent: there is no upstream.
    Unavailable,
    /// No byte of the request was sent: the server has failed too often of late.
    Refused,
}

impl Fault {
    /// The reason in the client's error.
    pub fn reason(self) -> &'static str {
        match self {
            Fault::Timeout => "no reply within the deadline",
            Fault::Lost => "the connection to the server was lost before the reply",
            Fault::Unavailable => "the server is unavailable",
            Fault::Refused => "the server is unavailable and the breaker is open",
        }
    }

    /// What a command is answered that it befalls.
    pub fn of_command(self, name: &str) -> String {
        self.error("ERR", name)
    }

    /// What the members of a group are answered that it befalls.
    pub fn of_group(self, name: &str) -> String {
        self.error("EXECABORT Transaction discarded because of previous errors.", &format!("group {name}"))
    }

    fn error(self, unsent: &str, what: &str) -> String {
        match self {
            Fault::Timeout | Fault::Lost => unknown(what, self.reason()),
            Fault::Unavailable | Fault::Refused => format!("{unsent} respguard: {what} was not sent: {}", self.reason()),
        }
    }

    pub(super) fn outcome(self) -> Outcome {
        match self {
            Fault::Timeout | Fault::Lost => Outcome::Unknown,
            Fault::Unavailable | Fault::Refused => Outcome::Aborted,
        }
    }
}

/// What is answered where nobody knows what has run.
pub(super) fn unknown(what: &str, why: &str) -> String {
    format!("TIMEOUT respguard: outcome of {what} unknown: {why}")
}

words! {
    /// The outcome of a recognised group.
    Outcome {
        /// All of it, without an error.
        Applied = "applied",
        /// Some members failed, the others were applied.
        Torn = "torn",
        /// Every member failed.
        Failed = "failed",
        /// Nothing was applied.
        Aborted = "aborted",
        /// Nothing was applied, because a member would have failed.
        Refused = "refused",
        /// Applied, although its preflight did not run.
        Unguarded = "unguarded",
        /// Its members ran, without their transaction.
        Unwrapped = "unwrapped",
        /// Nobody can say.
        Unknown = "unknown",
        /// Applied; its replies were lost with their connection.
        Committed = "committed",
        /// A member failed, and all is as it was before.
        RolledBack = "rolled_back",
        /// Applied before, and not again.
        Duplicate = "duplicate",
        /// Left as it was by its rule.
        Observed = "observed",
    }
}

words! {
    /// Why a whole group goes out without its transaction, against its rule.
    Unwrapped {
        /// The connection cannot do MULTI and EXEC.
        NoTransactions = "the server has no transactions for this client",
        /// The client's own WATCH is in force, which a transaction of the proxy's would use up.
        Watched = "the client's own WATCH is in force, which a transaction would use up",
        /// The client's CLIENT CACHING is about its next command, and would be about the whole transaction.
        Caching = "CLIENT CACHING stands before it, which would be about the whole transaction",
        /// Its keys lie in several slots of a cluster, and its rule says so.
        CrossSlot = "its keys lie in several slots of the cluster",
    }
}

impl Unwrapped {
    /// As what it is told.
    pub fn kind(self) -> Kind {
        match self {
            Unwrapped::CrossSlot => Kind::CrossSlot,
            Unwrapped::NoTransactions | Unwrapped::Watched | Unwrapped::Caching => Kind::Unwrapped,
        }
    }
}

words! {
    /// What was found out about a group that was lost with its connection.
    Resolution {
        /// It was not applied and goes out again.
        Resent = "resent",
        /// It was applied.
        Committed = "committed",
        /// It was not applied, and does not go out again.
        Aborted = "aborted",
        /// The server does not let this user find out.
        Denied = "denied",
        /// It could not be found out in time.
        Unknown = "unknown",
    }
}

words! {
    /// Where a partial failure was seen.
    Place {
        /// In commands that were sent in one go.
        Pipeline = "pipeline",
        /// In the transaction of a group.
        Group = "group",
        /// In a transaction of the client's own.
        Transaction = "transaction",
    }
}

words! {
    /// Which way a value goes.
    Direction {
        /// To the client.
        Read = "read",
        /// To the server.
        Write = "write",
    }
}

/// What resolving a reply brought to light.
#[derive(Debug)]
pub enum Finding {
    /// A rule was broken, or what it must prevent has happened.
    Violation(Violation),
    /// A recognised group has come to its end.
    Group {
        /// The group's row in the metrics.
        index: usize,
        /// What became of it.
        outcome: Outcome,
    },
    /// What was found out about a group whose connection was lost.
    Resolution(Resolution),
    /// What came of ending the lost connection of a group.
    Killed(Kill),
    /// A retry that its budget did not allow.
    RetryRefused,
    /// Some commands failed and others did not.
    PartialFailure(Place),
    /// A probe was answered.
    Ttl {
        /// The question.
        probe: Probe,
        /// What the answer says.
        state: TtlState,
    },
    /// The connection may be in a state that the next client must not meet.
    CloseUpstream,
    /// What a TTL rule adds to a write, or puts in its place, was refused to this user, and the write with it.
    TtlFixRefused {
        /// What the user may not do.
        permission: Permission,
        /// The rule's name.
        rule: Arc<str>,
    },
    /// Commands of our own that must go out behind a group: they take back what a rule has added to a write that failed, or keep
    /// what the group was answered.
    FollowUp {
        /// The commands, as they are sent.
        request: Vec<u8>,
        /// How many replies they are owed.
        frames: u32,
    },
    /// A value of a key with a compress rule has passed: so many bytes, of which so many are stored.
    Packed {
        /// The rule's name.
        rule: Arc<str>,
        /// Which way it goes.
        direction: Direction,
        /// Bytes of the value itself.
        original: u64,
        /// Bytes that are stored.
        stored: u64,
    },
    /// What is stored behind a header could not be read.
    Corrupt {
        /// The rule's name.
        rule: Arc<str>,
    },
    /// A command would have looked into what is compressed, or is too long for its rule.
    CompressRefused {
        /// The rule's name.
        rule: Arc<str>,
    },
    /// A preflight did not run: whether the connection can carry guarded groups is to be asked again.
    GuardLost,
}

/// What a TTL check after a write has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the sentence above each variant names its fields")]
pub enum TtlState {
    /// There is no such key, or its TTL is within the rule.
    Fine,
    /// The key has none; `dropped` when it had one before the write.
    None { dropped: bool },
    /// Longer than the rule's `max`.
    TooLong,
    /// The probe was refused (NOPERM): the check is off for this user.
    Refused,
    /// The probe was not answered, or with an error that says nothing about the key.
    Unknown,
}
