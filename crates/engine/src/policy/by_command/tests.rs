//! Tests of `by_command`.

use super::super::pattern::Bindings;
use super::super::rule::{Written, WrittenExpect, WrittenGroup, WrittenGuard, WrittenMember, WrittenTtl};
use super::super::ttl::TtlRules;
use super::super::{Policy, Recognition, compile};
use super::*;
use crate::command::written::WrittenRequest;
use crate::command::{canonical, ttl_effects};
use respguard_resp::request::Args;

/// Words as one request.
fn request<T>(words: &[&str], ask: impl FnOnce(Args<'_>) -> T) -> T {
    ask(WrittenRequest::of(words.iter().copied()).args())
}

/// Whether the policy concerns the command; a look at what its argument begins with denies that only where it is so.
fn may_match(policy: &Policy, command: Member<'_>) -> bool {
    let argument = |place| command.args.get(place).unwrap_or_default();
    let may_match = policy.may_match(command.id, argument);
    for behind in [*b"\r\n$3\r\nab", *b"ab:1234z", [0; 8]] {
        let opening = |place| [argument(place), &behind].concat().first_chunk().map(|first| u64::from_le_bytes(*first));
        let might_match = policy.glance(command.id).is_none_or(|glance| glance.might_match(opening));
        assert!(might_match || !may_match, "{behind:?}");
    }
    may_match
}

fn policy(table: &Table) -> Policy {
    let member = |template: &&str| WrittenMember { template: (*template).into(), ..WrittenMember::default() };
    let group = |name: &str, members: &[&str]| WrittenGroup {
        name: name.into(),
        commands: Some(members.iter().map(member).collect()),
        ..WrittenGroup::default()
    };
    let run = |name: &str, key: &str| WrittenGroup { name: name.into(), keys: Some(vec![key.into()]), ..WrittenGroup::default() };
    let expect = |name: &str, command: &str| WrittenExpect {
        name: name.into(),
        command: command.into(),
        reply: "OK".into(),
        ..WrittenExpect::default()
    };
    let guard = |name: &str, commands: &[&str]| WrittenGuard {
        name: name.into(),
        commands: Some(commands.iter().map(|text| (*text).into()).collect()),
        ..WrittenGuard::default()
    };
    let ttl = |name: &str, key: &str| WrittenTtl { name: name.into(), keys: vec![key.into()], ..WrittenTtl::default() };
    let written = Written {
        groups: vec![
            group("session", &["SETEX aa:{id} * *", "SADD b:{id} *"]),
            group("counter", &["INCR ab:{id}", "EXPIRE ab:{id} *"]),
            group("anything", &["ZADD {set} NX * *", "DEL {set}"]),
            run("run", "ba:*"),
        ],
        expects: vec![expect("hash", "HMSET a:* ..."), expect("flush", "FLUSHALL ASYNC"), expect("deleted", "DEL aab*")],
        guards: vec![guard("keys", &["KEYS *"]), guard("long", &["APPEND ab* *", "GETSET ab:1 *"])],
        ttls: vec![ttl("first", "ab:*"), ttl("second", "aa*"), ttl("last", "*:z")],
        ..Written::default()
    };
    compile(&written, table).expect("good rules")
}

/// Requests in many spellings, about keys that share more or less with those of the rules.
fn requests() -> Vec<Vec<&'static str>> {
    let forms: [&[&str]; 34] = [
        &["GET", "k"],
        &["SET", "k", "v"],
        &["SET", "k", "v", "EX", "5"],
        &["set", "k", "v", "keepttl", "nx"],
        &["SETEX", "k", "5", "v"],
        &["PSETEX", "k", "5", "v"],
        &["SETEX", "k", "5"],
        &["GETSET", "k", "v"],
        &["SET", "k", "v", "GET"],
        &["INCR", "k"],
        &["DECRBY", "k", "2"],
        &["INCRBY", "k", "1"],
        &["PEXPIRE", "k", "5000"],
        &["EXPIRE", "k", "5", "NX"],
        &["HMSET", "k", "f", "v"],
        &["HSET", "k", "f", "v"],
        &["ZADD", "k", "NX", "1", "m"],
        &["ZADD", "k", "CH", "NX", "1", "m"],
        &["DEL", "k"],
        &["DEL", "other", "k"],
        &["UNLINK", "k"],
        &["MSET", "other", "v", "k", "v"],
        &["RENAME", "other", "k"],
        &["COPY", "k", "other"],
        &["APPEND", "k", "v"],
        &["EVAL", "return 1", "1", "k"],
        &["XREAD", "COUNT", "1", "STREAMS", "k", "0"],
        &["OBJECT", "ENCODING", "k"],
        &["GETEX", "k", "PERSIST"],
        &["FLUSHALL", "ASYNC"],
        &["FLUSHALL"],
        &["KEYS", "k"],
        &["GET"],
        &["nonsense", "k"],
    ];
    let keys = ["", "a", "aa", "aa:1", "aab", "ab", "ab:1", "ac:1", "b:1", "ba:1", "c", "c:z", "ab:z"];
    let with = |form: &[&'static str], key| form.iter().map(|word| if *word == "k" { key } else { *word }).collect();
    keys.into_iter().flat_map(|key| forms.map(|form| with(form, key))).collect()
}

#[test]
fn what_is_found_by_index_is_what_trying_each_rule_finds() {
    let table = Table::builtin();
    let policy = policy(&table);
    let mut concerned = 0;
    for words in requests() {
        request(&words, |args| {
            let command = Member { id: table.lookup(args), args };
            let names = |found: Vec<&str>| found.join(" ");
            let guards = policy.guards().iter().filter(|rule| rule.matches(command, &table)).map(|rule| &*rule.name);
            let expects = policy.expects().iter().filter(|rule| rule.command.agrees(command, &table, &mut Bindings::default()));
            let expects: Vec<_> = expects.map(|rule| &*rule.name).collect();
            let guards: Vec<_> = guards.collect();
            let found_guards = policy.guards_of(&table, command).map(|rule| &*rule.name).collect();
            let found_expects = policy.expects_of(&table, command).map(|rule| &*rule.name).collect();
            assert_eq!(names(found_guards), guards.join(" "), "{words:?}");
            assert_eq!(names(found_expects), expects.join(" "), "{words:?}");

            let begun = policy.groups().iter().any(|group| {
                let extent = group.follow(&table, &mut |place| (place == 0).then_some(command));
                extent != Default::default()
            });
            let recognised = policy.recognise(&table, &mut |place| (place == 0).then_some(command));
            assert_eq!(recognised != Recognition::None, begun, "{words:?}");

            let mut expires = false;
            ttl_effects(table.spec(command.id), args, &mut |place, _| {
                expires |= args.get(place).is_some_and(|key| policy.ttl_rule_for(key).is_some());
            });
            if begun || expires || !guards.is_empty() || !expects.is_empty() {
                concerned += 1;
                assert!(may_match(&policy, command), "{words:?}");
            }
        });
    }
    assert!(concerned > 50, "{concerned}");
}

#[test]
fn requests_that_share_no_beginning_concern_no_rule() {
    let table = Table::builtin();
    let mut policy = policy(&table);
    policy = Policy { ttls: TtlRules::new(Vec::new()), ..policy }.indexed(&table);
    for words in [&["GET", "ba"][..], &["SET", "ab:", "v"], &["APPEND", "aa", "v"], &["INCR", "aa:1"], &["GET"], &["PING"]] {
        request(words, |args| {
            let command = Member { id: table.lookup(args), args };
            assert!(!may_match(&policy, command), "{words:?}");
        });
    }
    for words in [&["GET", "ba:1"][..], &["SET", "aa:1", "v"], &["APPEND", "ab", "v"], &["INCR", "ab:1"], &["KEYS", "x"]] {
        request(words, |args| {
            let command = Member { id: table.lookup(args), args };
            assert!(may_match(&policy, command), "{words:?}");
        });
    }
    assert!(Policy::passive().matches_nothing() && !policy.matches_nothing());
}

#[test]
fn the_first_argument_of_a_command_is_the_first_of_its_canonical_form_where_it_says_so() {
    let table = Table::builtin();
    let options = ["1", "NX", "EX", "10", "REV", "SYNC", "ASYNC", "REPLACE", "MATCH", "LIMIT", "1", "2"];
    for (id, spec) in table.iter().filter(|(_, spec)| spec.keeps_first_argument()) {
        let name: Vec<&str> = spec.name().split('|').collect();
        for count in 1..options.len() {
            for first in ["key", "NX", "ASYNC"] {
                let words: Vec<&str> = name.iter().copied().chain([first]).chain(options[..count].iter().copied()).collect();
                request(&words, |args| {
                    assert_eq!(canonical(&table, id, args).get(0), Some(first.as_bytes()), "{words:?}");
                });
            }
        }
    }
}

#[test]
fn a_pattern_that_leaves_the_rest_open_is_about_every_request_that_goes_on_from_there() {
    let table = Table::builtin();
    for (id, spec) in table.iter() {
        let name: Vec<&str> = spec.name().split('|').collect();
        let least = usize::from(spec.arity.unsigned_abs()) - name.len();
        for given in 0..=least {
            let text = format!("{}{} ...", name.join(" "), " *".repeat(given));
            let rule = WrittenGuard { name: "g".into(), commands: Some(vec![text.clone()]), ..WrittenGuard::default() };
            // What is refused hides words that have to move.
            let Ok(policy) = compile(&Written { guards: vec![rule], ..Written::default() }, &table) else { continue };
            for count in if spec.arity > 0 { vec![least] } else { vec![least, least + 2] } {
                let words: Vec<&str> = name.iter().copied().chain(std::iter::repeat_n("1", count)).collect();
                request(&words, |args| {
                    let found = policy.guards_of(&table, Member { id, args }).next();
                    assert!(found.is_some(), "{text} and {count} arguments");
                });
            }
        }
    }
}
