//! Patterns in the other direction: the text that they build from captures, and the glob for SCAN.

use super::{Bindings, Pattern, Wild};

impl Pattern {
    /// The text with its captures filled in; `None` where one is not bound, or a run stands for anything.
    pub fn build(&self, bound: &Bindings<'_>) -> Option<Box<[u8]>> {
        let mut built = self.prefix.to_vec();
        for step in &self.steps {
            built.extend_from_slice(step.wild.value(bound)?);
            built.extend_from_slice(step.literal.needle());
        }
        Some(built.into())
    }

    /// Whether some part of it stands for any bytes.
    pub fn has_runs(&self) -> bool {
        self.steps.iter().any(|step| step.wild == Wild::Run)
    }

    /// What SCAN's MATCH takes for it (<https://redis.io/docs/latest/commands/scan/>): everything that the pattern matches
    /// does match it.
    pub fn glob(&self) -> Vec<u8> {
        let mut glob = Vec::new();
        escape(&self.prefix, &mut glob);
        for step in &self.steps {
            glob.push(b'*');
            escape(step.literal.needle(), &mut glob);
        }
        glob
    }

    /// What decides a key's slot on a cluster, as text to be compared
    /// (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags>); `None` where keys of this
    /// pattern can have any.
    pub fn slot_text(&self) -> Option<Vec<SlotPart<'_>>> {
        let Some(open) = self.prefix.iter().position(|byte| *byte == b'{') else {
            // A capture's bytes may have braces of their own.
            return self.steps.is_empty().then(|| vec![SlotPart::Literal(&self.prefix)]);
        };
        let first = &self.prefix[open + 1..];
        match first.iter().position(|byte| *byte == b'}') {
            Some(0) => return self.steps.is_empty().then(|| vec![SlotPart::Literal(&self.prefix)]),
            Some(close) => return Some(vec![SlotPart::Literal(&first[..close])]),
            None => {}
        }
        let mut tag = vec![SlotPart::Literal(first)];
        for step in &self.steps {
            let Wild::Capture(number) = step.wild else { return None };
            tag.push(SlotPart::Capture(number));
            let literal = step.literal.needle();
            match literal.iter().position(|byte| *byte == b'}') {
                Some(close) => {
                    tag.push(SlotPart::Literal(&literal[..close]));
                    return Some(tag);
                }
                None => tag.push(SlotPart::Literal(literal)),
            }
        }
        None
    }
}

/// One part of what decides a key's slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotPart<'p> {
    /// These bytes.
    Literal(&'p [u8]),
    /// The number of a capture.
    Capture(u8),
}

fn escape(literal: &[u8], glob: &mut Vec<u8>) {
    for &byte in literal {
        if matches!(byte, b'*' | b'?' | b'[' | b'\\') {
            glob.push(b'\\');
        }
        glob.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Names;
    use super::*;

    fn pattern(text: &str, names: &mut Names) -> Pattern {
        Pattern::parse(text, names).expect(text)
    }

    #[test]
    fn what_a_key_was_bound_to_builds_the_others() {
        let mut names = Names::default();
        let (from, other) = (pattern("rt:{user}:{token}", &mut names), pattern("sess:{user}/{token}.", &mut names));
        let mut bound = Bindings::default();
        assert!(from.matches(b"rt:a:b:c", &mut bound));
        assert_eq!(other.build(&bound).as_deref(), Some(&b"sess:a/b:c."[..]));
        assert_eq!(pattern("x:{none}", &mut names).build(&bound), None);
        assert_eq!(pattern("x:*", &mut names).build(&bound), None);
    }

    #[test]
    fn a_glob_takes_wildcards_for_stars_and_escapes_what_is_literal() {
        let glob = |text| String::from_utf8(pattern(text, &mut Names::default()).glob()).expect("text");
        assert_eq!(glob("blobs:{id}"), "blobs:*");
        assert_eq!(glob("a?[b]\\{id}:{{x}}"), "a\\?\\[b]\\\\*:{x}");
    }

    #[test]
    fn a_tag_is_told_only_where_nothing_can_change_it() {
        let mut names = Names::default();
        let mut tag = |text: &str| pattern(text, &mut names).slot_text().map(|tag| format!("{tag:?}"));
        assert_eq!(tag("a:{{{id}}}"), tag("b:{{{id}}}:more:{x}"));
        assert!(tag("a:{{{id}}}").is_some());
        assert_ne!(tag("a:{{{id}}}"), tag("a:{{{x}}}"));
        assert_eq!(tag("a:{id}"), None);
        assert_eq!(tag("{x}:{{{id}}}"), None, "the capture may hold a tag");
        assert_eq!(tag("a:{{x:*}}"), None);
        assert!(tag("fixed").is_some());
        assert_eq!(tag("a:{{t}}:{id}"), tag("b:{{t}}"));
    }
}
