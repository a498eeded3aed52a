//! Checks what happens to a link whose connection or task has ended.

use std::cell::{Cell, RefCell};
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::*;
use crate::net::clock;
use crate::net::upstream::tests::{context, server, settings};
use crate::net::upstream::{Admitted, PING};
use crate::telemetry::exposition::Exposition;
use respguard_engine::link::owed::{Owed, ReplyTo};
use respguard_engine::link::times::Times;
use respguard_engine::pipeline::reading::Part;

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

#[tokio::test]
async fn a_panic_ends_the_client_at_the_head_and_nobody_elses_requests() {
    let context = context(&Exposition::build().1);
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
                assert!(link.send(who, &[PING], Owed::answer(), Times::unlimited(now)));
            }
            while good.faults.get() == 0 && good.replies.borrow().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert!(bad.was_cut.get(), "nobody knows what it has got");
            let who: Rc<dyn Recipient> = Rc::<Waiting>::clone(&good);
            assert!(link.send(who, &[PING], Owed::answer(), Times::unlimited(now)), "the link takes requests again");
            while !good.replies.borrow().ends_with(b"+PONG\r\n") {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            link.close();
        })
        .await;
}

#[tokio::test]
async fn a_lost_connection_is_told_of_until_it_is_ended() {
    let context = context(&Exposition::build().1);
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
            assert!(link.send(Rc::<Waiting>::clone(&who), &[b"QUIT\r\n"], Owed::answer(), Times::unlimited(clock::now())));
            while accepted.load(Ordering::SeqCst) < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(who.faults.get() + u32::from(who.was_cut.get()), 1, "its outcome is unknown");
            assert_eq!(link.orphans().len(), 1, "the server has not answered that it has ended it");
            link.close();
        })
        .await;
}
