//! A cluster of real servers.

use std::collections::BTreeMap;

use super::{Program, RedisServer, eventually, free_port};
use respguard_engine::route::slots::SLOTS;

/// How soon nodes take another one for dead.
const NODE_TIMEOUT_MS: u32 = 1000;

/// How far apart the ports for clients and for other nodes are where they are not told.
const BUS_PORT_OFFSET: u16 = 10_000;

/// Primaries that share all slots, then their replicas in the same order.
pub struct Nodes {
    pub servers: Vec<RedisServer>,
    pub primaries: usize,
}

/// More arguments for each, by its number.
type Arguments<'a> = &'a mut dyn FnMut(usize) -> String;

impl Nodes {
    /// Waits until all of them know of each other and serve.
    pub fn start(primaries: usize, with_replicas: bool) -> Nodes {
        Nodes::start_as(Program::under_test(), primaries, with_replicas, String::new)
    }

    /// Of this program, each with more arguments.
    pub fn start_as(program: &'static Program, primaries: usize, with_replicas: bool, mut more: impl FnMut() -> String) -> Nodes {
        Nodes::start_each(program, primaries, with_replicas, &mut |_| more())
    }

    /// Each has an address of its own beside the usual one, from which it speaks to the others and which it tells.
    pub fn start_apart(primaries: usize) -> Nodes {
        let mut own = |at: usize| {
            let host = Nodes::host(at);
            format!(
                "--bind 127.0.0.1 {host} --bind-source-addr {host} --cluster-announce-ip {host} --protected-mode no \
                 --cluster-require-full-coverage no --cluster-node-timeout 3000"
            )
        };
        Nodes::start_each(Program::under_test(), primaries, true, &mut own)
    }

    /// The address that a node has for itself, where each has one.
    pub fn host(at: usize) -> String {
        format!("127.0.1.{}", at + 1)
    }

    fn start_each(program: &'static Program, primaries: usize, with_replicas: bool, more: Arguments<'_>) -> Nodes {
        let count = if with_replicas { 2 * primaries } else { primaries };
        let mut try_start = |at: usize| {
            // Before 7.0 the port for other nodes follows from that for clients.
            let bus = (program.version >= (7, 0)).then(free_port);
            let bus_option = bus.map(|bus| format!("--cluster-port {bus}")).unwrap_or_default();
            let arguments = format!(
                "--cluster-enabled yes --cluster-config-file nodes.conf --cluster-node-timeout {NODE_TIMEOUT_MS} \
                 {bus_option} --repl-diskless-sync-delay 0 --repl-ping-replica-period 1 {}",
                more(at)
            );
            let server = RedisServer::try_start(program, &[&arguments.split_whitespace().collect::<Vec<_>>().join(" ")])?;
            let bus = bus.unwrap_or(server.port() + BUS_PORT_OFFSET);
            Some((server, bus))
        };
        let mut start = |at| (0..10).find_map(|_| try_start(at)).expect("a node finds ports that stay free");
        let (servers, buses): (Vec<_>, Vec<_>) = (0..count).map(&mut start).unzip();
        let nodes = Nodes { servers, primaries };
        for (at, server) in nodes.servers.iter().enumerate() {
            assert_eq!(server.ask(&format!("CLUSTER SET-CONFIG-EPOCH {}", at + 1)), "+OK\r\n");
            if at < primaries {
                let (first, last) = nodes.range(at);
                let slots: String = (first..=last).map(|slot| format!(" {slot}")).collect();
                assert_eq!(server.ask(&format!("CLUSTER ADDSLOTS{slots}")), "+OK\r\n");
            }
        }
        let all_know = |count: usize| {
            nodes.servers.iter().all(|server| server.ask("CLUSTER INFO").contains(&format!("cluster_known_nodes:{count}\r\n")))
        };
        // A greeting that is not answered in time on a busy machine is forgotten.
        let meet = format!("CLUSTER MEET 127.0.0.1 {} {}", nodes.servers[0].port(), buses[0]);
        eventually("the nodes know each other", || {
            let strangers = nodes.servers[1..].iter().filter(|server| !server.ask("CLUSTER NODES").contains(&nodes.id(0)));
            let greeted = strangers.map(|server| assert_eq!(server.ask(&meet), "+OK\r\n")).count();
            if greeted > 0 {
                std::thread::sleep(std::time::Duration::from_millis(300));
            }
            all_know(count)
        });
        for at in primaries..count {
            let follow = format!("CLUSTER REPLICATE {}", nodes.id(at - primaries));
            eventually("the replica knows its primary", || nodes.servers[at].ask(&follow) == "+OK\r\n");
        }
        eventually("all serve", || nodes.servers.iter().all(|server| nodes.serves(server)));
        eventually("replicas follow", || {
            nodes.servers[primaries..].iter().all(|server| server.ask("INFO replication").contains("master_link_status:up"))
        });
        nodes
    }

    /// The slots that this primary begins with.
    pub fn range(&self, at: usize) -> (usize, usize) {
        (at * SLOTS / self.primaries, (at + 1) * SLOTS / self.primaries - 1)
    }

    fn serves(&self, server: &RedisServer) -> bool {
        let info = server.ask("CLUSTER INFO");
        info.contains("cluster_state:ok") && info.contains(&format!("cluster_size:{}\r\n", self.primaries))
    }

    /// A node's id.
    pub fn id(&self, at: usize) -> String {
        let reply = self.servers[at].ask("CLUSTER MYID");
        reply.lines().nth(1).unwrap_or_default().to_owned()
    }

    /// Ports of all.
    pub fn ports(&self) -> Vec<u16> {
        self.servers.iter().map(RedisServer::port).collect()
    }

    /// Where each is reached, where each has an address of its own.
    pub fn addresses(&self) -> Vec<String> {
        self.servers.iter().enumerate().map(|(at, server)| format!("{}:{}", Nodes::host(at), server.port())).collect()
    }

    /// The number of the primary that began with the key's slot.
    pub fn owner(&self, key: &str) -> usize {
        let slot = usize::from(respguard_engine::route::slots::key_slot(key.as_bytes()));
        (0..self.primaries).find(|&at| (self.range(at).0..=self.range(at).1).contains(&slot)).expect("all slots have one")
    }

    /// A key that begins so and whose slot this primary began with.
    pub fn key_of(&self, at: usize, begin: &str) -> String {
        (0..).map(|number| format!("{begin}{number}")).find(|key| self.owner(key) == at).expect("there is one")
    }

    /// Moves a slot half way: its new node takes it in.
    pub fn begin_move(&self, slot: u16, from: usize, to: usize) {
        let (source, target) = (self.id(from), self.id(to));
        assert_eq!(self.servers[to].ask(&format!("CLUSTER SETSLOT {slot} IMPORTING {source}")), "+OK\r\n");
        assert_eq!(self.servers[from].ask(&format!("CLUSTER SETSLOT {slot} MIGRATING {target}")), "+OK\r\n");
    }

    /// The new node has all of it.
    pub fn end_move(&self, slot: u16, from: usize, to: usize) {
        let target = self.id(to);
        let others = (0..self.primaries).filter(|at| ![to, from].contains(at));
        for at in [to, from].into_iter().chain(others) {
            assert_eq!(self.servers[at].ask(&format!("CLUSTER SETSLOT {slot} NODE {target}")), "+OK\r\n");
        }
    }

    /// One key goes to the slot's new node.
    pub fn migrate(&self, key: &str, from: usize, to: usize) {
        let port = self.servers[to].port();
        assert_eq!(self.servers[from].ask(&format!("MIGRATE 127.0.0.1 {port} {key} 0 5000")), "+OK\r\n", "{key}");
    }

    /// Moves a slot with all of its keys.
    pub fn move_slot(&self, slot: u16, from: usize, to: usize) {
        self.begin_move(slot, from, to);
        loop {
            let keys = self.servers[from].ask(&format!("CLUSTER GETKEYSINSLOT {slot} 100"));
            let keys: Vec<&str> = keys.lines().filter(|line| !line.starts_with(['*', '$'])).collect();
            if keys.is_empty() {
                break;
            }
            for key in keys {
                let port = self.servers[to].port();
                let moved = self.servers[from].ask(&format!("MIGRATE 127.0.0.1 {port} {key} 0 5000"));
                // Somebody may have deleted it meanwhile.
                assert!(["+OK\r\n", "+NOKEY\r\n"].contains(&&*moved), "{key}: {moved}");
            }
        }
        self.end_move(slot, from, to);
        // A slot that moves before all have heard of the last move can end up without an owner.
        eventually("all know who serves what", || {
            let said: Vec<_> = self.servers[..self.primaries].iter().map(known_slots).collect();
            said.windows(2).all(|pair| pair[0] == pair[1])
        });
    }
}

/// Who serves what since which epoch, as this node knows it.
fn known_slots(server: &RedisServer) -> BTreeMap<String, Vec<String>> {
    let nodes = server.ask("CLUSTER NODES");
    let lines = nodes.lines().map(|line| line.split(' ').collect::<Vec<_>>()).filter(|node| node.len() > 7);
    lines
        .map(|node| {
            (
                node[0].to_owned(),
                node[6..]
                    .iter()
                    .filter(|word| !word.starts_with('[') && **word != "connected")
                    .map(ToString::to_string)
                    .collect(),
            )
        })
        .collect()
}
