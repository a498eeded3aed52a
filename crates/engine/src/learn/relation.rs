//! Derives relations from groups: what the members of a group write with a common capture must exist together.

use std::collections::BTreeSet;

use super::group::name;
use super::parts::{Part, Parts, captures, has_runs};
use crate::command::Table;
use crate::policy::compile;
use crate::policy::relation::NEEDS_MAX;
use crate::policy::rule::{Written, WrittenGroup, WrittenRelation};

/// Relations that are proposed.
const RELATIONS_MAX: usize = 32;

/// The relations that follow from these groups, beside those that are declared already.
pub fn relations(groups: &[WrittenGroup], declared: &[WrittenRelation], table: &Table) -> Vec<WrittenRelation> {
    let mut names: BTreeSet<String> = declared.iter().map(|relation| relation.name.clone()).collect();
    let mut known: BTreeSet<Fact> = declared.iter().flat_map(facts).collect();
    let mut proposed = Vec::new();
    for group in groups {
        let parts = Parts::of(group);
        for mut relation in of_sets(&parts).into_iter().chain(of_references(&parts)).chain(of_keys(&parts)) {
            if facts(&relation).is_empty() || facts(&relation).is_subset(&known) || proposed.len() == RELATIONS_MAX {
                continue;
            }
            relation.name = name(first_names(&relation).iter(), &mut names);
            let alone = Written { relations: vec![relation.clone()], ..Written::default() };
            // What cannot be walked is no relation: a key of which a part is not known.
            if compile(&alone, table).is_ok() {
                known.extend(facts(&relation));
                proposed.push(relation);
            } else {
                names.remove(&relation.name);
            }
        }
    }
    proposed
}

/// All that are written for the same captures, or none.
fn of_sets(parts: &Parts) -> Vec<WrittenRelation> {
    let mut sets: Vec<(BTreeSet<String>, Vec<String>)> = Vec::new();
    for key in parts.keys.iter().filter(|key| !has_runs(key)) {
        let captures = captures(key);
        match sets.iter_mut().find(|(of, _)| *of == captures) {
            Some((_, keys)) => keys.push(key.clone()),
            None if !captures.is_empty() => sets.push((captures, vec![key.clone()])),
            None => {}
        }
    }
    let sets = sets.into_iter().filter(|(_, keys)| (2..=NEEDS_MAX).contains(&keys.len()));
    sets.map(|(_, keys)| WrittenRelation { keys: Some(keys), ..WrittenRelation::default() }).collect()
}

/// What refers to a thing, and the keys and lists of that thing.
fn of_references(parts: &Parts) -> Vec<WrittenRelation> {
    let mut references = Vec::new();
    for part in &parts.parts {
        let bound: BTreeSet<String> = captures(&part.key).union(&captures(&part.element)).cloned().collect();
        let own: BTreeSet<String> = captures(&part.element).difference(&captures(&part.key)).cloned().collect();
        let follows = |text: &str| !has_runs(text) && captures(text).is_subset(&bound) && !captures(text).is_disjoint(&own);
        let mut needs: Vec<String> = parts.keys.iter().filter(|key| **key != part.key && follows(key)).cloned().collect();
        if part.kind == "value" {
            let others = parts.parts.iter().filter(|other| other.can_be_needed() && other.key != part.key);
            let others = others.filter(|other| !has_runs(&other.key) && captures(&other.key).is_subset(&bound));
            needs.extend(others.filter(|other| follows(&other.element)).map(Part::text));
        }
        needs.truncate(NEEDS_MAX);
        if !needs.is_empty() {
            references.push(WrittenRelation { from: Some(part.text()), needs: Some(needs), ..WrittenRelation::default() });
        }
    }
    references
}

/// The keys that a list should have, unless the group itself takes things out of that list.
fn of_keys(parts: &Parts) -> Vec<WrittenRelation> {
    let mut references = Vec::new();
    for key in &parts.keys {
        let bound = captures(key);
        let lists =
            parts.parts.iter().filter(|part| part.can_be_needed() && part.key != *key && !parts.trimmed.contains(&part.key));
        let lists = lists.filter(|part| !has_runs(&part.key) && !has_runs(&part.element));
        let lists = lists.filter(|part| {
            let of_key = captures(&part.key);
            let own: BTreeSet<String> = captures(&part.element).difference(&of_key).cloned().collect();
            of_key.is_subset(&bound) && captures(&part.element).is_subset(&bound) && !own.is_empty()
        });
        let needs: Vec<String> = lists.map(Part::text).take(NEEDS_MAX).collect();
        if !needs.is_empty() {
            let from = Some(format!("key {key}"));
            references.push(WrittenRelation { from, needs: Some(needs), ..WrittenRelation::default() });
        }
    }
    references
}

/// One thing that a relation says, whatever its captures are called.
type Fact = (String, String);

fn facts(relation: &WrittenRelation) -> BTreeSet<Fact> {
    let nameless = |text: &String| {
        let text = text.strip_prefix("key ").unwrap_or(text);
        text.split_inclusive('}').map(|part| part.find('{').map_or(part, |at| &part[..=at])).collect::<String>()
    };
    let mut found = BTreeSet::new();
    let keys = relation.keys.iter().flatten();
    for (place, key) in keys.clone().enumerate() {
        found.extend(keys.clone().skip(place + 1).map(|other| {
            let (one, other) = (nameless(key), nameless(other));
            if one < other { (one, other) } else { (other, one) }
        }));
    }
    let from = relation.from.iter().map(nameless);
    found.extend(from.flat_map(|from| relation.needs.iter().flatten().map(move |need| (from.clone(), nameless(need)))));
    found
}

/// The first words of its keys, for a name.
fn first_names(relation: &WrittenRelation) -> Vec<String> {
    let texts = relation.keys.iter().flatten().chain(&relation.from).chain(relation.needs.iter().flatten());
    let first = |text: &String| {
        let key = text.rsplit(' ').next().unwrap_or_default();
        let mut words = key.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'));
        let word = words.find(|word| word.bytes().any(|byte| byte.is_ascii_alphabetic())).unwrap_or("keys");
        word.trim_matches(['-', '_']).to_ascii_lowercase()
    };
    texts.map(first).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::rule::WrittenMember;

    fn group(commands: &[&str]) -> WrittenGroup {
        let member = |text: &&str| {
            let (template, optional) = text.strip_prefix('?').map_or((*text, false), |text| (text, true));
            WrittenMember { template: template.to_owned(), optional, ..WrittenMember::default() }
        };
        WrittenGroup { commands: Some(commands.iter().map(member).collect()), ..WrittenGroup::default() }
    }

    fn proposed(commands: &[&str]) -> Vec<String> {
        let relations = relations(&[group(commands)], &[], &Table::builtin());
        relations.iter().map(said).collect()
    }

    fn said(relation: &WrittenRelation) -> String {
        let WrittenRelation { name, keys, from, needs, .. } = relation;
        match (keys, from, needs) {
            (Some(keys), ..) => format!("{name}: {}", keys.join(" + ")),
            (_, Some(from), Some(needs)) => format!("{name}: {from} -> {}", needs.join(" + ")),
            _ => String::new(),
        }
    }

    #[test]
    fn keys_with_the_same_captures_are_a_set() {
        assert_eq!(proposed(&["HSET blobs:{id} ...", "HSET info:{id} ..."]), ["blobs-info: blobs:{id} + info:{id}"]);
        assert_eq!(proposed(&["SET a:{x} *", "SET b:{y} *"]), [""; 0]);
        assert_eq!(proposed(&["SET a:{x} *", "DEL b:{x}", "?SET c:{x} *", "EXPIRE d:{x} *"]), [""; 0]);
    }

    #[test]
    fn a_list_and_what_it_lists_need_each_other() {
        let login = ["SETEX rt:{user}:{token} {ttl} *", "SADD sess:{user} {token}", "EXPIRE sess:{user} *"];
        assert_eq!(
            proposed(&login),
            [
                "sess-rt: member {token} of sess:{user} -> rt:{user}:{token}",
                "rt-sess: key rt:{user}:{token} -> member {token} of sess:{user}",
            ]
        );
    }

    #[test]
    fn a_list_that_is_cut_does_not_have_everything() {
        let snapshot = [
            "SET snap:time:{slot} *",
            "SET snap:id:{id} *",
            "SET latest {id}",
            "ZADD snap:index * {id}",
            "ZREMRANGEBYSCORE snap:index * *",
            "DEL snap:live",
        ];
        assert_eq!(
            proposed(&snapshot),
            [
                "latest-snap: value {id} of latest -> snap:id:{id} + member {id} of snap:index",
                "snap: member {id} of snap:index -> snap:id:{id}",
            ]
        );
    }

    #[test]
    fn fields_and_items_refer_as_members_do_from_keys_of_any_name() {
        assert_eq!(
            proposed(&["HSET post:{id} ...", "SADD tag:* {id}", "LPUSH feed {id}", "HSET titles {id} *"]),
            [
                "tag-post: member {id} of tag:* -> post:{id}",
                "feed-post: item {id} of feed -> post:{id}",
                "titles-post: field {id} of titles -> post:{id}",
                "post-titles: key post:{id} -> field {id} of titles",
            ]
        );
    }

    #[test]
    fn what_is_declared_is_not_proposed_again_whatever_its_captures_are_called() {
        let declared = WrittenRelation {
            name: "blobs-info".to_owned(),
            keys: Some(vec!["info:{x}".to_owned(), "blobs:{x}".to_owned(), "more:{x}".to_owned()]),
            ..WrittenRelation::default()
        };
        let blob = group(&["HSET blobs:{id} ...", "HSET info:{id} ..."]);
        assert_eq!(relations(std::slice::from_ref(&blob), std::slice::from_ref(&declared), &Table::builtin()), []);
        let other = group(&["HSET blobs:{id} ...", "HSET info:{id} ...", "HSET about:{id} ..."]);
        let names: Vec<_> =
            relations(&[other], &[declared], &Table::builtin()).into_iter().map(|relation| relation.name).collect();
        assert_eq!(names, ["blobs-info-about"]);
    }
}
