//! What becomes of servers in the course of a simulation: failovers, slots that move, nodes that die or hang.

use std::rc::Rc;
use std::time::Duration;

use respguard_engine::route::slots::key_slot;
use tokio::time::{Instant, sleep};

use crate::faults::Faults;
use crate::nodes::{Nodes, View};
use crate::server::Server;

impl Server {
    /// Begins with all that this server, or cluster, has to expect.
    pub fn begin_changes(self: &Rc<Self>) {
        if self.sentinels.is_some() {
            tokio::task::spawn_local(Rc::clone(self).replace_primaries());
            return;
        }
        if self.nodes.is_none() {
            tokio::task::spawn_local(Rc::clone(self).fail_over());
            return;
        }
        tokio::task::spawn_local(Rc::clone(self).move_slots());
        tokio::task::spawn_local(Rc::clone(self).kill_nodes());
        tokio::task::spawn_local(Rc::clone(self).hold_nodes());
    }

    /// All connections end, nobody listens for a while, and what a replica had not heard of is lost.
    async fn fail_over(self: Rc<Self>) {
        while self.pause(|faults| faults.failover).await {
            self.stop(0);
            let undone = self.rng.borrow_mut().usize(0..=self.faults.borrow().undone_max);
            self.model.borrow_mut().fall_back(undone, |_| true);
            let absence = Duration::from_millis(self.rng.borrow_mut().u64(1..600));
            sleep(absence).await;
            self.start_again(0);
        }
    }

    /// A primary dies, some of them when they have done nothing for a while. The other server takes its place, without what it
    /// had not heard of; sentinels name it in their time. The old one is back before the next, and takes itself for the primary.
    async fn replace_primaries(self: Rc<Self>) {
        let sentinels = self.sentinels.as_ref().expect("they watch");
        self.stop(1);
        while self.pause(|faults| faults.failover).await {
            let (old, new) = (sentinels.named(), sentinels.named() ^ 1);
            if self.rng.borrow_mut().bool() {
                self.hold(old, Instant::now() + Duration::from_millis(300));
                self.sleep_up_to(300).await;
            }
            self.trace(|| format!("primary {old} dies"));
            self.stop(old);
            self.sleep_up_to(200).await;
            let undone = self.rng.borrow_mut().usize(0..=self.faults.borrow().undone_max);
            self.model.borrow_mut().fall_back(undone, |_| true);
            if !self.is_up(new) {
                self.start_again(new);
            }
            self.sleep_up_to(300).await;
            self.trace(|| format!("server {new} is named"));
            sentinels.name(new);
            self.sleep_up_to(300).await;
            self.trace(|| format!("server {old} is back"));
            self.start_again(old);
        }
    }

    /// Waits for about as long as there is between two of such faults; false where there are none.
    async fn pause(&self, of: fn(&Faults) -> Option<Duration>) -> bool {
        let pause = of(&self.faults.borrow());
        let Some(pause) = pause else { return false };
        let pause = pause.mul_f64(self.rng.borrow_mut().f64() + 0.1);
        sleep(pause).await;
        of(&self.faults.borrow()).is_some()
    }

    async fn sleep_up_to(&self, milliseconds: u64) {
        let absence = Duration::from_micros(self.rng.borrow_mut().u64(1..milliseconds * 1000));
        sleep(absence).await;
    }

    fn cluster(&self) -> &Nodes {
        self.nodes.as_ref().expect("it is a cluster")
    }

    /// One slot after the other, of those that have keys, moves to another primary, key by key.
    async fn move_slots(self: Rc<Self>) {
        while self.pause(|faults| faults.moves).await {
            let slots: Vec<u16> = self.model.borrow().keys().map(|key| key_slot(key.as_bytes())).collect();
            let Some(slot) = self.rng.borrow_mut().choice(slots) else { continue };
            let (nodes, from) = (self.cluster(), self.cluster().owner(slot));
            let others: Vec<usize> = nodes.primaries().into_iter().filter(|node| *node != from).collect();
            let Some(to) = self.rng.borrow_mut().choice(others) else { continue };
            let is_up = self.is_up(from) && self.is_up(to);
            if !is_up || !nodes.begin_move(slot, from, to) {
                continue;
            }
            self.trace(|| format!("slot {slot} begins to move from {from} to {to}"));
            while nodes.move_key(slot, from, &mut self.model.borrow_mut()) {
                self.sleep_up_to(3).await;
            }
            if nodes.is_leaving(slot, from) {
                self.trace(|| format!("slot {slot} is at {to}"));
                let view = nodes.end_move(slot, from, to);
                nodes.hear(to, &view);
                self.sleep_up_to(5).await;
                nodes.hear(from, &view);
                self.tell(&view, 100);
            }
        }
    }

    /// All that are there hear of it in their time.
    fn tell(self: &Rc<Self>, view: &View, longest: u64) {
        for node in 0..self.cluster().len() {
            let (server, view) = (Rc::clone(self), view.clone());
            tokio::task::spawn_local(async move {
                server.sleep_up_to(longest).await;
                if server.is_up(node) {
                    server.cluster().hear(node, &view);
                }
            });
        }
    }

    /// One primary after the other dies. Most often its replica takes its place before it is back.
    async fn kill_nodes(self: Rc<Self>) {
        while self.pause(|faults| faults.deaths).await {
            let nodes = self.cluster();
            let gone = self.rng.borrow_mut().choice(nodes.primaries()).expect("a primary");
            self.trace(|| format!("node {gone} dies"));
            self.stop(gone);
            nodes.forget_moves(gone);
            let stops_all = self.rng.borrow_mut().bool();
            let is_replaced = self.rng.borrow_mut().u32(0..4) > 0;
            self.sleep_up_to(60).await;
            nodes.is_down.set(stops_all);
            self.sleep_up_to(300).await;
            if is_replaced {
                let undone = self.rng.borrow_mut().usize(0..=self.faults.borrow().undone_max);
                self.model.borrow_mut().fall_back(undone, |key| nodes.has(gone, key));
                self.trace(|| format!("node {} takes the place of {gone}", gone ^ 1));
                let view = nodes.promote(gone);
                nodes.hear(gone ^ 1, &view);
                self.tell(&view, 60);
                nodes.is_down.set(false);
                self.sleep_up_to(600).await;
            }
            nodes.start_anew(gone);
            self.start_again(gone);
            self.sleep_up_to(200).await;
            nodes.join(gone);
            nodes.is_down.set(false);
            self.trace(|| format!("node {gone} is back"));
        }
    }

    /// One node after the other does nothing for a while.
    async fn hold_nodes(self: Rc<Self>) {
        while self.pause(|faults| faults.stalls).await {
            let node = self.rng.borrow_mut().usize(..self.cluster().len());
            let longest = Duration::from_micros(self.rng.borrow_mut().u64(1..500_000));
            self.trace(|| format!("node {node} hangs for {longest:?}"));
            self.hold(node, Instant::now() + longest);
            sleep(longest).await;
        }
    }
}
