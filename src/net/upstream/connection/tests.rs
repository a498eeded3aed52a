//! A link whose task panics is there again for everybody else.

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::engine::command::Table;
use crate::engine::link::budget::Allowance;
use crate::engine::pipeline::resolve::Part;
use crate::engine::resp::Protocol;
use crate::net::address::Address;
use crate::net::upstream::{Admitted, PING};
use crate::telemetry::exposition::Exposition;
use crate::telemetry::tally::Tally;

/// Panics at its first reply, if told to.
#[derive(Default)]
struct Waiting {
    panics: bool,
    was_cut: Cell<bool>,
    replies: RefCell<Vec<u8>>,
    faults: Cell<u32>,
}

impl Recipient for Waiting {
    fn admit(&self, piece: &[u8], _part: Part) -> Admitted {
        assert!(!self.panics, "as the test wants it");
        self.replies.borrow_mut().extend_from_slice(piece);
        Admitted::default()
    }

    fn fault(&self, frames: u32, _fault: Fault) {
        self.faults.set(self.faults.get() + frames);
    }

    fn cut(&self, _frames: u32) {
        self.was_cut.set(true);
    }
}

/// Says `+PONG` to whatever is asked, and what a handshake wants to hear to the rest.
fn server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut chunk = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut chunk) {
                    let text = String::from_utf8_lossy(&chunk[..read]).into_owned();
                    let replies: String = text
                        .lines()
                        .filter_map(|word| match word {
                            "ID" => Some(":1\r\n"),
                            "INFO" => Some("$-1\r\n"),
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
    port
}

fn settings(port: u16) -> Settings {
    let long = Duration::from_secs(20);
    Settings {
        retry_reads: true,
        retries: Allowance { share: 0.2, per_second: 10.0 },
        address: Address::Tcp { host: "127.0.0.1".to_owned(), port },
        connect_timeout: long,
        request_timeout: long,
        stall_timeout: long,
        queue_timeout: long,
        heartbeat: long,
        heartbeat_timeout: long,
        login: None,
        tls: None,
        leases_max: 1,
    }
}

#[tokio::test]
async fn a_panic_ends_the_client_at_the_head_and_nobody_elses_requests() {
    let (_, exposition) = Exposition::build();
    let table = Arc::new(Table::builtin());
    let tally = Tally::new(&[], exposition.totals());
    let context = Context::new(0, tally, Default::default(), Default::default(), Default::default(), table, Arc::default());
    let context = Rc::new(context);
    let settings = Rc::new(settings(server()));
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let opening = Opening { login: None, protocol: Protocol::Resp2, db: 0 };
            let link = Link::spawn(&context, &settings, opening, true, Vec::new());
            link.opened().await.expect("it is there");
            let (bad, good) = (Rc::new(Waiting { panics: true, ..Waiting::default() }), Rc::<Waiting>::default());
            let now = clock::now();
            for who in [&bad, &good] {
                let who: Rc<dyn Recipient> = Rc::<Waiting>::clone(who);
                assert!(link.send(who, &[PING], 1, now, None));
            }
            while good.faults.get() == 0 && good.replies.borrow().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert!(bad.was_cut.get(), "nobody knows what it has got");
            let who: Rc<dyn Recipient> = Rc::<Waiting>::clone(&good);
            assert!(link.send(who, &[PING], 1, now, None), "the link takes requests again");
            while !good.replies.borrow().ends_with(b"+PONG\r\n") {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            link.close();
        })
        .await;
}
