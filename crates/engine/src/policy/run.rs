//! Groups by `keys`: runs of consecutive commands whose keys match.

use crate::command::{self, PlainKeys, Spec, Table};

use super::index::KeyIndex;
use super::pattern::Pattern;
use super::walk::{MatchSpan, Member, Reader};

/// A run of at least two consecutive plain keyed commands whose keys all match.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    pub(super) patterns: Box<[Pattern]>,
    pub(super) index: KeyIndex,
}

/// How a command belongs to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyMatch {
    /// By keys that match.
    Keys,
    /// Its command has keys, and none can be read in this request: it is taken for what it was meant to be.
    Unreadable,
}

impl Keys {
    /// Whether some request of this command can be in a run.
    pub(super) fn admits(spec: &Spec) -> bool {
        spec.groupable().is_ok() && !matches!(&spec.keys, command::Keys::Specs(specs) if specs.is_empty())
    }

    pub(super) fn follow<'a>(&self, table: &Table, at: Reader<'_, 'a>) -> MatchSpan {
        let (mut count, mut matching) = (0, false);
        loop {
            let next = at(count);
            match next.and_then(|command| self.fit(command, table)) {
                // No run begins with a bare name: what a request begins with is what runs are found by.
                Some(KeyMatch::Unreadable) if count == 0 && next.is_some_and(|command| is_bare(command, table)) => {
                    return MatchSpan::default();
                }
                Some(fit) => {
                    count += 1;
                    matching |= fit == KeyMatch::Keys;
                }
                None => {
                    // One command needs no transaction, and without a key that matches there is no run.
                    let whole = if count >= 2 && matching { count } else { 0 };
                    let awaiting = if next.is_none() { count } else { 0 };
                    return MatchSpan { whole, awaiting, ..MatchSpan::default() };
                }
            }
        }
    }

    /// How the command belongs to a run, if it does.
    pub(super) fn fit(&self, command: Member<'_>, table: &Table) -> Option<KeyMatch> {
        let spec = table.spec(command.id);
        // A wrong number of arguments is no obstacle: the server refuses it while it queues, and with it the whole group.
        if spec.groupable().is_err() {
            return None;
        }
        let (mut some, mut all_match) = (false, true);
        let keys = spec.plain_keys(command.args, &mut |place| {
            let key = command.args.get(place);
            some = true;
            all_match &= key.is_some_and(|key| self.index.first_match(key).is_some());
        });
        match keys {
            PlainKeys::Complete | PlainKeys::Malformed if !all_match => None,
            PlainKeys::Complete => Some(KeyMatch::Keys),
            // What it would have done to keys is not done, and so must what the others do not be either.
            PlainKeys::Malformed => Some(if some { KeyMatch::Keys } else { KeyMatch::Unreadable }),
            PlainKeys::None => None,
        }
    }
}

/// Whether the request is its command's name and nothing else.
fn is_bare(command: Member<'_>, table: &Table) -> bool {
    command.args.len() <= usize::from(table.spec(command.id).name_words)
}
