//! Tests of `pattern`.

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
    assert!(Pattern::parse("*", &mut Names::default()).unwrap().matches(&[0xff, 0, b'\n'], &mut Bindings::default()));
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

#[test]
fn only_a_run_alone_matches_every_argument() {
    let is_any = |word: &str| Pattern::parse(word, &mut Names::default()).unwrap().is_any();
    assert!(is_any("*"));
    assert!(["", "a*", "*a", "{a}", "a", "*a*"].iter().all(|word| !is_any(word)));
}
