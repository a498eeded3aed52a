//! What a rule, or the promise of a pipeline, says went wrong.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::words;

/// Names kept of the commands a violation is about; longer lists end with [`MORE`].
pub const COMMANDS_MAX: usize = 16;
/// Stands for the commands that were not kept.
pub const MORE: &str = "...";
/// Stands for an error whose first word does not have the form of an error code.
pub const OTHER_ERROR: &str = "other";

const ERROR_WORD_BYTES_MAX: usize = 32;

words! {
    /// Every kind of violation. The word of [`Kind::as_str`] is the same in the metric's label, the log, the HTTP API and the docs.
    #[derive(PartialOrd, Ord)]
    Kind {
        /// Some commands of a pipeline, group or transaction failed and others did not.
        PartialFailure = "partial_failure",
        /// A prefix of a group passed because its other members did not come in time.
        Split = "split",
        /// A client sends the members of a group one by one, each after the reply to the one before.
        Sequential = "sequential",
        /// A group was refused as a whole; nothing of it was applied.
        Aborted = "aborted",
        /// A group was applied although its preflight did not run.
        Unguarded = "unguarded",
        /// A whole group passed without its transaction.
        Unwrapped = "unwrapped",
        /// Nobody can say whether the commands were applied.
        UnknownOutcome = "unknown_outcome",
        /// A group came again that was applied before; nothing was applied again.
        Duplicate = "duplicate",
        /// The keys of a group lie in several slots of a cluster.
        CrossSlot = "cross_slot",
        /// A key that must expire was left without a TTL.
        TtlMissing = "ttl_missing",
        /// A key that must expire got its TTL only after the write.
        TtlLate = "ttl_late",
        /// A key that must expire lost the TTL it had.
        TtlDropped = "ttl_dropped",
        /// A key's TTL is longer than its rule allows.
        TtlTooLong = "ttl_too_long",
        /// A write was not sent, because it would have left its key without a TTL, or with too long a one.
        TtlRejected = "ttl_rejected",
        /// A reply was not what its rule expects.
        Expectation = "expectation",
        /// A command that its rule does not let pass.
        Guard = "guard",
        /// A command was answered by a rule, because there was no server.
        Degraded = "degraded",
        /// A command that a rule is about was too large to be looked at.
        TooLarge = "too_large",
        /// The commands of one batch would have been a group but for one thing.
        NearMiss = "near_miss",
        /// An audit found something without what its relation says it needs.
        Orphan = "orphan",
        /// An audit found something whose lifetime is not as its relation says beside that of what it needs.
        RelationTtl = "relation_ttl",
    }
}

impl Kind {
    /// The kind that [`Kind::as_str`] writes as `word`.
    pub fn from_word(word: &str) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|kind| kind.as_str() == word)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing that went wrong. It names commands and patterns, never a value, and a key only where the configuration says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What went wrong.
    pub kind: Kind,
    /// The name of the rule that was broken; `None` for a plain pipeline or a client's own transaction.
    pub rule: Option<Arc<str>>,
    /// Names of the commands concerned, in request order, at most [`COMMANDS_MAX`], then [`MORE`].
    pub commands: Vec<Box<str>>,
    /// The place of the first failing command among the commands concerned, from 1.
    pub place: Option<u32>,
    /// The error's first word (`WRONGTYPE`, `ERR`), or [`OTHER_ERROR`].
    pub error: Option<Box<str>>,
    /// The pattern, as the rule writes it, that the key matched.
    pub key_pattern: Option<Arc<str>>,
    /// The key that it is about, in the form of `[violations] keys`. It is not for the log and the metrics.
    pub key: Option<Box<str>>,
    /// Why it came to it, in words, where the kind alone does not say. It may quote the rule.
    pub reason: Option<Cow<'static, str>>,
}

impl Violation {
    /// A violation of which only the kind is known.
    pub fn new(kind: Kind) -> Violation {
        Violation { kind, rule: None, commands: Vec::new(), place: None, error: None, key_pattern: None, key: None, reason: None }
    }

    /// Names the broken rule.
    pub fn rule(mut self, name: &Arc<str>) -> Violation {
        self.rule = Some(Arc::clone(name));
        self
    }

    /// Names the commands concerned, in request order; what is beyond [`COMMANDS_MAX`] is not read.
    pub fn commands<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Violation {
        let mut names = names.into_iter();
        self.commands = names.by_ref().take(COMMANDS_MAX).map(Box::from).collect();
        if names.next().is_some() {
            self.commands.push(Box::from(MORE));
        }
        self
    }

    /// Says which of the commands failed, counted from 1.
    pub fn place(mut self, place: u32) -> Violation {
        self.place = Some(place);
        self
    }

    /// Takes the first word of an error reply's text (without the leading `-` or `!` header).
    pub fn error(mut self, text: &[u8]) -> Violation {
        self.error = Some(Box::from(error_word(text)));
        self
    }

    /// Says why.
    pub fn reason(mut self, reason: Option<impl Into<Cow<'static, str>>>) -> Violation {
        self.reason = reason.map(Into::into);
        self
    }

    /// Names the key.
    pub fn key(mut self, key: Option<Box<str>>) -> Violation {
        self.key = key;
        self
    }

    /// Says which pattern the key matched.
    pub fn key_pattern(mut self, pattern: &Arc<str>) -> Violation {
        self.key_pattern = Some(Arc::clone(pattern));
        self
    }
}

/// The error code that `text` begins with.
///
/// A script may answer any text as an error, so a first word without the form of an error code
/// (upper-case letters, digits, `_`) could be a value and is not shown.
pub fn error_word(text: &[u8]) -> &str {
    let end = text.iter().position(|byte| matches!(byte, b' ' | b'\r' | b'\n')).unwrap_or(text.len());
    let word = &text[..end];
    let is_code = word.len() <= ERROR_WORD_BYTES_MAX
        && word.first().is_some_and(u8::is_ascii_uppercase)
        && word.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_');
    match str::from_utf8(word) {
        Ok(code) if is_code => code,
        _ => OTHER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_stands_at_its_index_and_is_found_by_its_word() {
        for (index, kind) in Kind::ALL.iter().copied().enumerate() {
            assert_eq!(kind.index(), index);
            assert_eq!(Kind::from_word(kind.as_str()), Some(kind));
        }
        assert_eq!(Kind::from_word("partial failure"), None);
    }

    #[test]
    fn sixteen_commands_are_kept_whole_and_the_seventeenth_becomes_dots() {
        let sixteen = Violation::new(Kind::Split).commands(["set"; 16]);
        assert_eq!(sixteen.commands.len(), 16);
        assert!(sixteen.commands.iter().all(|name| &**name == "set"));

        let seventeen = Violation::new(Kind::Split).commands(["set"; 17]);
        assert_eq!(seventeen.commands.len(), 17);
        assert_eq!(&*seventeen.commands[16], MORE);
    }

    #[test]
    fn an_error_is_its_first_word_only() {
        assert_eq!(error_word(b"WRONGTYPE Operation against a key"), "WRONGTYPE");
        assert_eq!(error_word(b"ERR value is not an integer"), "ERR");
        assert_eq!(error_word(b"EXECABORT"), "EXECABORT");
    }

    #[test]
    fn a_first_word_that_may_be_a_value_is_not_shown() {
        for text in [&b"secret-token refused"[..], b"", b" ERR", b"42", b"Err x", b"\xff\xfe"] {
            assert_eq!(error_word(text), OTHER_ERROR);
        }
        assert_eq!(error_word(&[b'A'; 32]).len(), 32);
        assert_eq!(error_word(&[b'A'; 33]), OTHER_ERROR);
    }
}
