//! What a user wrote: rules and their settings, not yet checked.

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
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }
        impl Word for $name {
            const ALL: &'static [Self] = &[$(Self::$variant,)+];
            fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    };
}

words! {
    /// Whether rules act, or only report what they would have done.
    Mode {
        #[default]
        Enforce = "enforce",
        Observe = "observe",
    }
}

words! {
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
}

words! {
    /// The level of atomicity that was asked for.
    WrittenAtomic {
        Observe = "observe",
        #[default]
        Transaction = "transaction",
        Guarded = "guarded",
        Rollback = "rollback",
    }
}

words! {
    /// What a client is told when only a part of its group was applied.
    OnPartial {
        /// The replies as Redis gave them; the failure is reported.
        #[default]
        Report = "report",
        /// Every member answers `-PARTIAL`.
        Fail = "fail",
    }
}

words! {
    /// In which order a group's members may come.
    WrittenOrder {
        #[default]
        Written = "written",
        Any = "any",
    }
}

words! {
    /// What becomes of the commands that stand between a group's members.
    Between {
        /// They ride in its transaction, in their place.
        #[default]
        Carry = "carry",
        /// Those on other keys pass the members that wait.
        Pass = "pass",
    }
}

words! {
    /// What happens to a reply that is not what a rule expects.
    ExpectAction {
        /// It is reported.
        #[default]
        Flag = "flag",
        /// The client gets an error in its place.
        Fail = "fail",
    }
}

words! {
    /// What happens to a command that its guard does not let pass.
    GuardAction {
        /// It is reported.
        #[default]
        Flag = "flag",
        /// It is answered with an error and not sent.
        Reject = "reject",
    }
}

words! {
    /// What the replies of a group's members must have in common.
    Agree {
        /// They are the same bytes.
        #[default]
        All = "all",
    }
}

words! {
    /// Whether UNLINK counts as DEL in a group's members.
    Unlink {
        /// It is a command of its own.
        #[default]
        Apart = "apart",
        /// Either is taken where the other is written.
        AsDel = "as-del",
    }
}

words! {
    /// What happens to a write that leaves a key without the TTL it must have.
    TtlAction {
        #[default]
        Flag = "flag",
        Reject = "reject",
        Fix = "fix",
    }
}

words! {
    /// What becomes of a guarded group where its preflight cannot run.
    OnUnsupported {
        /// Every member answers an error.
        #[default]
        Refuse = "refuse",
        /// It goes out as a transaction.
        Transaction = "transaction",
    }
}

words! {
    /// What becomes of a group whose keys lie in several slots of a cluster.
    OnCrossSlot {
        /// Every member answers an error.
        #[default]
        Refuse = "refuse",
        /// It goes out without its transaction, and is told.
        Observe = "observe",
    }
}

words! {
    /// What the members of a group are answered that was applied before.
    OnDuplicate {
        /// `-DUPLICATE`.
        #[default]
        Error = "error",
        /// What they were answered the first time.
        Replay = "replay",
    }
}

words! {
    /// What a read is answered while there is no server.
    DegradedReads {
        #[default]
        Error = "error",
        /// As if its keys were not there.
        Nil = "nil",
    }
}

words! {
    /// What a write is answered while there is no server.
    DegradedWrites {
        #[default]
        Error = "error",
        /// `+OK`, and it is forgotten.
        Ok = "ok",
    }
}

words! {
    /// Where a relation's things are.
    PlaceKind {
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
}

words! {
    /// What a repair does with what is broken.
    Repair {
        #[default]
        Report = "report",
        /// It takes the reference out of its key.
        Remove = "remove",
        /// It deletes the key.
        Delete = "delete",
    }
}

words! {
    /// How long what refers lives beside what it needs.
    TtlBound {
        #[default]
        AtLeast = "at-least",
        AtMost = "at-most",
    }
}

words! {
    /// What compresses values.
    Algorithm {
        #[default]
        Zstd = "zstd",
        Lz4 = "lz4",
    }
}

words! {
    /// What becomes of scripts on keys whose values may be compressed.
    Scripts {
        #[default]
        Refuse = "refuse",
        /// They see what is stored.
        Pass = "pass",
    }
}

/// Everything in a configuration that a policy is made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Written {
    pub mode: Mode,
    pub pipeline: WrittenPipeline,
    pub groups: Vec<WrittenGroup>,
    pub ttls: Vec<WrittenTtl>,
    pub expects: Vec<WrittenExpect>,
    pub guards: Vec<WrittenGuard>,
    pub degrades: Vec<WrittenDegrade>,
    pub relations: Vec<WrittenRelation>,
    pub compresses: Vec<WrittenCompress>,
}

/// One `[[compress]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct WrittenCompress {
    pub name: String,
    pub keys: Vec<String>,
    pub min_bytes: u64,
    pub algorithm: Algorithm,
    /// Of zstd.
    pub level: Option<u64>,
    /// What is written is compressed; else values are only read.
    pub write: bool,
    pub scripts: Scripts,
    pub value_bytes_max: u64,
    pub mode: Option<Mode>,
}

impl Default for WrittenCompress {
    fn default() -> Self {
        Self {
            name: String::new(),
            keys: Vec::new(),
            min_bytes: 4096,
            algorithm: Algorithm::default(),
            level: None,
            write: true,
            scripts: Scripts::default(),
            value_bytes_max: 64 * 1024 * 1024,
            mode: None,
        }
    }
}

/// One `[[relation]]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WrittenRelation {
    pub name: String,
    pub keys: Option<Vec<String>>,
    pub from: Option<String>,
    pub needs: Option<Vec<String>>,
    pub ttl: Option<TtlBound>,
    pub repair: Repair,
    pub mode: Option<Mode>,
}

/// One `[[expect]]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WrittenExpect {
    pub name: String,
    pub command: String,
    pub reply: String,
    pub action: ExpectAction,
    pub mode: Option<Mode>,
}

/// One `[[guard]]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WrittenGuard {
    pub name: String,
    pub commands: Option<Vec<String>>,
    pub value_bytes_max: Option<u64>,
    pub arguments_max: Option<u64>,
    pub keys_allowed: Option<Vec<String>>,
    pub reply_bytes_max: Option<u64>,
    pub action: GuardAction,
    pub mode: Option<Mode>,
}

/// The part of `[pipeline]` that plans depend on. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct WrittenPipeline {
    pub report: bool,
    pub hold_ms: u64,
    pub hold_max_ms: u64,
    pub guard_prefix: String,
}

/// What the keys of guards begin with.
pub const GUARD_PREFIX: &str = "respguard:guard:";

impl Default for WrittenPipeline {
    fn default() -> Self {
        Self { report: true, hold_ms: 2, hold_max_ms: 20, guard_prefix: GUARD_PREFIX.to_owned() }
    }
}

/// One `[[group]]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WrittenGroup {
    pub name: String,
    pub atomic: WrittenAtomic,
    pub on_unsupported: OnUnsupported,
    pub on_cross_slot: OnCrossSlot,
    pub on_partial: OnPartial,
    pub order: WrittenOrder,
    pub between: Between,
    pub resolve: bool,
    /// How long the same group is not applied again.
    pub once: Option<String>,
    /// What makes two groups the same.
    pub once_key: Option<String>,
    pub on_duplicate: OnDuplicate,
    pub rollback_bytes_max: Option<u64>,
    pub unlink: Unlink,
    pub agree: Option<Agree>,
    pub mode: Option<Mode>,
    pub commands: Option<Vec<WrittenMember>>,
    pub keys: Option<Vec<String>>,
}

/// One entry of a group's `commands`: `"SET a *"` or `{ match = "SET a *", optional = true, expect = "OK", require = "exists" }`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WrittenMember {
    pub template: String,
    pub optional: bool,
    /// What its reply must be.
    pub expected: Option<String>,
    /// What must be true of its first key before anything of the group runs.
    pub require: Option<String>,
}

/// One `[[degrade]]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WrittenDegrade {
    pub name: String,
    pub keys: Vec<String>,
    pub reads: DegradedReads,
    pub writes: DegradedWrites,
}

/// One `[[ttl]]`. Durations are as written: `7d`, `30s`, `500ms`.
#[derive(Clone, Debug, PartialEq)]
pub struct WrittenTtl {
    pub name: String,
    pub keys: Vec<String>,
    pub action: TtlAction,
    pub default: Option<String>,
    pub max: Option<String>,
    /// SET keeps the TTL that there is.
    pub keep: bool,
    pub grace_ms: u64,
    /// The share of writes that are verified, from 0 to 1.
    pub sample: f64,
    pub mode: Option<Mode>,
}

impl Default for WrittenTtl {
    fn default() -> Self {
        Self {
            name: String::new(),
            keys: Vec::new(),
            action: TtlAction::default(),
            default: None,
            max: None,
            keep: false,
            grace_ms: 1000,
            sample: 1.0,
            mode: None,
        }
    }
}
