//! A server, and what stands behind the proxy: a server like it, or a cluster.

use super::{Nodes, Pair, Program, Proxy, RedisServer, Setup, Twin, Wire};

/// What is compared.
pub enum Sides {
    Servers(Box<Twin>),
    Cluster(Box<Clustered>),
}

/// A server, and a cluster behind the proxy.
pub struct Clustered {
    direct: RedisServer,
    nodes: Nodes,
    proxy: Proxy,
}

const NO_SLOW_LOG: &str = "--slowlog-log-slower-than -1";

impl Sides {
    /// Two servers, and a proxy with these rules and keys of `[upstream]`.
    pub fn of_servers(rules: &str, upstream: &str) -> Sides {
        Sides::Servers(Box::new(Twin::with(&[NO_SLOW_LOG], |setup| setup.rules(rules).upstream(upstream))))
    }

    /// The same with a cluster of so many shards behind the proxy.
    pub fn of_a_cluster(shards: usize, rules: &str, upstream: &str) -> Sides {
        let direct = RedisServer::start(&[NO_SLOW_LOG]);
        let nodes = Nodes::start_as(Program::under_test(), shards, false, || NO_SLOW_LOG.to_owned());
        let proxy = Setup::before(1).cluster(&nodes.ports(), upstream).rules(rules).start();
        Sides::Cluster(Box::new(Clustered { direct, nodes, proxy }))
    }

    pub fn direct(&self) -> &RedisServer {
        match self {
            Sides::Servers(twin) => &twin.direct,
            Sides::Cluster(both) => &both.direct,
        }
    }

    pub fn proxy(&self) -> &Proxy {
        match self {
            Sides::Servers(twin) => &twin.proxy,
            Sides::Cluster(both) => &both.proxy,
        }
    }

    pub fn is_cluster(&self) -> bool {
        matches!(self, Sides::Cluster(_))
    }

    /// Who fills each with the same data: the nodes by way of the proxy, which knows what is where.
    pub fn fillers(&self) -> [Wire; 2] {
        match self {
            Sides::Servers(twin) => [twin.direct.wire(), twin.behind.wire()],
            Sides::Cluster(both) => [both.direct.wire(), both.proxy.wire()],
        }
    }

    /// One command for each server there is, which does it.
    pub fn all_do(&self, line: &str) {
        let behind = match self {
            Sides::Servers(twin) => std::slice::from_ref(&twin.behind),
            Sides::Cluster(both) => &both.nodes.servers,
        };
        for server in std::iter::once(self.direct()).chain(behind) {
            assert_eq!(server.ask(line), "+OK\r\n", "{line}");
        }
    }

    pub fn pair(&self, resp3: bool) -> Pair {
        let mut pair = Pair { direct: self.direct().wire(), proxied: self.proxy().wire() };
        for wire in [&mut pair.direct, &mut pair.proxied].into_iter().filter(|_| resp3) {
            assert!(wire.ask("HELLO 3").starts_with("%7\r\n"));
        }
        pair
    }
}
