//! What one user's credentials, rights and databases do to his connections: it is his affair alone.

use std::time::Duration;

use crate::harness::wire::requests;
use crate::harness::{Proxy, RedisServer, Setup, Wire, eventually, text, within};

const BREAKER: &str = "[breaker]\nthroughput_min = 5\nfailure_ratio = 0.3\nsampling_ms = 10000\n";
const QUICK: &str = "queue_timeout_ms = 300\nconnect_timeout_ms = 300";
/// Long enough for attempts to connect to have failed again and again.
const A_WHILE: Duration = Duration::from_millis(1500);

fn login(proxy: &Proxy, line: &str) -> Wire {
    let mut wire = proxy.wire();
    assert_eq!(wire.ask(line), "+OK\r\n", "{line}");
    wire
}

/// Nothing that happens meanwhile is seen by anybody else.
#[track_caller]
fn nobody_else_notices(proxy: &Proxy, others: &mut [&mut Wire]) {
    let troubled = within(A_WHILE, || {
        let replies: Vec<String> = others.iter_mut().map(|wire| wire.ask("PING")).collect();
        replies.iter().any(|reply| reply != "+PONG\r\n") || proxy.get("/readyz").0 != 200
    });
    assert!(!troubled, "{}", proxy.get("/readyz").1);
    assert_eq!(proxy.metric("respguard_breaker_transitions_total", &[("to", "open")]), 0.0);
}

#[test]
fn a_deleted_users_clients_are_closed_and_nobody_else_notices() {
    let redis = RedisServer::start(&[]);
    redis.ask("ACL SETUSER bob on >p ~* +@all");
    redis.ask("ACL SETUSER ann on >a ~* +@all");
    let proxy = Setup::new(&redis).top("workers = 1").upstream(QUICK).rules(BREAKER).start();
    let mut idle = login(&proxy, "AUTH bob p");
    let mut elsewhere = login(&proxy, "AUTH bob p");
    assert_eq!(elsewhere.ask("SELECT 3"), "+OK\r\n");
    let mut third = login(&proxy, "AUTH bob p");
    assert!(third.ask("HELLO 3").starts_with('%'));
    let mut busy = login(&proxy, "AUTH bob p");
    let mut blocked = login(&proxy, "AUTH bob p");
    blocked.send_line("BLPOP q 0");
    eventually("it is blocked", || redis.info("clients", "blocked_clients") == 1);
    let mut ann = login(&proxy, "AUTH ann a");
    let mut nobody = proxy.wire();
    assert_eq!(busy.ask("SET k v"), "+OK\r\n");
    assert_eq!(redis.ask("ACL DELUSER bob"), ":1\r\n");
    busy.try_send(&requests(&["GET k"; 50])).expect("the proxy is there");
    for wire in [&mut idle, &mut elsewhere, &mut third, &mut blocked] {
        let said = text(&wire.until_closed());
        assert!(!said.contains("unavailable"), "{said}");
    }
    let said = text(&busy.until_closed());
    assert!(!said.contains("unavailable"), "{said}");
    nobody_else_notices(&proxy, &mut [&mut ann, &mut nobody]);
    assert!(proxy.wire().ask("AUTH bob p").starts_with("-WRONGPASS"));
    eventually("nothing is kept for him", || proxy.metric("respguard_upstream_connections", &[]) <= 2.0);
}

#[test]
fn a_changed_password_closes_whose_connection_was_lost_and_nobody_else() {
    let redis = RedisServer::start(&[]);
    redis.ask("ACL SETUSER bob on >old ~* +@all");
    let proxy = Setup::new(&redis).top("workers = 1").upstream(QUICK).rules(BREAKER).start();
    let mut before = login(&proxy, "AUTH bob old");
    let mut idle = login(&proxy, "AUTH bob old");
    assert_eq!(redis.ask("ACL SETUSER bob resetpass >new"), "+OK\r\n");
    let mut after = login(&proxy, "AUTH bob new");
    assert_eq!(before.ask("SET k v"), "+OK\r\n", "a session outlives its password");
    let lost = redis.ask("CLIENT LIST");
    let lost = lost.lines().filter(|line| line.contains(" user=bob ")).min_by_key(|line| field(line, "id")).expect("one of his");
    assert_eq!(redis.ask(&format!("CLIENT KILL ID {}", field(lost, "id"))), ":1\r\n");
    for wire in [&mut before, &mut idle] {
        assert_eq!(text(&wire.until_closed()), "");
    }
    let mut nobody = proxy.wire();
    nobody_else_notices(&proxy, &mut [&mut after, &mut nobody]);
}

fn field(line: &str, name: &str) -> u64 {
    let value = line.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {line}"))
}

#[test]
fn a_session_outlives_its_password_as_far_as_its_connection_goes() {
    let redis = RedisServer::start(&[]);
    redis.ask("ACL SETUSER bob on >p ~* &* +@all");
    let large = format!("SET k {}", "x".repeat(200_000));
    let proxy = Setup::new(&redis).top("workers = 1").upstream(QUICK).rules(BREAKER).start();
    let beyond = ["BLPOP q 1", "WATCH k", "MULTI", "SELECT 4", "SUBSCRIBE c", "HELLO 3", &large];
    let mut clients: Vec<Wire> = beyond.iter().map(|_| login(&proxy, "AUTH bob p")).collect();
    let mut stays = login(&proxy, "AUTH bob p");
    // Of his connections the one is left that all of them share.
    let list = redis.ask("CLIENT LIST");
    let mut ids: Vec<u64> = list.lines().filter(|line| line.contains(" user=bob ")).map(|line| field(line, "id")).collect();
    ids.sort_unstable();
    for id in &ids[1..] {
        assert_eq!(redis.ask(&format!("CLIENT KILL ID {id}")), ":1\r\n");
    }
    assert_eq!(redis.ask("ACL SETUSER bob <p >q"), "+OK\r\n");
    for (wire, line) in clients.iter_mut().zip(beyond) {
        assert_eq!(wire.ask("SET k v"), "+OK\r\n", "the session goes on");
        wire.send_line(line);
        if line == "MULTI" {
            // Only with its second part does it need a connection of its own.
            let said = text(&wire.try_reply().unwrap_or_default());
            assert!(matches!(&*said, "" | "+OK\r\n"), "{said}");
            let _ = wire.try_send(&requests(&["INCR n", "EXEC"]));
        }
        let said = text(&wire.until_closed());
        assert_eq!(said, "", "{}", &line[..line.len().min(20)]);
    }
    assert_eq!(stays.pipeline(&["INCR m", "MULTI", "INCR m", "EXEC"])[3], "*1\r\n:2\r\n");
    nobody_else_notices(&proxy, &mut [&mut stays]);
}

#[test]
fn a_user_who_is_made_anew_gets_no_session_back() {
    let redis = RedisServer::start(&[]);
    redis.ask("ACL SETUSER bob on >p ~* +@all");
    redis.ask("ACL SETUSER ann on >a ~* +@all");
    let proxy = Setup::new(&redis).rules(BREAKER).start();
    let mut bobs: Vec<Wire> = (0..4).map(|_| login(&proxy, "AUTH bob p")).collect();
    let mut ann = login(&proxy, "AUTH ann a");
    for wire in &mut bobs {
        assert_eq!(wire.ask("SET k v"), "+OK\r\n");
    }
    let made = redis.wire().pipeline(&["ACL DELUSER bob", "ACL SETUSER bob on >p ~* +@all"]);
    assert_eq!(made, [":1\r\n", "+OK\r\n"]);
    for wire in &mut bobs {
        assert_eq!(text(&wire.until_closed()), "");
    }
    let mut again = login(&proxy, "AUTH bob p");
    nobody_else_notices(&proxy, &mut [&mut ann, &mut again]);
}

#[test]
fn who_loses_a_connection_with_all_the_others_gets_it_back() {
    let mut redis = RedisServer::start(&["--user bob on >p ~* +@all"]);
    let proxy = Setup::new(&redis).start();
    let mut bobs: Vec<Wire> = (0..4).map(|_| login(&proxy, "AUTH bob p")).collect();
    assert_eq!(redis.ask("CLIENT KILL TYPE normal").chars().next(), Some(':'));
    for wire in &mut bobs {
        eventually("it goes on", || wire.ask("SET k v") == "+OK\r\n");
    }
    redis.restart();
    for wire in &mut bobs {
        eventually("it goes on", || wire.ask("SET k v") == "+OK\r\n");
    }
    // One connection of many: he is still there.
    let line = redis.ask("CLIENT LIST");
    let one = line.lines().find(|line| line.contains(" user=bob ")).expect("one of his");
    assert_eq!(redis.ask(&format!("CLIENT KILL ID {}", field(one, "id"))), ":1\r\n");
    for wire in &mut bobs {
        eventually("it goes on", || wire.ask("SET k v") == "+OK\r\n");
    }
}

#[test]
fn a_login_that_any_password_opens_does_not_open_a_connection_for_each() {
    let redis = RedisServer::start(&["--maxclients 200"]);
    let proxy = Setup::new(&redis).top("workers = 1").start();
    let mut wire = proxy.wire();
    let most = (0..600).map(|n| {
        assert_eq!(wire.ask(&format!("AUTH default word{n}")), "+OK\r\n");
        redis.info("clients", "connected_clients")
    });
    let most = most.max().expect("some");
    assert!(most <= 40, "{most}");
    assert_eq!(wire.ask("PING"), "+PONG\r\n");
}

#[test]
fn a_walk_through_the_databases_does_not_keep_a_connection_for_each() {
    let redis = RedisServer::start(&["--databases 10000", "--maxclients 200"]);
    let proxy = Setup::new(&redis).top("workers = 1").start();
    let mut wire = proxy.wire();
    for db in (0..10_000).step_by(20) {
        assert_eq!(wire.ask(&format!("SELECT {db}")), "+OK\r\n");
        assert_eq!(wire.ask("INCR n"), ":1\r\n", "{db}");
    }
    assert!(redis.info("clients", "connected_clients") <= 40);
}
