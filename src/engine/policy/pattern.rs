//! Matches one word of a rule against one argument of a command, in time linear in the argument.

use std::fmt;

use memchr::memmem::Finder;

/// How many names the members of one group may capture.
pub const CAPTURES_MAX: usize = 16;
/// Places of one literal that are tried where a bound capture must stand behind it; beyond, the argument does not match.
const PLACES_MAX: usize = 64;

/// One word of a rule: literal text with `{name}` captures and `*` runs in it; `{{` and `}}` are literal braces.
///
/// A capture takes at least one byte and as few as it can up to the next literal; a run takes any bytes or none. A
/// literal that ends the word is looked for at the argument's end. A name that is already bound is the literal text
/// that it is bound to.
#[derive(Clone)]
pub struct Pattern {
    prefix: Box<[u8]>,
    steps: Box<[Step]>,
    text: Box<str>,
}

/// A wildcard, with the literal that ends it. Only the last step's literal may be empty.
#[derive(Clone)]
struct Step {
    wild: Wild,
    literal: Finder<'static>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wild {
    Run,
    Capture(u8),
}

impl Pattern {
    /// Reads a word; its captures are numbered by `names`.
    pub fn parse(word: &str, names: &mut Names) -> Result<Self, PatternError> {
        let mut literals = vec![Vec::new()];
        let mut wilds = Vec::new();
        let mut rest = word;
        while !rest.is_empty() {
            let (part, behind) = next_part(rest)?;
            rest = behind;
            let wild = match part {
                Part::Literal(text) => {
                    if let Some(literal) = literals.last_mut() {
                        literal.extend_from_slice(text.as_bytes());
                    }
                    continue;
                }
                Part::Run => Wild::Run,
                Part::Capture(name) => Wild::Capture(names.number(name)?),
            };
            if !wilds.is_empty() && literals.last().is_some_and(Vec::is_empty) {
                return Err(PatternError::Adjacent);
            }
            wilds.push(wild);
            literals.push(Vec::new());
        }
        let mut literals = literals.into_iter();
        let prefix = literals.next().unwrap_or_default().into_boxed_slice();
        let steps = wilds
            .into_iter()
            .zip(literals)
            .map(|(wild, literal)| Step { wild, literal: Finder::new(&literal).into_owned() })
            .collect();
        Ok(Self { prefix, steps, text: word.into() })
    }

    /// The pattern that any argument matches.
    pub fn any() -> Self {
        let last = Step { wild: Wild::Run, literal: Finder::new(b"").into_owned() };
        Self { prefix: Box::default(), steps: Box::new([last]), text: "*".into() }
    }

    /// Whether the argument matches under the captures bound so far; binds those that are new.
    ///
    /// After a mismatch `bound` may hold captures of the failed attempt.
    pub fn matches<'a>(&self, argument: &'a [u8], bound: &mut Bindings<'a>) -> bool {
        let Some(mut rest) = behind_prefix(argument, &self.prefix) else {
            return false;
        };
        let mut steps = &*self.steps;
        while let Some((step, behind)) = steps.split_first() {
            if let Some(value) = step.wild.value(bound) {
                let Some(remaining) = step.strip_front(rest, value) else { return false };
                (rest, steps) = (remaining, behind);
                continue;
            }
            let known = behind.iter().take_while(|step| step.wild.value(bound).is_some()).count();
            let (known, unknown) = behind.split_at(known);
            if unknown.is_empty() {
                return step.ends(rest, known, bound).is_some_and(|value| step.wild.bind(value, bound));
            }
            let Some((value, remaining)) = step.take(rest, known, bound) else { return false };
            if !step.wild.bind(value, bound) {
                return false;
            }
            (rest, steps) = (remaining, unknown);
        }
        rest.is_empty()
    }

    /// Whether a key matches, for patterns without captures.
    pub fn matches_key(&self, key: &[u8]) -> bool {
        self.matches(key, &mut Bindings::default())
    }

    /// Whether the argument begins as every match does.
    pub fn may_match(&self, argument: &[u8]) -> bool {
        behind_prefix(argument, &self.prefix).is_some()
    }

    /// The literal text that every match begins with.
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// Whether the word has `{name}` in it.
    pub fn has_captures(&self) -> bool {
        self.steps.iter().any(|step| step.wild != Wild::Run)
    }

    /// The word as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// What is behind a literal that may be empty.
///
/// An empty one is not compared: `benches/plan.rs` showed half of its time in comparisons of no bytes.
fn behind_prefix<'a>(bytes: &'a [u8], literal: &[u8]) -> Option<&'a [u8]> {
    if literal.is_empty() { Some(bytes) } else { bytes.strip_prefix(literal) }
}

/// What is before a literal that may be empty, which is not compared either.
fn before_suffix<'a>(bytes: &'a [u8], literal: &[u8]) -> Option<&'a [u8]> {
    if literal.is_empty() { Some(bytes) } else { bytes.strip_suffix(literal) }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl Step {
    /// What is behind the value of a bound capture and its literal, if the bytes begin with them.
    fn strip_front<'a>(&self, rest: &'a [u8], value: &[u8]) -> Option<&'a [u8]> {
        behind_prefix(rest.strip_prefix(value)?, self.literal.needle())
    }

    /// What the wildcard takes when it is the last that is free: `known` bound captures stand behind it.
    fn ends<'a>(&self, rest: &'a [u8], known: &[Step], bound: &Bindings<'_>) -> Option<&'a [u8]> {
        let mut rest = rest;
        for step in known.iter().rev() {
            rest = before_suffix(rest, step.literal.needle())?.strip_suffix(step.wild.value(bound)?)?;
        }
        before_suffix(rest, self.literal.needle()).filter(|value| value.len() >= self.wild.least())
    }

    /// Takes the wildcard, its literal and the `known` bound captures behind it off the front; gives what the wildcard
    /// took and what is behind them all.
    ///
    /// The leftmost place is the right one: any match with a later one is also a match with this one, because the
    /// wildcard behind it can take the bytes in between.
    fn take<'a>(&self, rest: &'a [u8], known: &[Step], bound: &Bindings<'_>) -> Option<(&'a [u8], &'a [u8])> {
        let mut from = self.wild.least();
        for _ in 0..PLACES_MAX {
            let end = from + self.literal.find(rest.get(from..)?)?;
            let (value, behind) = rest.split_at(end);
            let remaining = known.iter().try_fold(&behind[self.literal.needle().len()..], |behind, step| {
                step.strip_front(behind, step.wild.value(bound)?)
            });
            match remaining {
                Some(remaining) => return Some((value, remaining)),
                None => from = end + 1,
            }
        }
        None
    }
}

impl Wild {
    fn least(self) -> usize {
        match self {
            Self::Run => 0,
            Self::Capture(_) => 1,
        }
    }

    /// The bytes of a capture that is bound already.
    fn value<'a>(self, bound: &Bindings<'a>) -> Option<&'a [u8]> {
        match self {
            Self::Run => None,
            Self::Capture(number) => bound.get(usize::from(number)),
        }
    }

    fn bind<'a>(self, value: &'a [u8], bound: &mut Bindings<'a>) -> bool {
        match self {
            Self::Run => true,
            Self::Capture(number) => bound.bind(usize::from(number), value),
        }
    }
}

/// What the captures of one group are bound to while it is being recognised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bindings<'a> {
    /// Empty: not bound yet, since a capture is never empty.
    values: [&'a [u8]; CAPTURES_MAX],
}

impl<'a> Bindings<'a> {
    /// The bytes that the capture with this number is bound to.
    pub fn get(&self, number: usize) -> Option<&'a [u8]> {
        self.values.get(number).copied().filter(|value| !value.is_empty())
    }

    fn bind(&mut self, number: usize, value: &'a [u8]) -> bool {
        let Some(slot) = self.values.get_mut(number) else {
            return false;
        };
        if slot.is_empty() {
            *slot = value;
            return !value.is_empty();
        }
        *slot == value
    }
}

/// The capture names of one group, each with its number.
#[derive(Clone, Debug, Default)]
pub struct Names {
    names: Vec<String>,
}

impl Names {
    /// The names, in the order of their numbers.
    pub fn as_slice(&self) -> &[String] {
        &self.names
    }

    fn number(&mut self, name: &str) -> Result<u8, PatternError> {
        let number = match self.names.iter().position(|known| known == name) {
            Some(number) => number,
            None if self.names.len() == CAPTURES_MAX => return Err(PatternError::TooManyNames),
            None => {
                self.names.push(name.to_owned());
                self.names.len() - 1
            }
        };
        u8::try_from(number).map_err(|_| PatternError::TooManyNames)
    }
}

/// Why a word is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("`{{` is never closed")]
    Unclosed,
    #[error("`}}` closes nothing")]
    Stray,
    #[error("a capture has no name")]
    EmptyName,
    #[error("`{0}` is not a capture name")]
    BadName(String),
    #[error("two wildcards touch, so it is ambiguous where one ends")]
    Adjacent,
    #[error("there are more than {CAPTURES_MAX} capture names")]
    TooManyNames,
}

impl PatternError {
    /// What would have been right instead.
    pub fn expected(&self) -> &'static str {
        match self {
            Self::Unclosed => "`{name}`, or `{{` for a literal brace",
            Self::Stray => "`{name}`, or `}}` for a literal brace",
            Self::EmptyName => "`{name}`, or `*` for bytes that need no name",
            Self::BadName(_) => "letters, digits, `_` and `-`",
            Self::Adjacent => "literal text between two wildcards",
            Self::TooManyNames => "fewer names; `*` where the same bytes need not come again",
        }
    }
}

enum Part<'w> {
    Literal(&'w str),
    Run,
    Capture(&'w str),
}

fn next_part(word: &str) -> Result<(Part<'_>, &str), PatternError> {
    if let Some(rest) = word.strip_prefix("{{") {
        return Ok((Part::Literal("{"), rest));
    }
    if let Some(rest) = word.strip_prefix("}}") {
        return Ok((Part::Literal("}"), rest));
    }
    if let Some(rest) = word.strip_prefix('{') {
        let (name, rest) = rest.split_once('}').ok_or(PatternError::Unclosed)?;
        return capture_name(name).map(|name| (Part::Capture(name), rest));
    }
    if word.starts_with('}') {
        return Err(PatternError::Stray);
    }
    if let Some(rest) = word.strip_prefix('*') {
        return Ok((Part::Run, rest));
    }
    let (literal, rest) = word.split_at(word.find(['{', '}', '*']).unwrap_or(word.len()));
    Ok((Part::Literal(literal), rest))
}

fn capture_name(name: &str) -> Result<&str, PatternError> {
    if name.is_empty() {
        return Err(PatternError::EmptyName);
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.chars().all(plain) { Ok(name) } else { Err(PatternError::BadName(name.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(word: &str) -> Pattern {
        Pattern::parse(word, &mut Names::default()).unwrap()
    }

    fn matches(word: &str, argument: &str) -> bool {
        pattern(word).matches(argument.as_bytes(), &mut Bindings::default())
    }

    /// What the captures are bound to, in the order of their names in the word.
    fn captures<'a>(word: &str, argument: &'a str) -> Option<Vec<&'a str>> {
        let mut names = Names::default();
        let pattern = Pattern::parse(word, &mut names).unwrap();
        let mut bound = Bindings::default();
        let values = |bound: &Bindings<'a>| {
            let numbers = 0..names.as_slice().len();
            numbers.map(|number| std::str::from_utf8(bound.get(number).unwrap()).unwrap()).collect()
        };
        pattern.matches(argument.as_bytes(), &mut bound).then(|| values(&bound))
    }

    fn refusal(word: &str) -> PatternError {
        Pattern::parse(word, &mut Names::default()).unwrap_err()
    }

    #[test]
    fn a_word_without_wildcards_matches_only_itself() {
        assert!(matches("latest", "latest"));
        assert!(!matches("latest", "lates"));
        assert!(!matches("latest", "latest "));
        assert!(!matches("latest", "LATEST"));
    }

    #[test]
    fn a_star_alone_matches_anything_even_nothing() {
        assert!(matches("*", ""));
        assert!(matches("*", "any \u{0} bytes"));
        assert!(Pattern::any().matches(&[0xff, 0, b'\n'], &mut Bindings::default()));
    }

    #[test]
    fn a_run_may_be_empty_and_a_capture_may_not() {
        assert!(matches("rt:*", "rt:"));
        assert!(!matches("rt:{user}", "rt:"));
        assert!(matches("rt:{user}", "rt:x"));
        assert!(matches("a*b", "ab"));
        assert!(!matches("a{x}b", "ab"));
        assert!(matches("a{x}b", "a-b"));
    }

    #[test]
    fn a_capture_ends_at_the_first_literal_behind_it() {
        assert_eq!(captures("rt:{user}:{token}", "rt:u1:a:b"), Some(vec!["u1", "a:b"]));
        assert_eq!(captures("{a}::{b}", "x:::y"), Some(vec!["x", ":y"]));
        assert_eq!(captures("{a}:{b}", "::y"), Some(vec![":", "y"]));
    }

    #[test]
    fn a_literal_that_ends_the_word_is_matched_at_the_end() {
        assert_eq!(captures("{a}.json", "x.json.json"), Some(vec!["x.json"]));
        assert!(!matches("{a}.json", "x.json.gz"));
        assert!(!matches("{a}.json", ".json"));
        assert!(!matches("ab*ba", "aba"));
        assert!(matches("ab*ba", "abba"));
    }

    #[test]
    fn a_bound_name_matches_only_the_same_bytes() {
        let mut names = Names::default();
        let first = Pattern::parse("rt:{user}:{token}", &mut names).unwrap();
        let second = Pattern::parse("sess:{user}", &mut names).unwrap();
        let mut bound = Bindings::default();
        assert!(first.matches(b"rt:u1:t1", &mut bound));
        assert!(second.matches(b"sess:u1", &mut bound.clone()));
        assert!(!second.matches(b"sess:u2", &mut bound.clone()));
        assert!(!second.matches(b"sess:u11", &mut bound.clone()));
        assert!(matches("{a}:{a}", "x:x"));
        assert!(!matches("{a}:{a}", "x:y"));
    }

    /// Matches the words one after the other, each under what those before have bound.
    fn agree<'a>(pairs: &[(&str, &'a str)]) -> bool {
        let mut names = Names::default();
        let mut bound: Bindings<'a> = Bindings::default();
        pairs.iter().all(|(word, argument)| Pattern::parse(word, &mut names).unwrap().matches(argument.as_bytes(), &mut bound))
    }

    #[test]
    fn a_bound_name_is_literal_text_whatever_bytes_are_in_it() {
        assert!(agree(&[("{a}", "x:y"), ("{a}:{b}", "x:y:z")]));
        assert!(agree(&[("{a}", "x:y"), ("{b}:{a}", "p:q:x:y")]));
        assert!(agree(&[("{a}", "x:y"), ("k:{b}:{a}:end", "k:x:y:x:y:end")]));
        assert!(agree(&[("{a}", "x:y"), ("*:{a}:{c}", "p:x:x:y:c")]));
        assert!(agree(&[("{a}", "x:y"), ("{a}:{b}:{a}", "x:y:1:x:y")]));
        assert!(agree(&[("{b}", ":"), ("{a}", "x"), ("{a}:{b}:{c}", "x:::c")]));
        assert!(!agree(&[("{a}", "x:y"), ("{a}:{b}", "x:z:y")]));
        assert!(!agree(&[("{a}", "x:y"), ("{b}:{a}", ":x:y")]));
        assert!(!agree(&[("{a}", "x:y"), ("{b}:{a}", "p:x:yy")]));
    }

    #[test]
    fn the_places_where_a_bound_name_may_stand_are_tried_up_to_a_bound() {
        let within = format!("{}:x:", ":".repeat(PLACES_MAX - 1));
        assert!(agree(&[("{a}", "x"), ("*:{a}:*", &within)]));
        assert!(!agree(&[("{a}", "x"), ("*:{a}:*", &format!(":{within}"))]));
    }

    #[test]
    fn doubled_braces_are_literal() {
        assert!(matches("{{user}}:x", "{user}:x"));
        assert_eq!(captures("{{{user}}}:x", "{u1}:x"), Some(vec!["u1"]));
        assert!(!matches("{{{user}}}:x", "u1:x"));
    }

    #[test]
    fn text_beyond_ascii_is_literal() {
        assert_eq!(captures("schlüssel:{u}", "schlüssel:é"), Some(vec!["é"]));
    }

    #[test]
    fn words_that_are_no_patterns_are_refused() {
        assert_eq!(refusal("rt:{user"), PatternError::Unclosed);
        assert_eq!(refusal("rt:user}"), PatternError::Stray);
        assert_eq!(refusal("rt:{}"), PatternError::EmptyName);
        assert_eq!(refusal("rt:{a b}"), PatternError::BadName("a b".into()));
        assert_eq!(refusal("rt:{ü}"), PatternError::BadName("ü".into()));
        for word in ["{a}{b}", "{a}*", "*{a}", "**", "x{a}*y"] {
            assert_eq!(refusal(word), PatternError::Adjacent, "{word}");
        }
    }

    #[test]
    fn sixteen_names_fit_and_a_seventeenth_does_not() {
        let mut names = Names::default();
        for number in 0..CAPTURES_MAX {
            assert!(Pattern::parse(&format!("{{n{number}}}"), &mut names).is_ok());
        }
        assert!(Pattern::parse("{n0}", &mut names).is_ok());
        assert_eq!(Pattern::parse("{more}", &mut names).unwrap_err(), PatternError::TooManyNames);
    }

    /// A wildcard (`Some(least)`) or a literal byte.
    type Token = (Option<usize>, u8);

    /// Tries the shortest first for each wildcard, and every longer one after it.
    fn naive<'a>(tokens: &[Token], argument: &'a [u8], taken: &mut Vec<&'a [u8]>) -> bool {
        let Some(((wild, literal), rest)) = tokens.split_first() else {
            return argument.is_empty();
        };
        let Some(least) = wild else {
            return argument.split_first().is_some_and(|(byte, behind)| byte == literal && naive(rest, behind, taken));
        };
        (*least..=argument.len()).any(|end| {
            let before = taken.len();
            taken.push(&argument[..end]);
            let found = naive(rest, &argument[end..], taken);
            if !found {
                taken.truncate(before);
            }
            found
        })
    }

    fn tokens() -> impl Strategy<Value = Vec<Token>> {
        let token = prop_oneof![
            2 => Just((None, b'a')), 2 => Just((None, b'b')), 1 => Just((Some(0), 0)), 1 => Just((Some(1), 0))
        ];
        let apart = |tokens: &Vec<Token>| !tokens.windows(2).any(|pair| pair[0].0.is_some() && pair[1].0.is_some());
        proptest::collection::vec(token, 0..9).prop_filter("wildcards touch", apart)
    }

    fn written(tokens: &[Token]) -> String {
        let word = |(place, (wild, literal)): (usize, &Token)| match wild {
            None => char::from(*literal).to_string(),
            Some(0) => "*".to_owned(),
            Some(_) => format!("{{n{place}}}"),
        };
        tokens.iter().enumerate().map(word).collect()
    }

    proptest! {
        #[test]
        fn it_agrees_with_trying_every_way(tokens in tokens(), argument in "[ab]{0,12}") {
            let mut taken = Vec::new();
            let expected = naive(&tokens, argument.as_bytes(), &mut taken);
            let word = written(&tokens);
            let mut names = Names::default();
            let pattern = Pattern::parse(&word, &mut names).unwrap();
            let mut bound = Bindings::default();
            prop_assert_eq!(pattern.matches(argument.as_bytes(), &mut bound), expected, "{}", word);
            if expected {
                let wilds = tokens.iter().filter_map(|(wild, _)| *wild);
                let captured = wilds.zip(taken).filter(|(least, _)| *least == 1).map(|(_, value)| value);
                let ours = (0..names.as_slice().len()).filter_map(|number| bound.get(number));
                prop_assert_eq!(ours.collect::<Vec<_>>(), captured.collect::<Vec<_>>(), "{}", word);
            }
        }

        #[test]
        fn no_word_and_no_argument_panics(word in "[{}*ab]{0,10}", argument in proptest::collection::vec(any::<u8>(), 0..20)) {
            if let Ok(pattern) = Pattern::parse(&word, &mut Names::default()) {
                pattern.matches(&argument, &mut Bindings::default());
            }
        }
    }
}
