//! Decides whether two groups are the same, for rules that apply each group once.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::pattern::Bindings;
use super::phrase::Phrase;
use super::rule::OnDuplicate;
use super::walk::Member;

/// Bytes of a digest that are used: two groups do not have the same by chance.
const DIGEST_BYTES: usize = 20;

/// That a group is applied once.
#[derive(Clone, Debug)]
pub struct OnceRule {
    /// How long the same group is not applied again.
    pub lifetime: Duration,
    /// What the same group is answered then.
    pub on_duplicate: OnDuplicate,
    pub(super) key: OnceKey,
}

/// What makes two groups the same.
#[derive(Clone, Debug)]
pub(super) enum OnceKey {
    /// All bytes of all members.
    Members,
    /// What these captures are bound to.
    Captures(Phrase),
}

/// Which group it is, among those of its rule.
pub type Identity = [u8; DIGEST_BYTES];

impl OnceRule {
    /// The digest of what makes the group what it is. Each part goes in behind its length: `a:b`, `c` are not `a`, `b:c`.
    pub(super) fn identity<'a>(&self, bound: &Bindings<'a>, members: &mut dyn Iterator<Item = Member<'a>>) -> Identity {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        match &self.key {
            OnceKey::Captures(phrase) => {
                part(phrase.text().as_bytes());
                phrase.captures().for_each(|number| part(bound.get(number).unwrap_or_default()));
            }
            OnceKey::Members => members.for_each(|member| {
                part(&(member.args.len() as u64).to_le_bytes());
                member.args.iter().for_each(&mut part);
            }),
        }
        let digest = hash.finalize();
        let mut identity = [0; DIGEST_BYTES];
        identity.copy_from_slice(&digest[..DIGEST_BYTES]);
        identity
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Table;
    use crate::command::written::WrittenRequest;
    use crate::policy::compile;
    use crate::policy::rule::{Atomic, Written, WrittenGroup, WrittenMember};

    fn identity(key: &str, lines: &[&str]) -> Identity {
        let table = Table::builtin();
        let member = |text: &str| WrittenMember { template: text.to_owned(), ..WrittenMember::default() };
        let commands = Some(vec![member("SET a:{x}:{y} *"), member("SET b *")]);
        let (once, once_key, name) = (Some("1m".to_owned()), Some(key.to_owned()), "g".to_owned());
        let group = WrittenGroup { name, atomic: Atomic::Guarded, commands, once, once_key, ..WrittenGroup::default() };
        let policy = compile(&Written { groups: vec![group], ..Written::default() }, &table).expect("good rules");
        let requests: Vec<_> = lines.iter().map(|line| WrittenRequest::new(line)).collect();
        let mut at = |place: usize| {
            let args = requests.get(place)?.args();
            Some(Member { id: table.lookup(args), args })
        };
        policy.groups()[0].identity(&table, &mut at, lines.len()).expect("it is applied once")
    }

    #[test]
    fn groups_are_the_same_by_what_their_rule_says() {
        let one = ["SET a:1:2 v", "SET b v"];
        let other = ["SET a:1:2 w", "SET b v"];
        assert_eq!(identity("{x}{y}", &one), identity("{x}{y}", &other));
        assert_ne!(identity("digest", &one), identity("digest", &other));
        assert_eq!(identity("digest", &one), identity("digest", &one));
        assert_ne!(identity("{x}", &one), identity("{y}", &one));
    }

    #[test]
    fn what_is_only_alike_when_put_together_is_not_the_same() {
        let (one, other) = (["SET a:1:23 v", "SET b v"], ["SET a:12:3 v", "SET b v"]);
        assert_ne!(identity("{x}{y}", &one), identity("{x}{y}", &other));
        assert_ne!(identity("digest", &["SET a:1:2 vw", "SET b x"]), identity("digest", &["SET a:1:2 v", "SET b wx"]));
    }
}
