//! Shared parts of the tests of connections: a server that answers the handshake, and settings that lead to it.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use super::Settings;
use super::connections::Connections;
use crate::net::address::Address;
use crate::net::change_notifier::ChangeNotifier;
use crate::net::context::Context;
use crate::net::topology::Primary;
use crate::telemetry::exposition::Exposition;
use crate::telemetry::worker_metrics::WorkerMetrics;
use respguard_engine::command::Table;
use respguard_engine::link::budget::Allowance;

/// Counts how often a task is woken.
#[derive(Default)]
pub struct Wakes(AtomicUsize);

impl Wakes {
    pub fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::clone(self))
    }

    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Says `+PONG` to whatever is asked, and what a handshake wants to hear to the rest, on the first `served` connections;
/// hangs up when it hears QUIT. Around its answer to WATCH it sends pushes. Counts the connections.
pub fn server(served: usize) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("its address").port();
    let accepted = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&accepted);
    std::thread::spawn(move || {
        let mut silent = Vec::new();
        for mut stream in listener.incoming().flatten() {
            if counter.fetch_add(1, Ordering::SeqCst) >= served {
                silent.push(stream);
                continue;
            }
            std::thread::spawn(move || {
                let mut chunk = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut chunk) {
                    let text = String::from_utf8_lossy(&chunk[..read]).into_owned();
                    if text.contains("QUIT") {
                        return;
                    }
                    let replies: String = text
                        .lines()
                        .filter_map(|word| match word {
                            "ID" => Some(":1\r\n"),
                            "INFO" => Some("$23\r\nid=1 addr=127.0.0.1:9\r\n\r\n"),
                            "PING" => Some("+PONG\r\n"),
                            "MULTI" => Some("+OK\r\n"),
                            "EXEC" => Some("*0\r\n"),
                            "WATCH" => Some(">2\r\n$10\r\ninvalidate\r\n*0\r\n+OK\r\n>1\r\n+last\r\n"),
                            _ => None,
                        })
                        .collect();
                    if stream.write_all(replies.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (port, accepted)
}

/// One lease, and times that no test waits for.
pub fn settings(port: u16) -> Settings {
    let long = Duration::from_secs(20);
    Settings {
        retry_reads: true,
        retries: Allowance { share: 0.2, per_second: 10.0 },
        reconnected: ChangeNotifier::default(),
        limits: Arc::default(),
        cluster: None,
        is_node: false,
        reached_at: None,
        primary: Primary::fixed(Address::Tcp { host: "127.0.0.1".to_owned(), port }),
        connect_timeout: long,
        request_timeout: long,
        slow_timeout: long,
        stall_timeout: long,
        queue_timeout: long,
        heartbeat: long,
        heartbeat_timeout: long,
        login: None,
        probe: None,
        tls: None,
        connections: Connections::new(9),
        leases_max: 1,
    }
}

pub fn context(exposition: &Exposition) -> Rc<Context> {
    let table = Arc::new(Table::builtin());
    let metrics = WorkerMetrics::new(&[], exposition.totals());
    Rc::new(Context::new(0, metrics, Default::default(), Default::default(), Default::default(), table, Arc::default()))
}
