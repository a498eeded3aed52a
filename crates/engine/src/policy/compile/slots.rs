//! Decides whether the keys of a group can share a cluster slot, as far as its templates show.

use super::member;
use crate::command::Table;
use crate::policy::group::{Group, Shape};
use crate::policy::pattern::{Pattern, SlotPart};
use crate::route::slots::key_slot;

/// A key of a group: which of its `commands`, or of its `keys`, it is in, and how it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenKey {
    /// Which of the `commands` or `keys`, from 0.
    pub place: usize,
    /// The key as it is written.
    pub text: Box<str>,
}

/// Where the keys of a group lie.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the sentence above each variant names its fields")]
pub enum Sharing {
    /// In one slot, always, as far as there are any.
    Always,
    /// Two of them never do: their slots are these.
    Never { keys: [WrittenKey; 2], slots: [u16; 2] },
    /// Two of them only by chance; how these could be written instead, where what is written says so.
    Chance { keys: [WrittenKey; 2], better: Option<[String; 2]> },
}

/// What is written of the group's keys says so much.
pub fn sharing(group: &Group, table: &Table) -> Sharing {
    let keys = keys(group, table);
    let Some(((place, first), rest)) = keys.split_first() else { return Sharing::Always };
    let written = |place: &usize, key: &Pattern| WrittenKey { place: *place, text: key.text().into() };
    let apart = |other: &Pattern| !share(first, other);
    let Some((other_place, other)) = rest.iter().find(|(_, key)| apart(key)) else {
        // One key for all, but for which there is no telling what stands in it.
        return Sharing::Always;
    };
    // Of keys that need not come together nothing follows.
    let needed = keys.iter().filter(|(place, _)| is_needed(group, *place));
    let literal: Vec<_> = needed.filter_map(|(place, key)| Some((written(place, key), literal_slot(key)?))).collect();
    if let Some((key, slot)) = literal.first()
        && let Some((other, other_slot)) = literal.iter().find(|(_, other)| other != slot)
    {
        return Sharing::Never { keys: [key.clone(), other.clone()], slots: [*slot, *other_slot] };
    }
    let better = in_common(&keys, group).and_then(|name| Some([tagged(first, &name)?, tagged(other, &name)?]));
    Sharing::Chance { keys: [written(place, first), written(other_place, other)], better }
}

/// All keys that are written, with the place of each.
fn keys(group: &Group, table: &Table) -> Vec<(usize, Pattern)> {
    match &group.shape {
        Shape::Keys(keys) => keys.patterns.iter().cloned().enumerate().collect(),
        Shape::Templates(templates) => {
            let mut names = templates.names.clone();
            let members = templates.members.iter().enumerate();
            members
                .flat_map(|(place, member)| member::keys(member, table, &mut names).into_iter().map(move |key| (place, key)))
                .collect()
        }
    }
}

fn is_needed(group: &Group, place: usize) -> bool {
    match &group.shape {
        Shape::Keys(_) => false,
        Shape::Templates(templates) => templates.members.get(place).is_some_and(|member| !member.optional),
    }
}

/// Whether keys of both patterns have the same slot, whatever their captures are.
fn share(one: &Pattern, other: &Pattern) -> bool {
    let is_same_key = one.text() == other.text() && !one.has_runs();
    is_same_key || one.slot_text().is_some_and(|slot| other.slot_text() == Some(slot))
}

/// The slot of keys that have but one.
fn literal_slot(key: &Pattern) -> Option<u16> {
    let parts = key.slot_text()?;
    let literal = parts.iter().map(|part| match part {
        SlotPart::Literal(literal) => Some(*literal),
        SlotPart::Capture(_) => None,
    });
    Some(key_slot(&literal.collect::<Option<Vec<_>>>()?.concat()))
}

/// The first capture that all keys have.
fn in_common(keys: &[(usize, Pattern)], group: &Group) -> Option<String> {
    let Shape::Templates(templates) = &group.shape else { return None };
    let is_in_all = |number: &usize| keys.iter().all(|(_, key)| key.captures().any(|capture| capture == *number));
    let number = (0..templates.names.as_slice().len()).find(is_in_all)?;
    templates.names.as_slice().get(number).cloned()
}

/// The key with the capture as its hash tag; `None` where it has braces of its own already.
fn tagged(key: &Pattern, name: &str) -> Option<String> {
    let (text, capture) = (key.text(), format!("{{{name}}}"));
    if text.contains("{{") {
        return text.contains(&format!("{{{{{capture}}}}}")).then(|| text.to_owned());
    }
    Some(text.replacen(&capture, &format!("{{{{{capture}}}}}"), 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::compile;
    use crate::policy::rule::{Written, WrittenGroup, WrittenMember};

    fn of(group: WrittenGroup) -> Sharing {
        let table = Table::builtin();
        let group = WrittenGroup { name: "g".to_owned(), ..group };
        let policy = compile(&Written { groups: vec![group], ..Written::default() }, &table).expect("it is a group");
        sharing(&policy.groups()[0], &table)
    }

    fn commands(commands: &[&str]) -> Sharing {
        let member = |text: &&str| WrittenMember { template: (*text).to_owned(), ..WrittenMember::default() };
        of(WrittenGroup { commands: Some(commands.iter().map(member).collect()), ..WrittenGroup::default() })
    }

    fn keys(keys: &[&str]) -> Sharing {
        of(WrittenGroup { keys: Some(keys.iter().map(ToString::to_string).collect()), ..WrittenGroup::default() })
    }

    #[test]
    fn one_hash_tag_in_all_keys_puts_them_together() {
        for good in [
            &["SET rt:{{{user}}}:{token} *", "SADD sess:{{{user}}} {token}"][..],
            &["INCR {{shop}}:orders", "LPUSH {{shop}}:log:{id} *", "SET x:{{shop}} *"],
            &["SET k:{id} *", "EXPIRE k:{id} 60"],
            &["MSET a:{{{x}}} * b:{{{x}}} *", "DEL c:{{{x}}}"],
            &["SET total *", "INCR total"],
            &["EVAL * 2 a:{{{x}}} b:{{{x}}}", "INCR n:{{{x}}}"],
        ] {
            assert_eq!(commands(good), Sharing::Always, "{good:?}");
        }
        assert_eq!(keys(&["{{shop}}:*", "x:{{shop}}:*"]), Sharing::Always);
    }

    #[test]
    fn two_tags_or_keys_that_are_written_out_never_do() {
        for (bad, wanted) in [
            (&["SET a *", "SET b *"][..], ["a", "b"]),
            (&["INCR {{a}}:{id}", "INCR {{b}}:{id}"], ["{{a}}:{id}", "{{b}}:{id}"]),
            (&["INCR n:{{{x}}}", "INCR total", "SET hits *"], ["total", "hits"]),
        ] {
            let Sharing::Never { keys, slots } = commands(bad) else { panic!("{bad:?}") };
            assert_eq!(keys.map(|key| key.text.into_string()), wanted.map(str::to_owned));
            assert_ne!(slots[0], slots[1]);
        }
        // Nothing says that keys of both come together.
        assert!(matches!(keys(&["{{a}}:*", "{{b}}:*"]), Sharing::Chance { .. }));
    }

    #[test]
    fn what_they_share_only_by_chance_is_told_with_the_tag_that_would_put_it_together() {
        let better = |one: &str, other: &str| Some([one.to_owned(), other.to_owned()]);
        for (written, places, wanted) in [
            (
                &["SET rt:{user}:{token} *", "SADD sess:{user} {token}"][..],
                [0, 1],
                better("rt:{{{user}}}:{token}", "sess:{{{user}}}"),
            ),
            (&["SET a:{{{x}}}:{y} *", "SET b:{y} *"], [0, 1], None),
            (&["SET a:{{{x}}} *", "SET b:{x} *"], [0, 1], better("a:{{{x}}}", "b:{{{x}}}")),
            (&["SET a:{x} *", "SET b:{y} *", "SET c:{x}:{y} *"], [0, 1], None),
            (&["INCR n:{{{x}}}", "INCR total"], [0, 1], None),
            (&["MSET a:{x} * b:{x} *", "SET a:{x} *"], [0, 0], better("a:{{{x}}}", "b:{{{x}}}")),
        ] {
            let Sharing::Chance { keys, better } = commands(written) else { panic!("{written:?}: {:?}", commands(written)) };
            assert_eq!((keys.map(|key| key.place), better), (places, wanted), "{written:?}");
        }
        assert!(matches!(keys(&["sess:*", "rt:*"]), Sharing::Chance { better: None, .. }));
    }
}
