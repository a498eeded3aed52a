//! Groups on a cluster: in one slot as before one server, over several told and refused, settled at whichever node serves.

use std::io::Write;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::harness::proxy::command;
use crate::harness::wire::requests;
use crate::harness::{Chaos, Nodes, Proxy, RedisServer, Setup, Way, eventually, text};
use respguard_engine::route::slots::key_slot;

const TIMES: &str = "request_timeout_ms = 15000\nstall_timeout_ms = 30000\nretries_per_second = 100000\n";
const RULES: &str = r#"
[[group]]
name = "tagged"
commands = ["INCR n:{{{user}}}", "SADD s:{{{user}}} *"]

[[group]]
name = "refused"
commands = ["INCR a:{user}", "SADD b:{user} *"]

[[group]]
name = "watched"
on_cross_slot = "observe"
commands = ["INCR c:{user}", "SADD d:{user} *"]

[[group]]
name = "pay"
atomic = "guarded"
once = "10m"
once_key = "{id}"
commands = ["INCRBY balance:{{{acc}}} *", "RPUSH log:{{{acc}}} {id}"]

[[group]]
name = "script"
atomic = "rollback"
commands = ["EVAL * 1 x:{{{key}}}", "RPUSH y:{{{key}}} *"]

[[group]]
name = "run"
atomic = "guarded"
keys = ["run:*"]
"#;

fn before(nodes: &Nodes) -> Proxy {
    Setup::before(1).cluster(&nodes.ports(), TIMES).top("workers = 1").rules(RULES).start()
}

/// A name whose keys of both kinds are at different nodes.
fn apart(nodes: &Nodes, one: &str, other: &str) -> String {
    let is_apart = |user: &String| nodes.owner(&format!("{one}{user}")) != nodes.owner(&format!("{other}{user}"));
    (0..).map(|n| format!("u{n}")).find(is_apart).expect("there is one")
}

#[test]
fn a_group_over_several_slots_is_told_and_refused_or_passes_as_its_rule_says() {
    let nodes = Nodes::start(3, false);
    let proxy = before(&nodes);
    for rule in ["tagged", "refused", "watched"] {
        assert_eq!(proxy.violated("cross_slot", rule), 0.0, "it is there before it counts");
    }
    let mut wire = proxy.wire();
    let user = apart(&nodes, "a:", "b:");
    let crossed = "-CROSSSLOT Keys in request don't hash to the same slot. respguard: group refused was not applied: ";
    // Side by side, and with another command between them.
    for between in [&[][..], &["PING"]] {
        let (first, last) = (format!("INCR a:{user}"), format!("SADD b:{user} x"));
        let lines: Vec<&str> = [first.as_str()].into_iter().chain(between.iter().copied()).chain([last.as_str()]).collect();
        let replies = wire.pipeline(&lines);
        assert!(replies[0].starts_with("-EXECABORT ") && replies[0].contains("member 2 of 2 (SADD)"), "{replies:?}");
        assert!(replies.last().is_some_and(|reply| reply.starts_with(crossed)), "{replies:?}");
        assert!(between.is_empty() || replies[1] == "+PONG\r\n", "{replies:?}");
    }
    assert_eq!(wire.ask(&format!("EXISTS a:{user} b:{user}")), ":0\r\n");
    assert_eq!((proxy.violated("cross_slot", "refused"), proxy.groups("refused", "refused")), (2.0, 2.0));
    let user = apart(&nodes, "c:", "d:");
    let (first, last) = (format!("INCR c:{user}"), format!("SADD d:{user} x"));
    assert_eq!(wire.pipeline(&[&first, &last]), [":1\r\n", ":1\r\n"]);
    assert_eq!(wire.pipeline(&[&first, "PING", &last]), [":2\r\n", "+PONG\r\n", ":0\r\n"]);
    assert_eq!(proxy.violated("cross_slot", "watched"), 2.0);
    assert_eq!(proxy.groups("watched", "unwrapped"), 1.0);
    // A run on matching keys likewise.
    let (one, other) = (nodes.key_of(0, "run:"), nodes.key_of(1, "run:"));
    let replies = wire.pipeline(&[&format!("SET {one} 1"), &format!("SET {other} 1")]);
    assert!(replies[1].starts_with("-CROSSSLOT "), "{replies:?}");
    assert_eq!(wire.pipeline(&["SET run:{x}1 1", "SET run:{x}2 1"]), ["+OK\r\n", "+OK\r\n"]);
}

#[test]
fn what_stands_between_members_is_carried_if_it_has_their_slot_and_else_goes_behind() {
    let nodes = Nodes::start(3, false);
    let proxy = before(&nodes);
    let mut wire = proxy.wire();
    let (one, other) = (nodes.key_of(0, "u"), nodes.key_of(1, "u"));
    let line = |text: &str, user: &str| text.replace('#', &format!("{{{user}}}"));
    for round in 1..4 {
        // A rider of the slot, one of another slot, one without keys, and another group in between.
        let lines = [
            line("INCR n:#", &one),
            line("APPEND ride:# x", &one),
            line("INCR n:#", &other),
            line("INCR elsewhere:#", &other),
            "ECHO hi".to_owned(),
            line("SADD s:# m", &one),
            line("STRLEN ride:#", &one),
            line("SADD s:# m", &other),
        ];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let added = if round == 1 { ":1\r\n" } else { ":0\r\n" };
        let count = format!(":{round}\r\n");
        let wanted = [&count, &count, &count, &count, "$2\r\nhi\r\n", added, &count, added];
        assert_eq!(wire.pipeline(&lines), wanted, "round {round}");
    }
    assert_eq!(proxy.groups("tagged", "applied"), 6.0);
    assert_eq!(proxy.metric("respguard_violations_total", &[]), 0.0);
    assert_eq!(proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
    // What reads keys of several slots cannot ride, and keeps its order with them.
    let (first, all, last) = (line("INCR n:#", &one), format!("MGET n:{{{one}}} n:{{{other}}}"), line("SADD s:# y", &one));
    assert_eq!(wire.pipeline(&[&first, &all, &last]), [":4\r\n", "*2\r\n$1\r\n4\r\n$1\r\n3\r\n", ":1\r\n"]);
}

#[test]
fn guards_markers_and_before_images_have_the_tag_of_their_group() {
    let nodes = Nodes::start(3, false);
    let proxy = before(&nodes);
    let mut wire = proxy.wire();
    for at in 0..3 {
        let name = nodes.key_of(at, "k");
        let pay = [format!("INCRBY balance:{{{name}}} 5"), format!("RPUSH log:{{{name}}} p1")];
        let pay: Vec<&str> = pay.iter().map(String::as_str).collect();
        assert_eq!(wire.pipeline(&pay), [":5\r\n", ":1\r\n"]);
        let again = wire.pipeline(&pay);
        assert!(again.iter().all(|reply| reply.starts_with("-DUPLICATE group pay ")), "{again:?}");
        // A script that fails behind its write is taken back, with the other member.
        let script = "return{redis.call('set',KEYS[1],'new'),redis.call('lpush',KEYS[1],'x')}";
        assert_eq!(wire.ask(&format!("SET x:{{{name}}} old")), "+OK\r\n");
        let failed = wire.pipeline(&[&format!("EVAL {script} 1 x:{{{name}}}"), &format!("RPUSH y:{{{name}}} 1")]);
        assert!(failed.iter().all(|reply| reply.starts_with('-')), "{failed:?}");
        assert_eq!(wire.ask(&format!("GET x:{{{name}}}")), "$3\r\nold\r\n");
        assert_eq!(wire.ask(&format!("EXISTS y:{{{name}}}")), ":0\r\n");
    }
    assert_eq!((proxy.groups("pay", "applied"), proxy.groups("pay", "duplicate")), (3.0, 3.0));
    assert_eq!(proxy.groups("script", "rolled_back"), 3.0);
}

fn resolving(atomic: &str) -> String {
    format!(
        "[[group]]\nname = \"count\"\natomic = \"{atomic}\"\nresolve = true\n\
         commands = [\"INCR n:{{{{{{user}}}}}}\", \"SADD s:{{{{{{user}}}}}} *\"]\n"
    )
}

#[test]
fn a_group_whose_connection_to_its_node_is_lost_is_settled_by_its_marker() {
    for atomic in ["transaction", "guarded"] {
        let nodes = Nodes::start(1, false);
        let node = &nodes.servers[0];
        let chaos = Chaos::before(node.port());
        // Clients of the node reach it through what can cut them off.
        assert_eq!(node.ask(&format!("CONFIG SET cluster-announce-port {}", chaos.port())), "+OK\r\n");
        eventually("it says so", || node.ask("CLUSTER SLOTS").contains(&format!(":{}\r\n", chaos.port())));
        let setup = Setup::before(1).cluster(&[node.port()], TIMES).top("workers = 1");
        let proxy = setup.rules(&resolving(atomic)).start();
        let mut wire = proxy.wire();
        let group = ["INCR n:{ann}", "SADD s:{ann} tag"];
        assert_eq!(wire.pipeline(&group), [":1\r\n", ":1\r\n"]);
        let committed = "-COMMITTED group count was applied, its replies were lost\r\n";
        let (mut cut, mut again) = (0, 0);
        for (round, bytes) in (2..).zip((0..90).step_by(6)) {
            chaos.down(Way::Reset(bytes));
            let replies = wire.pipeline(&group);
            if replies[0] == committed {
                cut += 1;
                assert_eq!(replies[1], committed);
            } else {
                assert_eq!(replies, [format!(":{round}\r\n"), ":0\r\n".to_owned()], "cut behind {bytes}");
            }
            assert_eq!(text(node.ask("GET n:{ann}").as_bytes()).lines().nth(1), Some(&*round.to_string()), "it ran once");
            chaos.down(Way::Pass);
        }
        let count = |line: &str| line.lines().nth(1).and_then(|count| count.parse::<u32>().ok()).unwrap_or_default();
        for bytes in (0..400).step_by(40) {
            let before = count(&node.ask("GET n:{ann}"));
            chaos.up(Way::Reset(bytes));
            let replies = wire.pipeline(&group);
            again += u32::from(replies[0] == format!(":{}\r\n", before + 1));
            assert_eq!(count(&node.ask("GET n:{ann}")), before + 1, "it ran once, cut behind {bytes}: {replies:?}");
            chaos.up(Way::Pass);
        }
        assert!(cut >= 3 && again >= 3, "{cut} {again}");
        assert_eq!(proxy.metric("respguard_violations_total", &[("kind", "unknown_outcome")]), 0.0);
        assert_eq!(proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
    }
}

#[test]
fn a_group_that_is_lost_because_another_node_takes_its_users_login_back_is_settled_by_its_marker() {
    for (atomic, arrives) in [("transaction", true), ("guarded", true), ("transaction", false)] {
        let nodes = Nodes::start(2, false);
        // Connections that are not the client's lead to the first of them.
        let (first, last) = if nodes.id(0) < nodes.id(1) { (0, 1) } else { (1, 0) };
        let chaos = Chaos::before(nodes.servers[last].port());
        assert_eq!(nodes.servers[last].ask(&format!("CONFIG SET cluster-announce-port {}", chaos.port())), "+OK\r\n");
        let says_so = |server: &RedisServer| server.ask("CLUSTER SLOTS").contains(&format!(":{}\r\n", chaos.port()));
        eventually("both say so", || nodes.servers.iter().all(says_so));
        for server in &nodes.servers {
            assert_eq!(server.ask("ACL SETUSER bob on >p ~* &* +@all"), "+OK\r\n");
        }
        let setup = Setup::before(1).cluster(&[nodes.servers[first].port()], TIMES).top("workers = 1");
        let proxy = setup.rules(&resolving(atomic)).start();
        let mut bob = proxy.wire();
        assert_eq!(bob.ask("AUTH bob p"), "+OK\r\n");
        let user = nodes.key_of(last, "u");
        let group = [format!("INCR n:{{{user}}}"), format!("SADD s:{{{user}}} tag")];
        let group: Vec<&str> = group.iter().map(String::as_str).collect();
        assert_eq!(bob.pipeline(&group), [":1\r\n", ":1\r\n"]);
        assert_eq!(bob.ask(&format!("GET {}", nodes.key_of(first, "k"))), "$-1\r\n");
        match arrives {
            true => chaos.down(Way::Stop(0)),
            false => chaos.up(Way::Hold),
        }
        bob.send(&requests(&group));
        assert_eq!(proxy.wire().ask(&format!("GET {}", nodes.key_of(first, "k"))), "$-1\r\n");
        let counted = || nodes.servers[last].ask(&format!("GET n:{{{user}}}"));
        let count = if arrives { "$1\r\n2\r\n" } else { "$1\r\n1\r\n" };
        eventually("the group has run, or is on its way", || counted() == count);
        assert_eq!(nodes.servers[first].ask("ACL DELUSER bob"), ":1\r\n");
        let told = if arrives {
            "-COMMITTED group count was applied, its replies were lost\r\n"
        } else {
            // As somebody else it may not go out.
            "-EXECABORT Transaction discarded because of previous errors. respguard: group count was not applied: the connection \
             to the server was lost before the reply, and it is not sent again: the connection of its client is gone\r\n"
        };
        let replies: Vec<String> = bob.replies(2).iter().map(|reply| text(reply)).collect();
        assert_eq!(replies, [told; 2], "{atomic}");
        assert_eq!(text(&bob.until_closed()), "");
        chaos.up(Way::Pass);
        assert_eq!(counted(), count, "it ran once, or not at all");
        assert_eq!(proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
        assert_eq!(proxy.metric("respguard_violations_total", &[("kind", "unknown_outcome")]), 0.0);
    }
}

#[test]
fn after_a_failover_the_next_primary_is_asked() {
    let mut nodes = Nodes::start(3, true);
    let setup = Setup::before(1).cluster(&nodes.ports(), TIMES).top("workers = 1");
    let proxy = setup.rules(&resolving("transaction")).start();
    let user = nodes.key_of(0, "u");
    let group = [format!("INCR n:{{{user}}}"), format!("SADD s:{{{user}}} tag")];
    let group: Vec<&str> = group.iter().map(String::as_str).collect();
    let mut wire = proxy.wire();
    assert_eq!(wire.pipeline(&group), [":1\r\n", ":1\r\n"]);
    eventually("the replica has it", || nodes.servers[3].ask("DBSIZE") == nodes.servers[0].ask("DBSIZE"));
    // What it is sent now it never reads.
    nodes.servers[0].pause();
    wire.send(&requests(&group));
    let sent = || proxy.metric("respguard_upstream_connections", &[]) > 0.0;
    eventually("there are connections", sent);
    nodes.servers[0].kill();
    let replies: Vec<String> = wire.replies(2).iter().map(|reply| text(reply)).collect();
    assert_eq!(replies, [":2\r\n", ":0\r\n"], "it was sent again");
    assert_eq!(proxy.metric("respguard_violations_total", &[("kind", "unknown_outcome")]), 0.0);
}

#[test]
fn the_old_connection_is_ended_at_its_own_node_before_another_is_asked() {
    let nodes = Nodes::start(2, false);
    let node = &nodes.servers[0];
    let chaos = Chaos::before(node.port());
    assert_eq!(node.ask(&format!("CONFIG SET cluster-announce-port {}", chaos.port())), "+OK\r\n");
    let says_so = |server: &RedisServer| server.ask("CLUSTER SLOTS").contains(&format!(":{}\r\n", chaos.port()));
    eventually("both say so", || nodes.servers.iter().all(says_so));
    let times = "request_timeout_ms = 12000\nstall_timeout_ms = 500\nheartbeat_ms = 60000\nretries_per_second = 100000\n";
    let setup = Setup::before(1).cluster(&nodes.ports(), times).top("workers = 1");
    let proxy = setup.rules(&resolving("transaction")).start();
    let (other, user) = (nodes.key_of(0, "o"), nodes.key_of(0, "u"));
    let group = |user: &str| [format!("INCR n:{{{user}}}"), format!("SADD s:{{{user}}} tag")];
    let [mut first, mut second] = [proxy.wire(), proxy.wire()];
    for wire in [&mut first, &mut second] {
        let replies = wire.pipeline(&group(&other).each_ref().map(String::as_str));
        assert!(replies[0].starts_with(':') && replies[1].starts_with(':'), "{replies:?}");
    }
    let slot = key_slot(user.as_bytes());
    nodes.begin_move(slot, 0, 1);
    // What is sent from now on over the one connection that there is stays on its way; over a new one it comes through.
    let set = format!("SET {other} 1");
    assert_eq!(first.ask(&set), "+OK\r\n");
    let connections = |with: &str| {
        let list = node.ask("CLIENT LIST");
        let id = |line: &str| line.split(' ').find_map(|word| word.strip_prefix("id=").map(str::to_owned));
        list.lines().filter(|line| line.contains(with)).filter_map(id).collect::<Vec<_>>()
    };
    let held = connections(" cmd=set ");
    assert_eq!(held.len(), 1, "all clients share it");
    // Whoever could ask the node over another connection would find out that it stands still.
    chaos.refuse(true);
    for id in connections("").iter().filter(|id| !held.contains(id)) {
        node.ask(&format!("CLIENT KILL ID {id}"));
    }
    chaos.up(Way::Hold);
    first.send(&requests(&[&set]));
    std::thread::sleep(Duration::from_secs(6));
    second.send(&requests(&group(&user).each_ref().map(String::as_str)));
    // Nodes answer elsewhere meanwhile. With the deadline of what was sent first the connection is given up.
    let (is_over, elsewhere) = (AtomicBool::new(false), nodes.key_of(1, "e"));
    let replies = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut wire = proxy.wire();
            // It ends if the test fails, too.
            for _ in (0..400).take_while(|_| !is_over.load(Ordering::Relaxed)) {
                assert_eq!(wire.ask(&format!("GET {elsewhere}")), "$-1\r\n");
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let told = text(&first.reply());
        assert!(told.starts_with("-TIMEOUT "), "{told}");
        chaos.refuse(false);
        // A group of several keys runs once its slot is there.
        nodes.end_move(slot, 0, 1);
        let replies: Vec<String> = second.replies(2).iter().map(|reply| text(reply)).collect();
        is_over.store(true, Ordering::Relaxed);
        replies
    });
    assert_eq!(replies, [":1\r\n", ":1\r\n"], "it was sent again");
    assert_eq!(proxy.metric("respguard_retries_total", &[("kind", "group")]), 1.0);
    let asked = |server: &RedisServer| server.ask("INFO commandstats").contains("cmdstat_client|kill:");
    assert!(asked(node) && !asked(&nodes.servers[1]), "the connection led to the first node");
    // The slot comes back, and what was on its way arrives.
    nodes.move_slot(slot, 1, 0);
    chaos.up(Way::Pass);
    eventually("the old connection is over", || !connections("").contains(&held[0]));
    assert_eq!(node.ask(&format!("GET n:{{{user}}}")), "$1\r\n1\r\n", "what was held has not run, too");
}

#[test]
fn degrade_rules_answer_for_the_slots_of_a_node_that_is_gone_and_for_no_others() {
    let mut nodes = Nodes::start(3, false);
    for server in &nodes.servers {
        assert_eq!(server.ask("CONFIG SET cluster-require-full-coverage no"), "+OK\r\n");
    }
    let rules = "[[degrade]]\nname = \"cache\"\nkeys = [\"cache:*\"]\nreads = \"nil\"\nwrites = \"ok\"\n";
    let upstream = "request_timeout_ms = 5000\nqueue_timeout_ms = 300\n";
    let proxy = Setup::before(1).cluster(&nodes.ports(), upstream).top("workers = 1").rules(rules).start();
    let (dead, alive) = (nodes.key_of(0, "cache:"), nodes.key_of(1, "cache:"));
    let mut wire = proxy.wire();
    assert_eq!(wire.pipeline(&[&format!("SET {dead} 1"), &format!("SET {alive} 1")]), ["+OK\r\n", "+OK\r\n"]);
    nodes.servers[0].kill();
    eventually("the rule answers", || wire.ask(&format!("GET {dead}")) == "$-1\r\n");
    let lines = [format!("GET {alive}"), format!("SET {dead} 2"), format!("INCR {alive}"), format!("GET {dead}")];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    assert_eq!(wire.pipeline(&lines), ["$1\r\n1\r\n", "+OK\r\n", ":2\r\n", "$-1\r\n"]);
    assert!(proxy.violated("degraded", "cache") >= 3.0);
    // What tells what it found stays an error, and so does what no rule is about.
    assert!(wire.ask(&format!("INCR {dead}")).starts_with('-'));
    nodes.servers[0].restart();
    eventually("the node answers again", || {
        wire.ask(&format!("SET {dead} 3")) == "+OK\r\n" && wire.ask(&format!("GET {dead}")) == "$1\r\n3\r\n"
    });
}

fn told(arguments: &[&str], toml: &str, input: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("respguard.toml");
    std::fs::write(&path, toml).expect("a file");
    let mut process = command()
        .args(arguments)
        .arg("--config")
        .arg(&path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    process.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    let output = process.wait_with_output().expect("it ends");
    (output.status.code(), text(&[output.stdout, output.stderr].concat()))
}

#[test]
fn check_proves_which_groups_have_one_slot_and_explain_shows_slots_and_nodes() {
    let nodes = Nodes::start(1, false);
    let port = nodes.ports()[0];
    let cluster = format!("[upstream]\ncluster = [\"127.0.0.1:{port}\"]\n");
    let group = |commands: &str| format!("{cluster}[[group]]\nname = \"g\"\ncommands = [{commands}]\n");
    let (code, said) = told(&["check"], &group(r#""SET rt:{{{user}}}:{token} *", "SADD sess:{{{user}}} {token}""#), "");
    assert!(code == Some(0) && !said.contains("slot"), "{said}");
    let (code, said) = told(&["check"], &group(r#""SET rt:{user}:{token} *", "SADD sess:{user} {token}""#), "");
    for wanted in
        ["group[0].commands[1]", "share a slot of the cluster only by chance", "rt:{{{user}}}:{token} and sess:{{{user}}}"]
    {
        assert!(code == Some(0) && said.contains(wanted), "{wanted}: {said}");
    }
    let (code, said) = told(&["check"], &group(r#""SET a *", "SET b *""#), "");
    assert!(code == Some(1) && said.contains("b has slot 3300, a of member 1 slot 15495"), "{said}");
    // Before one server none of this matters.
    let one = "[[group]]\nname = \"g\"\ncommands = [\"SET a *\", \"SET b *\"]\n";
    assert_eq!(told(&["check"], one, "").0, Some(0));
    let rules = group(r#""SET rt:{{{user}}}:{token} *", "SADD sess:{{{user}}} {token}""#);
    let (_, said) = told(&["explain"], &rules, "SET rt:{ann}:1 x\nSADD sess:{ann} 1\nGET foo\nMGET foo bar\nPING\n");
    let node = format!("slot 12182, node 127.0.0.1:{port}");
    assert!(said.contains(&node) && said.contains("keys of several slots"), "{said}");
    assert!(said.lines().any(|line| line.contains("SET rt:{ann}:1 x") && line.contains("slot ")), "{said}");
    assert!(said.lines().any(|line| line.trim_end().ends_with("PING   (one primary)")), "{said}");
}
