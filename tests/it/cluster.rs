//! Clients that know nothing of a cluster stand before one.

use std::time::Duration;

use respguard_engine::route::slots::key_slot;

use crate::harness::proxy::command;
use crate::harness::wire::words;
use crate::harness::{Nodes, Proxy, RedisServer, Setup, Wire, eventually, free_port, request, text};

const TIMES: &str = "request_timeout_ms = 15000\nstall_timeout_ms = 30000\nretries_per_second = 100000\n";

const GROUPS: &str = r#"
[[group]]
name = "tagged"
atomic = "transaction"
commands = ["INCR n:{{{user}}}", "SADD s:{{{user}}} *"]
[[group]]
name = "guarded"
atomic = "guarded"
commands = ["SET g:{{{user}}} *", "SADD h:{{{user}}} *"]
[[group]]
name = "apart"
atomic = "transaction"
commands = ["INCR a:{user}", "SADD b:{user} *"]
"#;

fn before(nodes: &Nodes) -> Proxy {
    before_with(nodes, "")
}

fn before_with(nodes: &Nodes, upstream: &str) -> Proxy {
    Setup::before(1).cluster(&nodes.ports(), &format!("{TIMES}{upstream}")).top("workers = 1").rules(GROUPS).start()
}

fn asked(wire: &mut Wire, lines: &[&str]) -> Vec<String> {
    wire.pipeline(lines)
}

#[test]
fn commands_go_to_the_nodes_of_their_keys_and_replies_keep_their_order() {
    let nodes = Nodes::start(3, false);
    let proxy = before(&nodes);
    let mut wire = proxy.wire();
    let all: Vec<Vec<u8>> = (0..500).map(|n| request(&format!("SET key:{n} {n}"))).collect();
    wire.send(&all.concat());
    assert!(wire.replies(500).iter().all(|reply| reply == b"+OK\r\n"));
    let all: Vec<Vec<u8>> = (0..500).map(|n| request(&format!("GET key:{n}"))).collect();
    wire.send(&all.concat());
    for (n, reply) in wire.replies(500).iter().enumerate() {
        let n = n.to_string();
        assert_eq!(text(reply), format!("${}\r\n{n}\r\n", n.len()));
    }
    let sizes: Vec<String> = nodes.servers.iter().map(|server| server.ask("DBSIZE")).collect();
    assert!(sizes.iter().all(|size| size != ":0\r\n"), "{sizes:?}");
    // What is about all nodes.
    assert_eq!(wire.ask("DBSIZE"), ":500\r\n");
    let mut seen = std::collections::BTreeSet::new();
    let mut cursor = "0".to_owned();
    loop {
        let reply = wire.ask(&format!("SCAN {cursor} COUNT 50"));
        let mut lines = reply.lines().filter(|line| !line.starts_with(['*', '$']));
        cursor = lines.next().expect("a cursor").to_owned();
        seen.extend(lines.map(str::to_owned));
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen.len(), 500);
    assert!(wire.ask("KEYS key:*").starts_with("*500\r\n"));
    assert!(wire.ask("RANDOMKEY").contains("key:"));
    let info = wire.ask("INFO");
    assert!(info.contains("redis_mode:standalone") && info.contains("cluster_enabled:0"), "{info}");
    assert_eq!(wire.ask("FLUSHALL"), "+OK\r\n");
    assert!(nodes.servers.iter().all(|server| server.ask("DBSIZE") == ":0\r\n"));
    assert_eq!(proxy.metric("respguard_redirects_total", &[("kind", "moved")]), 0.0);
    assert_eq!(proxy.get("/readyz").0, 200);
}

#[test]
fn what_names_keys_of_several_slots_is_cut_up_merged_or_refused() {
    let nodes = Nodes::start(3, false);
    let proxy = before(&nodes);
    let mut wire = proxy.wire();
    let keys: Vec<String> = (0..3).map(|at| nodes.key_of(at, "k")).collect();
    let [a, b, c] = [&keys[0], &keys[1], &keys[2]];
    assert_eq!(wire.ask(&format!("SET {a} 1")), "+OK\r\n");
    assert_eq!(wire.ask(&format!("SET {c} 3")), "+OK\r\n");
    assert_eq!(wire.ask(&format!("MGET {c} {b} {a} {c}")), "*4\r\n$1\r\n3\r\n$-1\r\n$1\r\n1\r\n$1\r\n3\r\n");
    assert_eq!(wire.ask(&format!("EXISTS {a} {b} {c} {a}")), ":3\r\n");
    assert_eq!(wire.ask(&format!("TOUCH {a} {b} {c}")), ":2\r\n");
    let crossed = "-CROSSSLOT Keys in request don't hash to the same slot\r\n";
    for line in
        [format!("MSET {a} 1 {b} 2"), format!("SUNIONSTORE {a} {b}"), format!("EVAL x 2 {a} {b}"), format!("MSETNX {a} 1 {b} 2")]
    {
        assert_eq!(wire.ask(&line), crossed, "{line}");
    }
    assert_eq!(wire.ask(&format!("UNLINK {a} {b} {c}")), ":2\r\n");
    assert_eq!(wire.ask("DBSIZE"), ":0\r\n");
    assert_eq!(wire.ask("MSET {t}1 a {t}2 b"), "+OK\r\n");
    assert_eq!(wire.ask("MGET {t}2 {t}1"), "*2\r\n$1\r\nb\r\n$1\r\na\r\n");
    // An error of one of them is no value and no null.
    assert_eq!(wire.ask(&format!("LPUSH {b} x")), ":1\r\n");
    let splitting = before_with(&nodes, "split_writes = true\n");
    let mut split = splitting.wire();
    assert_eq!(split.ask(&format!("MSET {a} 1 {b} 2 {c} 3")), "+OK\r\n");
    assert_eq!(split.ask(&format!("MGET {a} {b} {c}")), "*3\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n");
    assert_eq!(split.ask(&format!("MSETNX {a} 1 {b} 2")), crossed);
}

#[test]
fn transactions_go_to_one_node_whole_or_not_at_all() {
    let nodes = Nodes::start(3, false);
    let proxy = before(&nodes);
    let mut wire = proxy.wire();
    let (a, b) = (nodes.key_of(0, "k"), nodes.key_of(1, "k"));
    // In one piece.
    let one = [request("MULTI"), request("INCR {t}n"), request("GET {t}n"), request("EXEC")].concat();
    wire.send(&one);
    let replies: Vec<String> = wire.replies(4).iter().map(|reply| text(reply)).collect();
    assert_eq!(replies, ["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", "*2\r\n:1\r\n$1\r\n1\r\n"]);
    // One after the other.
    for (line, reply) in [
        ("MULTI", "+OK\r\n"),
        ("INCR {t}n", "+QUEUED\r\n"),
        ("PING", "+QUEUED\r\n"),
        ("EXEC", "*2\r\n:2\r\n+PONG\r\n"),
        ("MULTI", "+OK\r\n"),
        ("INCR {t}n", "+QUEUED\r\n"),
        ("DISCARD", "+OK\r\n"),
        ("GET {t}n", "$1\r\n2\r\n"),
        ("EXEC", "-ERR EXEC without MULTI\r\n"),
        ("MULTI", "+OK\r\n"),
        ("INCR", "-ERR wrong number of arguments for 'incr' command\r\n"),
        ("EXEC", "-EXECABORT Transaction discarded because of previous errors.\r\n"),
    ] {
        assert_eq!(wire.ask(line), reply, "{line}");
    }
    let crossed = "-CROSSSLOT Keys in request don't hash to the same slot\r\n";
    let aborted = "-EXECABORT Transaction discarded because of previous errors.\r\n";
    let lines = ["MULTI".to_owned(), format!("INCR {a}"), format!("INCR {b}"), "EXEC".to_owned()];
    for line_by_line in [false, true] {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let replies = if line_by_line { lines.iter().map(|line| wire.ask(line)).collect() } else { asked(&mut wire, &lines) };
        assert_eq!(replies, ["+OK\r\n", "+QUEUED\r\n", crossed, aborted]);
    }
    assert_eq!(asked(&mut wire, &[&format!("GET {a}"), &format!("GET {b}")]), ["$-1\r\n", "$-1\r\n"]);
    // WATCH sees what others do.
    let mut other = proxy.wire();
    for meddles in [false, true] {
        assert_eq!(wire.ask("WATCH {t}n"), "+OK\r\n");
        assert!(wire.ask("GET {t}n").starts_with('$'));
        if meddles {
            assert!(other.ask("INCR {t}n").starts_with(':'));
        }
        assert_eq!(wire.ask("MULTI"), "+OK\r\n");
        assert_eq!(wire.ask("SET {t}m 1"), "+QUEUED\r\n");
        assert_eq!(wire.ask("EXEC"), if meddles { "*-1\r\n" } else { "*1\r\n+OK\r\n" });
    }
    assert_eq!(wire.ask(&format!("WATCH {a} {b}")), crossed);
    assert_eq!(wire.ask(&format!("WATCH {a}")), "+OK\r\n");
    assert_eq!(wire.ask(&format!("WATCH {b}")), crossed);
    assert_eq!(wire.ask("UNWATCH"), "+OK\r\n");
    assert_eq!(wire.ask(&format!("SET {b} 1")), "+OK\r\n");
}

#[test]
fn groups_run_on_their_slots_node_and_are_refused_over_several() {
    let nodes = Nodes::start(3, false);
    let proxy = before(&nodes);
    let mut wire = proxy.wire();
    for user in ["ann", "bob", "cyd", "dan"] {
        assert_eq!(asked(&mut wire, &[&format!("INCR n:{{{user}}}"), &format!("SADD s:{{{user}}} x")]), [":1\r\n", ":1\r\n"]);
        assert_eq!(asked(&mut wire, &[&format!("SET g:{{{user}}} v"), &format!("SADD h:{{{user}}} x")]), ["+OK\r\n", ":1\r\n"]);
    }
    assert_eq!(proxy.groups("tagged", "applied"), 4.0);
    assert_eq!(proxy.groups("guarded", "applied"), 4.0);
    // A member would fail: none is applied.
    assert_eq!(wire.ask("SET h:{eve} text"), "+OK\r\n");
    let replies = asked(&mut wire, &["SET g:{eve} v", "SADD h:{eve} x"]);
    assert!(replies[0].starts_with("-EXECABORT ") && replies[1].starts_with("-WRONGTYPE "), "{replies:?}");
    assert_eq!(wire.ask("GET g:{eve}"), "$-1\r\n");
    let user = (0..)
        .map(|n| format!("u{n}"))
        .find(|user| key_slot(format!("a:{user}").as_bytes()) != key_slot(format!("b:{user}").as_bytes()));
    let user = user.expect("there is one");
    let replies = asked(&mut wire, &[&format!("INCR a:{user}"), &format!("SADD b:{user} x")]);
    assert!(replies[0].starts_with("-EXECABORT ") && replies[1].starts_with("-CROSSSLOT "), "{replies:?}");
    assert_eq!(wire.ask(&format!("EXISTS a:{user} b:{user}")), ":0\r\n");
}

#[test]
fn what_stands_between_a_groups_members_is_carried_where_it_is_of_the_groups_slot() {
    let nodes = Nodes::start(3, false);
    let proxy = before(&nodes);
    let mut wire = proxy.wire();
    let lines = ["INCR n:{ann}", "SET x{ann} 1", "INCR n:{bob}", "GET other", "SADD s:{ann} x", "GET x{ann}", "SADD s:{bob} x"];
    assert_eq!(asked(&mut wire, &lines).concat(), ":1\r\n+OK\r\n:1\r\n$-1\r\n:1\r\n$1\r\n1\r\n:1\r\n");
    eventually("both are groups", || proxy.groups("tagged", "applied") == 2.0);
    assert_eq!(proxy.violated("split", "tagged"), 0.0);
    // What concerns every node ends it.
    assert_eq!(asked(&mut wire, &["INCR n:{cyd}", "DBSIZE", "SADD s:{cyd} x"])[2], ":1\r\n");
    eventually("it is told", || proxy.violated("split", "tagged") == 1.0);
    // Many callers of one connection, with keys of any slot between them.
    let users: Vec<String> = (0..40).map(|n| format!("u{n}")).collect();
    let lines: Vec<String> = users
        .chunks(4)
        .flat_map(|four| {
            let begin = four.iter().flat_map(|user| [format!("INCR n:{{{user}}}"), format!("SET k:{user} v")]);
            begin.chain(four.iter().map(|user| format!("SADD s:{{{user}}} x"))).collect::<Vec<_>>()
        })
        .collect();
    let replies = asked(&mut wire, &lines.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(
        replies.iter().zip(&lines).all(|(reply, line)| reply == if line.starts_with("SET") { "+OK\r\n" } else { ":1\r\n" }),
        "{replies:?}"
    );
    eventually("all are groups", || proxy.groups("tagged", "applied") == 42.0);
}

#[test]
fn blocking_commands_wait_at_their_node_and_scripts_are_everywhere() {
    let nodes = Nodes::start(3, false);
    let proxy = before(&nodes);
    let (mut wire, mut other) = (proxy.wire(), proxy.wire());
    let key = nodes.key_of(2, "list");
    wire.send_line(&format!("BLPOP {key} 10"));
    eventually("it blocks", || nodes.servers[2].ask("INFO clients").contains("blocked_clients:1"));
    assert_eq!(other.ask(&format!("RPUSH {key} x")), ":1\r\n");
    assert_eq!(text(&wire.reply()), format!("*2\r\n${}\r\n{key}\r\n$1\r\nx\r\n", key.len()));
    assert_eq!(wire.ask(&format!("BLPOP {key} 0.05")), "*-1\r\n");
    assert_eq!(wire.ask("PING"), "+PONG\r\n");
    let loaded = wire.ask("SCRIPT LOAD return(redis.call('incr',KEYS[1]))");
    let sha = loaded.lines().nth(1).expect("a digest").to_owned();
    for at in 0..3 {
        let key = nodes.key_of(at, "n");
        assert_eq!(wire.ask(&format!("EVALSHA {sha} 1 {key}")), ":1\r\n");
    }
    assert_eq!(wire.ask(&format!("SCRIPT EXISTS {sha} 0123456789012345678901234567890123456789")), "*2\r\n:1\r\n:0\r\n");
    assert_eq!(wire.ask("SCRIPT FLUSH"), "+OK\r\n");
    assert_eq!(wire.ask(&format!("SCRIPT EXISTS {sha}")), "*1\r\n:0\r\n");
}

#[test]
fn a_script_that_ends_with_an_error_of_its_own_runs_once_whatever_that_is() {
    let nodes = Nodes::start(2, false);
    let proxy = before(&nodes);
    let mut wire = proxy.wire();
    let key = nodes.key_of(1, "n");
    let body = "redis.call('INCR', KEYS[1]) return redis.error_reply(ARGV[1])";
    let loaded = wire.ask_words(&["SCRIPT", "LOAD", body]);
    let sha = loaded.lines().nth(1).expect("a digest").to_owned();
    let errors = ["TRYAGAIN later", "CLUSTERDOWN no", "NOSCRIPT mine", "ERR Function not found for me", "MOVED 1 127.0.0.1:1"];
    for (count, error) in (1..).zip(errors) {
        assert_eq!(wire.ask_words(&["EVAL", body, "1", &key, error]), format!("-{error}\r\n"));
        assert_eq!(wire.ask_words(&["EVALSHA", &sha, "1", &key, error]), format!("-{error}\r\n"));
        let counted = (2 * count).to_string();
        assert_eq!(wire.ask(&format!("GET {key}")), format!("${}\r\n{counted}\r\n", counted.len()), "{error}");
    }
}

#[test]
fn a_transaction_on_another_slot_than_what_is_watched_is_refused() {
    let nodes = Nodes::start(2, false);
    let proxy = before(&nodes);
    let mut wire = proxy.wire();
    let (watched, other) = (nodes.key_of(0, "w"), nodes.key_of(1, "o"));
    let crossed = "-CROSSSLOT Keys in request don't hash to the same slot\r\n";
    for one_by_one in [true, false] {
        let lines = [&format!("WATCH {watched}"), "MULTI", &format!("SET {other} 1"), &format!("SET {watched} 1"), "EXEC"];
        let replies = if one_by_one { lines.map(|line| wire.ask(line)).to_vec() } else { wire.pipeline(&lines) };
        assert_eq!(replies[..4], ["+OK\r\n", "+OK\r\n", crossed, "+QUEUED\r\n"], "{one_by_one}");
        assert!(replies[4].starts_with("-EXECABORT "), "{replies:?}");
        assert_eq!(wire.pipeline(&[&format!("EXISTS {watched}"), &format!("EXISTS {other}")]), [":0\r\n", ":0\r\n"]);
    }
}

#[test]
fn wait_is_about_what_was_written_before_it_however_late_that_could_be_sent() {
    let nodes = Nodes::start(2, true);
    let proxy = before(&nodes);
    let mut wire = proxy.wire();
    let [key, other] = [0, 1].map(|node| nodes.key_of(node, "k"));
    assert_eq!(wire.ask(&format!("SET {key} 1")), "+OK\r\n");
    eventually("its replica is there", || wire.ask("WAIT 1 100") == ":1\r\n");
    let replica = nodes.servers.iter().skip(2).find(|server| {
        server.ask("CLUSTER NODES").lines().any(|line| line.contains("myself,slave") && line.contains(&nodes.id(0)))
    });
    let replica = replica.expect("it has one");
    replica.pause();
    for before in [format!("MGET {key} {other}"), "DBSIZE".to_owned(), "BLPOP none 0.05".to_owned()] {
        let mut wire = proxy.wire();
        let replies = wire.pipeline(&[&before, &format!("SET {key} 2"), "WAIT 1 150"]);
        assert_eq!(replies[1..], ["+OK\r\n", ":0\r\n"], "behind {before}");
    }
    replica.resume();
}

#[test]
fn what_is_not_done_on_a_cluster_is_refused_by_name() {
    let nodes = Nodes::start(1, false);
    let proxy = before(&nodes);
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("SELECT 0"), "+OK\r\n");
    assert_eq!(wire.ask("SELECT 1"), "-ERR SELECT is not allowed in cluster mode\r\n");
    for line in ["CLIENT TRACKING ON", "MONITOR", "SAVE", "CLUSTER FORGET x", "BGSAVE", "DEBUG JMAP"] {
        let mut wire = proxy.wire();
        let reply = wire.ask(line);
        assert!(reply.starts_with("-ERR respguard: "), "{line}: {reply}");
        assert_eq!(wire.ask("PING"), "+PONG\r\n", "behind {line}");
    }
    // To those who know of clusters the proxy is the only node.
    let slots = wire.ask("CLUSTER SLOTS");
    assert!(slots.starts_with("*1\r\n*3\r\n:0\r\n:16383\r\n*4\r\n$9\r\n127.0.0.1\r\n"), "{slots}");
    assert!(wire.ask("CLUSTER INFO").contains("cluster_state:ok"));
    assert!(wire.ask("CLUSTER NODES").contains("myself,master - 0 0 1 connected 0-16383"));
    assert_eq!(wire.ask("CLUSTER KEYSLOT foo"), ":12182\r\n");
    assert_eq!(wire.ask("SET foo 1"), "+OK\r\n");
    assert_eq!(wire.ask("CLUSTER COUNTKEYSINSLOT 12182"), ":1\r\n");
    for line in ["READONLY", "READWRITE", "ASKING"] {
        assert_eq!(wire.ask(line), "+OK\r\n");
    }
    let mut other = proxy.wire();
    assert_eq!(other.ask("HGETALL none"), "*0\r\n");
    let hello = wire.ask("HELLO 3");
    assert!(hello.contains("standalone") && !hello.contains("cluster"), "{hello}");
    assert_eq!(wire.ask("GET foo"), "$1\r\n1\r\n");
    // Connections to the nodes are shared: nobody's protocol or farewell is the others'.
    assert_eq!((wire.ask("HGETALL none"), other.ask("HGETALL none")), ("%0\r\n".to_owned(), "*0\r\n".to_owned()));
    assert_eq!(wire.ask("QUIT"), "+OK\r\n");
    wire.until_closed();
    assert_eq!(other.ask("GET foo"), "$1\r\n1\r\n");
    assert_eq!(proxy.metric("respguard_upstream_reconnects_total", &[]), 0.0);
}

#[test]
fn a_slot_that_moves_is_followed_and_no_client_sees_it() {
    let nodes = Nodes::start(2, false);
    let proxy = before(&nodes);
    let (mut wire, mut other) = (proxy.wire(), proxy.wire());
    let user = (0..).map(|n| format!("u{n}")).find(|user| nodes.owner(user) == 0).expect("there is one");
    let slot = key_slot(user.as_bytes());
    assert_eq!(asked(&mut wire, &[&format!("INCR n:{{{user}}}"), &format!("SADD s:{{{user}}} x")]), [":1\r\n", ":1\r\n"]);
    assert_eq!(wire.ask(&format!("SET x:{{{user}}} 1")), "+OK\r\n");
    nodes.begin_move(slot, 0, 1);
    nodes.migrate(&format!("n:{{{user}}}"), 0, 1);
    // One key has left, the others have not, and new ones are made at the new node.
    assert_eq!(wire.ask(&format!("GET n:{{{user}}}")), "$1\r\n1\r\n");
    assert_eq!(wire.ask(&format!("GET x:{{{user}}}")), "$1\r\n1\r\n");
    assert_eq!(wire.ask(&format!("SET new:{{{user}}} 1")), "+OK\r\n");
    assert!(proxy.metric("respguard_redirects_total", &[("kind", "ask")]) >= 2.0);
    // A group whose keys are on both sides waits, whole, and so does a command about both.
    wire.send(&[request(&format!("INCR n:{{{user}}}")), request(&format!("SADD s:{{{user}}} y"))].concat());
    other.send_line(&format!("MGET n:{{{user}}} x:{{{user}}}"));
    eventually("it is tried", || proxy.metric("respguard_redirects_total", &[("kind", "try_again")]) >= 2.0);
    nodes.migrate(&format!("s:{{{user}}}"), 0, 1);
    nodes.migrate(&format!("x:{{{user}}}"), 0, 1);
    let replies: Vec<String> = wire.replies(2).iter().map(|reply| text(reply)).collect();
    assert_eq!(replies, [":2\r\n", ":1\r\n"]);
    // Another client's may come before the group or behind it.
    let both = text(&other.reply());
    assert!(["*2\r\n$1\r\n1\r\n$1\r\n1\r\n", "*2\r\n$1\r\n2\r\n$1\r\n1\r\n"].contains(&&*both), "{both}");
    nodes.end_move(slot, 0, 1);
    assert_eq!(wire.ask(&format!("INCR n:{{{user}}}")), ":3\r\n");
    assert_eq!(asked(&mut wire, &["MULTI", &format!("INCR n:{{{user}}}"), "EXEC"])[2], "*1\r\n:4\r\n");
    assert!(proxy.metric("respguard_redirects_total", &[("kind", "moved")]) >= 1.0);
    assert_eq!(proxy.groups("tagged", "applied"), 2.0);
}

#[test]
fn a_slot_that_moves_while_it_is_watched_makes_exec_answer_nil() {
    let nodes = Nodes::start(2, false);
    let proxy = before(&nodes);
    let mut wire = proxy.wire();
    let key = nodes.key_of(0, "k");
    let slot = key_slot(key.as_bytes());
    assert_eq!(wire.ask(&format!("SET {key} 1")), "+OK\r\n");
    assert_eq!(wire.ask(&format!("WATCH {key}")), "+OK\r\n");
    nodes.begin_move(slot, 0, 1);
    nodes.migrate(&key, 0, 1);
    nodes.end_move(slot, 0, 1);
    assert_eq!(asked(&mut wire, &["MULTI", &format!("INCR {key}"), "EXEC"]), ["+OK\r\n", "+QUEUED\r\n", "*-1\r\n"]);
    assert_eq!(wire.ask(&format!("WATCH {key}")), "+OK\r\n");
    assert_eq!(asked(&mut wire, &["MULTI", &format!("INCR {key}"), "EXEC"]), ["+OK\r\n", "+QUEUED\r\n", "*1\r\n:2\r\n"]);
}

#[test]
fn clients_stay_connected_when_a_primary_dies_and_its_slots_are_served_by_another() {
    let mut nodes = Nodes::start(3, true);
    let proxy = before(&nodes);
    let (mut wire, mut other) = (proxy.wire(), proxy.wire());
    let (dead, alive) = (nodes.key_of(0, "k"), nodes.key_of(1, "k"));
    assert_eq!(asked(&mut wire, &[&format!("SET {dead} 1"), &format!("SET {alive} 1")]), ["+OK\r\n", "+OK\r\n"]);
    eventually("the replica has it", || {
        let mut replica = nodes.servers[3].wire();
        replica.ask("READONLY");
        replica.ask(&format!("GET {dead}")) == "$1\r\n1\r\n"
    });
    nodes.servers[0].kill();
    wire.send_line(&format!("INCR {dead}"));
    // The others' requests do not wait for it.
    let since = std::time::Instant::now();
    for n in 2..50 {
        assert_eq!(other.ask(&format!("INCR {alive}")), format!(":{n}\r\n"));
    }
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    let reply = text(&wire.reply());
    assert!(reply == ":2\r\n" || reply.starts_with("-TIMEOUT "), "{reply}");
    assert!(wire.ask(&format!("INCR {dead}")).starts_with(':'));
    assert_eq!(proxy.get("/readyz").0, 200);
    assert!(proxy.metric("respguard_topology_changes_total", &[("kind", "slots")]) >= 2.0);
    // The old one comes back as a replica.
    nodes.servers[0].restart();
    assert!(wire.ask(&format!("INCR {dead}")).starts_with(':'));
}

#[test]
fn of_a_planned_failover_clients_see_nothing_but_a_pause() {
    let nodes = Nodes::start(3, true);
    let proxy = before(&nodes);
    let mut wire = proxy.wire();
    let user = (0..).map(|n| format!("u{n}")).find(|user| nodes.owner(user) == 0).expect("there is one");
    let mut sum = 0;
    let mut round = |wire: &mut Wire| {
        sum += 1;
        let replies = asked(wire, &[&format!("INCR n:{{{user}}}"), &format!("SADD s:{{{user}}} m{sum}")]);
        assert_eq!(replies, [format!(":{sum}\r\n"), ":1\r\n".to_owned()]);
    };
    (0..20).for_each(|_| round(&mut wire));
    eventually("the failover begins", || nodes.servers[3].ask("CLUSTER FAILOVER") == "+OK\r\n");
    eventually("the replica is the primary", || {
        round(&mut wire);
        nodes.servers[3].ask("ROLE").contains("master")
    });
    (0..20).for_each(|_| round(&mut wire));
}

#[test]
fn a_slot_that_nobody_serves_is_said_by_name() {
    let nodes = Nodes::start(1, false);
    let setup = Setup::before(1).cluster(&nodes.ports(), "request_timeout_ms = 2000\n").top("workers = 1");
    let proxy = setup.start();
    let mut wire = proxy.wire();
    assert_eq!(nodes.servers[0].ask("CONFIG SET cluster-require-full-coverage no"), "+OK\r\n");
    assert_eq!(nodes.servers[0].ask("CLUSTER DELSLOTS 12182"), "+OK\r\n");
    eventually("the proxy knows", || wire.ask("GET foo") == "-ERR respguard: GET was not sent: no node serves slot 12182\r\n");
    assert_eq!(wire.ask("SET bar 1"), "+OK\r\n");
    let reply = wire.ask("MGET foo bar");
    assert!(reply.starts_with("-ERR respguard: MGET is not answered: of 2 parts 1 failed: slot 12182"), "{reply}");
    let reply = wire.ask("DEL foo bar");
    assert!(reply.starts_with("-PARTIAL respguard: DEL was done on 1 of 2 parts: slot 12182"), "{reply}");
}

#[test]
fn clients_log_in_at_the_nodes_and_lose_what_the_nodes_take_from_them() {
    let nodes = Nodes::start(3, false);
    let keys: Vec<String> = (0..3).map(|at| nodes.key_of(at, "k")).collect();
    for server in &nodes.servers {
        assert_eq!(server.ask("ACL SETUSER bob on >bobs ~* +@all"), "+OK\r\n");
        assert_eq!(server.ask("CONFIG SET requirepass secret"), "+OK\r\n");
    }
    let upstream = format!("{TIMES}probe = {{ password_env = \"PROBE\" }}\n");
    let setup = Setup::before(1).cluster(&nodes.ports(), &upstream).top("workers = 1").environment("PROBE", "secret");
    let proxy = setup.start();
    let mut wire = proxy.wire();
    assert!(wire.ask("GET k").starts_with("-NOAUTH "));
    assert!(wire.ask("AUTH wrong").starts_with("-WRONGPASS "));
    assert_eq!(wire.ask("AUTH secret"), "+OK\r\n");
    // Connections to the nodes are shared: who has not logged in is not logged in by others.
    let mut stranger = proxy.wire();
    assert!(stranger.ask(&format!("GET {}", keys[0])).starts_with("-NOAUTH "));
    let mut bob = proxy.wire();
    assert_eq!(bob.ask("AUTH bob bobs"), "+OK\r\n");
    for key in &keys {
        assert_eq!(wire.ask(&format!("SET {key} 1")), "+OK\r\n");
        assert_eq!(bob.ask(&format!("INCR {key}")), ":2\r\n");
    }
    assert_eq!(bob.ask("ACL WHOAMI"), "$3\r\nbob\r\n");
    assert_eq!(wire.ask("ACL DELUSER bob"), ":1\r\n");
    bob.until_closed();
    let mut again = proxy.wire();
    assert!(again.ask("AUTH bob bobs").starts_with("-WRONGPASS "));
    assert_eq!(wire.ask(&format!("GET {}", keys[0])), "$1\r\n2\r\n");
    assert!(stranger.ask(&format!("GET {}", keys[0])).starts_with("-NOAUTH "));
}

#[test]
fn what_is_wrong_with_a_cluster_is_said_by_name() {
    let nodes = Nodes::start(1, false);
    let alone = RedisServer::start(&[]);
    let file = tempfile::tempdir().expect("a folder");
    let path = file.path().join("respguard.toml");
    let checked = |ports: &[u16]| {
        let seeds: Vec<_> = ports.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
        let toml = format!("[upstream]\ncluster = [{}]\n[admin]\naddress = \"127.0.0.1:0\"\n", seeds.join(", "));
        std::fs::write(&path, toml).expect("a file");
        let output = command().args(["check", "--connect", "--config"]).arg(&path).output().expect("it runs");
        (output.status.code(), [output.stdout, output.stderr].concat())
    };
    let own = nodes.ports()[0];
    let dead = free_port();
    for (ports, code, wanted) in [
        (vec![own], 0, format!("node 127.0.0.1:{own} knows 1 primaries, epoch 1")),
        (vec![own, dead], 1, format!("node 127.0.0.1:{dead}: cannot connect")),
        (vec![alone.port()], 1, "it is no node of a cluster: ERR This instance has cluster support disabled".to_owned()),
        (vec![dead], 1, "no node of the cluster says who serves what".to_owned()),
    ] {
        let (ended, said) = checked(&ports);
        let said = text(&said);
        assert!(ended == Some(code) && said.contains(&wanted), "{ended:?} {said}\n{wanted}");
    }
}

#[test]
fn check_says_what_the_user_for_the_proxys_own_questions_may_not_ask() {
    let nodes = Nodes::start(1, false);
    let own = nodes.ports()[0];
    let file = tempfile::tempdir().expect("a folder");
    let [path, secret] = ["respguard.toml", "secret"].map(|name| file.path().join(name));
    let toml = format!(
        "[upstream]\ncluster = [\"127.0.0.1:{own}\"]\nprobe = {{ username = \"asks\", password_file = {secret:?} }}\n\
         [admin]\naddress = \"127.0.0.1:0\"\n"
    );
    std::fs::write(&path, toml).expect("a file");
    let checked = |password: &str, rights: &str| {
        nodes.servers[0].ask(&format!("ACL SETUSER asks reset on >right +cluster|slots +cluster|info {rights}"));
        std::fs::write(&secret, password).expect("a file");
        let output = command().args(["check", "--connect", "--config"]).arg(&path).output().expect("it runs");
        (output.status.code(), text(&[output.stdout, output.stderr].concat()))
    };
    let all = ["+info", "+command", "+client", "+ping", "+multi", "+exec"];
    let (ended, said) = checked("right", &all.join(" "));
    assert!(ended == Some(0) && !said.contains("probe"), "{ended:?} {said}");
    for missing in all {
        let rights = all.iter().filter(|right| **right != missing).copied().collect::<Vec<_>>().join(" ");
        let (ended, said) = checked("right", &rights);
        let is_told = said.contains(&format!("127.0.0.1:{own}: the user of [upstream] probe lacks a right: NOPERM"));
        assert!(ended == Some(1) && is_told && said.contains(&missing[1..]), "{missing}: {ended:?} {said}");
    }
    let (ended, said) = checked("wrong", &all.join(" "));
    assert!(ended == Some(1) && said.contains("(with the credentials of [upstream] probe)"), "{ended:?} {said}");
}

#[test]
fn a_script_that_does_not_end_is_killed_from_another_client() {
    let nodes = Nodes::start(3, false);
    let proxy = Setup::before(1).cluster(&nodes.ports(), "request_timeout_ms = 1500\n").top("workers = 1").start();
    for server in &nodes.servers {
        assert_eq!(server.ask("CONFIG SET lua-time-limit 50"), "+OK\r\n");
    }
    let [mut wire, mut other] = [proxy.wire(), proxy.wire()];
    for node in 0..3 {
        assert_eq!(other.ask(&format!("GET {}", nodes.key_of(node, "k"))), "$-1\r\n");
    }
    assert_eq!(other.ask("SCRIPT KILL"), "-NOTBUSY No scripts in execution right now.\r\n");
    wire.send(&words(&[b"EVAL", b"while true do end", b"1", nodes.key_of(1, "k").as_bytes()]));
    eventually("it runs", || nodes.servers[1].ask("PING").starts_with("-BUSY"));
    let refused = |reply: &String| reply.contains("does not answer");
    eventually("its node is not waited for any more", || refused(&other.ask(&format!("GET {}", nodes.key_of(1, "k")))));
    let begun = std::time::Instant::now();
    assert_eq!(other.ask("SCRIPT KILL"), "+OK\r\n");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    // Whether its connection has been given up by then or not.
    let told = text(&wire.reply());
    assert!(told.contains("killed by user") || told.starts_with("-TIMEOUT "), "{told}");
    eventually("the node serves", || other.ask(&format!("GET {}", nodes.key_of(1, "k"))) == "$-1\r\n");
}
