//! Three nodes without replicas, and who is asked which of them serves what.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use respguard::net::address::Address;
use respguard::net::cluster::watch::Watch;
use respguard::net::topology::{self, Primary};
use respguard::net::upstream::Settings;
use respguard::net::upstream::cluster::settings::{Announced, ClusterSettings};
use respguard::net::upstream::cluster::{Scripts, Traffic};

use crate::served;
use crate::server::Server;

const SLOTS: [(u16, u16); 3] = [(0, 5460), (5461, 10922), (10923, 16383)];
/// How long the nodes may take to meet.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Cluster {
    nodes: Vec<Server>,
}

impl Cluster {
    /// Starts them, and waits until each says that all slots are served.
    pub fn start() -> Cluster {
        let bus_ports: Vec<String> = SLOTS.iter().map(|_| free_port().to_string()).collect();
        let start = |bus: &String| Server::start_with(&["--cluster-enabled", "yes", "--cluster-port", bus]);
        let nodes: Vec<Server> = bus_ports.iter().map(start).collect();
        for (node, (first, last)) in nodes.iter().zip(SLOTS) {
            let mut connection = node.connect();
            let add = redis::cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(first).arg(last).exec(&mut connection);
            let mut meet = redis::cmd("CLUSTER");
            meet.arg("MEET").arg("127.0.0.1").arg(nodes[0].port()).arg(&bus_ports[0]);
            add.and_then(|()| meet.exec(&mut connection)).expect("a node of a cluster");
        }
        let since = Instant::now();
        while !nodes.iter().all(is_whole) {
            assert!(since.elapsed() < PATIENCE, "the nodes meet");
            std::thread::sleep(Duration::from_millis(20));
        }
        Cluster { nodes }
    }

    /// Of this cluster; a thread of its own asks the nodes from now on.
    pub fn settings(&self) -> Settings {
        let (slot_map_publisher, cluster) = topology::cluster::Cluster::unknown();
        let (primary_publisher, mut primary) = Primary::unknown();
        let announced = Announced { host: String::new(), port: 1, id: "0".repeat(40) };
        let cluster = ClusterSettings {
            cluster,
            announced,
            split_writes: false,
            databases: false,
            scripts: Scripts::default(),
            traffic: Traffic::default(),
        };
        let port = self.nodes[0].port();
        let settings = Settings { cluster: Some(Arc::new(cluster)), primary: primary.clone(), ..served::settings(port) };
        let seeds = vec![Address::Tcp { host: "127.0.0.1".to_owned(), port }];
        let watch = Watch::new(seeds, settings.clone(), slot_map_publisher, primary_publisher);
        let on_one_thread = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        std::thread::spawn(move || on_one_thread().block_on(watch.run()));
        on_one_thread().block_on(async {
            while primary.observe().node.is_none() {
                primary.changed().await;
            }
        });
        // As in the process: no client's connection depends on which node answers first.
        Settings { primary: served::settings(port).primary, ..settings }
    }
}

fn is_whole(node: &Server) -> bool {
    let told: String = redis::cmd("CLUSTER").arg("INFO").query(&mut node.connect()).unwrap_or_default();
    told.contains("cluster_state:ok") && told.contains("cluster_known_nodes:3")
}

fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    free.local_addr().expect("its address").port()
}
