//! What replies, or their lack, bring to light: outcomes of groups, failures in part, TTLs.

use std::sync::Arc;

use super::slot::Probe;
use super::violation::Violation;

/// Why a request has no reply of its own.
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
    /// The word in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Fault::Timeout => "timeout",
            Fault::Lost => "lost",
            Fault::Unavailable => "unavailable",
            Fault::Refused => "refused",
        }
    }

    pub(super) fn reason(self) -> &'static str {
        match self {
            Fault::Timeout => "no reply within the deadline",
            Fault::Lost => "the connection to the server was lost before the reply",
            Fault::Unavailable => "the server is unavailable",
            Fault::Refused => "the server is unavailable and the breaker is open",
        }
    }
}

/// What became of a recognised group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All of it, without an error.
    Applied,
    /// Some members failed, the others were applied.
    Torn,
    /// Every member failed.
    Failed,
    /// Nothing was applied.
    Aborted,
    /// Nothing was applied, because a member would have failed.
    Refused,
    /// Applied, although its preflight did not run.
    Unguarded,
    /// Its members ran, without their transaction.
    Unwrapped,
    /// Nobody can say.
    Unknown,
    /// Left as it was by its rule.
    Observed,
}

impl Outcome {
    /// The metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Applied => "applied",
            Outcome::Torn => "torn",
            Outcome::Failed => "failed",
            Outcome::Aborted => "aborted",
            Outcome::Refused => "refused",
            Outcome::Unguarded => "unguarded",
            Outcome::Unwrapped => "unwrapped",
            Outcome::Unknown => "unknown",
            Outcome::Observed => "observed",
        }
    }
}

/// Where a partial failure was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Pipeline,
    Group,
    Transaction,
}

impl Place {
    /// The metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Place::Pipeline => "pipeline",
            Place::Group => "group",
            Place::Transaction => "transaction",
        }
    }
}

/// What resolving a reply brought to light.
#[derive(Debug)]
pub enum Finding {
    Violation(Violation),
    /// A recognised group has come to its end.
    Group {
        index: usize,
        outcome: Outcome,
    },
    /// Some commands failed and others did not.
    PartialFailure(Place),
    /// A probe was answered.
    Ttl {
        probe: Probe,
        state: TtlState,
    },
    /// The connection may be in a state that the next client must not meet.
    CloseUpstream,
    /// A command that a TTL rule adds was refused to this user, and with it what it was added to.
    MendRefused {
        rule: Arc<str>,
    },
    /// A preflight did not run: whether the connection can carry guarded groups is to be asked again.
    GuardLost,
}

/// What a probe behind a write has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
