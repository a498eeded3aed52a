//! Rules and their settings as the user wrote them, not yet checked.

mod word;

pub use word::{
    Agree, Algorithm, Atomic, Between, DegradedReads, DegradedWrites, ExpectAction, GuardAction, KeyForm, Mode, OnCrossSlot,
    OnDuplicate, OnPartial, OnUnsupported, Order, PlaceKind, Repair, Scripts, TtlAction, TtlBound, Unlink, Word,
};

/// Everything in a configuration that a policy is made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Written {
    /// Whether rules act or only report, where they do not say so themselves.
    pub mode: Mode,
    /// `[pipeline]`
    pub pipeline: WrittenPipeline,
    /// Each `[[group]]`.
    pub groups: Vec<WrittenGroup>,
    /// Each `[[ttl]]`.
    pub ttls: Vec<WrittenTtl>,
    /// Each `[[expect]]`.
    pub expects: Vec<WrittenExpect>,
    /// Each `[[guard]]`.
    pub guards: Vec<WrittenGuard>,
    /// Each `[[degrade]]`.
    pub degrades: Vec<WrittenDegrade>,
    /// Each `[[relation]]`.
    pub relations: Vec<WrittenRelation>,
    /// Each `[[compress]]`.
    pub compresses: Vec<WrittenCompress>,
}

/// One `[[compress]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct WrittenCompress {
    /// Its name in reports and metrics.
    pub name: String,
    /// Patterns of keys whose values are compressed.
    pub keys: Vec<String>,
    /// Shorter values stay as they are.
    pub min_bytes: u64,
    /// How values are compressed.
    pub algorithm: Algorithm,
    /// Of zstd.
    pub level: Option<u64>,
    /// What is written is compressed; else values are only read.
    pub write: bool,
    /// What becomes of scripts that name such keys.
    pub scripts: Scripts,
    /// The longest value, written or read.
    pub value_bytes_max: u64,
    /// `enforce` or `observe`; `None` as the policy says.
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
    /// Its name in reports and metrics.
    pub name: String,
    /// Patterns of keys of which all are there or none is.
    pub keys: Option<Vec<String>>,
    /// The place that needs others: `member {x} of set:{y}`.
    pub from: Option<String>,
    /// The places that it needs.
    pub needs: Option<Vec<String>>,
    /// How the lifetimes of both compare.
    pub ttl: Option<TtlBound>,
    /// What may be done about what does not hold.
    pub repair: Repair,
    /// `enforce` or `observe`; `None` as the policy says.
    pub mode: Option<Mode>,
}

/// One `[[expect]]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WrittenExpect {
    /// Its name in reports and metrics.
    pub name: String,
    /// The template of the commands that it is about.
    pub command: String,
    /// What their reply must be.
    pub reply: String,
    /// What becomes of another reply.
    pub action: ExpectAction,
    /// `enforce` or `observe`; `None` as the policy says.
    pub mode: Option<Mode>,
}

/// One `[[guard]]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WrittenGuard {
    /// Its name in reports and metrics.
    pub name: String,
    /// Templates of the commands that it is about; `None`: all.
    pub commands: Option<Vec<String>>,
    /// The longest argument behind the command's name.
    pub value_bytes_max: Option<u64>,
    /// The most arguments behind the command's name.
    pub arguments_max: Option<u64>,
    /// Patterns of the only keys that may be named.
    pub keys_allowed: Option<Vec<String>>,
    /// The longest reply, as it is on the wire.
    pub reply_bytes_max: Option<u64>,
    /// What becomes of a command that breaks it.
    pub action: GuardAction,
    /// `enforce` or `observe`; `None` as the policy says.
    pub mode: Option<Mode>,
}

/// The part of `[pipeline]` that plans depend on. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct WrittenPipeline {
    /// Whether a partial failure in a plain pipeline is a violation.
    pub report: bool,
    /// How long the beginning of a group waits without a byte.
    pub hold_ms: u64,
    /// How long it waits in all.
    pub hold_max_ms: u64,
    /// What the keys of guards begin with.
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
    /// Its name in reports and metrics.
    pub name: String,
    /// How it is made all-or-nothing.
    pub atomic: Atomic,
    /// What becomes of it where its level cannot be had.
    pub on_unsupported: OnUnsupported,
    /// What becomes of it where its keys lie in several slots of a cluster.
    pub on_cross_slot: OnCrossSlot,
    /// What its client is told when it was applied in part.
    pub on_partial: OnPartial,
    /// The order in which its members must come.
    pub order: Order,
    /// What becomes of the commands between its members.
    pub between: Between,
    /// Whether a marker in the transaction settles unknown outcomes.
    pub resolve: bool,
    /// How long the same group is not applied again.
    pub once: Option<String>,
    /// What makes two groups the same.
    pub once_key: Option<String>,
    /// What the same group is answered within that time.
    pub on_duplicate: OnDuplicate,
    /// Memory that its keys may take, where it is rolled back.
    pub rollback_bytes_max: Option<u64>,
    /// Whether UNLINK counts as DEL in its members.
    pub unlink: Unlink,
    /// What its members' replies must have in common.
    pub agree: Option<Agree>,
    /// `enforce` or `observe`; `None` as the policy says.
    pub mode: Option<Mode>,
    /// Its members, where it is made of commands.
    pub commands: Option<Vec<WrittenMember>>,
    /// Patterns, where it is made of all writes to keys that match them.
    pub keys: Option<Vec<String>>,
}

/// One entry of a group's `commands`: `"SET a *"` or `{ match = "SET a *", optional = true, expect = "OK", require = "exists" }`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WrittenMember {
    /// The command, with patterns in the place of arguments.
    pub template: String,
    /// The group is whole without it.
    pub optional: bool,
    /// What its reply must be.
    pub expected: Option<String>,
    /// What must be true of its first key before anything of the group runs.
    pub require: Option<String>,
}

/// One `[[degrade]]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WrittenDegrade {
    /// Its name in reports and metrics.
    pub name: String,
    /// Patterns of the keys that it is about.
    pub keys: Vec<String>,
    /// What reads are answered.
    pub reads: DegradedReads,
    /// What writes are answered.
    pub writes: DegradedWrites,
}

/// One `[[ttl]]`. Durations are as written: `7d`, `30s`, `500ms`.
#[derive(Clone, Debug, PartialEq)]
pub struct WrittenTtl {
    /// Its name in reports and metrics.
    pub name: String,
    /// Patterns of keys that must expire.
    pub keys: Vec<String>,
    /// What becomes of a write that leaves a key without a TTL.
    pub action: TtlAction,
    /// The TTL that such a key is meant to have.
    pub default: Option<String>,
    /// The longest TTL.
    pub max: Option<String>,
    /// SET keeps the TTL that there is.
    pub keep: bool,
    /// How long a missing TTL may still come before it is reported.
    pub grace_ms: u64,
    /// The share of writes that are verified, from 0 to 1.
    pub sample: f64,
    /// `enforce` or `observe`; `None` as the policy says.
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
