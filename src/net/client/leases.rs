//! Acquires and returns a client's leased connection.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::fence::UNANSWERED;
use super::lease::Lease;
use crate::net::clock;
use crate::net::exchange::{End, Exchange, Waiting};
use crate::net::upstream::connection::{Link, Phase};
use crate::net::upstream::discard::Discard;
use crate::net::upstream::lane::{Lane, NoLease};
use respguard_engine::command::{self, ClientCommand, CommandId, ConnectionEffect, PinReason};
use respguard_engine::link::owed::Owed;
use respguard_engine::link::times::Times;
use respguard_engine::session::affinity::Reason;
use respguard_engine::session::transaction::Transaction;
use respguard_resp::encode;

/// <https://redis.io/docs/latest/commands/quit/>
const QUIT: &[u8] = b"*1\r\n$4\r\nQUIT\r\n";
/// How long is waited for the server to end a lease whose client says good-bye.
const QUIT_PATIENCE: Duration = Duration::from_millis(250);

impl Connection {
    /// Gives the client a connection of its own; where none is to be had, the command that needs it is refused.
    pub(super) async fn pin(&mut self, reason: Reason) {
        let begun = clock::now();
        let taken = self.take_lease(reason).await;
        if reason == Reason::Bulky {
            // It could have gone with the others meanwhile.
            self.preparation.count_short_wait(begun, self.shared.pool.settings.request_timeout, clock::now());
        }
        match taken {
            Ok(()) if self.input.batch.is_empty() => {}
            Ok(()) => {
                let (id, state) = (self.id(), &mut *self.exchange.state.borrow_mut());
                state.session.missed.make_up_mode(id);
                if reason == Reason::Tunnel {
                    state.slots.note(id);
                }
            }
            // It may go with the others, if they have to wait for it.
            Err(_) if reason == Reason::Bulky => {
                self.preparation.go_with_others();
                // It has waited already.
                self.preparation.count_wait_since(begun);
            }
            Err(why) => self.refuse_lease(reason, &why),
        }
    }

    /// Gives the client a connection of its own, once nothing is owed on the one that it leaves; where that is stuck, it is
    /// that one.
    pub(super) async fn take_lease(&mut self, reason: Reason) -> Result<(), String> {
        let begun = clock::now();
        let is_drained = self.drained_before(reason).await;
        if self.exchange.ended().is_some() {
            return Ok(());
        }
        if !is_drained {
            return Err(UNANSWERED.to_owned());
        }
        if !self.lease.is_held() {
            let lane = self.exchange.lane();
            let link = self.new_lease(&lane).await?;
            // What it could do without must cost it neither its session nor the time that it has.
            if reason == Reason::Bulky && !self.opens_in_time(&link, begun).await {
                lane.give_back(&link, false);
                return Err("it can do without".to_owned());
            }
            link.set_owner(Some(Rc::<Exchange>::clone(&self.exchange)));
            self.exchange.set_link(&link);
            self.lease = Lease::of(lane, link);
        }
        self.exchange.state.borrow_mut().session.affinity.pin(reason);
        Ok(())
    }

    /// Waits for a connection that the client could do without, at most for as long as what waits may wait in all.
    async fn opens_in_time(&self, link: &Link, begun: Instant) -> bool {
        let settings = &self.shared.pool.settings;
        let left = settings.request_timeout.checked_sub(clock::now().saturating_duration_since(begun));
        let longest = left.unwrap_or(Duration::MAX).min(settings.queue_timeout / 2);
        tokio::time::timeout(longest, link.opened()).await.is_ok_and(|opened| opened.is_ok())
    }

    async fn new_lease(&self, lane: &Lane) -> Result<Rc<Link>, String> {
        if self.shared.context.health.refuses() {
            self.shared.context.metrics.add_refused(1);
            return Err("the server is unavailable and the breaker is open".to_owned());
        }
        let lease = match lane.lease() {
            // Room that was made is taken at once: nothing is waited for in between.
            Err(NoLease::Full(_)) if self.shared.pool.make_room().await.is_ok() => lane.lease(),
            lease => lease,
        };
        lease.map_err(|error| error.to_string())
    }

    /// The command that needs a lease is answered with an error. Behind a MULTI that is refused the client may have sent
    /// more already, which must not run without it: all of it is taken as if its connection had been lost.
    pub(super) fn refuse_lease(&mut self, reason: Reason, why: &str) {
        let reply = encode::error_reply(&format!("ERR respguard: {why}"));
        if self.input.batch.is_empty() {
            if matches!(reason, Reason::Exclusive) && !self.input.has_begun_request() {
                // It cannot be served at all.
                self.exchange.answer(reply);
                return self.input.give_up();
            }
            self.note_refused(self.large_id(), reason);
            return self.discard(reply);
        }
        if self.note_refused(self.id(), reason) {
            return;
        }
        self.answer_first(&reply);
    }

    /// What follows a command that was refused must not run in another state than its author thinks; true when the command
    /// is to be planned again, and answered with what follows from that.
    fn note_refused(&mut self, id: CommandId, reason: Reason) -> bool {
        let effect = self.shared.context.table().spec(id).connection;
        let session = &mut self.exchange.state.borrow_mut().session;
        match effect {
            ConnectionEffect::Transaction(command::Transaction::Multi) if reason == Reason::Transaction => {
                session.transaction = Transaction::Lost { open: false };
                return true;
            }
            // The transaction behind it must not do without it.
            ConnectionEffect::Transaction(command::Transaction::Watch) => session.transaction = Transaction::Lost { open: false },
            ConnectionEffect::ClientCommand(ClientCommand::ClientTracking) | ConnectionEffect::Pin(PinReason::Tracking) => {
                session.missed.miss_mode(id)
            }
            _ => {}
        }
        false
    }

    /// Gives the lease back as soon as nothing needs it any more.
    pub(super) fn tidy_lease(&mut self) {
        if self.exchange.lost_lease.take() {
            self.lose_lease();
        }
        if !self.lease.is_held() {
            return;
        }
        if self.exchange.is_drained() && !self.input.is_streaming() && self.exchange.state.borrow().session.is_free() {
            self.return_lease(true);
        }
    }

    /// What was bound to the lost lease is lost too; a client that cannot learn so from a reply is closed.
    pub(super) fn lose_lease(&mut self) {
        let (lasting, subscribed) = {
            let state = self.exchange.state.borrow();
            (!state.session.affinity.is_passing(), state.session.subscriptions.any())
        };
        // What it was sent last may still lie unread at the server, and the client goes on.
        self.lease.orphan();
        self.drop_lease();
        if lasting || subscribed {
            self.exchange.end_with_recovery();
            return;
        }
        self.input.cutting.lose();
        self.exchange.state.borrow_mut().session.transaction.lose();
    }

    /// What the server keeps for the client on its lease ends before the client is told so, as it does directly: others may
    /// look at it from then on.
    pub(super) async fn end_lease(&mut self) {
        let Some(link) = self.lease.link().filter(|link| link.phase() == Phase::Ready) else { return };
        let (link, now) = (Rc::clone(link), clock::now());
        link.set_owner(None);
        if link.send(Rc::new(Discard), &[QUIT], Owed::answer(), Times::within(now, QUIT_PATIENCE)) {
            // A server that takes longer ends it later.
            let _ = tokio::time::timeout(QUIT_PATIENCE, link.over()).await;
        }
        self.drop_lease();
    }

    pub(super) fn drop_lease(&mut self) {
        self.return_lease(false);
    }

    fn return_lease(&mut self, clean: bool) {
        if self.lease.give_back(clean) {
            self.exchange.bulk.set_suspect(None);
            if self.exchange.waiting() == Waiting::Release {
                self.exchange.wait_for(Waiting::Input);
            }
            let own = self.exchange.lane();
            if own.is_revoked() {
                self.exchange.end(End::Revoked);
            }
            self.exchange.set_link(&own.shared());
            self.exchange.state.borrow_mut().session.affinity.unpin();
        }
    }
}
