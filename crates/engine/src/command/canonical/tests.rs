//! Tests of `canonical`.

use super::super::written::WrittenRequest;
use super::*;

fn form(request: &str) -> String {
    let table = Table::builtin();
    let written = WrittenRequest::new(request);
    let canonical = canonical(&table, table.lookup(written.args()), written.args());
    let mut words = vec![table.spec(canonical.id).name().to_owned()];
    words.extend((0..canonical.len()).map(|i| {
        let word = canonical.get(i).expect("every word below len is there");
        String::from_utf8_lossy(word).into_owned()
    }));
    assert_eq!(canonical.get(canonical.len()), None);
    words.join(" ")
}

fn pattern(text: &str) -> Option<String> {
    let table = Table::builtin();
    let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    let id = table.by_name(&words[0]).expect("a known command");
    let arrangement = arrange(&table, id, words.as_slice())?;
    let mut form = table.spec(arrangement.id).name().to_owned();
    for i in 0..arrangement.len() {
        form.push(' ');
        form.push_str(match arrangement.word(i)? {
            Word::Arg(place) => &words[place],
            Word::Token(token) => token,
        });
    }
    Some(form)
}

#[test]
fn all_spellings_of_a_lifetime_are_one() {
    assert_eq!(form("SETEX k 10 v"), "set k v EX 10");
    assert_eq!(form("PSETEX k 10 v"), "set k v PX 10");
    assert_eq!(form("set k v ex 10"), "set k v EX 10");
    assert_eq!(form("SET k v Get eX 10 nx"), "set k v NX GET EX 10");
    assert_eq!(form("SET k v KEEPTTL XX"), "set k v XX KEEPTTL");
    assert_eq!(form("SET k v pxat 99 ifeq old get"), "set k v IFEQ old GET PXAT 99");
}

#[test]
fn counting_by_one_is_counting() {
    assert_eq!(form("INCR k"), "incrby k + 1");
    assert_eq!(form("DECR k"), "incrby k - 1");
    assert_eq!(form("INCRBY k 1"), "incrby k + 1");
    assert_eq!(form("DECRBY k -7"), "incrby k - -7");
}

#[test]
fn older_names_of_a_command_are_that_command() {
    assert_eq!(form("GETSET k v"), "set k v GET");
    assert_eq!(form("HMSET h a 1 b 2"), "hset h a 1 b 2");
    assert_eq!(form("SETNX k v"), "setnx k v", "its reply is another");
}

#[test]
fn a_time_to_live_is_said_with_its_unit() {
    assert_eq!(form("EXPIRE k 10"), "expire k EX 10");
    assert_eq!(form("PEXPIRE k 10 nx"), "expire k PX 10 NX");
    assert_eq!(form("EXPIREAT k 10"), "expire k EXAT 10");
    assert_eq!(form("PEXPIREAT k 10 gt xx"), "expire k PXAT 10 XX GT");
    assert_eq!(form("getex k pxat 7"), "getex k PXAT 7");
    assert_eq!(pattern("EXPIRE k ...").as_deref(), Some("expire k ..."));
    assert_eq!(pattern("PEXPIRE k {t} lt ...").as_deref(), Some("expire k PX {t} LT ..."));
}

#[test]
fn options_have_one_order_and_what_follows_them_keeps_its_own() {
    assert_eq!(form("ZADD k ch nx 1 a 2 b"), "zadd k NX CH 1 a 2 b");
    assert_eq!(form("ZADD k 1 nx"), "zadd k 1 nx");
    assert_eq!(form("GEOADD k Ch xx 1 2 m"), "geoadd k XX CH 1 2 m");
    assert_eq!(form("ZRANGE k 0 9 limit 0 5 rev byscore withscores"), "zrange k 0 9 BYSCORE REV LIMIT 0 5 WITHSCORES");
    assert_eq!(form("COPY a b replace db 3"), "copy a b DB 3 REPLACE");
    assert_eq!(form("RESTORE k 0 x freq 1 replace"), "restore k 0 x REPLACE FREQ 1");
    assert_eq!(form("HSCAN h 0 count 5 match a*"), "hscan h 0 MATCH a* COUNT 5");
    assert_eq!(form("FLUSHALL async"), "flushall ASYNC");
    assert_eq!(pattern("ZADD k ...").as_deref(), Some("zadd k ..."));
    assert_eq!(pattern("ZADD k ch NX ...").as_deref(), Some("zadd k NX CH ..."));
}

#[test]
fn what_redis_will_refuse_stays_as_written() {
    for (request, expected) in [
        ("SET k", "set k"),
        ("SET k v px", "set k v px"),
        ("SET k v nx xx", "set k v nx xx"),
        ("SET k v ex 1 px 2", "set k v ex 1 px 2"),
        ("SET k v get get", "set k v get get"),
        ("SET k v what", "set k v what"),
        ("SET k v 1", "set k v 1"),
        ("SET k v nx get ex 1 a b c d", "set k v nx get ex 1 a b c d"),
        ("SETEX k 10", "setex k 10"),
        ("SETEX k 10 v x", "setex k 10 v x"),
        ("INCR", "incr"),
        ("INCR k 2", "incr k 2"),
        ("HMSET h a", "hmset h a"),
        ("HMSET h a 1 b", "hmset h a 1 b"),
        ("GETSET k", "getset k"),
        ("EXPIRE k", "expire k"),
        ("COPY a b db", "copy a b db"),
        ("LPOS l x rank 1 rank 2", "lpos l x RANK 1 rank 2"),
        ("nonsense a b", "unknown a b"),
    ] {
        assert_eq!(form(request), expected);
    }
}

#[test]
fn words_of_a_subcommand_are_behind_its_name() {
    assert_eq!(form("XGROUP CREATE s g $"), "xgroup|create s g $");
    assert_eq!(form("XGROUP"), "xgroup");
}

#[test]
fn patterns_and_requests_take_the_same_order() {
    assert_eq!(pattern("SETEX rt:{u}:{t} {ttl} *").as_deref(), Some("set rt:{u}:{t} * EX {ttl}"));
    assert_eq!(pattern("SET k * ex * nx").as_deref(), Some("set k * NX EX *"));
    assert_eq!(pattern("INCR k").as_deref(), Some("incrby k + 1"));
    assert_eq!(pattern("SADD k ...").as_deref(), Some("sadd k ..."));
}

#[test]
fn the_rest_stays_last() {
    assert_eq!(pattern("SET k v ex 1 nx ...").as_deref(), Some("set k v NX EX 1 ..."));
    assert_eq!(pattern("SET k ...").as_deref(), Some("set k ..."));
    assert_eq!(pattern("SET k v ex ...").as_deref(), Some("set k v ex ..."));
}

#[test]
fn a_rest_that_hides_what_must_move_is_refused() {
    assert_eq!(pattern("SETEX k ..."), None);
    assert_eq!(pattern("SETEX k 1 ..."), None);
    assert_eq!(pattern("INCR ..."), None);
    assert_eq!(form("SETEX k 1 ..."), "set k ... EX 1");
}

#[test]
fn the_longest_set_fits() {
    assert_eq!(form("SET k v GET EX 1 IFEQ o"), "set k v IFEQ o GET EX 1");
    assert_eq!(pattern("SET k v GET EX 1 IFEQ o ...").as_deref(), Some("set k v IFEQ o GET EX 1 ..."));
}
