//! Checks what happens to a link whose connection or task has ended.

use std::cell::{Cell, RefCell};
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::held_up::Stop;
use super::*;
use crate::net::clock;
use crate::net::upstream::tests::{context, server, settings};
use crate::net::upstream::{Admitted, PING, Settings};
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
    is_behind: Cell<bool>,
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

    fn behind_for(&self) -> Option<Duration> {
        self.is_behind.get().then_some(Duration::ZERO)
    }
}

#[tokio::test]
async fn a_panic_ends_the_client_at_the_head_and_nobody_elses_requests() {
    let context = context(&Exposition::build().1);
    let settings = Rc::new(WorkerSettings::server(settings(server(usize::MAX).0)));
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
    let settings = Rc::new(WorkerSettings::server(settings(port)));
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

/// A link that has stopped before the reply to a recipient that is behind, alone.
async fn stopped(context: &Rc<Context>, settings: &Rc<WorkerSettings>) -> (Rc<Link>, Rc<Waiting>) {
    let permit = settings.connections.take().expect("room");
    let link = Link::spawn(context, settings, ConnectParams::default(), permit, true, Vec::new());
    link.opened().await.expect("it is there");
    let who = Rc::new(Waiting { is_behind: Cell::new(true), ..Waiting::default() });
    assert!(link.send(Rc::<Waiting>::clone(&who), &[PING], Owed::answer(), Times::unlimited(clock::now())));
    while link.held_up.why() != Some(Stop::Alone) || link.woken.get() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (link, who)
}

/// What the metrics show after this.
fn shown(run: impl AsyncFnOnce(&Rc<Context>, &Rc<WorkerSettings>)) -> String {
    let (recorder, exposition) = Exposition::build();
    metrics::with_local_recorder(&recorder, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let settings = Rc::new(WorkerSettings::server(settings(server(usize::MAX).0)));
        let context = context(&exposition);
        tokio::task::LocalSet::new().block_on(&runtime, run(&context, &settings));
        context.metrics.flush();
        exposition.render()
    })
}

#[test]
fn a_connection_that_stopped_for_a_client_goes_on_even_where_nobody_tells_it_and_that_is_counted() {
    let text = shown(async |context, settings| {
        let (link, who) = stopped(context, settings).await;
        link.on_tick();
        assert!(!link.woken.get(), "its client is still behind");
        who.is_behind.set(false);
        link.on_tick();
        link.on_tick();
        while who.replies.borrow().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        link.close();
    });
    assert!(text.contains("\nrespguard_missed_wakeups_total 1\n"), "{text}");
}

#[test]
fn nothing_is_counted_where_the_client_has_told_it_or_others_made_room() {
    let text = shown(async |context, settings| {
        for by_memory in [false, true] {
            let (link, who) = stopped(context, settings).await;
            who.is_behind.set(false);
            if by_memory {
                link.held_up.stop(Stop::Alone, true);
            } else {
                link.wake();
            }
            link.on_tick();
            while who.replies.borrow().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            link.close();
        }
    });
    assert!(text.contains("\nrespguard_missed_wakeups_total 0\n"), "{text}");
}

#[test]
fn a_connection_that_is_given_back_stops_for_nobody() {
    let text = shown(async |context, settings| {
        let permit = settings.connections.take().expect("room");
        let link = Link::spawn(context, settings, ConnectParams::default(), permit, false, Vec::new());
        let who = Rc::new(Waiting { is_behind: Cell::new(true), ..Waiting::default() });
        link.set_owner(Some(Rc::<Waiting>::clone(&who)));
        link.opened().await.expect("it is there");
        while link.held_up.why() != Some(Stop::Alone) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        link.set_owner(None);
        while link.held_up.why().is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        link.close();
    });
    assert!(text.contains("\nrespguard_missed_wakeups_total 0\n"), "{text}");
}

#[tokio::test]
async fn a_push_on_a_lease_is_no_reply_whoever_has_it() {
    let context = context(&Exposition::build().1);
    let settings = Rc::new(WorkerSettings::server(settings(server(usize::MAX).0)));
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            for is_owned in [false, true] {
                let permit = settings.connections.take().expect("room");
                let link = Link::spawn(&context, &settings, ConnectParams::default(), permit, false, Vec::new());
                link.opened().await.expect("it is there");
                let waiting = Rc::<Waiting>::default();
                let who: Rc<dyn Recipient> = Rc::<Waiting>::clone(&waiting);
                link.set_owner(is_owned.then(|| Rc::clone(&who)));
                for request in [&b"WATCH\r\n"[..], PING] {
                    assert!(link.send(Rc::clone(&who), &[request], Owed::answer(), Times::unlimited(clock::now())));
                }
                let answered = async {
                    while !waiting.replies.borrow().ends_with(b"+PONG\r\n") {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                };
                tokio::time::timeout(Duration::from_secs(20), answered).await.expect("both replies come");
                assert_eq!(waiting.replies.take(), b"+OK\r\n+PONG\r\n", "owned: {is_owned}");
                link.close();
            }
        })
        .await;
}

#[tokio::test]
async fn a_single_request_for_a_node_that_is_at_work_goes_when_the_sockets_were_looked_at() {
    let context = context(&Exposition::build().1);
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            for (is_node, is_at_work, requests) in [(true, true, 1), (true, false, 1), (true, true, 2), (false, true, 1)] {
                let settings = Settings { is_node, ..settings(server(usize::MAX).0) };
                let settings = Rc::new(WorkerSettings::server(settings));
                let (link, who) = stopped(&context, &settings).await;
                if !is_at_work {
                    who.is_behind.set(false);
                    link.wake();
                    while who.replies.borrow().is_empty() {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
                let (owed, times) = (Owed::questions(0, requests), Times::unlimited(clock::now()));
                assert!(link.send(who, &vec![PING; requests as usize], owed, times));
                let sees = Rc::clone(&link);
                let waits = tokio::task::spawn_local(async move { sees.has_unwritten() }).await;
                assert_eq!(waits.ok(), Some(is_node && is_at_work && requests == 1), "{is_node} {is_at_work} {requests}");
                while link.has_unwritten() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                link.close();
            }
        })
        .await;
}
