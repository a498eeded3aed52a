//! Holds what a client is answered against what it has sent.

use super::{Client, NOT_RUN, Session, brief, parts};
use crate::ledger::{Fate, tag_in};
use crate::pipeline::{Want, is_once};
use crate::wire::Reply;

impl Client {
    pub(super) fn check(&mut self, session: &mut Session, wants: &[Want], answers: &[Reply]) {
        for (at, (want, answer)) in wants.iter().zip(answers).enumerate() {
            self.count(answer);
            self.check_missed(session, answer);
            match want {
                Want::Group { place: 0, tag, time, .. } => {
                    let is_member =
                        |other: &Want| matches!(other, Want::Group { tag: theirs, time: of, .. } if theirs == tag && of == time);
                    let members = wants.iter().zip(answers).filter(|(other, _)| is_member(other));
                    let members: Vec<Reply> = members.map(|(_, answer)| answer.clone()).collect();
                    self.check_group(session, want, &members);
                }
                Want::Group { .. } => {}
                Want::Exec { members } => {
                    self.check_exec(session.db, &wants[at - members..at], &answers[at - members..at], answer)
                }
                want => self.check_one(session, want, answer),
            }
        }
    }

    pub(super) fn check_one(&mut self, session: &mut Session, want: &Want, answer: &Reply) {
        let faulty = self.is_fault(answer);
        match want {
            Want::Exactly(reply) if !faulty && answer != reply => self.misfit(session, want, answer),
            Want::Name(reply) if !faulty && answer != reply && *answer != Reply::Null => self.misfit(session, want, answer),
            Want::Integer if !faulty && !matches!(answer, Reply::Integer(_)) => self.misfit(session, want, answer),
            Want::Write { key, tag } => {
                let fate = fate_of(answer);
                let fits = faulty || matches!(answer, Reply::Simple(_) | Reply::Integer(_));
                if fate == Fate::Applied && !fits || answer.is_error() && !faulty {
                    self.misfit(session, want, answer);
                }
                self.settle(session.db, key.as_deref(), tag, fate);
            }
            Want::Read { key } if !faulty => self.check_read(session, key, answer),
            Want::ReadAll { keys } if !faulty => match answer {
                Reply::Array(values) if values.len() == keys.len() => {
                    keys.iter().zip(values).for_each(|(key, value)| self.check_read(session, key, value));
                }
                _ => self.misfit(session, want, answer),
            },
            Want::Deleted { keys } => match answer {
                Reply::Integer(_) => keys.iter().for_each(|key| self.note_deleted(session, key, Fate::Applied)),
                _ if faulty => keys.iter().for_each(|key| self.note_deleted(session, key, fate_of(answer))),
                _ if answer.error() == Some("PARTIAL") => {}
                _ => self.misfit(session, want, answer),
            },
            Want::Refused(token) if !faulty && answer.error() != Some(token) => self.misfit(session, want, answer),
            Want::Popped { list } if !faulty => self.check_popped(session, list, answer),
            _ => {}
        }
    }

    pub(super) fn settle(&mut self, db: u32, key: Option<&str>, tag: &str, fate: Fate) {
        self.ledger.borrow_mut().settle(tag, fate);
        let Some(register) = key.and_then(|key| self.registers.get_mut(&(db, key.to_owned()))) else { return };
        match fate {
            Fate::Applied => {
                register.unknown.remove(tag);
                register.acknowledged = Some(tag.to_owned());
            }
            Fate::Refused => {
                register.unknown.remove(tag);
            }
            Fate::Open | Fate::Unknown => {}
        }
    }

    pub(super) fn check_read(&mut self, session: &Session, key: &str, answer: &Reply) {
        let undone = self.stage.server.model.borrow().undone > 0;
        let register = self.registers.entry((session.db, key.to_owned())).or_default();
        let fits = match answer {
            Reply::Null => undone || register.acknowledged.is_none() || register.deletions > 0,
            Reply::Bulk(value) => {
                let value = String::from_utf8_lossy(value);
                let tag = tag_in(&value).unwrap_or_default();
                register.acknowledged.as_deref() == Some(tag)
                    || register.unknown.contains(tag)
                    || undone && register.ever.contains(tag)
            }
            _ => false,
        };
        if !fits {
            let text = format!("session {}: {key} is {}, known: {register:?}", session.number, brief(answer));
            self.breach(text);
        }
    }

    fn note_deleted(&mut self, session: &Session, key: &str, fate: Fate) {
        let register = self.registers.entry((session.db, key.to_owned())).or_default();
        match fate {
            Fate::Applied => (register.acknowledged, register.deletions) = (None, register.deletions - 1),
            Fate::Refused => register.deletions -= 1,
            Fate::Open | Fate::Unknown => {}
        }
    }

    pub(super) fn check_popped(&mut self, session: &Session, list: &str, answer: &Reply) {
        match answer {
            Reply::Null => {}
            Reply::Array(parts) if matches!(&parts[..], [key, Reply::Bulk(_)] if *key == Reply::bulk(list)) => {
                let Some(Reply::Bulk(element)) = parts.get(1) else { return };
                let element = String::from_utf8_lossy(element).into_owned();
                if !self.popped.insert(element.clone()) && self.stage.server.model.borrow().undone == 0 {
                    self.breach(format!("session {}: {element} was popped twice", session.number));
                }
            }
            answer => self.misfit(session, &Want::Popped { list: list.to_owned() }, answer),
        }
    }

    pub(super) fn check_exec(&mut self, db: u32, wants: &[Want], queued: &[Reply], exec: &Reply) {
        for (place, (want, reply)) in wants.iter().zip(queued).enumerate() {
            let Want::Queued { key, tag: Some(tag) } = want else { continue };
            let fate = match (reply, exec) {
                (Reply::Simple(word), Reply::Array(replies)) if word == "QUEUED" => {
                    replies.get(place).map_or(Fate::Unknown, |_| Fate::Applied)
                }
                (Reply::Simple(word), exec) if word == "QUEUED" => fate_of_exec(exec),
                // It ran by itself, because its MULTI did not reach the server.
                (reply, _) => fate_of(reply),
            };
            self.settle(db, key.as_deref(), tag, fate);
        }
    }

    pub(super) fn check_group(&mut self, session: &Session, want: &Want, answers: &[Reply]) {
        let Want::Group { rule, tag, atomic, torn, time, .. } = want else { return };
        let names_group = |answer: &Reply| matches!(answer, Reply::Error(text) if text.contains(" group "));
        // Members that did not come in one piece may have gone one by one, or the optional ones without the others.
        let answers: Vec<Reply> = match !atomic && answers.iter().any(names_group) {
            true => answers.iter().filter(|answer| names_group(answer)).cloned().collect(),
            false => answers.to_vec(),
        };
        let words: Vec<&str> = answers.iter().filter_map(Reply::error).collect();
        let all = |word: &str| words.len() == answers.len() && words.iter().all(|other| *other == word);
        let aborted = words.len() == answers.len() && words.iter().all(|word| matches!(*word, "EXECABORT" | "OOM"));
        let counted = |count: &mut dyn FnMut(&mut crate::ledger::GroupCount)| {
            let mut ledger = self.ledger.borrow_mut();
            let group = ledger.groups.entry(rule).or_default();
            group.open -= 1;
            count(group);
        };
        if session.missed.is_some() && words.len() == answers.len() {
            // It is no group that was not even planned.
            return self.ledger.borrow_mut().settle_again(tag, Fate::Refused);
        }
        if !atomic && !answers.iter().any(names_group) {
            // Each reply stands for itself.
            let fate = match (words.is_empty(), aborted) {
                (true, _) => Fate::Applied,
                (_, true) => Fate::Refused,
                _ => Fate::Unknown,
            };
            return self.ledger.borrow_mut().settle_again(tag, fate);
        }
        if all("TIMEOUT") {
            counted(&mut |group| group.unknown += 1);
            return self.ledger.borrow_mut().settle_again(tag, Fate::Unknown);
        }
        if aborted {
            counted(&mut |group| group.refused += 1);
            return self.ledger.borrow_mut().settle_again(tag, Fate::Refused);
        }
        if all("COMMITTED") {
            counted(&mut |_| {});
            return self.ledger.borrow_mut().settle_again(tag, Fate::Applied);
        }
        if is_once(rule) && all("DUPLICATE") {
            // The proxy never takes a group that it has sent again itself for another one.
            if *time == 0 {
                self.breach(format!("session {}: group {rule} {tag} is a duplicate of nothing", session.number));
            }
            counted(&mut |group| group.duplicate += 1);
            return self.ledger.borrow_mut().settle_again(tag, Fate::Applied);
        }
        if is_guarded(rule) && *torn && words.len() == answers.len() && words.contains(&"WRONGTYPE") {
            // It was foretold, or has been undone.
            counted(&mut |group| group.refused += 1);
            return self.ledger.borrow_mut().settle_again(tag, Fate::Refused);
        }
        let is_in_part = all("PARTIAL") || words.contains(&"WRONGTYPE") && words.len() < answers.len();
        let partial = is_in_part && !(is_guarded(rule) && *atomic);
        if partial != *torn || !partial && !words.is_empty() {
            let text = answers.iter().map(brief).collect::<Vec<_>>().join(" | ");
            self.breach(format!("session {}: group {rule} {tag} was answered {text}", session.number));
        }
        counted(&mut |group| group.torn += usize::from(partial));
        self.ledger.borrow_mut().settle_again(tag, Fate::Applied);
    }

    /// Behind a change that was not carried out everything says so; elsewhere nothing does. A PING is the same in every db
    /// and protocol: while the server is in trouble it goes over a spare connection.
    pub(super) fn check_missed(&mut self, session: &Session, answer: &Reply) {
        let is_of_ping = match answer {
            Reply::Simple(text) => text == "PONG",
            Reply::Error(text) => text.starts_with("TIMEOUT respguard: outcome of PING unknown"),
            _ => false,
        };
        if session.missed.is_some() && is_of_ping {
            return;
        }
        let says_so = matches!(answer, Reply::Error(text) if text.starts_with(NOT_RUN));
        if says_so != session.missed.is_some() {
            let text =
                format!("session {}: {:?} was missed, and it was answered {}", session.number, session.missed, brief(answer));
            self.breach(text);
        }
    }

    pub(super) fn check_frame(&mut self, session: &Session, frame: &Reply, word: &str, channel: &str) {
        if !matches!(parts(frame), [first, second, _] if *first == Reply::bulk(word) && *second == Reply::bulk(channel)) {
            let text = format!("session {}: a subscriber got {} for {word} {channel}", session.number, brief(frame));
            self.breach(text);
        }
    }

    /// An error that says that the server, or the way to it, has failed, and not the request.
    pub(super) fn is_fault(&mut self, reply: &Reply) -> bool {
        let Reply::Error(text) = reply else { return false };
        let fault = ["TIMEOUT respguard:", "ERR respguard:", "EXECABORT ", "OOM ", "COMMITTED "]
            .iter()
            .any(|word| text.starts_with(word));
        if fault && self.stage.is_calm {
            self.breach(format!("nothing goes wrong, and a client is told {text:?}"));
        }
        fault
    }

    pub(super) fn misfit(&mut self, session: &Session, want: &Want, answer: &Reply) {
        let text = format!("session {}: {want:?} was answered {}", session.number, brief(answer));
        self.breach(text);
    }

    pub(super) fn count(&self, reply: &Reply) {
        let sort = match reply {
            Reply::Error(text) => text.split(' ').next().unwrap_or_default().to_owned(),
            _ => "data".to_owned(),
        };
        *self.ledger.borrow_mut().answered.entry(sort).or_default() += 1;
    }

    pub(super) fn breach(&self, text: String) {
        self.ledger.borrow_mut().breach(text);
    }
}

/// A group of such a rule is applied whole, or nothing of it.
fn is_guarded(rule: &str) -> bool {
    matches!(rule, "guarded" | "proven" | "single" | "undone" | "sure")
}

/// What an answer tells about a write.
fn fate_of(answer: &Reply) -> Fate {
    match answer.error() {
        // It rode in the transaction of a group that was applied, and its reply was lost with that.
        None | Some("COMMITTED") => Fate::Applied,
        Some("TIMEOUT") => Fate::Unknown,
        Some(_) => Fate::Refused,
    }
}

/// What EXEC's answer tells about what was queued.
fn fate_of_exec(exec: &Reply) -> Fate {
    match exec {
        Reply::Array(_) => Fate::Applied,
        Reply::Error(text) if text.starts_with("TIMEOUT") => Fate::Unknown,
        _ => Fate::Refused,
    }
}
