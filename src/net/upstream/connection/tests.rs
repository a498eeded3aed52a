//! What becomes of a link whose connection or task has ended.

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::net::address::Address;
use crate::net::topology::Primary;
use crate::net::upstream::connections::Connections;
use crate::net::upstream::{Admitted, PING, Settings};
use crate::telemetry::exposition::Exposition;
use crate::telemetry::worker_metrics::WorkerMetrics;
use respguard_engine::command::Table;
use respguard_engine::link::budget::Allowance;
use respguard_engine::link::owed::{Owed, ReplyTo};
use respguard_engine::pipeline::resolve::Part;

/// Panics at its first reply, if told to.
#[derive(Default)]
struct Waiting {
    panics: bool,
    was_cut: Cell<bool>,
    replies: RefCell<Vec<u8>>,
    faults: Cell<u32>,
}

impl Recipient for Waiting {
    fn admit(&self, _to: ReplyTo, piece: &[u8], _part: Part) -> Admitted {
        assert!(!self.panics, "as the test wants it");
        self.replies.borrow_mut().extend_from_slice(piece);
        Admitted::default()
    }

    fn fault(&self, owed: Owed, _fault: Fault) {
        self.faults.set(self.faults.get() + owed.frames());
    }

    fn cut(&self, _owed: Owed) {
        self.was_cut.set(true);
    }
}

/// Says `+PONG` to whatever is asked, and what a handshake wants to hear to the rest, on the first `served` connections;
/// hangs up when it hears QUIT. Counts the connections.
fn server(served: usize) -> (u16, Arc<AtomicUsize>) {
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

fn settings(port: u16) -> Settings {
    let long = Duration::from_secs(20);
    Settings {
        retry_reads: true,
        retries: Allowance { share: 0.2, per_second: 10.0 },
        reconnected: Arc::default(),
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

fn context() -> Rc<Context> {
    let (_, exposition) = Exposition::build();
    let table = Arc::new(Table::builtin());
    let metrics = WorkerMetrics::new(&[], exposition.totals());
    Rc::new(Context::new(0, metrics, Default::default(), Default::default(), Default::default(), table, Arc::default()))
}

#[tokio::test]
async fn a_panic_ends_the_client_at_the_head_and_nobody_elses_requests() {
    let context = context();
    let settings = Rc::new(Reach::server(settings(server(usize::MAX).0)));
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let permit = settings.connections.take().expect("room");
            let link = Link::spawn(&context, &settings, ConnectParams::default(), permit, true, Vec::new());
            link.opened().await.expect("it is there");
            let (bad, good) = (Rc::new(Waiting { panics: true, ..Waiting::default() }), Rc::<Waiting>::default());
            let now = clock::now();
            for who in [&bad, &good] {
                let who: Rc<dyn Recipient> = Rc::<Waiting>::clone(who);
                assert!(link.send(who, &[PING], Owed::answer(), now, None));
            }
            while good.faults.get() == 0 && good.replies.borrow().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert!(bad.was_cut.get(), "nobody knows what it has got");
            let who: Rc<dyn Recipient> = Rc::<Waiting>::clone(&good);
            assert!(link.send(who, &[PING], Owed::answer(), now, None), "the link takes requests again");
            while !good.replies.borrow().ends_with(b"+PONG\r\n") {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            link.close();
        })
        .await;
}

#[tokio::test]
async fn a_lost_connection_is_told_of_until_it_is_ended() {
    let context = context();
    let (port, accepted) = server(1);
    let settings = Rc::new(Reach::server(settings(port)));
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let permit = settings.connections.take().expect("room");
            let link = Link::spawn(&context, &settings, ConnectParams::default(), permit, true, Vec::new());
            link.opened().await.expect("it is there");
            assert!(link.orphans().is_empty());
            let who = Rc::<Waiting>::default();
            assert!(link.send(Rc::<Waiting>::clone(&who), &[b"QUIT\r\n"], Owed::answer(), clock::now(), None));
            while accepted.load(Ordering::SeqCst) < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(who.faults.get() + u32::from(who.was_cut.get()), 1, "its outcome is unknown");
            assert_eq!(link.orphans().len(), 1, "the server has not answered that it has ended it");
            link.close();
        })
        .await;
}
