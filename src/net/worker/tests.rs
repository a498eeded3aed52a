//! A client whose task panics is closed and counted, and no other client notices.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::*;
use crate::net::registry::Mailbox;
use crate::net::upstream::PING;
use crate::net::upstream::tests::{context, server, settings};
use crate::telemetry::exposition::Exposition;

async fn ask(wire: &mut UnixStream) -> Vec<u8> {
    wire.write_all(PING).await.expect("it is open");
    let mut reply = vec![0; 7];
    wire.read_exact(&mut reply).await.expect("a reply");
    reply
}

#[expect(clippy::await_holding_refcell_ref, reason = "what the task needs is held so that it must panic")]
async fn panic_in_one_of_two(exposition: &Exposition) {
    let context = context(exposition);
    let pool = Pool::new(&context, settings(server(usize::MAX).0));
    let (sender, _messages) = mpsc::channel(8);
    let mailbox = Mailbox { sender, clients: Arc::default() };
    let registry = Arc::new(Registry::new(10));
    let load = Arc::clone(&mailbox.clients);
    let shared = Rc::new(WorkerShared {
        context,
        pool,
        registry: Arc::clone(&registry),
        users: None,
        exclusive: false,
        load,
        plan: RefCell::default(),
        clients: RefCell::default(),
        left: Notify::new(),
    });
    let mut wires = Vec::new();
    for _ in 0..2 {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        let client = registry.enter("a test".into(), "a test".into(), &mailbox).expect("there is room");
        serve(&shared, Stream::Unix(theirs), client);
        wires.push(ours);
    }
    for wire in &mut wires {
        assert_eq!(ask(wire).await, b"+PONG\r\n");
    }
    let victim = registry.clients()[0].id;
    let exchange = shared.clients.borrow().get(&victim).and_then(Weak::upgrade).expect("it is served");
    let held = exchange.state.borrow_mut();
    wires[0].write_all(PING).await.expect("it is open");
    while registry.len() == 2 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    drop(held);
    drop(exchange);
    let mut rest = Vec::new();
    // An end over bytes that nobody has read is a reset.
    let end = wires[0].read_to_end(&mut rest).await.map_err(|error| error.kind());
    assert!(matches!(end, Ok(0) | Err(io::ErrorKind::ConnectionReset)) && rest.is_empty(), "{end:?}");
    assert_eq!(ask(&mut wires[1]).await, b"+PONG\r\n");
    assert_eq!(registry.len(), 1);
    shared.pool.close();
}

#[test]
fn a_panic_in_one_clients_task_costs_that_client_alone_and_is_counted() {
    let (recorder, exposition) = Exposition::build();
    let text = metrics::with_local_recorder(&recorder, || {
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).expect("a runtime");
        runtime.block_on(panic_in_one_of_two(&exposition));
        // What was left running is dropped before its counters are read.
        drop(runtime);
        exposition.render()
    });
    assert!(text.contains("\nrespguard_panics_total 1\n"), "{text}");
    assert!(text.contains("\nrespguard_clients 0\n"), "{text}");
}
