//! Checks what is sent before the members, and how its replies are read.

use std::cell::Cell;

use super::super::fault::WRONG_TYPE;
use super::super::names::Names;
use super::super::types::Types;
use super::super::{Condition, Requirement, syntax};
use super::*;

fn is_hash(key: &[u8]) -> Check<'_> {
    let types = Types::ALL.without(Types::NONE).without(Types::HASH);
    Check { member: 1, key, question: Question::Not { types, error: WRONG_TYPE } }
}

#[test]
fn every_key_that_is_asked_about_is_watched_once_behind_the_guard() {
    let names = Names { instance: 10, used: Cell::new(1) };
    let preflight = Preflight::new(&[is_hash(b"h"), is_hash(b"h"), is_hash(b"k")]);
    let mut request = Vec::new();
    preflight.write(&names.next("g:", preflight.key()), &mut request);
    let watch = "*4\r\n$5\r\nWATCH\r\n$24\r\ng:{h}:000000000000000a:1\r\n$1\r\nh\r\n$1\r\nk\r\n*10\r\n$4\r\nEVAL\r\n";
    assert!(request.starts_with(watch.as_bytes()), "{}", String::from_utf8_lossy(&request));
    assert_eq!(names.used.get(), 2, "the next guard has another name");
}

#[test]
fn the_shortest_script_is_sent() {
    let integer = Check { member: 0, key: b"n", question: Question::Integer { above: 5, below: 5 } };
    let list = Check { member: 0, key: b"l", question: Question::Elements { least: 5 } };
    assert_eq!(Script::of(&[is_hash(b"h")]), Script::Types);
    assert_eq!(Script::of(&[is_hash(b"h"), integer.clone()]), Script::Numbers);
    assert_eq!(Script::of(&[integer, list]), Script::All);
}

#[test]
fn the_scripts_that_are_sent_most_often_are_hashed_without_filling_up_a_block() {
    let assertion = String::from_utf8(assert_guard(b"g")).expect("text");
    let script = assertion.split("\r\n").nth(4).expect("behind its name");
    let asked = str::from_utf8(&TYPES.plain).expect("text").split("\r\n").nth(3).expect("behind its name");
    for script in [asked, script] {
        assert_eq!(script.len() % 64, 55, "{script}");
    }
    assert!(assertion.contains(&format!("\r\n${}\r\n{script}\r\n", script.len())), "{assertion}");
}

#[test]
fn a_question_about_a_type_is_named_by_the_place_of_its_first_argument() {
    let mut preflight = Preflight::new(&[is_hash(b"h"), Check { member: 2, ..is_hash(b"k") }]);
    let fails = |member| Verdict::Fails { member, error: "NOPERM 2 no".into() };
    assert_eq!(
        [preflight.verdict(b"$12\r\n1NOPERM 2 no\r\n"), preflight.verdict(b"$12\r\n3NOPERM 2 no\r\n")],
        [fails(1), fails(2)]
    );
    preflight.set_once(Some(Once { marker: b"m".to_vec(), lifetime: Default::default() }));
    assert_eq!(preflight.verdict(b"$7\r\nonce no\r\n"), Verdict::Unasked { error: "no".into() });
}

#[test]
fn a_verdict_names_the_member_and_redis_own_error() {
    let integer = Check { member: 3, key: b"n", question: Question::Integer { above: 5, below: 5 } };
    let preflight = Preflight::new(&[is_hash(b"h"), integer]);
    let fails = |member, error: &str| Verdict::Fails { member, error: error.into() };
    assert_eq!(preflight.verdict(b":0\r\n"), Verdict::Fine);
    assert_eq!(preflight.verdict(b":1\r\n"), fails(1, WRONG_TYPE));
    assert_eq!(preflight.verdict(b":6\r\n"), fails(3, syntax::NOT_AN_INTEGER));
    assert_eq!(preflight.verdict(b":7\r\n"), fails(3, "ERR increment or decrement would overflow"));
    assert_eq!(preflight.verdict(b"$12\r\n1 NOPERM no\n\r\n"), fails(3, "NOPERM no "));
    for reply in [&b":4\r\n"[..], b":99\r\n", b":-1\r\n", b"-NOPERM no\r\n", b"$-1\r\n"] {
        assert_eq!(preflight.verdict(reply), Verdict::Missing);
    }
}

#[test]
fn what_is_required_is_told_in_the_words_of_the_rule() {
    let condition = Condition::Value(b"v"[..].into());
    let requirement = Requirement { condition, text: "= {old}".into() };
    let preflight = Preflight::new(&[Check { member: 1, key: b"k", question: Question::Required(requirement) }]);
    let unmet = Verdict::Unmet { member: 1, required: "= {old}".into() };
    assert_eq!([preflight.verdict(b":1\r\n"), preflight.verdict(b":2\r\n")], [unmet.clone(), unmet]);
    let denied = Verdict::Unmet { member: 1, required: "= {old}, which may not be asked: NOPERM no".into() };
    assert_eq!(preflight.verdict(b"$11\r\n0 NOPERM no\r\n"), denied);
}

#[test]
fn what_a_connection_lacks_is_told_apart_from_what_passes() {
    assert_eq!(Ability::read(b":1\r\n"), Ability::Able);
    assert_eq!(Ability::read(b":0\r\n"), Ability::Lacking(Unsupported::Guard));
    assert_eq!(Ability::read(b"-NOPERM this user\r\n"), Ability::Lacking(Unsupported::Eval));
    assert_eq!(Ability::read(b"-ERR unknown command\r\n"), Ability::Lacking(Unsupported::Scripting));
    assert_eq!(Ability::read(b"-LOADING Redis\r\n"), Ability::Silent);
}
