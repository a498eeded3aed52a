//! What clients wrote and what they were told about it, held against the history of the model.

use std::collections::{BTreeMap, BTreeSet};

use respguard_engine::route::slots::key_slot;

use crate::pipeline::Want;
use crate::redis::Applied;

/// What a client was told about a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nothing, for the client has left.
    Open,
    /// It was applied.
    Applied,
    /// It was not.
    Refused,
    /// Nobody can say.
    Unknown,
}

/// One write, or one group of them, under its tag.
#[derive(Debug)]
struct Note {
    /// Whose it is; writes of one session are applied in their order.
    session: u64,
    fate: Fate,
    /// Commands that carry the tag.
    members: usize,
    /// They are applied together.
    together: bool,
    /// It was sent in part too: a member of it may stand alone.
    in_part: bool,
}

/// Every write of a simulation.
#[derive(Debug, Default)]
pub struct Ledger {
    notes: BTreeMap<String, Note>,
    /// What was found wrong.
    pub breaches: Vec<String>,
    /// What groups were answered, by rule.
    pub groups: BTreeMap<&'static str, GroupCount>,
    /// Replies of each sort, for a glance at what a run has covered.
    pub answered: BTreeMap<String, usize>,
}

/// How many groups of a rule their clients saw end so.
#[derive(Debug, Default)]
pub struct GroupCount {
    pub torn: usize,
    pub refused: usize,
    pub unknown: usize,
    pub duplicate: usize,
    /// Sent, and never answered, because the client has left; or in an unusual way.
    pub open: usize,
}

impl Ledger {
    /// A new tag, for a write or a group of `members` commands.
    pub fn tag(&mut self, session: u64, members: usize, together: bool) -> String {
        // Of one width, so that their order is the order in which they were made.
        let tag = format!("t-{:06}", self.notes.len());
        self.notes.insert(tag.clone(), Note { session, fate: Fate::Open, members, together, in_part: false });
        tag
    }

    pub fn settle(&mut self, tag: &str, fate: Fate) {
        if let Some(note) = self.notes.get_mut(tag) {
            note.fate = fate;
        }
    }

    /// What a client was told of one of several times that it has sent the same.
    pub fn settle_again(&mut self, tag: &str, fate: Fate) {
        let known = self.notes.get(tag).map_or(Fate::Open, |note| note.fate);
        let fate = match (known, fate) {
            (Fate::Applied, _) | (_, Fate::Applied) => Fate::Applied,
            (Fate::Unknown, _) | (_, Fate::Unknown) => Fate::Unknown,
            (_, fate) => fate,
        };
        self.settle(tag, fate);
    }

    /// The client has left in the middle of these: of a group, less may have been sent than makes it one.
    pub fn part(&mut self, wants: &[Want]) {
        for want in wants {
            if let Want::Group { tag, .. } = want
                && let Some(note) = self.notes.get_mut(tag)
            {
                (note.together, note.in_part) = (false, true);
            }
        }
    }

    pub fn breach(&mut self, text: String) {
        self.breaches.push(text);
    }

    /// Holds everything against what the server has applied.
    ///
    /// Writes of one session are applied in their order; on different slots of a cluster they have none. What a lost
    /// connection has left on its way may come late, if there was any (`outlived`): then only those count that were
    /// acknowledged.
    pub fn check(&mut self, history: &[Applied], outlived: bool, is_cluster: bool) {
        let mut places: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        // The proxy's own keys may hold a client's, as their hash tag.
        let is_own = |applied: &Applied| applied.words[1].starts_with("respguard:");
        for (at, applied) in history.iter().enumerate().filter(|(_, applied)| !is_own(applied)) {
            let tags: BTreeSet<&str> = applied.words.iter().filter_map(|word| tag_in(word)).collect();
            for tag in tags {
                places.entry(tag).or_default().push(at);
            }
        }
        let slot = |at: usize| if is_cluster { key_slot(history[at].words[1].as_bytes()) } else { 0 };
        let mut latest: BTreeMap<(u64, u16), (usize, &str)> = BTreeMap::new();
        let mut breaches = Vec::new();
        for (tag, note) in &self.notes {
            let mut at = places.get(&**tag).cloned().unwrap_or_default();
            // What a failover has undone may have been sent again.
            let all = at.clone();
            let again = |at: usize| all.iter().any(|later| *later > at && history[*later].words == history[at].words);
            at.retain(|at| !(history[*at].undone && again(*at)));
            let told = (note.fate, at.len());
            match told {
                (Fate::Applied, n) if n != note.members => {
                    breaches.push(format!("{tag} was acknowledged and applied {n} times: {note:?}"))
                }
                (Fate::Refused, n) if n != 0 => breaches.push(format!("{tag} was refused and applied {n} times: {note:?}")),
                (_, n) if n > note.members && !note.in_part => breaches.push(format!("{tag} was applied {n} times: {note:?}")),
                _ => {}
            }
            if note.together && !at.is_empty() {
                let first = history[at[0]].together;
                if at.len() != note.members || at.iter().any(|at| history[*at].together != first) {
                    breaches.push(format!("{tag} is torn: {note:?} {:?}", at.iter().map(|at| &history[*at]).collect::<Vec<_>>()));
                }
                if at.iter().any(|at| history[*at].undone) != at.iter().all(|at| history[*at].undone) {
                    breaches.push(format!("{tag} is undone in part"));
                }
            }
            if let Some(first) = at.first().filter(|_| note.fate == Fate::Applied || !outlived) {
                let of = (note.session, slot(*first));
                let (before, whose) = latest.get(&of).copied().unwrap_or((0, ""));
                if before > *first {
                    breaches.push(format!("{tag} was applied before {whose}, which its client sent first"));
                }
                latest.insert(of, (at[at.len() - 1], tag));
            }
        }
        self.breaches.extend(breaches);
    }
}

/// The tag in a word.
pub fn tag_in(word: &str) -> Option<&str> {
    let at = word.find("t-")?;
    word.get(at..at + 8)
}
