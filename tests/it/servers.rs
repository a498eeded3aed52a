//! Servers that are not what they were, or do not list all that they do.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::harness::wire::words;
use crate::harness::{Program, Proxy, RedisServer, Setup, Twin, Wire, eventually, request};

/// Redis 6.2, which differs most: it lists no subcommands, lacks much, and has QUIT without saying so.
fn redis6() -> &'static Program {
    static PROGRAM: OnceLock<Program> = OnceLock::new();
    PROGRAM.get_or_init(|| Program::named(Some("redis6")))
}

/// The one in PATH, of 7.0 or newer.
fn redis7() -> &'static Program {
    static PROGRAM: OnceLock<Program> = OnceLock::new();
    PROGRAM.get_or_init(|| Program::named(None))
}

/// Sends INCR again and again until `end`, and wants each answered as it should be.
fn count_on(wire: &mut Wire, key: &str, until: Instant) {
    let mut sent = 0;
    while Instant::now() < until {
        sent += 1;
        assert_eq!(wire.ask(&format!("INCR {key}")), format!(":{sent}\r\n"));
    }
}

fn answers_again(proxy: &Proxy) {
    eventually("the server is back", || proxy.wire().ask("PING") == "+PONG\r\n");
}

#[test]
fn a_command_that_the_server_before_the_upgrade_lacked_disturbs_nobody() {
    let mut redis = RedisServer::start_program(redis6(), &[]);
    let proxy = Setup::new(&redis).top("workers = 1").start();
    assert!(proxy.wire().ask("BLMPOP 1 1 nothing LEFT").starts_with("-ERR unknown command"));
    redis.become_program(redis7());
    redis.restart();
    answers_again(&proxy);
    let lost = proxy.metric("respguard_upstream_reconnects_total", &[]);
    let mut waiting: Vec<Wire> = Vec::new();
    for line in ["SSUBSCRIBE c", "BLMPOP 3 1 nothing LEFT", "BZMPOP 3 1 nothing MIN", "CLIENT NO-EVICT on", "SSUBSCRIBE d e"] {
        let mut wire = proxy.wire();
        wire.send(&request(line));
        waiting.push(wire);
    }
    count_on(&mut proxy.wire(), "n", Instant::now() + Duration::from_secs(2));
    assert_eq!(waiting[0].reply(), b"*3\r\n$10\r\nssubscribe\r\n$1\r\nc\r\n:1\r\n");
    assert_eq!(waiting[1].reply(), b"*-1\r\n");
    assert_eq!(waiting[3].reply(), b"+OK\r\n");
    assert_eq!(proxy.metric("respguard_upstream_reconnects_total", &[]), lost);
    let mut publisher = proxy.wire();
    assert_eq!(publisher.ask("SPUBLISH c m"), ":1\r\n");
    assert_eq!(waiting[0].reply(), b"*3\r\n$8\r\nsmessage\r\n$1\r\nc\r\n$1\r\nm\r\n");
}

#[test]
fn what_the_server_can_do_is_asked_again_when_it_is_another_one() {
    let rules = "[[ttl]]\nname = \"sessions\"\nkeys = [\"s:*\"]\naction = \"fix\"\ndefault = \"50s\"\n";
    let mut redis = RedisServer::start_program(redis6(), &[]);
    let proxy = Setup::new(&redis).top("workers = 1").rules(rules).start();
    // Redis before 7.0 has no PEXPIRE with NX.
    assert_eq!(proxy.wire().ask("SADD s:a x"), ":1\r\n");
    assert_eq!(redis.ask("TTL s:a"), ":-1\r\n");
    redis.become_program(redis7());
    redis.restart();
    answers_again(&proxy);
    eventually("a write is fixed", || {
        proxy.wire().ask("DEL s:a");
        assert_eq!(proxy.wire().ask("SADD s:a x"), ":1\r\n");
        redis.ask("TTL s:a") != ":-1\r\n"
    });
    let described = |version: &str| {
        let log = proxy.log();
        let lines = log.lines().filter(|line| line.contains("the server has described its commands"));
        lines.filter(|line| line.contains(version)).count()
    };
    eventually("the older server is described", || described("\"version\":\"6.2.") == 1);
    // The same server is not asked for its commands again.
    let before = described("\"version\"");
    assert_eq!(before, 2);
    redis.ask("CLIENT KILL TYPE normal SKIPME yes");
    answers_again(&proxy);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(described("\"version\""), before);
}

#[test]
fn quit_closes_its_own_client_and_nobody_elses_where_the_server_does_not_list_it() {
    let redis = RedisServer::start_program(redis6(), &[]);
    let proxy = Setup::new(&redis).top("workers = 1").start();
    let mut other = proxy.wire();
    for n in 1..=50 {
        let mut wire = proxy.wire();
        wire.send(&[request(&format!("SET k {n}")), request("QUIT"), request("SET k late")].concat());
        other.send(&request("INCR n"));
        assert_eq!(wire.until_closed(), b"+OK\r\n+OK\r\n");
        assert_eq!(other.reply(), format!(":{n}\r\n").as_bytes());
    }
    assert_eq!(redis.ask("GET k"), "$2\r\n50\r\n");
    let mut inside = proxy.wire();
    inside.send(&[request("MULTI"), request("SET k w"), request("QUIT")].concat());
    assert_eq!(inside.until_closed(), b"+OK\r\n+QUEUED\r\n+OK\r\n");
    assert_eq!(proxy.metric("respguard_upstream_reconnects_total", &[]), 0.0);
}

#[test]
fn a_browser_closes_only_its_own_connection_where_the_server_lists_what_it_says() {
    let redis = RedisServer::start_program(redis6(), &[]);
    let proxy = Setup::new(&redis).top("workers = 1").start();
    let mut other = proxy.wire();
    for n in 1..=10 {
        for words in [&b"POST / HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"*1\r\n$5\r\nhost:\r\n"]
        {
            let mut wire = proxy.wire();
            wire.send(words);
            assert!(!wire.until_closed().starts_with(b"-TIMEOUT"));
        }
        assert_eq!(other.ask("INCR n"), format!(":{n}\r\n"));
    }
    assert_eq!(proxy.metric("respguard_upstream_reconnects_total", &[]), 0.0);
}

#[test]
fn commands_that_a_server_lacks_are_refused_in_its_own_words() {
    let redis = RedisServer::start_program(redis6(), &[]);
    let proxy = Setup::new(&redis).top("workers = 1").start();
    let (mut direct, mut proxied) = (redis.wire(), proxy.wire());
    for line in [
        "SSUBSCRIBE c",
        "SUNSUBSCRIBE c",
        "SPUBLISH c m",
        "BLMPOP 1 1 k LEFT",
        "BZMPOP 1 1 k MIN",
        "WAITAOF 0 0 1",
        "CLIENT NO-EVICT on",
        "CLIENT NO-TOUCH on",
        "CLIENT SETINFO LIB-NAME x",
        "FUNCTION KILL",
        "FCALL f 0",
        "CLIENT CAPA redirect",
        "EXPIRETIME k",
        "CLIENT REPLY",
        "RESET",
        "HELLO 4",
        "OBJECT FREQ",
        "MSETEX 1 k v",
        "SELECT 3",
        "GET k",
        "RESET",
        "PING",
    ] {
        assert_eq!(proxied.ask(line), direct.ask(line), "{line}");
    }
    let said = |wire: &mut Wire| {
        wire.send(&[request("MULTI"), request("SSUBSCRIBE c"), request("GET k"), request("EXEC"), request("PING")].concat());
        (0..5).map(|_| wire.reply()).collect::<Vec<_>>()
    };
    assert_eq!(said(&mut proxied), said(&mut direct));
}

/// Nothing that a script answers may cost the connection that others share.
#[test]
fn replies_as_deep_and_as_odd_as_scripts_can_make_them_disturb_nobody() {
    let twin = Twin::with(&[], |setup| setup.top("workers = 1"));
    let nested = |depth: usize| format!("local t = {{}} for i = 1, {depth} do t = {{t}} end return t");
    let (mut pair, mut pair3) = (twin.pair(), twin.pair3());
    let mut other = twin.proxy.wire();
    for depth in [127, 128, 129, 130, 1000, 7000, 9000] {
        let script = nested(depth);
        let eval = words(&[b"EVAL", script.as_bytes(), b"0"]);
        other.send(&request("INCR n"));
        let behind = request(&format!("SET k {depth}"));
        pair.same(&[&eval[..], &behind].concat(), 2);
        pair3.same(&[&eval[..], &behind].concat(), 2);
        let transaction = [&request("MULTI")[..], &eval, &behind, &request("EXEC")].concat();
        pair.same(&transaction, 4);
        assert!(other.reply().starts_with(b":"));
    }
    for odd in [
        "{big_number=''}",
        "{big_number='1\\r\\n+OK'}",
        "{double=0/0}",
        "{double=1/0}",
        "{verbatim_string={format='', string=''}}",
        "{ok=''}",
        "{err=''}",
        "{map={}}",
        "{set={}}",
        "{false, true}",
    ] {
        let script = format!("redis.setresp(3) return {odd}");
        let eval = words(&[b"EVAL", script.as_bytes(), b"0"]);
        pair.same(&[&eval[..], &request("PING")].concat(), 2);
        pair3.same(&[&eval[..], &request("PING")].concat(), 2);
    }
    assert_eq!(twin.proxy.metric("respguard_upstream_reconnects_total", &[]), 0.0);
}
