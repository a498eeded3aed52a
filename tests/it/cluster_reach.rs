//! Nodes of a cluster that are reached by TLS, by name, by IPv6; and another server than Redis.

use std::sync::OnceLock;

use crate::harness::{Authority, Nodes, Program, Proxy, Setup, Wire, eventually, free_port};
use respguard_engine::route::slots::key_slot;

const TIMES: &str = "request_timeout_ms = 8000\nstall_timeout_ms = 30000\nconnect_timeout_ms = 5000\n";

const GROUPS: &str = r#"
[[group]]
name = "tagged"
atomic = "transaction"
commands = ["INCR n:{{{user}}}", "SADD s:{{{user}}} *"]
"#;

fn before(seeds: &[u16], upstream: &str) -> Proxy {
    Setup::before(1).cluster(seeds, &format!("{TIMES}{upstream}")).top("workers = 1").rules(GROUPS).start()
}

/// A key of each node, and a move that only a redirect tells of.
#[track_caller]
fn serves_all(nodes: &Nodes, proxy: &Proxy) {
    let mut wire = proxy.wire();
    for at in 0..nodes.primaries {
        let key = nodes.key_of(at, "k");
        assert_eq!(wire.ask(&format!("SET {key} {at}")), "+OK\r\n");
        assert_eq!(wire.ask(&format!("GET {key}")), format!("$1\r\n{at}\r\n"));
    }
    let key = nodes.key_of(0, "moved");
    let slot = key_slot(key.as_bytes());
    for at in [1, 0] {
        assert_eq!(nodes.servers[at].ask(&format!("CLUSTER SETSLOT {slot} NODE {}", nodes.id(1))), "+OK\r\n");
    }
    assert_eq!(wire.ask(&format!("SET {key} 1")), "+OK\r\n");
    assert_eq!(nodes.servers[1].ask(&format!("GET {key}")), "$1\r\n1\r\n");
    assert_eq!(proxy.get("/readyz").0, 200);
}

#[test]
fn nodes_are_reached_by_name_over_tls() {
    let authority = Authority::new();
    let shown = authority.issue("node", &["localhost"]);
    let mut ports = Vec::new();
    let nodes = Nodes::start_as(Program::under_test(), 2, false, || {
        let port = free_port();
        ports.push(port);
        let (cert, key, ca) = (shown.cert.display(), shown.key.display(), authority.ca());
        format!(
            "--tls-port {port} --tls-cert-file {cert} --tls-key-file {key} --tls-ca-cert-file {} --tls-auth-clients no --tls-cluster yes \
             --cluster-announce-hostname localhost --cluster-preferred-endpoint-type hostname",
            ca.display()
        )
    });
    let upstream = format!("tls = {{ ca = \"{}\", server_name = \"localhost\" }}\n", authority.ca().display());
    let proxy = before(&ports, &upstream);
    serves_all(&nodes, &proxy);
    let status = proxy.get("/status").1;
    assert!(ports.iter().all(|port| status.contains(&format!("localhost:{port}"))), "{status}");
}

#[test]
fn nodes_are_reached_at_their_ipv6_addresses() {
    let bind = || "--bind 127.0.0.1 ::1 --cluster-announce-ip ::1".to_owned();
    let nodes = Nodes::start_as(Program::under_test(), 2, false, bind);
    let proxy = before(&nodes.ports(), "");
    serves_all(&nodes, &proxy);
    let status = proxy.get("/status").1;
    assert!(nodes.ports().iter().all(|port| status.contains(&format!("[::1]:{port}"))), "{status}");
}

/// Valkey 9, which moves slots as a whole.
fn valkey() -> &'static Program {
    static PROGRAM: OnceLock<Program> = OnceLock::new();
    PROGRAM.get_or_init(|| Program::named(Some("valkey9")))
}

#[test]
fn slots_that_valkey_moves_as_a_whole_are_followed_under_load() {
    let nodes = Nodes::start_as(valkey(), 2, false, String::new);
    let proxy = before(&nodes.ports(), "");
    let user = (0..).map(|n| format!("u{n}")).find(|user| nodes.owner(user) == 0).expect("there is one");
    let slot = key_slot(user.as_bytes());
    let mut wire = proxy.wire();
    let mut applied = 0;
    let mut round = |wire: &mut Wire| {
        applied += 1;
        let replies = wire.pipeline(&[&format!("INCR n:{{{user}}}"), &format!("SADD s:{{{user}}} m{applied}")]);
        assert_eq!(replies, [format!(":{applied}\r\n"), ":1\r\n".to_owned()]);
    };
    for (from, to) in [(0, 1), (1, 0), (0, 1)] {
        (0..50).for_each(|_| round(&mut wire));
        let moved = format!("CLUSTER MIGRATESLOTS SLOTSRANGE {slot} {slot} NODE {}", nodes.id(to));
        eventually("the move begins", || nodes.servers[from].ask(&moved) == "+OK\r\n");
        eventually("the slot is at its new node", || {
            round(&mut wire);
            nodes.servers[to].ask(&format!("GET n:{{{user}}}")).starts_with('$')
        });
        (0..50).for_each(|_| round(&mut wire));
    }
    assert_eq!(nodes.servers[1].ask(&format!("SCARD s:{{{user}}}")), format!(":{applied}\r\n"));
    assert_eq!(nodes.servers[1].ask(&format!("GET n:{{{user}}}")).lines().nth(1), Some(&*applied.to_string()));
    assert_eq!(proxy.groups("tagged", "applied"), f64::from(applied));
}
