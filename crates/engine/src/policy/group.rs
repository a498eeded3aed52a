//! One group, and how its members are recognised.

use std::sync::Arc;

use crate::command::{Canonical, CommandId, Measure, Table, TimeKind, canonical};
use crate::preflight::Requirement;
use respguard_resp::request::{Args, Span};

use super::by_command::{Prefixes, Subject, everything};
use super::index::KeyIndex;
use super::once::{Identity, OnceRule};
use super::pattern::{Bindings, Names, Pattern};
use super::reply::Wanted;
use super::requirement::Required;
use super::rule::{Agree, Between, Mode, OnCrossSlot, OnPartial, OnUnsupported, Word, WrittenAtomic};
use super::run::Keys;
use super::unordered::Search;
use super::walk::{Extent, Listen, Member, Order, Reader, Walk};

/// How atomic a group is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Atomic {
    /// It is passed on untouched; each partial failure is reported.
    Observe,
    /// It is sent as one MULTI .. EXEC.
    Transaction,
    /// The same, behind a preflight that keeps the EXEC from running if a member would fail.
    Guarded,
    /// The same, put back as it was where a member has failed.
    Rollback,
}

impl Atomic {
    /// The word, as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Atomic::Observe => WrittenAtomic::Observe.as_str(),
            Atomic::Transaction => WrittenAtomic::Transaction.as_str(),
            Atomic::Guarded => WrittenAtomic::Guarded.as_str(),
            Atomic::Rollback => WrittenAtomic::Rollback.as_str(),
        }
    }
}

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

/// Members in the order in which they are written.
#[derive(Clone, Debug)]
pub(super) struct Templates {
    pub(super) members: Box<[Template]>,
    /// The order in which they must come.
    pub(super) order: Order,
    /// How many members there are up to the last one that is not optional.
    pub(super) required: usize,
    pub(super) names: Names,
}

/// One member, in the canonical form of its command.
#[derive(Clone, Debug)]
pub(super) struct Template {
    pub(super) id: CommandId,
    /// Another command that fits as well.
    pub(super) also: Option<CommandId>,
    /// The arguments behind the command's name.
    pub(super) words: Box<[Pattern]>,
    /// What is compared by its meaning.
    pub(super) measured: Option<Measured>,
    /// Whether more arguments may follow the words.
    pub(super) rest: bool,
    pub(super) optional: bool,
    /// What its reply must be, and the one command that replies so where spellings differ in that.
    pub(super) expected: Option<Arc<Wanted>>,
    pub(super) only: Option<CommandId>,
    /// What must be true of its first key before anything of the group runs.
    pub(super) require: Option<Required>,
    /// As it was written.
    pub(super) text: Box<str>,
}

/// Two words, a kind and a number, that are compared by what they mean together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    /// The place of the first.
    pub(super) place: usize,
    /// What they must mean; `None`: any time to live will do, and the number's capture is bound to what it means.
    pub(super) wanted: Option<Measure>,
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

    /// What the reply of each command of the whole group that begins at the command `at(0)` must be; empty where no
    /// member has an expectation.
    pub fn wanted<'a>(&self, table: &Table, at: Reader<'_, 'a>) -> Vec<Option<Arc<Wanted>>> {
        match &self.shape {
            Shape::Templates(templates) if templates.members.iter().any(|member| member.expected.is_some()) => {
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
            Shape::Templates(templates) if templates.members.iter().any(|member| member.require.is_some()) => {
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

    pub(super) fn follow<'a>(&self, table: &Table, at: Reader<'_, 'a>) -> Extent {
        match &self.shape {
            Shape::Templates(templates) => templates.follow(table, at),
            Shape::Keys(keys) => keys.follow(table, at),
        }
    }
}

impl Templates {
    /// The members that the first command of the group can be.
    pub(super) fn firsts(&self) -> impl Iterator<Item = &Template> {
        let leading = self.members.iter().take_while(|member| member.optional).count();
        let firsts = if self.order == Order::Any { self.members.len() } else { leading + 1 };
        self.members.iter().take(firsts)
    }

    fn follow<'a>(&self, table: &Table, at: Reader<'_, 'a>) -> Extent {
        let mut extent = Extent::default();
        self.walk(Walk::default(), table, at, &mut extent);
        extent
    }

    /// Follows the members from one on.
    pub(super) fn walk<'a>(&self, here: Walk<'a>, table: &Table, at: Reader<'_, 'a>, listener: &mut impl Listen<'a>) {
        match self.order {
            Order::Written => self.walk_in_order(here, table, at, listener),
            Order::Any => Search::new(self, table, at, listener).walk(here),
        }
    }

    /// Where an optional member fits, both ways are tried, so its place among the
    /// optional ones never hides a longer match; their number is bounded when the group is compiled.
    fn walk_in_order<'a>(&self, mut here: Walk<'a>, table: &Table, at: Reader<'_, 'a>, listener: &mut impl Listen<'a>) {
        while let Some(member) = self.members.get(here.member) {
            if here.member >= self.required {
                listener.whole(&here);
            }
            let Some(command) = at(here.command) else {
                listener.awaiting(&here);
                return;
            };
            if member.optional {
                let mut taken = here;
                if member.fits(command, table, &mut taken.bound) {
                    taken.take(here.member);
                    self.walk_in_order(taken, table, at, listener);
                }
                here.member += 1;
            } else if member.fits(command, table, &mut here.bound) {
                here.take(here.member);
            } else {
                listener.mismatch(&here, command);
                return;
            }
        }
        listener.whole(&here);
    }
}

impl Template {
    pub(super) fn fits<'a>(&self, command: Member<'a>, table: &Table, bound: &mut Bindings<'a>) -> bool {
        self.agrees(command, table, bound) && !table.spec(command.id).is_blocking(command.args)
    }

    /// As `fits`, also for a command that may block.
    pub(super) fn agrees<'a>(&self, command: Member<'a>, table: &Table, bound: &mut Bindings<'a>) -> bool {
        let form = canonical(table, command.id, command.args);
        self.is_for(form.id) && self.only.is_none_or(|only| only == command.id) && self.words_fit(&form, bound)
    }

    pub(super) fn words_fit<'a>(&self, form: &Canonical<'a>, bound: &mut Bindings<'a>) -> bool {
        let count = self.words.len();
        let long_enough = if self.rest { form.len() >= count } else { form.len() == count };
        long_enough && self.misfit(form, bound).is_none()
    }

    /// The first word that does not fit.
    #[inline]
    pub(super) fn misfit<'a>(&self, form: &Canonical<'a>, bound: &mut Bindings<'a>) -> Option<&Pattern> {
        let mut words = self.words.iter().enumerate();
        let misfit = match self.measured {
            None => words.find(|(place, word)| !word_fits(*place, word, form, bound)),
            Some(measured) => words.find(|(place, word)| !measured.word_fits(*place, word, form, bound)),
        };
        misfit.map(|(_, word)| word)
    }

    /// Whether the canonical form of a command with this id can fit.
    pub(super) fn is_for(&self, id: CommandId) -> bool {
        id == self.id || Some(id) == self.also
    }
}

#[inline(always)]
fn word_fits<'a>(place: usize, word: &Pattern, form: &Canonical<'a>, bound: &mut Bindings<'a>) -> bool {
    word.is_any() || form.get(place).is_some_and(|argument| word.matches(argument, bound))
}

impl Measured {
    /// As `word_fits`, for the words of a member of which two are compared by their meaning.
    fn word_fits<'a>(self, place: usize, word: &Pattern, form: &Canonical<'a>, bound: &mut Bindings<'a>) -> bool {
        match place.checked_sub(self.place) {
            Some(0) => self.fits(form),
            Some(1) if self.wanted.is_some() => true,
            Some(1) => {
                let time = form.get(self.place).and_then(TimeKind::of);
                form.get(place).zip(time).is_some_and(|(number, time)| word.matches_time(number, time, bound))
            }
            _ => word_fits(place, word, form, bound),
        }
    }

    fn fits(&self, form: &Canonical<'_>) -> bool {
        let Some((kind, number)) = form.get(self.place).zip(form.get(self.place + 1)) else { return false };
        match self.wanted {
            Some(wanted) => Measure::read(kind, number) == Some(wanted),
            None => Measure::is_time(kind),
        }
    }
}

/// What the command is in canonical form, with as many arguments as it needs.
pub(super) fn canonical_id(table: &Table, id: CommandId) -> CommandId {
    let count = usize::from(table.spec(id).arity.unsigned_abs());
    let spans = vec![Span { start: 0, end: 1 }; count];
    canonical(table, id, Args::new(b"1", &spans)).id
}
