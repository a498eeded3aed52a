//! Checks the replies of a group's members against its rule: each as declared, and all equal where they must be.

use std::sync::Arc;

use super::setnx;
use super::violation::{Kind, Violation};
use crate::command::{CommandId, Table};
use crate::policy::reply::ExpectedReply;
use crate::policy::{Agree, Group, Member};
use respguard_resp::head::Head;

/// The expectations of one group's replies, in the order of its commands, and the first that was not met.
#[derive(Debug)]
pub struct Expectations {
    agree: bool,
    /// For each command what its reply must be; empty where no member has an expectation.
    wanted: Vec<Option<Arc<ExpectedReply>>>,
    /// The places of those that are a SETNX and go out as SET.
    turned: Vec<usize>,
    /// The first reply, kept because all others must be the same.
    first: Option<Box<[u8]>>,
    seen: u32,
    breach: Option<Breach>,
}

/// A reply that was not what it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// The command's place among its companions, from 1.
    pub place: u32,
    /// What the reply was, shortened.
    pub found: String,
    /// What it must be, as the rule writes it.
    pub wanted: String,
}

impl Expectations {
    /// What the rule expects of the group that begins at the command `at(0)`; nothing, for most rules.
    pub fn of<'a>(group: &Group, table: &Table, at: &mut dyn FnMut(usize) -> Option<Member<'a>>) -> Option<Box<Expectations>> {
        let agree = group.agree == Some(Agree::All);
        let wanted = group.wanted(table, at);
        if !agree && wanted.is_empty() {
            return None;
        }
        Some(Box::new(Expectations { agree, wanted, turned: Vec::new(), first: None, seen: 0, breach: None }))
    }

    /// The commands at these places are a SETNX and go out as SET.
    pub fn turning(self, turned: Vec<usize>) -> Expectations {
        Expectations { turned, ..self }
    }

    /// Takes the next command's reply. One that is not `whole` can only be checked by its beginning.
    pub(super) fn admit(&mut self, reply: &[u8], whole: bool) {
        let at = self.seen as usize;
        self.seen += 1;
        let reply = if self.turned.contains(&at) { setnx::turned(reply) } else { reply };
        if self.breach.is_some() {
            return;
        }
        let breach = |wanted: String| Breach { place: self.seen, found: Head::read(reply).to_string(), wanted };
        if let Some(Some(wanted)) = self.wanted.get(at)
            && !wanted.is_met_by(Head::read(reply))
        {
            self.breach = Some(breach(wanted.to_string()));
        } else if self.agree && whole {
            match &self.first {
                None => self.first = Some(reply.into()),
                Some(first) if **first != *reply => {
                    self.breach = Some(breach(format!("{} as before", Head::read(first))));
                }
                Some(_) => {}
            }
        }
    }

    /// The first demand that was not met so far.
    pub(super) fn breach(&self) -> Option<&Breach> {
        self.breach.as_ref()
    }
}

impl Breach {
    /// The violation of a rule about these commands.
    pub(super) fn violation(&self, rule: &Arc<str>, commands: impl Iterator<Item = CommandId>, table: &Table) -> Violation {
        let names = commands.map(|command| table.spec(command).name());
        Violation::new(Kind::Expectation).rule(rule).commands(names).place(self.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breach(agree: bool, wanted: &[&str], replies: &[&str]) -> Option<(u32, String, String)> {
        let wanted = wanted.iter().map(|text| ExpectedReply::parse(text).map(Arc::new)).collect();
        let mut expectations = Expectations { agree, wanted, turned: Vec::new(), first: None, seen: 0, breach: None };
        replies.iter().for_each(|reply| expectations.admit(reply.as_bytes(), true));
        expectations.breach().map(|breach| (breach.place, breach.found.clone(), breach.wanted.clone()))
    }

    #[test]
    fn replies_agree_when_they_are_the_same_bytes() {
        assert_eq!(breach(true, &[], &[":1\r\n", ":1\r\n", ":1\r\n"]), None);
        let differing = Some((3, "0".to_owned(), "1 as before".to_owned()));
        assert_eq!(breach(true, &[], &[":1\r\n", ":1\r\n", ":0\r\n", ":2\r\n"]), differing);
        assert_eq!(breach(false, &[], &[":1\r\n", ":0\r\n"]), None);
    }

    #[test]
    fn each_member_has_an_expectation_of_its_own_or_none() {
        assert_eq!(breach(false, &["OK", "", ">= 1"], &["+OK\r\n", "-ERR\r\n", ":1\r\n"]), None);
        let late = Some((3, "0".to_owned(), ">= 1".to_owned()));
        assert_eq!(breach(false, &["OK", "", ">= 1"], &["+OK\r\n", "-ERR\r\n", ":0\r\n"]), late);
        let failed = Some((1, "an error".to_owned(), "OK".to_owned()));
        assert_eq!(breach(false, &["OK"], &["-ERR\r\n", ":0\r\n"]), failed);
    }
}
