//! What one user's credentials, rights and databases do to his connections: it is his affair alone.

use std::time::Duration;

use crate::harness::wire::requests;
use crate::harness::{Proxy, RedisServer, Setup, Twin, Wire, eventually, request, text, within};

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
    eventually("nothing is kept for him", || proxy.metric("respguard_upstream_connections", &[]) <= 3.0);
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

#[test]
fn a_right_to_select_that_was_taken_away_is_gone() {
    let redis = RedisServer::start(&[]);
    redis.ask("ACL SETUSER w on >p ~* +@all");
    let proxy = Setup::new(&redis).top("workers = 1").start();
    let mut inside = login(&proxy, "AUTH w p");
    let mut outside = login(&proxy, "AUTH w p");
    for db in [5, 0, 5] {
        assert_eq!(inside.ask(&format!("SELECT {db}")), "+OK\r\n");
    }
    assert_eq!(outside.pipeline(&["SELECT 5", "SET k v", "SELECT 0"])[1..], ["+OK\r\n", "+OK\r\n"]);
    redis.ask("ACL SETUSER w -select");
    let direct = redis.wire().pipeline(&["AUTH w p", "SELECT 0"]);
    let no = direct[1].as_str();
    assert!(no.starts_with("-NOPERM ") && no.contains("'select'"), "{no}");
    let mut new = login(&proxy, "AUTH w p");
    for line in ["SELECT 5", "SELECT 0", "SELECT 7"] {
        for wire in [&mut outside, &mut new] {
            assert_eq!(wire.pipeline(&[line, "GET k"]), [no, "$-1\r\n"], "{line}");
        }
        assert_eq!(inside.pipeline(&[line, "GET k"]), [no, "$1\r\nv\r\n"], "{line}: who is there stays");
    }
    redis.ask("ACL SETUSER w +select");
    assert_eq!(new.pipeline(&["SELECT 5", "GET k"]), ["+OK\r\n", "$1\r\nv\r\n"]);
}

#[test]
fn a_login_without_the_right_to_select_stays_in_its_database() {
    let twin = Twin::start("");
    for redis in [&twin.direct, &twin.behind] {
        redis.ask("ACL SETUSER w on >p ~* +@all -select");
        redis.ask("ACL SETUSER v on >q ~* +@all -select");
        redis.ask("ACL SETUSER u on >r ~* +@all");
    }
    let mut pair = twin.pair();
    let lines = [
        "SELECT 5",
        "AUTH w p",
        "SET k five",
        "ACL WHOAMI",
        "HELLO 3",
        "ACL WHOAMI",
        "GET k",
        "SELECT 0",
        "GET k",
        "AUTH v q",
        "ACL WHOAMI",
        "GET k",
        "BLPOP l 0.01",
        "WATCH k",
        "MULTI",
        "GET k",
        "EXEC",
        "AUTH u r",
        "GET k",
        "SELECT 0",
        "GET k",
        "SELECT 5",
        "AUTH w p",
        "RESET",
        "GET k",
    ];
    for line in lines {
        if line.starts_with("HELLO") {
            for wire in [&mut pair.direct, &mut pair.proxied] {
                assert!(wire.ask(line).starts_with('%'));
            }
        } else {
            pair.same(&request(line), 1);
        }
    }
    let mut pair = twin.pair();
    for wire in [&mut pair.direct, &mut pair.proxied] {
        assert_eq!(wire.ask("SELECT 5"), "+OK\r\n");
        assert!(wire.ask("HELLO 3 AUTH w p").starts_with('%'));
        assert_eq!(wire.ask("GET k"), "$4\r\nfive\r\n");
    }
}

#[test]
fn what_a_transaction_did_to_its_connection_is_known_behind_it() {
    let twin = Twin::with(&["--databases 4"], |setup| setup);
    for redis in [&twin.direct, &twin.behind] {
        redis.ask("ACL SETUSER w on >p ~* +@all -select");
        redis.ask("ACL SETUSER v on >q ~* +@all");
    }
    let bodies: [&[&str]; 7] = [
        &["HELLO 3", "SELECT 3"],
        &["HELLO 3", "SELECT 9"],
        &["SELECT 9", "HELLO 3"],
        &["SELECT 3", "HELLO 4"],
        &["HELLO 3", "NOSUCH"],
        &["AUTH v wrong", "SELECT 3"],
        &["SELECT 3", "AUTH v q"],
    ];
    for (user, word) in [("default", ""), ("w", "p"), ("v", "q")] {
        for body in bodies {
            let mut pair = twin.pair();
            if user != "default" {
                pair.same(&request(&format!("AUTH {user} {word}")), 1);
            }
            let mut lines = vec!["MULTI"];
            lines.extend(body);
            lines.extend(["EXEC", "HGETALL nothing", "SET k v", "CLIENT GETNAME", "ACL WHOAMI", "GET k"]);
            for line in lines {
                let said = [&mut pair.direct, &mut pair.proxied].map(|wire| without_id(&wire.ask(line)));
                assert_eq!(said[0], said[1], "{user} {body:?}: {line}");
            }
            let dbs = [&twin.direct, &twin.behind].map(|redis| {
                let found = redis.ask("INFO keyspace");
                redis.ask("FLUSHALL");
                found.lines().filter_map(|line| line.strip_prefix("db")?.split(':').next().map(str::to_owned)).collect::<Vec<_>>()
            });
            assert_eq!(dbs[0], dbs[1], "{user} {body:?}");
        }
    }
}

/// HELLO tells a number that is another one on each side.
fn without_id(reply: &str) -> String {
    match reply.split_once("$2\r\nid\r\n:") {
        Some((before, after)) => format!("{before}{}", after.split_once("\r\n").map_or("", |(_, rest)| rest)),
        None => reply.to_owned(),
    }
}

const PAIR: &str = "[[group]]\nname = \"pair\"\ncommands = [\"SET a:{id} *\", \"SADD all {id}\"]\n";

#[test]
fn a_server_without_exec_is_served_without_groups() {
    let redis = RedisServer::start(&["--rename-command EXEC NOTEXEC"]);
    let proxy = Setup::new(&redis).top("workers = 1").rules(PAIR).start();
    let mut wire = proxy.wire();
    assert_eq!(wire.pipeline(&["SET a:1 v", "SADD all 1", "GET a:1"]), ["+OK\r\n", ":1\r\n", "$1\r\nv\r\n"]);
    proxy.logs("unknown command 'EXEC'");
    eventually("it is reported", || proxy.violated("unwrapped", "pair") == 1.0);
    // A transaction that nothing ends is its client's own.
    let replies = wire.pipeline(&["MULTI", "INCR n", "EXEC"]);
    assert!(replies[1] == "+QUEUED\r\n" && replies[2].starts_with("-ERR unknown command"), "{replies:?}");
    let mut other = proxy.wire();
    assert_eq!(other.pipeline(&["SET k v", "GET k", "SELECT 2", "BLPOP q 0.01"])[1..], ["$1\r\nv\r\n", "+OK\r\n", "*-1\r\n"]);
    assert_eq!(proxy.get("/readyz").0, 200);
}

#[test]
fn a_group_that_waits_for_a_connection_does_not_fall_apart_on_one_without_transactions() {
    for lacks in ["-multi", "-exec", "-multi -exec"] {
        let mut redis = RedisServer::start(&[]);
        let upstream = "queue_timeout_ms = 20000\nrequest_timeout_ms = 20000\nconnect_timeout_ms = 5000";
        let breaker = "[breaker]\nthroughput_min = 100000\n";
        let rules = format!("{PAIR}{breaker}");
        let proxy = Setup::new(&redis).top("workers = 1").upstream(upstream).rules(&rules).start();
        let mut wire = proxy.wire();
        assert_eq!(wire.pipeline(&["SET a:1 v", "SADD all 1"]), ["+OK\r\n", ":1\r\n"]);
        redis.kill();
        redis.with(&format!("--user default on nopass ~* &* +@all {lacks}"));
        wire.send(&requests(&["SET a:2 v", "SADD all 2"]));
        redis.restart();
        let replies: Vec<String> = wire.replies(2).iter().map(|reply| text(reply)).collect();
        assert!(replies.iter().all(|reply| reply.starts_with("-EXECABORT ")), "{lacks}: {replies:?}");
        assert_eq!(redis.wire().pipeline(&["EXISTS a:2", "SCARD all"]), [":0\r\n", ":0\r\n"], "{lacks}");
        assert_eq!(wire.pipeline(&["SET a:3 v", "SADD all 3"]), ["+OK\r\n", ":1\r\n"], "{lacks}: they pass unwrapped");
    }
}

#[test]
fn beyond_the_connections_that_there_may_be_what_needs_one_more_is_refused_and_nothing_else() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).top("workers = 1").upstream("connections_max = 8").start();
    let mut wire = proxy.wire();
    // Those that nobody needs are no obstacle.
    for db in 1..16 {
        assert_eq!(wire.pipeline(&[&format!("SELECT {db}"), "INCR n"]), ["+OK\r\n", ":1\r\n"], "{db}");
    }
    assert_eq!(wire.ask("SELECT 0"), "+OK\r\n");
    let state = |state| proxy.metric("respguard_upstream_connections", &[("state", state)]);
    eventually("one is kept for a server in trouble, and counts", || state("spare") == 1.0);
    let mut holders: Vec<Wire> = (0..6).map(|_| proxy.wire()).collect();
    for wire in &mut holders {
        wire.send_line("BLPOP q 0");
    }
    eventually("they are blocked", || redis.info("clients", "blocked_clients") == 6);
    assert!(redis.info("clients", "connected_clients") <= 9);
    let refusal = "-ERR respguard: all 8 connections to the server that there may be are in use\r\n";
    for line in ["BLPOP q 0", "SUBSCRIBE c", "SELECT 3", "HELLO 3"] {
        assert_eq!(proxy.wire().ask(line), refusal, "{line}");
    }
    assert_eq!(wire.pipeline(&["SET k v", "GET k"])[1], "$1\r\nv\r\n", "who needs no more is served");
    assert_eq!(proxy.get("/readyz").0, 200);
    holders.pop();
    eventually("there is room again", || wire.ask("SELECT 3") == "+OK\r\n");
}
