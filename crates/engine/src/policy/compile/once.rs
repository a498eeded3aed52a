//! Compiles `once` and `once_key` of a group.

use crate::policy::duration;
use crate::policy::group::Shape;
use crate::policy::once::{OnceKey, OnceRule};
use crate::policy::pattern::Names;
use crate::policy::phrase::Phrase;
use crate::policy::rule::{Atomic, OnDuplicate, OnUnsupported, WrittenGroup};

use super::Errors;
use super::requirement::captured;

/// In the place of a text with captures.
const DIGEST: &str = "digest";

/// What the rule says of groups that come again, unless something is wrong with it.
pub(super) fn compile(path: &str, written: &WrittenGroup, shape: &Shape, errors: &mut Errors) -> Option<OnceRule> {
    let Some(once) = &written.once else {
        let needless = [("once_key", written.once_key.is_some()), ("on_duplicate", written.on_duplicate != OnDuplicate::Error)];
        for (key, _) in needless.into_iter().filter(|(_, is_written)| *is_written) {
            errors.add(format!("{path}.{key}"), format!("{key} says something of groups with once"), "once = \"10m\" beside it");
        }
        return None;
    };
    if !matches!(written.atomic, Atomic::Guarded | Atomic::Rollback) {
        let message = "once is asked before anything runs, and this group does not ask";
        errors.add(format!("{path}.once"), message, "atomic = \"guarded\" or \"rollback\", or no such key");
    } else if written.on_unsupported == OnUnsupported::Transaction {
        let message = "without its preflight the group would be applied again";
        errors.add(format!("{path}.on_unsupported"), message, "\"refuse\"");
    }
    let lifetime = duration::parse(once);
    if lifetime.is_none() {
        errors.add(format!("{path}.once"), format!("{once:?} is no duration"), duration::EXPECTED);
    }
    let key = key(&format!("{path}.once_key"), written.once_key.as_deref(), shape, errors)?;
    Some(OnceRule { lifetime: lifetime?, on_duplicate: written.on_duplicate, key })
}

fn key(path: &str, written: Option<&str>, shape: &Shape, errors: &mut Errors) -> Option<OnceKey> {
    let Some(text) = written else {
        let expected = "what makes two groups the same: \"{user}:{token}\" of its captures, or \"digest\" of all members' bytes";
        errors.add(path, "once needs to know which groups are the same", expected);
        return None;
    };
    if text == DIGEST {
        return Some(OnceKey::Members);
    }
    let (names, always) = match shape {
        Shape::Templates(templates) => {
            (templates.names.clone(), captured(templates.members.iter().filter(|member| !member.optional)))
        }
        Shape::Keys(_) => (Names::default(), Vec::new()),
    };
    let phrase = match Phrase::parse(text, &names) {
        Ok(phrase) => phrase,
        Err(error) => {
            errors.add(path, error.to_string(), error.expected());
            return None;
        }
    };
    if let Some(number) = phrase.captures().find(|number| !always.contains(number)) {
        let name = names.as_slice().get(number).map_or("", String::as_str);
        let message = format!("`{name}` is captured by an optional member alone, which may not come");
        errors.add(path, message, "names that members capture which are not optional");
    }
    if phrase.captures().next().is_none() {
        let message = format!("{text:?} has no capture: all groups of this rule would be the same");
        errors.add(path, message, "\"{name}\" of a capture, or \"digest\"");
        return None;
    }
    Some(OnceKey::Captures(phrase))
}
