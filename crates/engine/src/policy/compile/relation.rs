//! Compiles `[[relation]]`, and refuses with the reason what cannot be walked or repaired.

use crate::policy::pattern::{Names, Pattern};
use crate::policy::relation::{Form, NEEDS_MAX, Place, Relation};
use crate::policy::rule::{PlaceKind, Repair, Word, WrittenRelation};

use super::Errors;

const PLACES: &str = "\"key K\", \"member M of K\", \"field F of K\", \"item I of K\" or \"value V of K\"";
const NEEDED: &str = "a key, \"member M of K\" or \"field F of K\"";

pub(super) fn relation(path: &str, written: &WrittenRelation, errors: &mut Errors) -> Option<Relation> {
    let before = errors.found.len();
    let form = match (&written.keys, &written.from) {
        (Some(keys), None) => set(path, keys, written, errors),
        (None, Some(from)) => reference(path, from, written, errors),
        (Some(_), Some(_)) => {
            errors.add(path, "there are both keys and from", "`keys`, or `from` with `needs`");
            None
        }
        (None, None) => {
            errors.add(path, "the relation is about nothing", "`keys`, or `from` with `needs`");
            None
        }
    };
    let form = form.filter(|_| errors.found.len() == before)?;
    check_repair(path, &form, written.repair, errors);
    (errors.found.len() == before).then(|| Relation {
        name: written.name.as_str().into(),
        form,
        ttl: written.ttl,
        repair: written.repair,
        mode: written.mode,
    })
}

fn set(path: &str, written: &[String], relation: &WrittenRelation, errors: &mut Errors) -> Option<Form> {
    if relation.needs.is_some() {
        errors.add(format!("{path}.needs"), "the keys of a set need each other", "`from` instead of `keys`, or no such key");
    }
    if relation.ttl.is_some() {
        let message = "in a set nothing says which key should live longer";
        errors.add(format!("{path}.ttl"), message, "`from` with `needs` instead of `keys`, or no such key");
    }
    if !(2..=NEEDS_MAX).contains(&written.len()) {
        let message = format!("{} patterns are no set", written.len());
        errors.add(format!("{path}.keys"), message, format!("2 to {NEEDS_MAX} key patterns"));
        return None;
    }
    let before = errors.found.len();
    let mut names = Names::default();
    let mut keys = Vec::new();
    for (place, text) in written.iter().enumerate() {
        let path = format!("{path}.keys[{place}]");
        let Some(key) = pattern(&path, text, &mut names, errors) else { continue };
        if key.has_runs() {
            errors.add(&path, NOT_BUILT, "a capture, `{name}`, that the other keys have too");
        }
        if written[..place].contains(text) {
            errors.add(&path, "the pattern stands there already", "each key once");
        }
        keys.push((path, key));
    }
    // A pattern that is wrong says nothing about what the others lack.
    let is_good = errors.found.len() == before;
    for (path, key) in keys.iter().filter(|_| is_good) {
        let unbound = names.as_slice().iter().enumerate().find(|(number, _)| !key.captures().any(|capture| capture == *number));
        if let Some((_, name)) = unbound {
            let message =
                format!("keys like {} do not say what {{{name}}} of the others is, so they cannot be walked", key.text());
            errors.add(path, message, "the same captures in all keys of a set; or `from` with `needs`");
        }
    }
    Some(Form::Set(keys.into_iter().map(|(_, key)| key).collect()))
}

const NOT_BUILT: &str = "what `*` stands for is not known, so the key cannot be asked for";

fn reference(path: &str, from: &str, relation: &WrittenRelation, errors: &mut Errors) -> Option<Form> {
    let mut names = Names::default();
    let from_path = format!("{path}.from");
    let from = place(&from_path, from, PLACES, &mut names, errors);
    let bound = names.as_slice().len();
    let needs_path = format!("{path}.needs");
    let written = relation.needs.as_deref().unwrap_or_default();
    if !(1..=NEEDS_MAX).contains(&written.len()) {
        let message = format!("{} things are needed", written.len());
        errors.add(needs_path, message, format!("1 to {NEEDS_MAX}, each {NEEDED}"));
        return None;
    }
    let mut needs = Vec::new();
    for (number, text) in written.iter().enumerate() {
        let path = format!("{needs_path}[{number}]");
        let is_key = !text.contains(char::is_whitespace);
        let text = if is_key { format!("key {text}") } else { text.clone() };
        let Some(mut need) = place(&path, &text, NEEDED, &mut names, errors) else { continue };
        if is_key {
            need.text = need.key.text().into();
        }
        if matches!(need.kind, PlaceKind::Item | PlaceKind::Value) {
            errors.add(&path, format!("a {} cannot be needed", need.kind.as_str()), NEEDED);
        }
        let parts = [Some(&need.key), need.element.as_ref()].into_iter().flatten();
        for part in parts {
            if part.has_runs() {
                errors.add(&path, NOT_BUILT, "a capture, `{name}`, that `from` has too");
            }
            if let Some(capture) = part.captures().find(|capture| *capture >= bound) {
                let name = &names.as_slice()[capture];
                errors.add(
                    &path,
                    format!("`from` does not say what {{{name}}} is, so it cannot be asked for"),
                    "a capture that `from` has",
                );
            }
        }
        let is_itself = from.as_ref().is_some_and(|from| need.kind == PlaceKind::Key && need.key.text() == from.key.text());
        if is_itself && relation.ttl.is_none() {
            errors.add(&path, "whatever refers is in this key, so it is always there", "what may be missing");
        }
        needs.push(need);
    }
    Some(Form::Reference { from: from?, needs: needs.into() })
}

/// Reads `member {x} of key`.
fn place(path: &str, text: &str, expected: &str, names: &mut Names, errors: &mut Errors) -> Option<Place> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let kind = words.first().and_then(|word| PlaceKind::from_word(word));
    let (kind, element, key) = match (kind, &*words) {
        (Some(PlaceKind::Key), [_, key]) => (PlaceKind::Key, None, *key),
        (Some(kind), [_, element, "of", key]) if kind != PlaceKind::Key => (kind, Some(*element), *key),
        _ => {
            errors.add(path, format!("{text:?} does not say where something is"), expected);
            return None;
        }
    };
    // The key first: what it binds, the element may repeat.
    let key = pattern(path, key, names, errors)?;
    let element = match element {
        Some(element) => Some(pattern(path, element, names, errors)?),
        None => None,
    };
    Some(Place { kind, key, element, text: words.join(" ").into() })
}

fn pattern(path: &str, text: &str, names: &mut Names, errors: &mut Errors) -> Option<Pattern> {
    if text.is_empty() {
        errors.add(path, "the pattern is empty", "a key pattern such as \"blobs:{id}\"");
        return None;
    }
    match Pattern::parse(text, names) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            errors.add(path, error.to_string(), error.expected());
            None
        }
    }
}

fn check_repair(path: &str, form: &Form, repair: Repair, errors: &mut Errors) {
    let kind = match form {
        Form::Set(_) => PlaceKind::Key,
        Form::Reference { from, .. } => from.kind,
    };
    let is_part = matches!(kind, PlaceKind::Member | PlaceKind::Field | PlaceKind::Item);
    let path = format!("{path}.repair");
    match repair {
        Repair::Remove if !is_part => {
            let message = format!("\"remove\" takes a reference out of its key, and a {} is in none", kind.as_str());
            errors.add(path, message, "\"delete\" or \"report\"");
        }
        Repair::Delete if is_part => {
            let message = format!("\"delete\" would delete a whole key for one bad {}", kind.as_str());
            errors.add(path, message, "\"remove\" or \"report\"");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::rule::TtlBound;

    fn texts(words: &[&str]) -> Option<Vec<String>> {
        (!words.is_empty()).then(|| words.iter().map(ToString::to_string).collect())
    }

    fn refused(written: &WrittenRelation) -> Vec<String> {
        let mut errors = Errors::default();
        let compiled = relation("relation[0]", written, &mut errors);
        assert_eq!(compiled.is_some(), errors.found.is_empty());
        errors.found.into_iter().map(|error| format!("{}: {} ({})", error.path, error.message, error.expected)).collect()
    }

    fn keys(keys: &[&str]) -> WrittenRelation {
        WrittenRelation { name: "r".into(), keys: texts(keys), ..WrittenRelation::default() }
    }

    fn from(from: &str, needs: &[&str]) -> WrittenRelation {
        WrittenRelation { name: "r".into(), from: Some(from.into()), needs: texts(needs), ..WrittenRelation::default() }
    }

    #[test]
    fn what_can_be_walked_is_taken() {
        for good in [
            keys(&["blobs:{id}", "info:{id}"]),
            keys(&["a:{x}:{y}", "b:{y}:{x}", "c:{x}/{y}"]),
            keys(&["a", "b"]),
            from("key rt:{user}:{token}", &["member {token} of sess:{user}", "user:{user}"]),
            from("member {token} of sess:{user}", &["rt:{user}:{token}"]),
            from("field {f} of h:*", &["k:{f}", "field {f} of other"]),
            from("item {i} of queue", &["job:{i}"]),
            from("value {id} of latest:{region}", &["snapshot:{region}:{id}"]),
        ] {
            assert_eq!(refused(&good), Vec::<String>::new(), "{good:?}");
        }
    }

    #[test]
    fn what_cannot_be_walked_is_refused_with_the_reason() {
        let cases = [
            (keys(&["a:{x}"]), "relation[0].keys: 1 patterns are no set"),
            (keys(&["a:{x}", "b:{x}:{y}"]), "keys[0]: keys like a:{x} do not say what {y} of the others is"),
            (keys(&["a:{x}", "b:{x}:*"]), "keys[1]: what `*` stands for is not known"),
            (keys(&["a:{x}", "a:{x}"]), "keys[1]: the pattern stands there already"),
            (keys(&["a:{x}{y}", "b:{x}"]), "keys[0]: two wildcards touch"),
            (keys(&["", "b"]), "keys[0]: the pattern is empty"),
            (from("key a:{x}", &["b:{y}"]), "needs[0]: `from` does not say what {y} is"),
            (from("key a:{x}", &["member {z} of b:{x}"]), "needs[0]: `from` does not say what {z} is"),
            (from("key a:{x}", &["b:*"]), "needs[0]: what `*` stands for is not known"),
            (from("key a:{x}", &[]), "needs: 0 things are needed"),
            (from("key a:{x}", &["a:{x}"]), "needs[0]: whatever refers is in this key"),
            (from("key a:{x}", &["item {x} of b"]), "needs[0]: a item cannot be needed"),
            (from("entry {x} of b", &["c"]), "from: \"entry {x} of b\" does not say where something is (\"key K\""),
            (from("a:{x}", &["c"]), "from: \"a:{x}\" does not say"),
            (from("member {x} b", &["c"]), "from: \"member {x} b\" does not say"),
            (WrittenRelation { name: "r".into(), ..WrittenRelation::default() }, "relation[0]: the relation is about nothing"),
            (WrittenRelation { from: Some("key a".into()), ..keys(&["a", "b"]) }, "there are both keys and from"),
            (WrittenRelation { ttl: Some(TtlBound::AtMost), ..keys(&["a", "b"]) }, "ttl: in a set nothing says"),
            (WrittenRelation { needs: texts(&["c"]), ..keys(&["a", "b"]) }, "needs: the keys of a set need each other"),
        ];
        for (written, wanted) in cases {
            let errors = refused(&written);
            assert!(errors.len() == 1 && errors[0].contains(wanted), "{wanted}: {errors:?}");
        }
    }

    #[test]
    fn a_repair_never_takes_the_owner_of_one_bad_member() {
        let with = |repair, written| refused(&WrittenRelation { repair, ..written });
        let parts = ["member {x} of a", "field {x} of a", "item {x} of a"];
        for part in parts {
            assert!(with(Repair::Remove, from(part, &["b:{x}"])).is_empty());
            assert!(with(Repair::Delete, from(part, &["b:{x}"]))[0].contains("would delete a whole key"));
        }
        for whole in [from("key a:{x}", &["b:{x}"]), from("value {x} of a", &["b:{x}"]), keys(&["a:{x}", "b:{x}"])] {
            assert!(with(Repair::Delete, whole.clone()).is_empty());
            assert!(with(Repair::Remove, whole)[0].contains("takes a reference out of its key"));
        }
    }
}
