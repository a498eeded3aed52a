//! One group: what its rule says, and which commands it is made of.

use std::sync::Arc;

use crate::command::Table;
use crate::preflight::Requirement;

use super::index::KeyIndex;
use super::once::{Identity, OnceRule};
use super::pattern::{Bindings, Pattern};
use super::reply::ExpectedReply;
use super::rule::{Agree, Atomic, Between, Mode, OnCrossSlot, OnPartial, OnUnsupported, Order};
use super::run::Keys;
use super::subject::{Prefixes, Subject, everything};
use super::templates::Templates;
use super::walk::{MatchSpan, Reader};

/// Commands that belong together.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its name in reports and metrics.
    pub name: Arc<str>,
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
    /// Memory that its keys may take, where it is rolled back.
    pub rollback_bytes_max: u64,
    /// Whether it is applied once.
    pub once: Option<OnceRule>,
    /// What the members' replies must have in common.
    pub agree: Option<Agree>,
    /// Whether it acts or only reports; `None` as the policy says.
    pub mode: Option<Mode>,
    pub(super) shape: Shape,
}

/// The two ways to say which commands a group is made of.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    Templates(Templates),
    Keys(Keys),
}

impl Group {
    /// A group of a single command that a rule of this name sends in a transaction.
    pub fn alone(rule: &Arc<str>) -> Group {
        let keys = Keys { patterns: Box::default(), index: KeyIndex::new([]) };
        Group {
            name: Arc::clone(rule),
            atomic: Atomic::Transaction,
            on_unsupported: OnUnsupported::Refuse,
            on_cross_slot: OnCrossSlot::Refuse,
            on_partial: OnPartial::Report,
            order: Order::Written,
            between: Between::Carry,
            resolve: false,
            rollback_bytes_max: 0,
            once: None,
            agree: None,
            mode: None,
            shape: Shape::Keys(keys),
        }
    }

    /// Whether the group is a run of commands on matching keys, which begins and ends within one read: it is not
    /// worth an idle gap, but a partial frame at the tail may go on with it.
    pub fn is_run(&self) -> bool {
        matches!(self.shape, Shape::Keys(_))
    }

    /// Whether a whole group of so many commands can have more, which are optional.
    pub fn may_go_on_behind(&self, members: usize) -> bool {
        match &self.shape {
            Shape::Templates(templates) => {
                members < templates.members.len() && templates.members.last().is_some_and(|last| last.optional)
                    || self.order == Order::Any && members < templates.members.len()
            }
            Shape::Keys(_) => false,
        }
    }

    /// The names that its members capture.
    pub fn captures(&self) -> &[String] {
        match &self.shape {
            Shape::Templates(templates) => templates.names.as_slice(),
            Shape::Keys(_) => &[],
        }
    }

    /// Whether its members' replies must be certain ones, or the same.
    pub fn expects_replies(&self) -> bool {
        self.agree.is_some() || matches!(&self.shape, Shape::Templates(templates) if templates.expects)
    }

    /// What the reply of each command of the whole group that begins at the command `at(0)` must be; empty where no
    /// member has an expectation.
    pub fn wanted<'a>(&self, table: &Table, at: Reader<'_, 'a>) -> Vec<Option<Arc<ExpectedReply>>> {
        match &self.shape {
            Shape::Templates(templates) if templates.expects => {
                let members = templates.trace(table, at).whole.unwrap_or_default().members(self.order).into_iter();
                members.map(|place| templates.members.get(place)?.expected.clone()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// What is required of the first key of each command of the whole group that begins at the command `at(0)`; empty where
    /// nothing is required of any.
    pub fn requirements<'a>(&self, table: &Table, at: Reader<'_, 'a>) -> Vec<Option<Requirement<'a>>> {
        match &self.shape {
            Shape::Templates(templates) if templates.requires => {
                let whole = templates.trace(table, at).whole.unwrap_or_default();
                let members = whole.members(self.order).into_iter();
                members.map(|place| Some(templates.members.get(place)?.require.as_ref()?.bind(&whole.bound))).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Which group it is that the first `commands` make up, where it is applied once.
    pub fn identity<'a>(&self, table: &Table, at: Reader<'_, 'a>, commands: usize) -> Option<Identity> {
        let once = self.once.as_ref()?;
        let bound = match &self.shape {
            Shape::Templates(templates) => templates.trace(table, at).whole.unwrap_or_default().bound,
            Shape::Keys(_) => Bindings::default(),
        };
        Some(once.identity(&bound, &mut (0..commands).map_while(at)))
    }

    /// The text of the key pattern that the key matches: what a report names in place of the key. Groups of templates
    /// have none.
    pub fn pattern_of(&self, key: &[u8]) -> Option<&str> {
        let Shape::Keys(keys) = &self.shape else {
            return None;
        };
        keys.patterns.iter().find(|pattern| pattern.matches_key(key)).map(Pattern::text)
    }

    /// Which requests of a command it can begin with.
    pub(super) fn begins_with(&self, subject: Option<Subject<'_>>) -> Prefixes<'_> {
        match (&self.shape, subject) {
            (Shape::Templates(templates), Some(subject)) => {
                templates.firsts().filter_map(|template| template.about(subject)).collect()
            }
            (Shape::Templates(_), None) => Prefixes::new(),
            (Shape::Keys(keys), Some(Subject { spec, .. })) => match Keys::admits(spec) {
                true if spec.first_argument_is_key() => keys.patterns.iter().map(Pattern::prefix).collect(),
                true => everything(),
                false => Prefixes::new(),
            },
            (Shape::Keys(_), None) => everything(),
        }
    }

    /// Which requests of a command it can begin with, or else is nearly there with.
    pub(super) fn is_noticed_by(&self, subject: Option<Subject<'_>>) -> Prefixes<'_> {
        let mut about = self.begins_with(subject);
        for beginning in self.anchored_by(subject) {
            if !about.contains(&beginning) {
                about.push(beginning);
            }
        }
        about
    }

    /// By which requests of a command it is noticed that it is nearly there.
    pub(super) fn anchored_by(&self, subject: Option<Subject<'_>>) -> Prefixes<'_> {
        match (&self.shape, subject) {
            (Shape::Templates(templates), Some(subject)) if templates.required_members().nth(1).is_some() => {
                templates.anchors().filter_map(|template| template.about(subject)).collect()
            }
            _ => Prefixes::new(),
        }
    }

    pub(super) fn follow<'a>(&self, table: &Table, at: Reader<'_, 'a>) -> MatchSpan {
        match &self.shape {
            Shape::Templates(templates) => templates.follow(table, at),
            Shape::Keys(keys) => keys.follow(table, at),
        }
    }
}
