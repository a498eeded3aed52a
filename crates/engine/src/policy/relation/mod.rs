//! Relations: what must hold between keys, across groups and permanently; what is walked, what each thing needs, what is
//! repaired.
//!
//! An audit walks the keys that [`Relation::walks`] names, makes a [`Subject`] of each thing that the relation is about, asks
//! the server its [`questions`](Subject::questions) and takes the [`Verdict`] from the answers.

mod describe;
mod subject;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::pattern::Pattern;
use super::rule::{Mode, PlaceKind, Repair, TtlBound};

pub use describe::describe;
pub use subject::{Subject, Target, Verdict};

/// Keys of one set, or things that one needs.
pub const NEEDS_MAX: usize = 8;
/// Of a value no more is read: a reference is short.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;
/// Two lifetimes that differ by less are the same: they are set by commands that run one after the other.
pub const LIFETIME_SLACK_MS: i64 = 1000;

/// One `[[relation]]`.
#[derive(Debug)]
pub struct Relation {
    /// Its name in reports and metrics.
    pub name: Arc<str>,
    /// What must hold.
    pub form: Form,
    /// How the lifetime of what refers and that of what it needs compare.
    pub ttl: Option<TtlBound>,
    /// What may be done about what does not hold.
    pub repair: Repair,
    /// Whether it acts or only reports; `None` as the policy says.
    pub mode: Option<Mode>,
}

/// The two ways in which a relation is written.
#[derive(Debug)]
#[expect(missing_docs, reason = "the sentence above each variant names its fields")]
pub enum Form {
    /// All of these keys, or none.
    Set(Box<[Pattern]>),
    /// What is at `from` needs everything in `needs`.
    Reference { from: Place, needs: Box<[Place]> },
}

/// Where something is: a key, or a part of what a key holds.
#[derive(Clone, Debug)]
pub struct Place {
    /// What sort of place it is.
    pub kind: PlaceKind,
    /// The keys that it is in.
    pub key: Pattern,
    /// The member, field, item or value; `None` for a key.
    pub element: Option<Pattern>,
    /// As it was written.
    pub text: Arc<str>,
}

/// What a server is, as far as relations care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// There are no slots: one server has all keys.
    OneServer,
    /// Keys of different slots can be neither watched nor removed together.
    Cluster,
}

/// One pass over the keyspace.
#[derive(Clone, Copy, Debug)]
pub struct Walk<'r> {
    /// What sort of place it is.
    pub kind: PlaceKind,
    /// The keys that are walked.
    pub key: &'r Pattern,
    /// The elements of a key that are met; `None` for the key itself.
    pub element: Option<&'r Pattern>,
}

impl Walk<'_> {
    /// The type that SCAN is asked for; `None` where several will do.
    pub fn type_name(&self) -> Option<&'static str> {
        match self.kind {
            PlaceKind::Key | PlaceKind::Member => None,
            PlaceKind::Field => Some("hash"),
            PlaceKind::Item => Some("list"),
            PlaceKind::Value => Some("string"),
        }
    }
}

impl Relation {
    /// Every pass that finds something: each pattern of a set, for any of its keys may be the one that is left.
    pub fn walks(&self) -> Vec<Walk<'_>> {
        match &self.form {
            Form::Set(keys) => keys.iter().map(|key| Walk { kind: PlaceKind::Key, key, element: None }).collect(),
            Form::Reference { from, .. } => vec![Walk { kind: from.kind, key: &from.key, element: from.element.as_ref() }],
        }
    }

    /// What the walk of this number met, if the relation is about it: `element` is the member, field, item or value.
    pub fn subject(&self, walk: usize, key: &[u8], element: Option<&[u8]>) -> Option<Subject> {
        match &self.form {
            Form::Set(keys) => Subject::of_set(keys, walk, key),
            Form::Reference { from, needs } => Subject::of_reference(from, needs, key, element),
        }
    }

    /// What is done with what is broken on such a server.
    pub fn repair_on(&self, topology: Topology) -> Repair {
        match topology {
            Topology::Cluster if self.spans_slots() => Repair::Report,
            _ => self.repair,
        }
    }

    /// Whether its keys can lie in different slots of a cluster.
    pub fn spans_slots(&self) -> bool {
        let keys: Vec<&Pattern> = match &self.form {
            Form::Set(keys) => keys.iter().collect(),
            Form::Reference { from, needs } => std::iter::once(from).chain(needs).map(|place| &place.key).collect(),
        };
        let Some((first, rest)) = keys.split_first() else { return false };
        let slot = first.slot_text();
        rest.iter().any(|key| key.text() != first.text() && (slot.is_none() || key.slot_text() != slot))
    }

    /// The pattern, as written, of what the walk met: what a report names in place of a key.
    pub fn pattern_text(&self, walk: usize) -> Arc<str> {
        match &self.form {
            Form::Set(keys) => keys.get(walk).map(Pattern::text).unwrap_or_default().into(),
            Form::Reference { from, .. } => from.key.text().into(),
        }
    }

    /// As written, each thing that one needs.
    pub fn need_texts(&self) -> Vec<Arc<str>> {
        match &self.form {
            Form::Set(keys) => keys.iter().map(|key| key.text().into()).collect(),
            Form::Reference { needs, .. } => needs.iter().map(|need| Arc::clone(&need.text)).collect(),
        }
    }
}
