//! Tests of `recognise`.

use super::*;
use crate::command::written::WrittenRequest;
use crate::policy::rule::{Order, Unlink, Written, WrittenGroup, WrittenMember};
use crate::policy::walk::Member;
use crate::policy::{Policy, compile};

/// A group of templates; those that begin with `?` are optional.
fn templates(members: &[&str]) -> WrittenGroup {
    let member = |text: &&str| WrittenMember {
        template: text.trim_start_matches('?').to_owned(),
        optional: text.starts_with('?'),
        ..WrittenMember::default()
    };
    WrittenGroup { commands: Some(members.iter().map(member).collect()), ..WrittenGroup::default() }
}

fn keys(patterns: &[&str]) -> WrittenGroup {
    WrittenGroup { keys: Some(patterns.iter().map(ToString::to_string).collect()), ..WrittenGroup::default() }
}

fn policy(groups: Vec<WrittenGroup>) -> Policy {
    let name = |(place, group)| WrittenGroup { name: format!("g{place}"), ..group };
    let groups = groups.into_iter().enumerate().map(name).collect();
    compile(&Written { groups, ..Written::default() }, &Table::builtin()).unwrap()
}

fn seen(policy: &Policy, commands: &[&str]) -> Recognition {
    let table = Table::builtin();
    let requests: Vec<_> = commands.iter().map(|line| WrittenRequest::new(line)).collect();
    policy.recognise(&table, &mut |place| {
        let args = requests.get(place)?.args();
        Some(Member { id: table.lookup(args), args })
    })
}

/// What stands side by side and is no group: it may have begun like one.
fn recognise(policy: &Policy, commands: &[&str]) -> Recognition {
    match seen(policy, commands) {
        Recognition::Begun => Recognition::None,
        recognised => recognised,
    }
}

fn whole(group: usize, members: usize) -> Recognition {
    Recognition::Whole { group, members, open: false }
}

fn open(group: usize, members: usize) -> Recognition {
    Recognition::Whole { group, members, open: true }
}

fn prefix(group: usize, members: usize) -> Recognition {
    Recognition::Prefix { group, members, hold: true }
}

fn login() -> WrittenGroup {
    templates(&["SETEX rt:{user}:{token} {ttl} *", "SADD sess:{user} {token}", "EXPIRE sess:{user} *", "?SMEMBERS sess:{user}"])
}

#[test]
fn a_group_is_whole_when_all_its_members_have_come() {
    let policy = policy(vec![login()]);
    let commands = ["SETEX rt:u1:t1 60 v", "SADD sess:u1 t1", "EXPIRE sess:u1 60", "SMEMBERS sess:u1", "GET x"];
    assert_eq!(recognise(&policy, &commands), whole(0, 4));
    assert_eq!(recognise(&policy, &commands[..4]), whole(0, 4));
    assert_eq!(recognise(&policy, &commands[..3]), open(0, 3));
    assert_eq!(recognise(&policy, &commands[..2]), prefix(0, 2));
    assert_eq!(recognise(&policy, &commands[..1]), prefix(0, 1));
    assert_eq!(recognise(&policy, &[]), Recognition::None);
}

#[test]
fn what_begins_like_a_group_and_goes_on_otherwise_is_told_from_what_does_not() {
    let policy = policy(vec![login(), keys(&["k:*"])]);
    assert_eq!(seen(&policy, &["SETEX rt:u1:t1 60 v", "GET x"]), Recognition::Begun);
    assert_eq!(seen(&policy, &["SETEX other 60 v", "GET x"]), Recognition::None);
    assert_eq!(seen(&policy, &["GET x", "SETEX rt:u1:t1 60 v"]), Recognition::None);
    assert_eq!(seen(&policy, &["SET k:1 v", "GET x"]), Recognition::None, "one command of a run");
}

#[test]
fn an_optional_member_may_be_left_out() {
    let policy = policy(vec![login()]);
    let commands = ["SETEX rt:u1:t1 60 v", "SADD sess:u1 t1", "EXPIRE sess:u1 60", "GET x"];
    assert_eq!(recognise(&policy, &commands), whole(0, 3));
    assert_eq!(recognise(&policy, &[commands[0], commands[1], "GET x"]), Recognition::None);
}

#[test]
fn every_spelling_of_a_command_is_the_same_member() {
    let policy = policy(vec![login(), templates(&["INCR n:{x}", "SET a * NX GET EX *"])]);
    let rest = ["sadd sess:u1 t1", "Expire sess:u1 60", "GET x"];
    for first in ["setex rt:u1:t1 60 v", "SET rt:u1:t1 v EX 60", "set rt:u1:t1 v ex 60", "SET rt:u1:t1 v PX 60"] {
        assert_eq!(recognise(&policy, &[first, rest[0], rest[1], rest[2]]), whole(0, 3), "{first}");
    }
    for first in ["SET rt:u1:t1 v KEEPTTL", "SET rt:u1:t1 v", "SETEX rt:u1 60 v", "PSETEX rt:u1:t1 v"] {
        assert_eq!(recognise(&policy, &[first, rest[0], rest[1], rest[2]]), Recognition::None, "{first}");
    }
    for first in ["INCR n:1", "incrby n:1 1"] {
        assert_eq!(recognise(&policy, &[first, "SET a v ex 5 get nx"]), whole(1, 2), "{first}");
    }
    assert_eq!(recognise(&policy, &["INCRBY n:1 2", "SET a v NX GET EX 5"]), Recognition::None);
}

#[test]
fn a_name_means_the_same_bytes_in_all_members() {
    let policy = policy(vec![login()]);
    let commands = |user: &str, token: &str| {
        let add = format!("SADD sess:{user} {token}");
        recognise(&policy, &["SETEX rt:u1:t1 60 v", &add, "EXPIRE sess:u1 60", "GET x"])
    };
    assert_eq!(commands("u1", "t1"), whole(0, 3));
    assert_eq!(commands("u2", "t1"), Recognition::None);
    assert_eq!(commands("u1", "t2"), Recognition::None);
    assert_eq!(commands("u1", "t1 t1"), Recognition::None);
}

#[test]
fn the_rest_takes_any_number_of_arguments() {
    let policy = policy(vec![templates(&["DEL a:{x} ...", "HSET a:{x} f ...", "SET k * ..."])]);
    let second = ["HSET a:1 f 1", "SET k v"];
    for first in ["DEL a:1", "DEL a:1 b", "DEL a:1 b c d"] {
        assert_eq!(recognise(&policy, &[first, second[0], second[1]]), whole(0, 3), "{first}");
    }
    assert_eq!(recognise(&policy, &["DEL b:1", second[0], second[1]]), Recognition::None);
    assert_eq!(recognise(&policy, &["DEL a:1", second[0], "SETEX k 5 v"]), whole(0, 3));
}

#[test]
fn a_subcommand_is_part_of_its_command() {
    let policy = policy(vec![templates(&["XGROUP CREATE s {g} $", "SADD groups {g}"])]);
    assert_eq!(recognise(&policy, &["xgroup create s g1 $", "SADD groups g1"]), whole(0, 2));
    assert_eq!(recognise(&policy, &["XGROUP SETID s g1 $", "SADD groups g1"]), Recognition::None);
}

#[test]
fn the_longest_group_wins_and_the_first_among_equals() {
    let short = || templates(&["SET a *", "SET b *"]);
    let long = || templates(&["SET a *", "SET b *", "SET c *"]);
    let commands = ["SET a 1", "SET b 1", "SET c 1"];
    assert_eq!(recognise(&policy(vec![short(), long()]), &commands), whole(1, 3));
    assert_eq!(recognise(&policy(vec![long(), short(), long()]), &commands), whole(0, 3));
    assert_eq!(recognise(&policy(vec![short(), long()]), &["SET a 1", "SET b 1", "SET d 1"]), whole(0, 2));
}

#[test]
fn a_whole_group_is_open_while_a_longer_one_could_still_come() {
    let policy = policy(vec![templates(&["SET a *", "SET b *"]), templates(&["SET a *", "SET b *", "SET c *", "SET d *"])]);
    assert_eq!(recognise(&policy, &["SET a 1", "SET b 1"]), open(0, 2));
    assert_eq!(recognise(&policy, &["SET a 1", "SET b 1", "SET c 1"]), open(0, 2));
    assert_eq!(recognise(&policy, &["SET a 1", "SET b 1", "SET c 1", "SET x 1"]), whole(0, 2));
}

#[test]
fn an_optional_member_never_hides_a_longer_match() {
    let policy = policy(vec![templates(&["?SET {a} *", "SET {b} *", "?GET {a}", "DEL {b}"])]);
    assert_eq!(recognise(&policy, &["SET x 1", "DEL x"]), whole(0, 2));
    assert_eq!(recognise(&policy, &["SET x 1", "SET y 1", "GET x", "DEL y"]), whole(0, 4));
    assert_eq!(recognise(&policy, &["SET x 1", "SET y 1", "DEL x"]), Recognition::None);
}

#[test]
fn a_group_with_one_needed_member_is_whole_with_it() {
    let policy = policy(vec![templates(&["INCR rl:{ip}", "?EXPIRE rl:{ip} *"])]);
    assert_eq!(recognise(&policy, &["INCR rl:1"]), open(0, 1));
    assert_eq!(recognise(&policy, &["INCR rl:1", "INCR rl:1"]), whole(0, 1));
    assert_eq!(recognise(&policy, &["INCR rl:1", "EXPIRE rl:1 60"]), whole(0, 2));
}

#[test]
fn a_run_takes_all_commands_whose_keys_match() {
    let policy = policy(vec![keys(&["blobs:*", "info:*"])]);
    let commands = ["HSET blobs:1 a b", "HSET info:1 a b", "DEL blobs:2 info:2", "GET other"];
    assert_eq!(recognise(&policy, &commands), whole(0, 3));
    assert_eq!(recognise(&policy, &commands[..3]), open(0, 3));
    assert_eq!(recognise(&policy, &commands[..2]), open(0, 2));
    assert_eq!(recognise(&policy, &commands[..1]), Recognition::Prefix { group: 0, members: 1, hold: false });
    assert_eq!(recognise(&policy, &[commands[0], commands[3]]), Recognition::None);
    assert_eq!(recognise(&policy, &commands[3..]), Recognition::None);
}

#[test]
fn a_run_ends_at_what_is_no_plain_keyed_command() {
    let policy = policy(vec![keys(&["*"])]);
    let others = [
        "PING",
        "BLPOP k 0",
        "XREAD BLOCK 0 STREAMS k 0",
        "EVAL x 1 k",
        "WATCH k",
        "MULTI",
        "PUBLISH k v",
        "NOSUCH k",
        "SUBSCRIBE k",
        "CLIENT SETNAME k",
        "WAIT 0 0",
    ];
    for other in others {
        assert_eq!(recognise(&policy, &["SET a 1", "SET b 1", other]), whole(0, 2), "{other}");
        assert_eq!(recognise(&policy, &[other, "SET a 1", "SET b 1"]), Recognition::None, "{other}");
    }
    assert_eq!(recognise(&policy, &["XREAD STREAMS a 0", "SET b 1", "PING"]), whole(0, 2));
}

#[test]
fn a_wrong_number_of_arguments_is_a_member_that_the_server_will_refuse() {
    let policy = policy(vec![keys(&["*"])]);
    assert_eq!(recognise(&policy, &["SET a 1", "HSET b f", "PING"]), whole(0, 2));
}

#[test]
fn what_has_keys_and_does_not_say_them_belongs_to_the_run() {
    let policy = policy(vec![keys(&["k:*"])]);
    let malformed = [
        "ZUNIONSTORE k:d 01 k:z",
        "ZMPOP 01 k:z MIN",
        "XREADGROUP GROUP g c",
        "XREADGROUP GROUP g c STREAMS k:s",
        "ZMPOP 9 k:z MIN",
    ];
    for other in malformed {
        assert_eq!(recognise(&policy, &["SET k:a 1", other, "SET k:b 1", "PING"]), whole(0, 3), "{other}");
        assert_eq!(recognise(&policy, &[other, "SET k:a 1", "PING"]), whole(0, 2), "{other}");
    }
    assert_eq!(recognise(&policy, &["SET k:a 1", "SADD", "SET k:b 1", "PING"]), whole(0, 3));
    assert_eq!(recognise(&policy, &["ZMPOP 01 k:z MIN", "ZMPOP 01 k:z MIN", "PING"]), Recognition::None, "no key matches");
    assert_eq!(recognise(&policy, &["SET k:a 1", "ZUNIONSTORE other 01 k:z", "SET k:b 1"]), Recognition::None, "it is elsewhere");
}

#[test]
fn a_captured_time_is_compared_as_a_duration() {
    let policy = policy(vec![templates(&["SETEX a:{x} {ttl} *", "EXPIRE b:{x} {ttl}", "SET c:{x} {ttl}"])]);
    let set = "SET c:1 60";
    for (first, second) in [
        ("SETEX a:1 60 v", "EXPIRE b:1 60"),
        ("SETEX a:1 60 v", "PEXPIRE b:1 60000"),
        ("SET a:1 v EXAT 60", "PEXPIREAT b:1 60000"),
    ] {
        assert_eq!(recognise(&policy, &[first, second, set, "PING"]), whole(0, 3), "{first}, {second}");
    }
    for (first, second) in [
        ("SETEX a:1 60 v", "EXPIRE b:1 120"),
        ("SETEX a:1 60 v", "PEXPIRE b:1 60"),
        ("SETEX a:1 60 v", "EXPIREAT b:1 60"),
        ("SETEX a:1 x v", "PEXPIRE b:1 x"),
    ] {
        assert_eq!(recognise(&policy, &[first, second, set, "PING"]), Recognition::None, "{first}, {second}");
    }
    assert_eq!(recognise(&policy, &["PSETEX a:1 60000 v", "EXPIRE b:1 60", set, "PING"]), Recognition::None, "other text");
}

#[test]
fn one_key_that_does_not_match_keeps_the_command_out() {
    let policy = policy(vec![keys(&["a:*"])]);
    assert_eq!(recognise(&policy, &["MSET a:1 v a:2 v", "SET a:1 v", "PING"]), whole(0, 2));
    assert_eq!(recognise(&policy, &["MSET a:1 v b:2 v", "SET a:1 v", "PING"]), Recognition::None);
}

#[test]
fn a_prefix_that_is_worth_holding_comes_before_one_that_is_not() {
    let policy = policy(vec![keys(&["a:*"]), templates(&["SET a:{x} *", "SET b:{x} *"])]);
    assert_eq!(recognise(&policy, &["SET a:1 v"]), prefix(1, 1));
    assert_eq!(recognise(&policy, &["GET a:1"]), Recognition::Prefix { group: 0, members: 1, hold: false });
}

#[test]
fn a_blocking_request_is_no_member() {
    let policy = policy(vec![templates(&["XREAD ...", "SET a *"])]);
    assert_eq!(recognise(&policy, &["XREAD STREAMS s 0", "SET a 1"]), whole(0, 2));
    assert_eq!(recognise(&policy, &["XREAD BLOCK 5 STREAMS s 0", "SET a 1"]), Recognition::None);
}

#[test]
fn without_rules_nothing_is_recognised() {
    assert_eq!(recognise(&Policy::passive(), &["SET a 1", "SET b 1"]), Recognition::None);
    assert!(Policy::passive().is_empty());
}

/// Whether the command begins a group whose first member is the template.
fn fits(template: &str, command: &str) -> bool {
    recognise(&policy(vec![templates(&[template, "SET b *"])]), &[command]) == prefix(0, 1)
}

#[test]
fn every_spelling_of_a_command_fits() {
    for (template, spellings) in [
        ("SETEX a {t} *", &["SETEX a 1 v", "SET a v EX 1", "set a v ex 7", "PSETEX a 1 v", "SET a v px 1", "SET a v EXAT 1"][..]),
        ("SET a * PXAT *", &["SETEX a 1 v", "SET a v PXAT 1"]),
        ("GETEX a EX {t}", &["GETEX a EX 1", "GETEX a PX 1", "GETEX a EXAT 1"]),
        ("SET a * GET", &["GETSET a v", "set a v get"]),
        ("INCR a", &["INCR a", "INCRBY a 1", "DECRBY a -1"]),
        ("DECRBY a 3", &["decrby a 3", "INCRBY a -3"]),
        ("INCRBY a *", &["INCR a", "INCRBY a -5"]),
        ("HSET a ...", &["HMSET a f v", "HSET a f v g w"]),
        ("EXPIRE a *", &["EXPIRE a 1", "PEXPIRE a 1", "EXPIREAT a 1", "pexpireat a 1"]),
        ("EXPIRE a {t} NX", &["EXPIRE a 1 nx", "PEXPIRE a 1 Nx"]),
        ("EXPIRE a ...", &["EXPIRE a 1", "PEXPIRE a 1 NX"]),
        ("EXPIRE a 60", &["EXPIRE a 60", "PEXPIRE a 60000"]),
        ("SETEX a 60 *", &["SET a v PX 60000", "SETEX a 60 v"]),
        ("GETEX a EX 5", &["getex a px 5000", "GETEX a ex 5"]),
        ("ZADD a NX CH * *", &["zadd a ch nx 1 m", "ZADD a NX CH 1 m"]),
    ] {
        for spelling in spellings {
            assert!(fits(template, spelling), "{spelling} is {template}");
        }
    }
}

#[test]
fn what_means_something_else_does_not_fit() {
    for (template, others) in [
        ("SETEX a 60 *", &["SET a v", "SET a v EX 61", "SET a v EXAT 60", "SET a v KEEPTTL"][..]),
        ("SET a *", &["GETSET a v", "SETEX a 1 v"]),
        ("INCR a", &["INCRBY a 2", "DECR a", "INCRBY a -1", "INCRBYFLOAT a 1"]),
        ("INCRBY a *", &["DECR a", "DECRBY a 1"]),
        ("EXPIRE a 60", &["EXPIRE a 61", "EXPIREAT a 60", "PEXPIRE a 60", "EXPIRE a 60 NX"]),
        ("SETEX a {t} *", &["SET a v", "SET a v KEEPTTL", "SET a v NX PX 1"]),
        ("GETEX a EX {t}", &["GETEX a", "GETEX a PERSIST"]),
        ("EXPIRE a 6*", &["PEXPIRE a 60", "EXPIRE a 70"]),
        ("DEL a", &["UNLINK a"]),
    ] {
        for other in others {
            assert!(!fits(template, other), "{other} is not {template}");
        }
    }
}

#[test]
fn unlink_is_del_where_the_rule_says_so() {
    let group = |first| WrittenGroup { unlink: Unlink::AsDel, ..templates(&[first, "SET b *"]) };
    for template in ["DEL a", "UNLINK a"] {
        let policy = policy(vec![group(template)]);
        assert_eq!(recognise(&policy, &["UNLINK a", "SET b 1"]), whole(0, 2), "{template}");
        assert_eq!(recognise(&policy, &["DEL a", "SET b 1"]), whole(0, 2), "{template}");
    }
}

fn in_any_order(members: &[&str]) -> Policy {
    policy(vec![WrittenGroup { order: Order::Any, ..templates(members) }])
}

#[test]
fn members_in_any_order_are_a_group_whichever_comes_first() {
    let policy = in_any_order(&["SETEX rt:{u}:{t} 9 *", "SADD sess:{u} {t}", "?EXPIRE sess:{u} *"]);
    let members = ["SETEX rt:u:t 9 v", "SADD sess:u t", "EXPIRE sess:u 9"];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let commands = order.map(|place| members[place]);
        assert_eq!(recognise(&policy, &commands), whole(0, 3), "{order:?}");
        assert_eq!(recognise(&policy, &commands[..1]), prefix(0, 1));
    }
    assert_eq!(recognise(&policy, &[members[1], members[0]]), open(0, 2));
    assert_eq!(recognise(&policy, &[members[1], members[0], "GET x"]), whole(0, 2));
    assert_eq!(recognise(&policy, &[members[2], members[1]]), prefix(0, 2));
    assert_eq!(recognise(&policy, &[members[2], members[1], "GET x"]), Recognition::None);
    assert_eq!(recognise(&policy, &[members[1], members[1], members[0]]), Recognition::None, "a member comes once");
}

#[test]
fn captures_agree_in_any_order() {
    let policy = in_any_order(&["SET a:{x} *", "SET b:{x} *"]);
    assert_eq!(recognise(&policy, &["SET b:1 v", "SET a:1 v"]), whole(0, 2));
    assert_eq!(recognise(&policy, &["SET b:1 v", "SET a:2 v"]), Recognition::None);
}

#[test]
fn a_member_that_binds_what_others_contradict_is_taken_back() {
    let policy = in_any_order(&["SET {x}:{y} *", "SET {y}:{x} *", "DEL {x}"]);
    assert_eq!(recognise(&policy, &["SET a:b 1", "SET b:a 1", "DEL b"]), whole(0, 3));
    assert_eq!(recognise(&policy, &["SET a:b 1", "SET b:a 1", "DEL a"]), whole(0, 3));
    assert_eq!(recognise(&policy, &["SET a:b 1", "SET b:a 1", "DEL c"]), Recognition::None);
}

#[test]
fn taking_back_is_bounded() {
    let members: Vec<String> = (0..15).map(|place| format!("SET {{n{place}}} *")).chain(["DEL x".to_owned()]).collect();
    let policy = in_any_order(&members.iter().map(String::as_str).collect::<Vec<_>>());
    let mut commands: Vec<String> = (0..15).map(|place| format!("SET {place} v")).collect();
    let recognised = |commands: &[String]| recognise(&policy, &commands.iter().map(String::as_str).collect::<Vec<_>>());
    let before = std::time::Instant::now();
    commands.push("DEL y".to_owned());
    assert_eq!(recognised(&commands), Recognition::None);
    assert!(before.elapsed() < std::time::Duration::from_secs(5), "15! ways are not tried");
    commands[15] = "DEL x".to_owned();
    assert_eq!(recognised(&commands), whole(0, 16));
}
