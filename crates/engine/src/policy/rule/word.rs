//! The closed sets of keywords in rules.

/// A closed set of words a user may write for one setting.
pub trait Word: Copy + Sized + 'static {
    /// Every word, in the order in which an error lists them.
    const ALL: &'static [Self];
    /// The word as it is written and reported.
    fn as_str(self) -> &'static str;
    /// The value that this word stands for.
    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|value| value.as_str() == word)
    }
}

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }
        impl Word for $name {
            const ALL: &'static [Self] = &[$(Self::$variant,)+];
            fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    )+};
}

words! {
    /// Whether rules act, or only report what they would have done.
    Mode {
        /// They act.
        #[default]
        Enforce = "enforce",
        /// They only report.
        Observe = "observe",
    }

    /// How violations name the key that they are about.
    KeyForm {
        /// Not at all.
        #[default]
        None = "none",
        /// By the beginning of its SHA-256.
        Hash = "hash",
        /// As it is.
        Full = "full",
    }

    /// The level of atomicity that was asked for.
    Atomic {
        /// It is passed on untouched; each partial failure is reported.
        Observe = "observe",
        /// It is sent as one MULTI .. EXEC.
        #[default]
        Transaction = "transaction",
        /// The same, behind a preflight that keeps it from running if a member would fail.
        Guarded = "guarded",
        /// The same, put back as it was where a member has failed.
        Rollback = "rollback",
    }

    /// What a client is told when only a part of its group was applied.
    OnPartial {
        /// The replies as Redis gave them; the failure is reported.
        #[default]
        Report = "report",
        /// Every member answers `-PARTIAL`.
        Fail = "fail",
    }

    /// In which order a group's members may come.
    Order {
        /// As they are written.
        #[default]
        Written = "written",
        /// In any.
        Any = "any",
    }

    /// What becomes of the commands that stand between a group's members.
    Between {
        /// They go in its transaction, in their place.
        #[default]
        Carry = "carry",
        /// Those on other keys pass the members that wait.
        Pass = "pass",
    }

    /// What happens to a reply that is not what a rule expects.
    ExpectAction {
        /// It is reported.
        #[default]
        Flag = "flag",
        /// The client gets an error in its place.
        Fail = "fail",
    }

    /// What happens to a command that its guard does not let pass.
    GuardAction {
        /// It is reported.
        #[default]
        Flag = "flag",
        /// It is answered with an error and not sent.
        Reject = "reject",
    }

    /// What the replies of a group's members must have in common.
    Agree {
        /// They are the same bytes.
        #[default]
        All = "all",
    }

    /// Whether UNLINK counts as DEL in a group's members.
    Unlink {
        /// It is a command of its own.
        #[default]
        Apart = "apart",
        /// Either is taken where the other is written.
        AsDel = "as-del",
    }

    /// What happens to a write that leaves a key without the TTL it must have.
    TtlAction {
        /// It is reported.
        #[default]
        Flag = "flag",
        /// It is answered with an error and not sent.
        Reject = "reject",
        /// The TTL is added.
        Fix = "fix",
    }

    /// What becomes of a guarded group where its preflight cannot run.
    OnUnsupported {
        /// Every member answers an error.
        #[default]
        Refuse = "refuse",
        /// It goes out as a transaction.
        Transaction = "transaction",
    }

    /// What becomes of a group whose keys lie in several slots of a cluster.
    OnCrossSlot {
        /// Every member answers an error.
        #[default]
        Refuse = "refuse",
        /// It goes out without its transaction, and is told.
        Observe = "observe",
    }

    /// What the members of a group are answered that was applied before.
    OnDuplicate {
        /// `-DUPLICATE`.
        #[default]
        Error = "error",
        /// What they were answered the first time.
        Replay = "replay",
    }

    /// What a read is answered while there is no server.
    DegradedReads {
        /// An error.
        #[default]
        Error = "error",
        /// As if its keys were not there.
        Nil = "nil",
    }

    /// What a write is answered while there is no server.
    DegradedWrites {
        /// An error.
        #[default]
        Error = "error",
        /// `+OK`, and it is forgotten.
        Ok = "ok",
    }

    /// Where a relation's things are.
    PlaceKind {
        /// The key itself.
        #[default]
        Key = "key",
        /// Of a set or a sorted set.
        Member = "member",
        /// Of a hash.
        Field = "field",
        /// Of a list.
        Item = "item",
        /// Of a string.
        Value = "value",
    }

    /// What a repair does with what is broken.
    Repair {
        /// It only reports.
        #[default]
        Report = "report",
        /// It takes the reference out of its key.
        Remove = "remove",
        /// It deletes the key.
        Delete = "delete",
    }

    /// How long what refers lives beside what it needs.
    TtlBound {
        /// At least as long.
        #[default]
        AtLeast = "at-least",
        /// At most as long.
        AtMost = "at-most",
    }

    /// What compresses values.
    Algorithm {
        /// Zstandard.
        #[default]
        Zstd = "zstd",
        /// LZ4.
        Lz4 = "lz4",
    }

    /// What becomes of scripts on keys whose values may be compressed.
    Scripts {
        /// They are refused.
        #[default]
        Refuse = "refuse",
        /// They see what is stored.
        Pass = "pass",
    }
}
