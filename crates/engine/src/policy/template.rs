//! One member of a group, and which commands fit it.

use std::sync::Arc;

use crate::command::{Canonical, CommandId, Measure, Table, TimeKind, canonical};

use super::pattern::{Bindings, Pattern};
use super::reply::ExpectedReply;
use super::requirement::Required;
use super::subject::Subject;
use super::walk::Member;

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
    pub(super) expected: Option<Arc<ExpectedReply>>,
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

    /// Which requests of the command can fit.
    pub(super) fn about(&self, subject: Subject<'_>) -> Option<&[u8]> {
        let moves = !subject.spec.keeps_first_argument() || self.measured.is_some_and(|measured| measured.place == 0);
        let word = self.words.first().filter(|_| !moves);
        self.is_for(subject.canonical).then(|| word.map_or(&b""[..], |word| word.prefix()))
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
