//! Finds commands that were probably meant to be a group, but fail to be one for a single reason.

use std::fmt;

use super::group::{Group, Shape};
use super::pattern::Bindings;
use super::rule::Order;
use super::template::Template;
use super::templates::Templates;
use super::trace::Why;
use super::walk::Member;
use crate::command::{CommandId, Table, canonical};

/// Commands that are looked at for the members of one group.
pub const COMMANDS_MAX: usize = 32;

/// Commands of which each is one of a group's members, all but for one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearMiss<'p> {
    /// For each member that is not optional the place of its command among those that were looked at, in their order.
    pub commands: Vec<usize>,
    /// Which of these commands the thing is about.
    pub place: usize,
    /// What it is.
    pub why: Difference<'p>,
}

/// What keeps commands from being a group: in words of the rule, never of the commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the sentence above each variant names its fields")]
pub enum Difference<'p> {
    /// The member's capture is bound to other bytes than in the others.
    Capture { member: &'p str, name: &'p str },
    /// The member comes before the one that must precede it.
    Order { member: &'p str, before: &'p str },
    /// One word of it does not fit.
    Word { member: &'p str, word: &'p str },
    /// It has more or fewer arguments.
    Arguments { member: &'p str },
    /// It may wait, which nothing in a group can.
    Blocking { member: &'p str },
}

impl fmt::Display for Difference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capture { member, name } => write!(f, "{{{name}}} in `{member}` is another than in the other members"),
            Self::Order { member, before } => write!(f, "`{member}` comes before `{before}`"),
            Self::Word { member, word } => write!(f, "the arguments of `{member}` have another form: `{word}` does not fit"),
            Self::Arguments { member } => {
                write!(f, "the arguments of `{member}` have another form: there are more, or fewer")
            }
            Self::Blocking { member } => write!(f, "`{member}` may block"),
        }
    }
}

/// How well a command fits a member, from worst to best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum MemberMatch {
    Command,
    Key,
    /// By itself, but not with what the captures are bound to.
    Alone,
    Whole,
}

impl Group {
    /// Whether a command, in canonical form, may be a member that is not optional.
    pub(crate) fn needs(&self, canonical: CommandId) -> bool {
        self.required().is_some_and(|mut required| required.any(|member| member.is_for(canonical)))
    }

    /// Whether all members that are not optional have their command among these, which are in canonical form.
    pub(crate) fn may_be_missed(&self, mut has: impl FnMut(&dyn Fn(CommandId) -> bool) -> bool) -> bool {
        let Some(required) = self.required() else { return false };
        let (mut count, mut all) = (0, true);
        for member in required {
            count += 1;
            all &= has(&|canonical| member.is_for(canonical));
        }
        count > 1 && all
    }

    /// Whether the commands are all members of the group but for one thing, the one at `anchor` among them.
    pub(crate) fn near_miss<'a>(&self, table: &Table, anchor: usize, commands: &[Member<'a>]) -> Option<NearMiss<'_>> {
        let Shape::Templates(templates) = &self.shape else { return None };
        let members: Vec<&Template> = self.required()?.collect();
        let own = members
            .iter()
            .position(|member| member.fit(commands[anchor], table, &Bindings::default()) >= Some(MemberMatch::Key))?;
        let mut search = Search { table, commands, templates, members, bound: Bindings::default(), found: Vec::new() };
        search.assign(own, anchor)?;
        search.conclude()
    }

    fn required(&self) -> Option<impl Iterator<Item = &Template>> {
        match &self.shape {
            Shape::Templates(templates) => Some(templates.required_members()),
            Shape::Keys(_) => None,
        }
    }
}

impl Templates {
    pub(super) fn required_members(&self) -> impl Iterator<Item = &Template> {
        self.members.iter().filter(|member| !member.optional)
    }

    /// The members by which a group that is nearly there is noticed: one of the two fits where only one word differs.
    pub(super) fn anchors(&self) -> impl Iterator<Item = &Template> {
        self.required_members().take(2)
    }
}

struct Search<'s, 'p, 'a> {
    table: &'s Table,
    commands: &'s [Member<'a>],
    templates: &'p Templates,
    members: Vec<&'p Template>,
    bound: Bindings<'a>,
    /// For each member the place of its command, and how well that fits.
    found: Vec<(usize, MemberMatch)>,
}

impl<'p, 'a> Search<'_, 'p, 'a> {
    /// Gives each member the command that fits it best, the nearest among equals.
    fn assign(&mut self, own: usize, anchor: usize) -> Option<()> {
        let fit = self.members[own].fit(self.commands[anchor], self.table, &Bindings::default())?;
        self.bind(own, anchor);
        let mut found = vec![None; self.members.len()];
        found[own] = Some((anchor, fit));
        for place in (0..self.members.len()).filter(|place| *place != own) {
            let taken = |at: usize| found.iter().flatten().any(|(taken, _)| *taken == at);
            let free = (0..self.commands.len()).filter(|at| !taken(*at));
            let fits = free.filter_map(|at| Some((self.members[place].fit(self.commands[at], self.table, &self.bound)?, at)));
            let best = fits.max_by_key(|(fit, at)| (*fit, std::cmp::Reverse(at.abs_diff(anchor))));
            let (fit, at) = best?;
            found[place] = Some((at, fit));
            if fit == MemberMatch::Whole {
                self.bind(place, at);
            }
        }
        self.found = found.into_iter().flatten().collect();
        Some(())
    }

    fn bind(&mut self, member: usize, at: usize) {
        let mut bound = self.bound;
        if self.members[member].fits(self.commands[at], self.table, &mut bound) {
            self.bound = bound;
        }
    }

    fn conclude(&self) -> Option<NearMiss<'p>> {
        if self.found.iter().filter(|(_, fit)| *fit >= MemberMatch::Key).count() < 2 {
            return None;
        }
        let mut faults = (0..).zip(&self.found).filter(|(_, (_, fit))| *fit != MemberMatch::Whole).map(|(member, _)| member);
        let (member, why) = match faults.next() {
            None => self.out_of_order()?,
            Some(first) => {
                let why = self.difference(first)?;
                let same = |other| matches!(why, Difference::Capture { name, .. } if self.captures(other) == Some(name));
                if !faults.all(same) {
                    return None;
                }
                (first, why)
            }
        };
        let mut commands: Vec<usize> = self.found.iter().map(|(at, _)| *at).collect();
        let at = commands[member];
        commands.sort_unstable();
        let place = commands.iter().position(|other| *other == at)?;
        Some(NearMiss { commands, place, why })
    }

    fn out_of_order(&self) -> Option<(usize, Difference<'p>)> {
        if self.templates.order == Order::Any {
            return None;
        }
        let member = (1..self.found.len()).find(|&member| self.found[member].0 < self.found[member - 1].0)?;
        let (early, late) = (self.members[member], self.members[member - 1]);
        Some((member, Difference::Order { member: &early.text, before: &late.text }))
    }

    /// What is wrong with the command of a member.
    fn difference(&self, member: usize) -> Option<Difference<'p>> {
        let template = self.members[member];
        let command = self.commands[self.found[member].0];
        if self.table.spec(command.id).is_blocking(command.args) {
            return Some(Difference::Blocking { member: &template.text });
        }
        if let Some(name) = self.captures(member) {
            return Some(Difference::Capture { member: &template.text, name });
        }
        let form = canonical(self.table, command.id, command.args);
        if form.len() < template.words.len() || !template.rest && form.len() > template.words.len() {
            return Some(Difference::Arguments { member: &template.text });
        }
        let mut alone = Bindings::default();
        let word = template.misfit(&form, &mut alone)?;
        Some(Difference::Word { member: &template.text, word: word.text() })
    }

    /// The capture of a member that is bound to other bytes, if that is what is wrong with it.
    fn captures(&self, member: usize) -> Option<&'p str> {
        let (at, fit) = self.found[member];
        let (template, mut bound) = (self.members[member], self.bound);
        if fit != MemberMatch::Alone || template.fits(self.commands[at], self.table, &mut bound) {
            return None;
        }
        match template.why_not(self.commands[at], self.table, self.templates.names.as_slice(), &self.bound) {
            Why::Capture { name, .. } => Some(name),
            _ => None,
        }
    }
}

impl Template {
    /// How well a command fits, with what captures are bound to; `None` for another command.
    fn fit(&self, command: Member<'_>, table: &Table, bound: &Bindings<'_>) -> Option<MemberMatch> {
        let form = canonical(table, command.id, command.args);
        if !self.is_for(form.id) {
            return None;
        }
        let (mut with, mut alone, mut key_alone) = (*bound, Bindings::default(), Bindings::default());
        if self.fits(command, table, &mut with) {
            return Some(MemberMatch::Whole);
        }
        if self.fits(command, table, &mut alone) {
            return Some(MemberMatch::Alone);
        }
        let mut key = None;
        table.spec(command.id).for_each_key(command.args, &mut |place, _| key = key.or(command.args.get(place)));
        let is_key = |word: &[u8]| key.is_some_and(|key: &[u8]| std::ptr::eq(word, key));
        let place = (0..self.words.len()).find(|place| form.get(*place).is_some_and(is_key));
        let fits = place.is_some_and(|place| {
            let (word, key) = (&self.words[place], key.unwrap_or_default());
            word.matches(key, &mut key_alone)
        });
        Some(if fits { MemberMatch::Key } else { MemberMatch::Command })
    }
}
