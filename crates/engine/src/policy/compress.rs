//! Finds the compress rule of a key.

use std::sync::Arc;

use super::by_command::{Prefixes, Subject, everything};
use super::index::KeyIndex;
use super::pattern::Pattern;
use super::rule::{Mode, Scripts};
use super::walk::Member;
use crate::command::{Table, ValueUse, looks_into, sorted_by, value_use};
use crate::packed::Method;

/// One `[[compress]]` rule.
#[derive(Debug)]
pub struct CompressRule {
    /// Its name in reports and metrics.
    pub name: Arc<str>,
    /// The keys whose values are compressed.
    pub keys: Box<[Pattern]>,
    /// Shorter values stay as they are.
    pub min_bytes: usize,
    /// How they are.
    pub method: Method,
    /// Values that are written are compressed.
    pub write: bool,
    /// What becomes of scripts that name such keys.
    pub scripts: Scripts,
    /// The longest value, written or read.
    pub value_bytes_max: u64,
    /// Whether it acts or only reports; `None` as the policy says.
    pub mode: Option<Mode>,
}

impl CompressRule {
    /// Which requests of a command it can be about.
    pub(super) fn about(&self, subject: Option<Subject<'_>>) -> Prefixes<'_> {
        let Some(spec) = subject.map(|subject| subject.spec) else { return Prefixes::new() };
        match value_use(spec.name()) {
            None => Prefixes::new(),
            Some(ValueUse::Whole | ValueUse::Sees) if spec.first_argument_is_only_key() => {
                self.keys.iter().map(Pattern::prefix).collect()
            }
            Some(_) => everything(),
        }
    }

    /// The texts of its patterns.
    pub fn patterns(&self) -> String {
        self.keys.iter().map(Pattern::text).collect::<Vec<_>>().join(", ")
    }
}

/// All compress rules, in the order in which they were written: the first that matches a key is the key's rule.
#[derive(Clone, Debug)]
pub struct CompressRules {
    rules: Vec<Arc<CompressRule>>,
    index: KeyIndex,
}

impl Default for CompressRules {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl CompressRules {
    /// These rules, in this order.
    pub fn new(rules: Vec<Arc<CompressRule>>) -> Self {
        let index = KeyIndex::new(rules.iter().map(|rule| &*rule.keys));
        Self { rules, index }
    }

    /// All of them, in the order in which they were written.
    pub fn as_slice(&self) -> &[Arc<CompressRule>] {
        &self.rules
    }

    /// The rule of a key.
    pub fn rule_for(&self, key: &[u8]) -> Option<&Arc<CompressRule>> {
        self.rules.get(self.index.first_match(key)?)
    }

    /// The rule of the first key of a request that has one.
    pub fn rule_of_keys(&self, table: &Table, command: Member<'_>) -> Option<&Arc<CompressRule>> {
        if self.rules.is_empty() {
            return None;
        }
        let mut found = None;
        table.spec(command.id).for_each_key(command.args, &mut |place, _| {
            found = found.or_else(|| self.rule_for(command.args.get(place)?));
        });
        found
    }

    /// The rule about values that the command would look into, which may be compressed.
    pub fn seen_by(&self, table: &Table, command: Member<'_>) -> Option<&Arc<CompressRule>> {
        let name = table.spec(command.id).name();
        match value_use(name).filter(|_| !self.rules.is_empty())? {
            ValueUse::Script => self.rule_of_keys(table, command).filter(|rule| rule.scripts == Scripts::Refuse),
            _ if looks_into(name, command.args) => self.rule_of_keys(table, command),
            _ => {
                let mut found = None;
                sorted_by(name, command.args, &mut |pattern| found = found.or_else(|| self.read_by(pattern)));
                found
            }
        }
    }

    /// A rule about keys that a pattern of SORT may name: `*` stands for what is sorted.
    fn read_by(&self, pattern: &[u8]) -> Option<&Arc<CompressRule>> {
        let literal = pattern.split(|byte| *byte == b'*').next().filter(|literal| literal.len() < pattern.len())?;
        let meets = |prefix: &[u8]| prefix.starts_with(literal) || literal.starts_with(prefix);
        self.rules.iter().find(|rule| rule.keys.iter().any(|key| meets(key.prefix())))
    }
}
