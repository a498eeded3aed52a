//! Finds the rule for what a command is answered while the server is unavailable.

use std::borrow::Cow;
use std::sync::Arc;

use super::index::KeyIndex;
use super::pattern::Pattern;
use super::walk::Member;
use crate::command::{Blank, KeyList, Spec, Table};
use crate::preflight::{self, Fault};
use respguard_resp::request::Args;

/// What a command is answered without a server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the sentence above each variant names its fields")]
pub enum Fallback {
    /// By the rule at this place.
    Blank { rule: usize, blank: Blank },
    /// What Redis answers whatever its keys hold: the arguments are wrong.
    Error(Cow<'static, str>),
}

/// One `[[degrade]]` rule: keys whose commands have an answer even without a server.
#[derive(Clone, Debug)]
pub struct DegradeRule {
    /// Its name in reports and metrics.
    pub name: Arc<str>,
    /// The keys that it is about.
    pub keys: Box<[Pattern]>,
    /// Reads are answered as if the keys were not there.
    pub reads_nil: bool,
    /// Writes are answered `+OK` and forgotten.
    pub writes_ok: bool,
}

impl DegradeRule {
    /// Whether some request of the command has an answer.
    fn answers(&self, spec: &Spec) -> bool {
        self.reads_nil && spec.is_readonly() || self.writes_ok && spec.is_write()
    }

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
    /// In the order in which they were written: the first that matches counts.
    pub fn new(rules: Vec<Arc<DegradeRule>>) -> Self {
        let index = KeyIndex::new(rules.iter().map(|rule| &*rule.keys));
        Self { rules, index }
    }

    /// All of them, in their order.
    pub fn as_slice(&self) -> &[Arc<DegradeRule>] {
        &self.rules
    }

    /// Whether a rule's key is among the words.
    pub(super) fn is_about_any(&self, args: Args<'_>) -> bool {
        !self.rules.is_empty() && args.iter().any(|word| self.index.first_match(word).is_some())
    }

    /// What the command is answered without a server. All its keys must be the same rule's.
    pub fn answer(&self, table: &Table, Member { id, args }: Member<'_>) -> Option<Fallback> {
        let spec = table.spec(id);
        if self.rules.is_empty() {
            return None;
        }
        if !spec.arity_fits(args) {
            let key = args.get(spec.name_words.into()).filter(|_| spec.first_argument_is_key())?;
            let rule = self.index.first_match(key).and_then(|place| self.rules.get(place))?;
            return rule.answers(spec).then(|| preflight::wrong_arity(spec)).map(Fallback::Error);
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
        }?;
        match preflight::examine(table, std::iter::once((id, args))) {
            Ok(_) => Some(Fallback::Blank { rule: place, blank }),
            Err(preflight::Refusal { fault: Fault::Certain(error), .. }) => Some(Fallback::Error(error)),
            Err(_) => None,
        }
    }
}
