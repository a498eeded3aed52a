//! What happens to single nodes of a cluster: replicas that are waited for, scripts that are lost, silence, and long requests.

use std::time::{Duration, Instant};

use crate::harness::wire::requests;
use crate::harness::{Chaos, Nodes, PATIENCE, Program, Proxy, RedisServer, Setup, Way, Wire, eventually, request, text};

fn before(nodes: &Nodes, upstream: &str) -> Proxy {
    let groups = r#"
[[group]]
name = "scripted"
atomic = "transaction"
commands = ["EVALSHA * 1 n:{{{user}}}", "SADD s:{{{user}}} *"]
"#;
    Setup::before(1).cluster(&nodes.ports(), upstream).top("workers = 1").rules(groups).start()
}

const LONG: &str = "request_timeout_ms = 8000\nstall_timeout_ms = 30000\n";

#[test]
fn wait_asks_the_primaries_that_the_client_has_written_to() {
    let mut nodes = Nodes::start(3, true);
    let proxy = before(&nodes, LONG);
    let keys: Vec<String> = (0..3).map(|at| nodes.key_of(at, "k")).collect();
    let mut wire = proxy.wire();
    for key in &keys {
        assert_eq!(wire.ask(&format!("SET {key} 1")), "+OK\r\n");
    }
    assert_eq!(wire.ask("WAIT 1 8000"), ":1\r\n");
    nodes.servers[4].kill();
    eventually("the primary knows", || nodes.servers[1].info("replication", "connected_slaves") == 0);
    let mut other = proxy.wire();
    assert_eq!(other.ask(&format!("SET {} 2", keys[0])), "+OK\r\n");
    assert_eq!(other.ask("WAIT 1 8000"), ":1\r\n", "it has written to one node alone");
    assert_eq!(wire.pipeline(&[&format!("SET {} 2", keys[1]), "WAIT 1 200"]), ["+OK\r\n", ":0\r\n"]);
    assert_eq!(wire.ask("PING"), "+PONG\r\n");
    assert!(wire.ask("WAIT x 1").starts_with("-ERR "));
    assert!(proxy.wire().ask("WAIT 0 0").starts_with(':'));
}

#[test]
fn inside_multi_wait_answers_at_once_as_a_node_does() {
    let nodes = Nodes::start(3, false);
    let proxy = before(&nodes, LONG);
    let key = nodes.key_of(1, "k");
    let (mut direct, mut wire) = (nodes.servers[1].wire(), proxy.wire());
    for lines in [
        &["MULTI", &*format!("SET {key} 1"), "WAIT 0 0", "WAIT 1 0", "EXEC"][..],
        &["MULTI", "WAIT 1 0", "EXEC"],
        &["MULTI", "WAIT x 0", "EXEC"],
        &["MULTI", "WAIT 0", "EXEC", "PING"],
        &["MULTI", "SELECT 0", "PING", "EXEC"],
        &["MULTI", "PING", "EXEC x", "EXEC"],
        &["MULTI x", "PING", "MULTI", "MULTI x", "EXEC", "UNWATCH x", "WATCH"],
        // What would change the connection that clients share changes nothing.
        &["MULTI", "READONLY", "ASKING", "READWRITE", &*format!("GET {key}"), "EXEC"],
        &["MULTI", "CLIENT NO-EVICT ON", "CLIENT NO-EVICT maybe", "READONLY x", "EXEC"],
    ] {
        assert_eq!(wire.pipeline(lines), direct.pipeline(lines), "{lines:?}");
        let one_by_one = |wire: &mut Wire| lines.iter().map(|line| wire.ask(line)).collect::<Vec<_>>();
        assert_eq!(one_by_one(&mut wire), one_by_one(&mut direct), "{lines:?}");
    }
    let flags = nodes.servers[1].ask("CLIENT LIST TYPE normal");
    assert!(!flags.lines().any(|line| line.contains("flags=r") || line.contains("flags=e")), "{flags}");
}

#[test]
fn whose_node_hangs_for_longer_than_a_connection_may_is_told_so_and_stays_connected() {
    let more = || "--cluster-require-full-coverage no".to_owned();
    let nodes = Nodes::start_as(Program::under_test(), 3, false, more);
    let proxy = before(&nodes, "request_timeout_ms = 2000\nstall_timeout_ms = 500\n");
    let keys: Vec<String> = (0..2).map(|at| nodes.key_of(at, "k")).collect();
    let (mut wire, mut other) = (proxy.wire(), proxy.wire());
    assert_eq!(wire.ask(&format!("SET {} 1", keys[0])), "+OK\r\n");
    nodes.servers[0].pause();
    for line in [format!("SET {} 2", keys[0]), format!("GET {}", keys[0])] {
        wire.send_line(&line);
        // That the other node answers shows that a connection which does not is no busy server's.
        let since = Instant::now();
        while wire.is_silent_for(Duration::from_millis(20)) && since.elapsed() < PATIENCE {
            assert_eq!(other.ask(&format!("SET {} 1", keys[1])), "+OK\r\n");
        }
        let reply = text(&wire.reply());
        assert!(reply.starts_with("-TIMEOUT ") || reply.starts_with("-ERR respguard: "), "{line}: {reply}");
    }
    nodes.servers[0].resume();
    eventually("it is served again", || wire.ask(&format!("EXISTS {}", keys[0])) == ":1\r\n");
}

#[test]
fn who_a_client_is_does_not_change_inside_a_transaction() {
    let nodes = Nodes::start(2, false);
    let proxy = before(&nodes, LONG);
    let (key, mut wire) = (nodes.key_of(1, "k"), proxy.wire());
    for line in ["AUTH secret", "AUTH default secret", "HELLO", "HELLO 3", "HELLO 3 AUTH default secret"] {
        let name = line.split(' ').next().unwrap_or_default();
        let lines = ["MULTI", &format!("SET {key} 1"), line, "EXEC"];
        let one_by_one = lines.map(|line| wire.ask(line));
        for replies in [wire.pipeline(&lines), one_by_one.to_vec()] {
            assert_eq!(replies[..2], ["+OK\r\n", "+QUEUED\r\n"], "{line}");
            assert_eq!(replies[2], format!("-ERR respguard: {name} inside MULTI is not possible on a cluster\r\n"));
            assert!(replies[3].starts_with("-EXECABORT "), "{line}: {replies:?}");
        }
    }
    assert_eq!(wire.ask(&format!("EXISTS {key}")), ":0\r\n");
    assert!(wire.ask("HELLO 3").starts_with('%'), "outside it is asked");
}

/// Valkey 9, which has WAITAOF.
fn valkey() -> &'static Program {
    static PROGRAM: std::sync::OnceLock<Program> = std::sync::OnceLock::new();
    PROGRAM.get_or_init(|| Program::named(Some("valkey9")))
}

#[test]
fn msetex_over_several_slots_is_cut_up_where_writes_may_be() {
    let nodes = Nodes::start_as(valkey(), 3, false, String::new);
    let (whole, split) = (before(&nodes, LONG), before(&nodes, &format!("{LONG}split_writes = true\n")));
    let [a, b, c] = [0, 1, 2].map(|at| nodes.key_of(at, "k"));
    let crossed = "-CROSSSLOT Keys in request don't hash to the same slot\r\n";
    let (mut whole, mut split) = (whole.wire(), split.wire());
    assert_eq!(whole.ask(&format!("MSETEX 2 {a} 1 {b} 2 EX 100")), crossed);
    assert_eq!(whole.ask("MSETEX 2 {t}a 1 {t}b 2 NX EX 100"), ":1\r\n");
    for condition in ["NX", "xx"] {
        assert_eq!(split.ask(&format!("MSETEX 2 {a} 1 {b} 2 {condition} EX 100")), crossed);
    }
    assert_eq!(split.ask(&format!("EXISTS {a} {b} {c}")), ":0\r\n");
    assert_eq!(split.ask(&format!("MSETEX 3 {a} 1 {b} 2 {c} 3 EX 100")), ":1\r\n");
    assert_eq!(split.ask(&format!("MGET {a} {b} {c}")), "*3\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n");
    for key in [&a, &b, &c] {
        assert!(!split.ask(&format!("TTL {key}")).starts_with(":-"), "{key} has its lifetime");
    }
    assert_eq!(split.ask(&format!("MSETEX 2 {a} 1 {b} 2 KEEPTTL")), ":1\r\n");
    assert!(split.ask(&format!("MSETEX 2 {a} 1 {b} 2 NOSUCH")).starts_with("-ERR "), "as a node says it");
    assert!(split.ask(&format!("MSETEX x {a} 1 {b} 2")).starts_with("-ERR "));
}

#[test]
fn where_a_cluster_has_databases_clients_may_go_there() {
    let nodes = Nodes::start_as(valkey(), 2, false, || "--cluster-databases 16".to_owned());
    let groups = r#"
[[group]]
name = "pair"
atomic = "transaction"
resolve = true
commands = ["SET a:{{{user}}} *", "INCR b:{{{user}}}"]
"#;
    let start = |upstream: &str| Setup::before(1).cluster(&nodes.ports(), upstream).top("workers = 1").rules(groups).start();
    let proxy = start("databases = true\n");
    let [one, other] = [0, 1].map(|at| nodes.key_of(at, "k"));
    let (mut wire, mut base) = (proxy.wire(), proxy.wire());
    assert_eq!(wire.pipeline(&["SELECT 3", &format!("SET {one} x"), &format!("SET {other} y")]), ["+OK\r\n"; 3]);
    assert_eq!(wire.ask(&format!("MGET {one} {other}")), "*2\r\n$1\r\nx\r\n$1\r\ny\r\n");
    assert_eq!((wire.ask("DBSIZE"), base.ask("DBSIZE")), (":2\r\n".to_owned(), ":0\r\n".to_owned()));
    assert_eq!(base.ask(&format!("MGET {one} {other}")), "*2\r\n$-1\r\n$-1\r\n");
    // A transaction, a group, and what watches or blocks stay there.
    assert_eq!(wire.pipeline(&["MULTI", &format!("APPEND {one} z"), "EXEC"])[2], "*1\r\n:2\r\n");
    assert_eq!(wire.pipeline(&[&format!("SET a:{{{one}}} 1"), &format!("INCR b:{{{one}}}")]), ["+OK\r\n", ":1\r\n"]);
    assert_eq!(wire.ask(&format!("WATCH {one}")), "+OK\r\n");
    assert_eq!(wire.pipeline(&["MULTI", &format!("GET {one}"), "EXEC"])[2], "*1\r\n$2\r\nxz\r\n");
    assert_eq!(wire.pipeline(&[&format!("RPUSH l:{{{other}}} e"), &format!("BLPOP l:{{{other}}} 1")])[0], ":1\r\n");
    assert!(wire.ask("CLIENT INFO").contains(" db=3 "));
    assert!(base.ask(&format!("EXISTS {one} a:{{{one}}} b:{{{one}}}")).starts_with(":0"));
    // A client that is on its own connection, and one that logs in or changes its protocol, keep their database.
    assert!(wire.ask("HELLO 3").starts_with('%'));
    assert_eq!(wire.ask(&format!("GET {one}")), "$2\r\nxz\r\n");
    assert_eq!(
        wire.pipeline(&[&format!("WATCH {one}"), "SELECT 0", &format!("GET {one}"), "SELECT 3", &format!("GET {one}")])[1..],
        ["+OK\r\n", "_\r\n", "+OK\r\n", "$2\r\nxz\r\n"]
    );
    assert!(base.ask("SELECT 99").starts_with("-ERR DB index is out of range"));
    assert_eq!(
        base.pipeline(&["SELECT 3", &format!("GET {one}"), "SELECT 0", &format!("GET {one}")])[1..],
        ["$2\r\nxz\r\n", "+OK\r\n", "$-1\r\n"]
    );
    // Otherwise there is but one, whatever the nodes have.
    let proxy = start("");
    assert_eq!(proxy.wire().pipeline(&["SELECT 0", "SELECT 3"]), ["+OK\r\n", "-ERR SELECT is not allowed in cluster mode\r\n"]);
}

#[test]
fn waitaof_answers_for_the_clients_own_writes() {
    let off = "-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.\r\n";
    for (appends, answered) in [("yes", "*2\r\n:1\r\n:0\r\n"), ("no", off)] {
        let redis = RedisServer::start_program(valkey(), &[&format!("--appendonly {appends} --appendfsync always")]);
        let alone = Setup::new(&redis).start();
        let nodes = Nodes::start_as(valkey(), 3, false, || format!("--appendonly {appends} --appendfsync always"));
        let clustered = before(&nodes, LONG);
        for proxy in [&alone, &clustered] {
            let mut wire = proxy.wire();
            for at in 0..3 {
                assert_eq!(wire.ask(&format!("SET {} 1", nodes.key_of(at, "k"))), "+OK\r\n");
            }
            assert_eq!(wire.ask("WAITAOF 1 0 8000"), answered);
            assert_eq!(wire.pipeline(&["SET k 2", "WAITAOF 1 0 8000", "GET k"]), ["+OK\r\n", answered, "$1\r\n2\r\n"]);
            // No replica confirms anything.
            let timed_out = if appends == "yes" { "*2\r\n:1\r\n:0\r\n" } else { off };
            assert_eq!(wire.ask("WAITAOF 1 1 100"), timed_out);
            assert!(wire.ask("WAITAOF 2 0 0").starts_with("-ERR "), "numlocal is 0 or 1");
            let whole = wire.pipeline(&["MULTI", "SET k 3", "WAITAOF 0 0 0", "EXEC"]);
            assert!(whole[3].starts_with("*2\r\n+OK\r\n*2\r\n:"), "{whole:?}");
            assert_eq!(wire.ask("PING"), "+PONG\r\n");
        }
    }
}

#[test]
fn a_node_that_does_not_know_a_script_is_given_it() {
    let mut nodes = Nodes::start(2, false);
    let proxy = before(&nodes, LONG);
    let mut wire = proxy.wire();
    let user = (0..).map(|n| format!("u{n}")).find(|user| nodes.owner(user) == 1).expect("there is one");
    let key = format!("n:{{{user}}}");
    let loaded = wire.ask("SCRIPT LOAD return(redis.call('incr',KEYS[1]))");
    let sha = loaded.lines().nth(1).expect("a digest").to_owned();
    let library = "#!lua name=mine\nredis.register_function('twice', function(keys) return redis.call('incrby', keys[1], 2) end)";
    wire.send(&crate::harness::wire::words(&[b"FUNCTION", b"LOAD", library.as_bytes()]));
    assert_eq!(text(&wire.reply()), "$4\r\nmine\r\n");
    assert_eq!(nodes.servers[1].ask("SCRIPT FLUSH"), "+OK\r\n");
    assert_eq!(nodes.servers[1].ask("FUNCTION FLUSH"), "+OK\r\n");
    assert_eq!(wire.ask(&format!("EVALSHA {sha} 1 {key}")), ":1\r\n");
    assert_eq!(wire.ask(&format!("FCALL twice 1 {key}")), ":3\r\n");
    // One that was started anew has lost everything, and within a transaction nobody can ask again.
    nodes.servers[1].restart();
    eventually("it serves again", || wire.ask(&format!("SET {key} 0")) == "+OK\r\n");
    let whole = ["MULTI", &format!("EVALSHA {sha} 1 {key}"), &format!("FCALL twice 1 {key}"), "EXEC"];
    assert_eq!(wire.pipeline(&whole)[3], "*2\r\n:1\r\n:3\r\n");
    nodes.servers[1].restart();
    eventually("it serves again", || wire.ask(&format!("SET {key} 0")) == "+OK\r\n");
    let one_by_one: Vec<String> = whole.iter().map(|line| wire.ask(line)).collect();
    assert_eq!(one_by_one, ["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", "*2\r\n:1\r\n:3\r\n"]);
    nodes.servers[1].restart();
    eventually("it serves again", || wire.ask(&format!("SET {key} 0")) == "+OK\r\n");
    let group = [&*format!("EVALSHA {sha} 1 {key}"), &format!("SADD s:{{{user}}} x")];
    assert_eq!(wire.pipeline(&group), [":1\r\n", ":1\r\n"]);
    assert_eq!(proxy.groups("scripted", "applied"), 1.0);
    // Flushed at the node, and in the midst of a transaction: the next one finds it.
    for flush in ["SCRIPT FLUSH", "FUNCTION FLUSH"] {
        assert_eq!(nodes.servers[1].ask(flush), "+OK\r\n");
        assert!(wire.pipeline(&whole)[3].contains("\r\n-"), "{flush}");
        assert!(!wire.pipeline(&whole)[3].contains("\r\n-"), "{flush}");
    }
    // What was flushed through the proxy stays so.
    assert_eq!(wire.ask("SCRIPT FLUSH"), "+OK\r\n");
    assert!(wire.ask(&format!("EVALSHA {sha} 1 {key}")).starts_with("-NOSCRIPT "));
}

#[test]
fn a_node_that_hangs_costs_others_nothing_and_its_own_requests_soon_no_time() {
    let nodes = Nodes::start(3, false);
    for server in &nodes.servers {
        assert_eq!(server.ask("CONFIG SET cluster-require-full-coverage no"), "+OK\r\n");
    }
    let proxy = before(&nodes, "request_timeout_ms = 2500\n");
    let (mut wire, mut other) = (proxy.wire(), proxy.wire());
    let (hung, well) = (nodes.key_of(0, "k"), nodes.key_of(1, "k"));
    assert_eq!(wire.pipeline(&[&format!("SET {hung} 1"), &format!("SET {well} 1")]), ["+OK\r\n", "+OK\r\n"]);
    nodes.servers[0].pause();
    let refused = format!("-ERR respguard: GET was not sent: node 127.0.0.1:{} does not answer\r\n", nodes.servers[0].port());
    eventually("it is given up", || {
        // A busy machine may be late with it, too.
        let reply = other.ask(&format!("GET {well}"));
        assert!(reply == "$1\r\n1\r\n" || reply.starts_with("-TIMEOUT "), "{reply}");
        wire.ask(&format!("GET {hung}")) == refused
    });
    // From now on nobody waits: many in a row take less than the time of a few that would.
    let since = Instant::now();
    for _ in 0..50 {
        assert_eq!(wire.ask(&format!("GET {hung}")), refused);
    }
    assert!(since.elapsed() < Duration::from_secs(20), "{:?}", since.elapsed());
    let reply = wire.ask(&format!("MGET {hung} {well}"));
    assert!(reply.starts_with("-ERR respguard: MGET is not answered: of 2 parts 1 failed"), "{reply}");
    // Whatever is about no key goes elsewhere.
    let mut fresh: Vec<Wire> = (0..6).map(|_| proxy.wire()).collect();
    eventually("all can ask", || fresh.iter_mut().all(|wire| wire.ask("TIME").starts_with("*2\r\n")));
    assert_eq!(proxy.get("/readyz").0, 200);
    eventually("it is shown", || proxy.metric("respguard_slots_unserved", &[]) > 5000.0);
    let status: serde_json::Value = serde_json::from_str(&proxy.get("/status").1).expect("JSON");
    let shown = status["upstream"]["cluster"]["nodes"].as_array().expect("nodes").clone();
    let silent: Vec<bool> = shown.iter().map(|node| node["available"] == true).collect();
    assert_eq!((silent.len(), silent.iter().filter(|up| **up).count()), (3, 2), "{status}");
    let [asked, seen] =
        ["answered_in_us", "replies"].map(|name| shown.iter().filter(|node| node[name].as_u64() > Some(0)).count());
    assert!(asked == 2 && seen >= 2, "{status}");
    assert!(shown.iter().all(|node| node["connections"].as_u64() < Some(50)), "{status}");
    nodes.servers[0].resume();
    eventually("it answers again", || wire.ask(&format!("GET {hung}")) == "$1\r\n1\r\n");
    eventually("all slots are served", || proxy.metric("respguard_slots_unserved", &[]) == 0.0);
}

#[test]
fn info_is_that_of_all_nodes_and_says_how_many_are_missing() {
    let nodes = Nodes::start(3, false);
    for server in &nodes.servers {
        assert_eq!(server.ask("CONFIG SET cluster-require-full-coverage no"), "+OK\r\n");
    }
    let proxy = before(&nodes, "request_timeout_ms = 1500\n");
    let mut wire = proxy.wire();
    for at in 0..3 {
        (0..=at).for_each(|number| drop(wire.ask(&format!("SETEX {} 100 v", nodes.key_of(at, &format!("k{number}:"))))));
    }
    let told = wire.ask("INFO keyspace");
    assert!(told.contains("db0:keys=6,expires=6,avg_ttl="), "{told}");
    let counted = |told: &str| {
        let line = told.lines().find(|line| line.starts_with("cmdstat_setex:")).expect("it has run").to_owned();
        line.contains("calls=6,")
    };
    assert!(counted(&wire.ask("INFO commandstats")));
    let all = wire.ask("INFO everything");
    assert!(counted(&all) && all.contains("redis_mode:standalone\r\n") && all.contains("cluster_enabled:0\r\n"), "{all}");
    let memory = |told: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix("used_memory:")).expect("it is told");
        line.parse::<u64>().expect("a number")
    };
    let used: u64 = nodes.servers.iter().map(|server| memory(&server.ask("INFO memory"))).sum();
    let shown = memory(&wire.ask("INFO memory"));
    assert!(shown > used / 4 * 3 && shown < used / 4 * 5, "{shown} {used}");
    assert!(!all.contains("nodes_missing"));
    // A client that asks whether the server is loading goes on, whoever is away.
    nodes.servers[2].pause();
    eventually("it is known to be away", || {
        let since = Instant::now();
        let told = wire.ask("INFO keyspace");
        assert!(told.contains("db0:keys=3,") && told.ends_with("# Respguard\r\nnodes_missing:1\r\n\r\n"), "{told}");
        since.elapsed() < Duration::from_millis(500)
    });
    nodes.servers[2].resume();
    eventually("it is back", || wire.ask("INFO keyspace").contains("db0:keys=6,"));
}

/// Any node may be the one that is asked what is about no key: that it does not answer means nothing for what is under way at
/// others.
#[test]
fn what_is_under_way_at_one_node_goes_on_when_another_one_hangs() {
    let nodes = Nodes::start(3, false);
    for server in &nodes.servers {
        assert_eq!(server.ask("CONFIG SET cluster-require-full-coverage no"), "+OK\r\n");
    }
    let proxy = before(&nodes, LONG);
    for hung in 0..3 {
        let well = nodes.key_of((hung + 1) % 3, "k");
        let (mut blocked, mut watching, mut wire) = (proxy.wire(), proxy.wire(), proxy.wire());
        let own = |name: &str| format!("{name}:{{{well}}}:{hung}");
        assert_eq!(watching.ask(&format!("WATCH {}", own("watched"))), "+OK\r\n");
        blocked.send(&request(&format!("BLPOP {} 0", own("list"))));
        eventually("it waits", || nodes.servers[(hung + 1) % 3].ask("INFO clients").contains("blocked_clients:1"));
        nodes.servers[hung].pause();
        // Nodes are asked every two seconds who serves what.
        let until = Instant::now() + Duration::from_millis(2600);
        while Instant::now() < until {
            assert_eq!(wire.ask(&format!("SET {} v", own("other"))), "+OK\r\n");
            std::thread::sleep(Duration::from_millis(2));
        }
        nodes.servers[hung].resume();
        assert_eq!(watching.pipeline(&["MULTI", "PING", "EXEC"])[2], "*1\r\n+PONG\r\n");
        assert_eq!(wire.ask(&format!("RPUSH {} e", own("list"))), ":1\r\n");
        let list = own("list");
        assert_eq!(text(&blocked.reply()), format!("*2\r\n${}\r\n{list}\r\n$1\r\ne\r\n", list.len()));
        eventually("all slots are served", || proxy.metric("respguard_slots_unserved", &[]) == 0.0);
    }
}

#[test]
fn without_any_node_the_proxy_is_not_ready() {
    let mut nodes = Nodes::start(1, false);
    let proxy = before(&nodes, "request_timeout_ms = 1000\n");
    eventually("it is ready", || proxy.get("/readyz").0 == 200);
    nodes.servers[0].kill();
    eventually("it says so", || {
        let (status, said) = proxy.get("/readyz");
        status == 503 && said.contains("no node of the cluster serves slots")
    });
    nodes.servers[0].restart();
    eventually("it is ready", || proxy.get("/readyz").0 == 200);
}

/// As they do by default while one slot has no node.
#[test]
fn where_all_nodes_refuse_everything_the_proxy_is_not_ready() {
    let mut nodes = Nodes::start(3, false);
    let proxy = before(&nodes, "request_timeout_ms = 1000\n");
    eventually("it is ready", || proxy.get("/readyz").0 == 200 && proxy.metric("respguard_slots_unserved", &[]) == 0.0);
    nodes.servers[1].kill();
    eventually("they say that the cluster is down", || {
        [0, 2].iter().all(|at| nodes.servers[*at].ask("CLUSTER INFO").contains("cluster_state:fail"))
    });
    eventually("so does the proxy", || {
        let (status, said) = proxy.get("/readyz");
        let is_told = status == 503 && said.contains("no node of the cluster serves slots");
        is_told && proxy.metric("respguard_slots_unserved", &[]) == 16384.0
    });
    assert!(proxy.log().contains("the nodes take the cluster to be down"), "{}", proxy.log());
    for at in [0, 2] {
        nodes.servers[at].ask("CONFIG SET cluster-require-full-coverage no");
    }
    eventually("the others are served", || {
        proxy.get("/readyz").0 == 200 && (5000.0..6000.0).contains(&proxy.metric("respguard_slots_unserved", &[]))
    });
    assert!(proxy.log().contains("the cluster is not down any more"), "{}", proxy.log());
}

#[test]
fn what_is_too_long_to_be_held_is_refused_and_what_is_not_passes() {
    let nodes = Nodes::start(2, false);
    let setup = Setup::before(1).cluster(&nodes.ports(), LONG).top("workers = 1").listen("buffered_bytes_max = 4194304");
    let proxy = setup.start();
    let mut wire = proxy.wire();
    let (a, b) = (nodes.key_of(0, "k"), nodes.key_of(1, "k"));
    let long = "x".repeat(16 * 1024 * 1024);
    wire.send(&request(&format!("SET {a} {long}")));
    let reply = text(&wire.reply());
    assert!(reply.starts_with("-ERR respguard: SET was not sent: it is longer than what may be held"), "{reply:.200}");
    assert_eq!(wire.ask(&format!("SET {a} 1")), "+OK\r\n");
    assert_eq!(wire.pipeline(&["MULTI", &format!("INCR {a}"), "EXEC"])[2], "*1\r\n:2\r\n");
    // Replies of one node go on as they come, however long, also those of a transaction.
    for (at, key) in [(0, &a), (1, &b)] {
        let mut direct = nodes.servers[at].wire();
        direct.send(&request(&format!("SET {key} {long}")));
        assert_eq!(direct.reply(), b"+OK\r\n");
    }
    let whole = long.len() + "$16777216\r\n\r\n".len();
    wire.send(&request(&format!("GET {a}")));
    assert_eq!(wire.frame().map(|reply| reply.len()).expect("it comes whole"), whole);
    wire.send(&requests(&["MULTI", &format!("GET {a}"), &format!("STRLEN {a}"), "EXEC", "PING"]));
    let replies: Vec<Vec<u8>> = (0..5).map(|_| wire.frame().expect("it comes whole")).collect();
    assert_eq!(replies[3].len(), long.len() + "*2\r\n$16777216\r\n\r\n:16777216\r\n".len());
    assert_eq!(replies[4].len(), "+PONG\r\n".len());
    // Those of several must be held.
    let reply = wire.ask(&format!("MGET {a} {b}"));
    assert!(reply.starts_with("-ERR respguard: MGET is not answered: its replies are longer"), "{reply:.200}");
    assert_eq!(wire.ask("PING"), "+PONG\r\n");
    wire.send(&request(&format!("GET {b}")));
    assert_eq!(wire.frame().map(|reply| reply.len()).expect("it comes whole"), whole);
}

#[test]
fn a_node_that_is_slower_than_others_keeps_its_connection() {
    let nodes = Nodes::start(2, false);
    let proxy = before(&nodes, "request_timeout_ms = 30000\nstall_timeout_ms = 60000\n");
    let keys: Vec<String> = (0..2).map(|at| nodes.key_of(at, "k")).collect();
    let (mut wire, mut other, mut direct) = (proxy.wire(), proxy.wire(), nodes.servers[0].wire());
    for key in &keys {
        eventually("its node is there", || wire.ask(&format!("SET {key} 1")) == "+OK\r\n");
    }
    // The second time another connection would have been opened by then.
    for _ in 0..4 {
        direct.send_line("DEBUG SLEEP 0.3");
        std::thread::sleep(Duration::from_millis(20));
        wire.send_line(&format!("GET {}", keys[0]));
        while wire.is_silent_for(Duration::from_millis(5)) {
            assert_eq!(other.ask(&format!("SET {} 2", keys[1])), "+OK\r\n");
            assert_eq!(proxy.metric("respguard_upstream_connections", &[("state", "retired")]), 0.0, "the other node's haste");
        }
        assert_eq!(text(&wire.reply()), "$1\r\n1\r\n");
        assert_eq!(text(&direct.reply()), "+OK\r\n");
    }
}

/// The others' answers are not waited for long, but each counts when it comes.
#[test]
fn a_node_that_is_farther_away_than_the_others_is_not_taken_to_be_silent() {
    let nodes = Nodes::start(3, false);
    let chaos = Chaos::before(nodes.servers[1].port());
    assert_eq!(nodes.servers[1].ask(&format!("CONFIG SET cluster-announce-port {}", chaos.port())), "+OK\r\n");
    eventually("all know its port", || nodes.servers[0].ask("CLUSTER SLOTS").contains(&format!(":{}\r\n", chaos.port())));
    let proxy = Setup::before(1).cluster(&[nodes.servers[0].port()], "").top("workers = 1").start();
    let is_up = || proxy.metric("respguard_slots_unserved", &[]) == 0.0;
    eventually("it answers", || proxy.get("/status").1.contains(&chaos.port().to_string()) && is_up());
    // It is asked over connections that are there.
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(5) {
        chaos.down(Way::Delay(Duration::from_millis(40)));
        assert!(is_up(), "after {:?}", since.elapsed());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(proxy.wire().ask(&format!("SET {} v", nodes.key_of(1, "k"))), "+OK\r\n");
}
