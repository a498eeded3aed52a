//! Warnings about rules that are valid but probably not what the user meant.

use std::collections::BTreeMap;

use super::pattern::{Part, next_part};
use super::rule::{Written, WrittenGroup, WrittenTtl};

/// Something that a rule probably should not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where it is written: `group[0].commands[2]`.
    pub path: String,
    /// What is the matter with it.
    pub message: String,
    /// What may have been meant.
    pub advice: String,
}

/// What is odd about rules that are good otherwise.
pub fn warnings(written: &Written) -> Vec<Warning> {
    let mut found = Found::default();
    let groups: Vec<(usize, Lines)> = written
        .groups
        .iter()
        .enumerate()
        .filter_map(|(place, group)| Some((place, Lines::of(group)?)))
        .filter(|(_, lines)| lines.0.len() > 1)
        .collect();
    for (at, (place, lines)) in groups.iter().enumerate() {
        captures(*place, lines, &written.groups[*place], &mut found);
        for (other, before) in &groups[..at] {
            beside(*place, lines, (&written.groups[*other].name, before), written.pipeline.hold_ms, &mut found);
        }
        for (other, behind) in &groups[at + 1..] {
            longer((*other, behind), (&written.groups[*place].name, lines), written.pipeline.hold_ms, &mut found);
        }
    }
    key_groups(&written.groups, &mut found);
    ttls(&written.ttls, &mut found);
    found.0
}

#[derive(Default)]
struct Found(Vec<Warning>);

impl Found {
    fn add(&mut self, path: String, message: String, advice: &str) {
        self.0.push(Warning { path, message, advice: advice.to_owned() });
    }
}

/// The members of a group, word by word.
struct Lines(Vec<Line>);

struct Line {
    words: Vec<String>,
    optional: bool,
}

impl Lines {
    fn of(group: &WrittenGroup) -> Option<Lines> {
        let members = group.commands.as_ref()?.iter();
        let line = |text: &str| {
            let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            words.iter_mut().take(1).for_each(|name| name.make_ascii_uppercase());
            words
        };
        Some(Lines(members.map(|member| Line { words: line(&member.template), optional: member.optional }).collect()))
    }

    /// The same without the names of captures: two that read so take the same commands.
    fn shape(&self) -> Vec<(Vec<String>, bool)> {
        let mut names: Vec<String> = Vec::new();
        let mut word = |word: &String| {
            let mut text = String::new();
            for part in parts(word) {
                match part {
                    Part::Literal(literal) => text.push_str(literal),
                    Part::Run => text.push('*'),
                    Part::Capture(name) => {
                        let at = names.iter().position(|known| known == name).unwrap_or_else(|| {
                            names.push(name.to_owned());
                            names.len() - 1
                        });
                        text.push_str(&format!("{{{at}}}"));
                    }
                }
            }
            text
        };
        self.0.iter().map(|line| (line.words.iter().map(&mut word).collect(), line.optional)).collect()
    }

    /// How often each capture stands in a word, and how often as a part of one; by members.
    fn uses(&self) -> BTreeMap<&str, Uses> {
        let mut uses: BTreeMap<&str, Uses> = BTreeMap::new();
        for (member, line) in self.0.iter().enumerate() {
            for word in &line.words {
                let parts = parts(word);
                for part in &parts {
                    if let Part::Capture(name) = part {
                        let of = uses.entry(name).or_default();
                        of.count += 1;
                        of.within |= parts.len() > 1;
                        of.members.push(member);
                    }
                }
            }
        }
        uses
    }
}

#[derive(Default)]
struct Uses {
    count: usize,
    /// It stands beside other text: it is a part of a key.
    within: bool,
    members: Vec<usize>,
}

impl Uses {
    fn is_shared(&self) -> bool {
        self.members.windows(2).any(|pair| pair[0] != pair[1])
    }
}

/// The parts of a word that has been found good.
fn parts(word: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = word;
    while !rest.is_empty() {
        // What is no pattern has been refused.
        let (part, behind) = next_part(rest).unwrap_or((Part::Literal(rest), ""));
        parts.push(part);
        rest = behind;
    }
    parts
}

fn captures(place: usize, lines: &Lines, group: &WrittenGroup, found: &mut Found) {
    let uses = lines.uses();
    let names: Vec<&str> = uses.keys().copied().collect();
    for (at, name) in names.iter().enumerate() {
        if let Some(other) = names[..at].iter().find(|other| other.eq_ignore_ascii_case(name)) {
            let message = format!("{{{other}}} and {{{name}}} are two captures, and need not be the same bytes");
            found.add(path(place, &uses[name]), message, "one spelling, if they are meant to be the same");
            return;
        }
    }
    let in_once_key = |name: &str| group.once_key.as_ref().is_some_and(|key| key.contains(&format!("{{{name}}}")));
    // One that is used once may say what a part of a key is; where two members each have one, the same may be meant.
    let lonely = uses.iter().filter(|(name, used)| used.count == 1 && used.within && !in_once_key(name));
    let lonely: Vec<_> = lonely.collect();
    if let [(first, one), .., (last, other)] = lonely[..]
        && one.members != other.members
    {
        let message = format!("{{{first}}} and {{{last}}} stand in one place each: nothing is compared with them");
        let at = if one.members > other.members { one } else { other };
        found.add(path(place, at), message, "one name in all members, or `*`");
        return;
    }
    let is_open = |line: &&Line| line.words.iter().skip(1).take(1).any(|word| parts(word).iter().any(|part| !is_text(part)));
    let open = lines.0.iter().filter(|line| !line.optional).filter(is_open).count();
    if open > 1 && !uses.values().any(Uses::is_shared) {
        let message = "its members share no capture: commands about different things count as one group";
        found.add(format!("group[{place}].commands"), message.to_owned(), "a {name} that stands in the keys of all members");
    }
}

fn is_text(part: &Part<'_>) -> bool {
    matches!(part, Part::Literal(_))
}

fn path(group: usize, uses: &Uses) -> String {
    format!("group[{group}].commands[{}]", uses.members.last().copied().unwrap_or_default())
}

/// A group behind one that takes all that it would take.
fn beside(place: usize, lines: &Lines, (name, before): (&str, &Lines), _hold_ms: u64, found: &mut Found) {
    let (shape, other) = (lines.shape(), before.shape());
    if shape == other {
        let message = format!("it has the same members as {name:?}: one of the two never counts");
        found.add(format!("group[{place}]"), message, "one of them, or members that differ");
    } else if shape.len() == other.len() && shape.iter().zip(&other).all(|(line, other)| is_covered(line, other)) {
        let message = format!("{name:?}, which stands before it, takes all that it would take");
        found.add(format!("group[{place}]"), message, "the narrower group first");
    }
}

/// Whether each word of the other is as wide or wider, and the other binds nothing together.
fn is_covered((line, optional): &(Vec<String>, bool), (other, other_optional): &(Vec<String>, bool)) -> bool {
    let mut words = line.iter();
    for wide in other {
        if wide == "..." {
            return optional == other_optional;
        }
        let Some(word) = words.next() else { return false };
        if word != wide && wide != "*" && !is_wider(wide, word) {
            return false;
        }
    }
    words.next().is_none() && optional == other_optional
}

/// Whether a word that ends with its only run takes all that begins as it does.
fn is_wider(wide: &str, word: &str) -> bool {
    wide.strip_suffix('*').is_some_and(|prefix| !prefix.contains(['*', '{', '}']) && word.starts_with(prefix))
}

/// What is a group by itself is held, each time, for the rest of a longer one that begins like it.
fn longer((place, lines): (usize, &Lines), (name, shorter): (&str, &Lines), hold_ms: u64, found: &mut Found) {
    let (longer, shorter) = match lines.0.len() > shorter.0.len() {
        true => (lines.shape(), shorter.shape()),
        false => return,
    };
    if hold_ms > 0 && longer.starts_with(&shorter) && longer[shorter.len()..].iter().any(|(_, optional)| !optional) {
        let message = format!("it begins with all members of {name:?}: each of those is held in vain for the rest of this one");
        found.add(format!("group[{place}].commands"), message, "one group, with the further members optional");
    }
}

fn key_groups(groups: &[WrittenGroup], found: &mut Found) {
    let keyed: Vec<_> =
        groups.iter().enumerate().filter_map(|(place, group)| Some((place, group, group.keys.as_ref()?))).collect();
    for (at, (place, _, keys)) in keyed.iter().enumerate() {
        for (_, other, before) in &keyed[..at] {
            if keys.iter().all(|key| before.iter().any(|wide| key == wide || is_wider(wide, key))) {
                let message = format!("{:?}, which stands before it, has all its keys", other.name);
                found.add(format!("group[{place}].keys"), message, "one of them, or other keys");
            }
        }
    }
}

/// The first rule with a pattern for a key is the key's rule.
fn ttls(rules: &[WrittenTtl], found: &mut Found) {
    for (place, rule) in rules.iter().enumerate() {
        for (at, key) in rule.keys.iter().enumerate() {
            let covers = |before: &&WrittenTtl| before.keys.iter().any(|wide| wide == key || is_wider(wide, key));
            if let Some(before) = rules[..place].iter().find(covers) {
                let message = format!("{key:?} is never reached: {:?}, which stands before it, has its keys", before.name);
                found.add(format!("ttl[{place}].keys[{at}]"), message, "the narrower rule first");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::rule::WrittenMember;

    fn group(name: &str, members: &[&str]) -> WrittenGroup {
        let member = |text: &&str| WrittenMember { template: (*text).to_owned(), ..WrittenMember::default() };
        WrittenGroup { name: name.to_owned(), commands: Some(members.iter().map(member).collect()), ..WrittenGroup::default() }
    }

    fn keys(name: &str, keys: &[&str]) -> WrittenGroup {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        WrittenGroup { name: name.to_owned(), keys: Some(keys), ..WrittenGroup::default() }
    }

    fn ttl(name: &str, keys: &[&str]) -> WrittenTtl {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        WrittenTtl { name: name.to_owned(), keys, ..WrittenTtl::default() }
    }

    fn told(groups: Vec<WrittenGroup>, ttls: Vec<WrittenTtl>) -> Vec<String> {
        let warnings = warnings(&Written { groups, ttls, ..Written::default() });
        warnings.into_iter().map(|warning| format!("{}: {}", warning.path, warning.message)).collect()
    }

    fn about(groups: &[WrittenGroup], wanted: &[&str]) {
        let told = told(groups.to_vec(), Vec::new());
        assert_eq!(told.len(), wanted.len(), "{told:?}");
        for (told, wanted) in told.iter().zip(wanted) {
            assert!(told.contains(wanted), "{wanted} in {told}");
        }
    }

    #[test]
    fn rules_as_they_should_be_are_not_warned_of() {
        let pair = group("pair", &["SET blobs:{id} *", "hset info:{id} {field} *", "EXPIRE info:{id} {ttl}"]);
        about(&[pair.clone(), group("other", &["SET blob:{id} *", "HSET info:{id} *"]), keys("k", &["a:*", "b:*"])], &[]);
        about(&[group("fixed", &["INCR total", "INCR hits", "SET last *"])], &[]);
        let once = WrittenGroup { once_key: Some("{job}".to_owned()), ..group("o", &["SET a:{id}:{job} *", "SET b:{id} *"]) };
        about(&[once], &[]);
        let braces = group("b", &["SET {{{user}}}:a *", "SET {{{user}}}:b *"]);
        about(&[braces], &[]);
    }

    #[test]
    fn the_same_and_the_wider_group_before_it_are_named() {
        let pair = group("pair", &["SET a:{id} *", "SET b:{id} *"]);
        about(
            &[pair.clone(), group("again", &["set a:{x} *", "SET  b:{x} *"])],
            &["group[1]: it has the same members as \"pair\""],
        );
        let narrow = group("narrow", &["SET a:{id} x", "SET b:{id} x"]);
        about(&[pair.clone(), narrow.clone()], &["group[1]: \"pair\", which stands before it"]);
        about(&[narrow, pair], &[]);
        about(&[keys("all", &["a:*", "b:*"]), keys("one", &["a:x:*", "b:*"])], &["group[1].keys: \"all\""]);
    }

    #[test]
    fn captures_that_bind_nothing_are_named() {
        about(&[group("g", &["SET a:{id} *", "SET b:{ID} *"])], &["group[0].commands[0]: {ID} and {id} are two captures"]);
        let lonely = group("g", &["SET a:{id} *", "SET b:{ident} *"]);
        about(&[lonely], &["group[0].commands[1]: {id} and {ident} stand in one place each"]);
        about(&[group("g", &["SET a:{id}:{part} *", "SET b:{id} *"])], &[]);
        about(&[group("g", &["SET a:* *", "SET b:* *"])], &["group[0].commands: its members share no capture"]);
    }

    #[test]
    fn a_group_that_is_held_for_a_longer_one_is_named() {
        let short = group("short", &["SET a:{id} *", "SET b:{id} *"]);
        let long = group("long", &["SET a:{x} *", "SET b:{x} *", "SET c:{x} *"]);
        about(&[short.clone(), long.clone()], &["group[1].commands: it begins with all members of \"short\""]);
        let mut optional = long;
        optional.commands.iter_mut().flatten().skip(2).for_each(|member| member.optional = true);
        about(&[short, optional], &[]);
    }

    #[test]
    fn a_ttl_rule_behind_a_wider_one_is_never_reached() {
        let told_of = told(Vec::new(), vec![ttl("all", &["*"]), ttl("sessions", &["sess:*", "rt:*"])]);
        assert_eq!(told_of.len(), 2);
        assert!(told_of[0].starts_with("ttl[1].keys[0]: \"sess:*\" is never reached: \"all\""), "{told_of:?}");
        assert!(told(Vec::new(), vec![ttl("sessions", &["sess:*"]), ttl("all", &["*"])]).is_empty());
    }

    #[test]
    fn a_word_is_cut_into_its_parts() {
        assert_eq!(parts("a:{id}*"), [Part::Literal("a:"), Part::Capture("id"), Part::Run]);
        assert_eq!(parts("{{x}}"), [Part::Literal("{"), Part::Literal("x"), Part::Literal("}")]);
        assert_eq!((parts("{id"), parts("}")), (vec![Part::Literal("{id")], vec![Part::Literal("}")]));
    }
}
