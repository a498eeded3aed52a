//! Finds the rule that says what a command is answered while there is no server.

use std::sync::Arc;

use super::index::KeyIndex;
use super::pattern::Pattern;
use crate::command::{Blank, KeyList, Spec};
use respguard_resp::request::Args;

/// One `[[degrade]]` rule: keys whose commands have an answer even without a server.
#[derive(Clone, Debug)]
pub struct DegradeRule {
    pub name: Arc<str>,
    pub keys: Box<[Pattern]>,
    /// Reads are answered as if the keys were not there.
    pub reads_nil: bool,
    /// Writes are answered `+OK` and forgotten.
    pub writes_ok: bool,
}

impl DegradeRule {
    /// The text of the pattern that the key matches: what a report names in place of the key.
    pub fn pattern_of(&self, key: &[u8]) -> Option<&str> {
        self.keys.iter().find(|pattern| pattern.matches_key(key)).map(Pattern::text)
    }
}

/// All degrade rules, in the order in which they were written: the first that matches a key is the key's rule.
#[derive(Clone, Debug)]
pub struct DegradeRules {
    rules: Vec<Arc<DegradeRule>>,
    index: KeyIndex,
}

impl DegradeRules {
    pub fn new(rules: Vec<Arc<DegradeRule>>) -> Self {
        let index = KeyIndex::new(rules.iter().map(|rule| &*rule.keys));
        Self { rules, index }
    }

    pub fn as_slice(&self) -> &[Arc<DegradeRule>] {
        &self.rules
    }

    /// What the command is answered without a server, and by which rule. All its keys must be the same rule's.
    pub fn answer(&self, spec: &Spec, args: Args<'_>) -> Option<(usize, Blank)> {
        if self.rules.is_empty() || !spec.arity_fits(args) {
            return None;
        }
        let (mut place, mut agree) = (None, true);
        let keys = spec.for_each_key(args, &mut |key, _| {
            let rule = args.get(key).and_then(|key| self.index.first_match(key));
            agree &= rule.is_some() && (place.is_none() || place == rule);
            place = rule;
        });
        let place = place.filter(|_| agree && keys == KeyList::Complete)?;
        let rule = self.rules.get(place)?;
        let blank = match () {
            () if rule.reads_nil && spec.is_readonly() => Blank::of_read(spec, args),
            () if rule.writes_ok && spec.is_write() => Blank::of_write(spec, args),
            () => None,
        };
        blank.map(|blank| (place, blank))
    }
}
