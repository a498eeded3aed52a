//! Finds the rule that says whether a key must expire.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::index::KeyIndex;
use super::pattern::Pattern;
use super::rule::{Mode, TtlAction};
use super::subject::{Prefixes, Subject, everything};
use crate::command::TtlColumn;

/// One `[[ttl]]` rule: keys that must expire.
#[derive(Debug)]
pub struct TtlRule {
    /// Its name in reports and metrics.
    pub name: Arc<str>,
    /// The keys that must expire.
    pub keys: Box<[Pattern]>,
    /// What becomes of a write that leaves a key without a TTL.
    pub action: TtlAction,
    /// The TTL that such a key is meant to have.
    pub default: Option<Duration>,
    /// A longer TTL is a violation too.
    pub max: Option<Duration>,
    /// SET keeps the TTL that there is.
    pub keep: bool,
    /// Which of the writes are verified.
    pub sample: Sample,
    /// How long a missing TTL may still come before it is reported.
    pub grace: Duration,
    /// Whether it acts or only reports; `None` as the policy says.
    pub mode: Option<Mode>,
}

/// A share of all occasions, evenly spread over them.
#[derive(Debug)]
pub struct Sample {
    share: f64,
    occasions: AtomicU32,
}

impl Sample {
    /// So large a share of all occasions, from 0 to 1.
    pub fn of(share: f64) -> Sample {
        Sample { share, occasions: AtomicU32::new(0) }
    }

    /// Whether the next occasion is in the sample.
    pub fn take(&self) -> bool {
        if self.share >= 1.0 {
            return true;
        }
        let occasion = f64::from(self.occasions.fetch_add(1, Ordering::Relaxed));
        ((occasion + 1.0) * self.share).floor() > (occasion * self.share).floor()
    }
}

impl TtlRule {
    /// Which requests of a command may do something to the TTL of one of its keys.
    pub(super) fn about(&self, subject: Option<Subject<'_>>) -> Prefixes<'_> {
        match subject.map(|subject| subject.spec) {
            Some(spec) if matches!(spec.ttl, TtlColumn::None | TtlColumn::Keyless) => Prefixes::new(),
            Some(spec) if spec.first_argument_is_only_key() => self.keys.iter().map(Pattern::prefix).collect(),
            _ => everything(),
        }
    }

    /// The text of the pattern that the key matches: what a report names in place of the key.
    pub fn pattern_of(&self, key: &[u8]) -> Option<&str> {
        self.keys.iter().find(|pattern| pattern.matches_key(key)).map(Pattern::text)
    }

    /// True for a TTL of so many milliseconds that is longer than the rule allows.
    pub fn is_exceeded_by(&self, milliseconds: i64) -> bool {
        self.max.is_some_and(|max| i128::from(milliseconds) > max.as_millis() as i128)
    }
}

/// All TTL rules, in the order in which they were written: the first that matches a key is the key's rule.
#[derive(Clone, Debug)]
pub struct TtlRules {
    rules: Vec<Arc<TtlRule>>,
    index: KeyIndex,
    /// Some rule does more than to report.
    acts: bool,
}

impl TtlRules {
    /// In the order in which they were written.
    pub fn new(rules: Vec<Arc<TtlRule>>) -> Self {
        let index = KeyIndex::new(rules.iter().map(|rule| &*rule.keys));
        let acts = rules.iter().any(|rule| rule.action != TtlAction::Flag || rule.keep);
        Self { rules, index, acts }
    }

    /// All of them, in their order.
    pub fn as_slice(&self) -> &[Arc<TtlRule>] {
        &self.rules
    }

    /// Whether some rule rejects, fixes or keeps.
    pub fn act(&self) -> bool {
        self.acts
    }

    /// The rule of a key, with its place among the rules.
    pub fn rule_for(&self, key: &[u8]) -> Option<(usize, &Arc<TtlRule>)> {
        let place = self.index.first_match(key)?;
        self.rules.get(place).map(|rule| (place, rule))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_its_share_of_all_occasions() {
        for (share, taken) in [(0.0, 0), (0.001, 1), (0.25, 250), (0.5, 500), (1.0, 1000)] {
            let sample = Sample::of(share);
            assert_eq!((0..1000).filter(|_| sample.take()).count(), taken, "{share}");
        }
    }
}
