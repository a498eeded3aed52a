//! Records how the members of a group were matched, for explanations.

use std::sync::Arc;

use crate::command::{Table, canonical};

use super::group::{Group, Shape};
use super::pattern::Bindings;
use super::template::Template;
use super::templates::Templates;
use super::walk::{Member, Reader, Walk, WalkVisitor};

/// A group of which the first commands fit, but not all that it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Miss<'p, 'a> {
    /// Its place among the groups.
    pub group: usize,
    /// Commands that fit.
    pub members: usize,
    /// The member that should have come then, as it was written.
    pub wanted: &'p str,
    /// Why it has not come.
    pub why: Why<'p, 'a>,
}

/// Why the next command is not the member that should have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the sentence above each variant names its fields")]
pub enum Why<'p, 'a> {
    /// There is no next command.
    End,
    /// It is another command.
    OtherCommand,
    /// It may wait, which nothing in a group can.
    Blocking,
    /// Its arguments have another form.
    OtherArguments,
    /// It fits by itself, but the capture `name` is bound to other bytes.
    Capture { name: &'p str, bound: &'a [u8], found: &'a [u8] },
}

impl Group {
    /// The captures of the whole group that begins at the command `at(0)`, by name, in the order in which the names
    /// were first written.
    pub fn bound<'a>(&self, table: &Table, at: Reader<'_, 'a>) -> Vec<(&str, &'a [u8])> {
        let Shape::Templates(templates) = &self.shape else { return Vec::new() };
        let bindings = templates.trace(table, at).whole.unwrap_or_default().bound;
        let named = self.captures().iter().enumerate();
        named.filter_map(|(number, name)| bindings.get(number).map(|value| (&**name, value))).collect()
    }

    fn miss<'a>(&self, place: usize, table: &Table, at: Reader<'_, 'a>) -> Option<Miss<'_, 'a>> {
        let Shape::Templates(templates) = &self.shape else { return None };
        let trace = templates.trace(table, at);
        let (here, command) = trace.stopped.filter(|(here, _)| trace.whole.is_none() && here.command > 0)?;
        let wanted = templates.members.get(here.member)?;
        let why = command.map_or(Why::End, |command| wanted.why_not(command, table, self.captures(), &here.bound));
        Some(Miss { group: place, members: here.command, wanted: &wanted.text, why })
    }
}

pub(super) fn nearest_miss<'p, 'a>(groups: &'p [Arc<Group>], table: &Table, at: Reader<'_, 'a>) -> Option<Miss<'p, 'a>> {
    let mut nearest: Option<Miss<'p, 'a>> = None;
    for (place, group) in groups.iter().enumerate() {
        let fitted = nearest.map_or(0, |miss| miss.members);
        nearest = group.miss(place, table, at).filter(|miss| miss.members > fitted).or(nearest);
    }
    nearest
}

impl Templates {
    pub(super) fn trace<'a>(&self, table: &Table, at: Reader<'_, 'a>) -> Trace<'a> {
        let mut trace = Trace::default();
        self.walk(Walk::default(), table, at, &mut trace);
        trace
    }
}

impl Template {
    /// Why a command that does not fit here does not; `bound` may hold what the failed attempt has bound.
    pub(super) fn why_not<'p, 'a>(
        &self,
        command: Member<'a>,
        table: &Table,
        names: &'p [String],
        bound: &Bindings<'a>,
    ) -> Why<'p, 'a> {
        let form = canonical(table, command.id, command.args);
        if !self.is_for(form.id) {
            return Why::OtherCommand;
        }
        if table.spec(command.id).is_blocking(command.args) {
            return Why::Blocking;
        }
        let mut alone = Bindings::default();
        if !self.words_fit(&form, &mut alone) {
            return Why::OtherArguments;
        }
        let mut differing = names.iter().enumerate().filter(|(number, _)| bound.differ(&alone, *number));
        let captured = |(number, name): (usize, &'p String)| {
            Some(Why::Capture { name, bound: bound.get(number)?, found: alone.get(number)? })
        };
        differing.next().and_then(captured).unwrap_or(Why::OtherArguments)
    }
}

/// The longest ways through a group's members.
#[derive(Default)]
pub(super) struct Trace<'a> {
    pub(super) whole: Option<Walk<'a>>,
    /// Where it went no further, and the command that did not fit.
    stopped: Option<(Walk<'a>, Option<Member<'a>>)>,
}

impl<'a> Trace<'a> {
    fn stop(&mut self, here: &Walk<'a>, command: Option<Member<'a>>) {
        if self.stopped.is_none_or(|(furthest, _)| here.command > furthest.command) {
            self.stopped = Some((*here, command));
        }
    }
}

impl<'a> WalkVisitor<'a> for Trace<'a> {
    fn whole(&mut self, here: &Walk<'a>) {
        if self.whole.is_none_or(|longest| here.command > longest.command) {
            self.whole = Some(*here);
        }
    }

    fn awaiting(&mut self, here: &Walk<'a>) {
        self.stop(here, None);
    }

    fn mismatch(&mut self, here: &Walk<'a>, command: Member<'a>) {
        self.stop(here, Some(command));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::written::WrittenRequest;
    use crate::policy::rule::{Written, WrittenGroup, WrittenMember};
    use crate::policy::{Policy, compile};

    fn login() -> Policy {
        let member = |(template, optional): (&str, bool)| WrittenMember {
            template: template.to_owned(),
            optional,
            ..WrittenMember::default()
        };
        let members = [
            ("SETEX rt:{user}:{token} {ttl} *", false),
            ("SADD sess:{user} {token}", false),
            ("GET {user}", true),
            ("XREAD ...", false),
        ];
        let commands = Some(members.into_iter().map(member).collect());
        let group = WrittenGroup { name: "login".to_owned(), commands, ..WrittenGroup::default() };
        compile(&Written { groups: vec![group], ..Written::default() }, &Table::builtin()).unwrap()
    }

    /// Members that fit and, as text, what came instead of the next.
    fn miss(commands: &[&str]) -> Option<(usize, String)> {
        let (policy, table) = (login(), Table::builtin());
        let requests: Vec<_> = commands.iter().map(|line| WrittenRequest::new(line)).collect();
        let miss = policy.nearest_miss(&table, &mut |place| {
            let args = requests.get(place)?.args();
            Some(Member { id: table.lookup(args), args })
        });
        miss.map(|miss| (miss.members, format!("{} {:?}", miss.wanted, miss.why)))
    }

    const SETEX: &str = "SETEX rt:u:t 60 v";

    #[test]
    fn the_first_command_that_does_not_fit_is_told_with_its_reason() {
        let cases = [
            (&[SETEX][..], 1, "SADD sess:{user} {token} End"),
            (&[SETEX, "GET a"], 1, "SADD sess:{user} {token} OtherCommand"),
            (&[SETEX, "SADD other t"], 1, "SADD sess:{user} {token} OtherArguments"),
            (&[SETEX, "SADD sess:u t t"], 1, "SADD sess:{user} {token} OtherArguments"),
            (&[SETEX, "SADD sess:u t", "XREAD BLOCK 0 STREAMS s 0"], 2, "XREAD ... Blocking"),
            (&[SETEX, "SADD sess:u t", "GET u", "GET u"], 3, "XREAD ... OtherCommand"),
        ];
        for (commands, members, text) in cases {
            assert_eq!(miss(commands), Some((members, text.to_owned())));
        }
    }

    #[test]
    fn a_capture_that_differs_is_told_with_both_values() {
        let (members, text) = miss(&[SETEX, "SADD sess:u x"]).unwrap();
        assert_eq!(members, 1);
        assert!(text.ends_with(&format!("Capture {{ name: \"token\", bound: {:?}, found: {:?} }}", b"t", b"x")), "{text}");
    }

    #[test]
    fn whole_groups_and_other_commands_are_no_miss() {
        assert_eq!(miss(&[SETEX, "SADD sess:u t", "XREAD STREAMS s 0"]), None);
        assert_eq!(miss(&["SETEX other 60 v", "SADD sess:u t"]), None);
        assert_eq!(miss(&[]), None);
    }

    #[test]
    fn the_captures_of_a_whole_group_are_told_by_name() {
        let (policy, table) = (login(), Table::builtin());
        let requests = [SETEX, "SADD sess:u t", "XREAD STREAMS s 0"].map(WrittenRequest::new);
        let bound = policy.groups()[0].bound(&table, &mut |place| {
            let args = requests.get(place)?.args();
            Some(Member { id: table.lookup(args), args })
        });
        assert_eq!(bound, [("user", &b"u"[..]), ("token", b"t"), ("ttl", b"60")]);
    }
}
