//! The keys that violations name, if the configuration asks for them: `[violations] keys`.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::finding::Finding;
use super::violation::{COMMANDS_MAX, Kind, Violation};
use crate::command::Table;
use crate::policy::rule::KeyForm;
use crate::policy::{Member, Policy};
use crate::preflight::first_key;

/// Bytes of a key that are shown.
const KEY_BYTES_MAX: usize = 256;
/// Hexadecimal digits of its hash.
const DIGITS: usize = 16;

/// The first key of each of the commands that a violation may be about, as it is shown.
#[derive(Clone, Debug)]
pub struct NamedKeys {
    keys: Box<[Option<Box<str>>]>,
}

impl NamedKeys {
    /// Those of these commands; nothing, and at no cost, where violations name no keys.
    pub fn of<'a>(policy: &Policy, table: &Table, commands: impl Iterator<Item = Member<'a>>) -> Option<Box<NamedKeys>> {
        if policy.violation_keys == KeyForm::None {
            return None;
        }
        let keys = commands.take(COMMANDS_MAX).map(|command| of_command(policy, table, command)).collect();
        Some(Box::new(NamedKeys { keys }))
    }

    /// Names the key of the command at fault, or else the first, in those of the violations that name none.
    pub(super) fn name(&self, found: &mut [Finding]) {
        for finding in found {
            if let Finding::Violation(violation) = finding {
                self.name_in(violation);
            }
        }
    }

    /// Likewise, in one.
    pub fn name_in(&self, violation: &mut Violation) {
        if violation.key.is_none() {
            let at_fault = violation.place.and_then(|place| self.keys.get(place.checked_sub(1)? as usize)?.as_ref());
            violation.key = at_fault.or_else(|| self.keys.iter().flatten().next()).cloned();
        }
    }
}

/// A rule's violation by a command.
pub fn violation(kind: Kind, rule: &Arc<str>, policy: &Policy, table: &Table, command: Member<'_>) -> Violation {
    let violation = Violation::new(kind).rule(rule).commands([table.spec(command.id).name()]);
    violation.key(of_command(policy, table, command))
}

/// The first key of a command, as violations show it.
pub fn of_command(policy: &Policy, table: &Table, command: Member<'_>) -> Option<Box<str>> {
    if policy.violation_keys == KeyForm::None {
        return None;
    }
    let key = first_key(table.spec(command.id), command.args);
    // Of a long request the words that have not come are empty.
    key.filter(|key| !key.is_empty()).and_then(|key| shown(policy.violation_keys, key))
}

/// A key as violations show it.
pub fn shown(form: KeyForm, key: &[u8]) -> Option<Box<str>> {
    match form {
        KeyForm::None => None,
        KeyForm::Hash => Some(hash(key).into()),
        KeyForm::Full => Some(text(key).into()),
    }
}

fn hash(key: &[u8]) -> String {
    Sha256::digest(key).iter().take(DIGITS / 2).map(|byte| format!("{byte:02x}")).collect()
}

fn text(key: &[u8]) -> String {
    match key.get(..KEY_BYTES_MAX) {
        Some(beginning) if key.len() > KEY_BYTES_MAX => format!("{}...", String::from_utf8_lossy(beginning)),
        _ => String::from_utf8_lossy(key).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::violation::Kind;

    #[test]
    fn a_hash_is_the_beginning_of_sha_256() {
        // printf %s sess:u1 | sha256sum | cut -c1-16
        assert_eq!(shown(KeyForm::Hash, b"sess:u1").as_deref(), Some("1e1a2df72d033ddb"));
        assert_eq!(shown(KeyForm::None, b"sess:u1"), None);
    }

    #[test]
    fn a_long_key_is_cut_and_bytes_that_are_no_text_are_replaced() {
        let fits = "k".repeat(KEY_BYTES_MAX);
        assert_eq!(shown(KeyForm::Full, fits.as_bytes()).as_deref(), Some(fits.as_str()));
        let longer = "k".repeat(KEY_BYTES_MAX + 1);
        assert_eq!(shown(KeyForm::Full, longer.as_bytes()), Some(format!("{fits}...").into()));
        assert_eq!(shown(KeyForm::Full, b"a\xffb").as_deref(), Some("a\u{fffd}b"));
    }

    #[test]
    fn the_key_of_the_command_at_fault_is_named_else_the_first_and_none_twice() {
        let keys = NamedKeys { keys: Box::new([None, Some("a".into()), Some("b".into())]) };
        let named = |violation: Violation| {
            let mut found = [Finding::Violation(violation)];
            keys.name(&mut found);
            match found {
                [Finding::Violation(violation)] => violation.key,
                _ => None,
            }
        };
        let new = || Violation::new(Kind::PartialFailure);
        assert_eq!(named(new().place(3)).as_deref(), Some("b"));
        for without in [new(), new().place(1), new().place(9)] {
            assert_eq!(named(without).as_deref(), Some("a"));
        }
        assert_eq!(named(new().place(3).key(Some("c".into()))).as_deref(), Some("c"));
    }
}
