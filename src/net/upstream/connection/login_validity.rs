//! Whether the clients of a lane may continue on a new connection after the server has closed the old one.
//!
//! Redis ends a user's connections when the user is deleted, and no others. Who is made anew with the same password is
//! another user: the sessions of the former one must not come back.

use std::rc::Rc;
use std::task::Poll;

use tracing::info;

use super::{Link, LoginValidity, Loss, Phase};
use crate::net::clock;
use crate::net::upstream::PING;
use crate::net::upstream::call::{Answer, call};
use crate::net::upstream::connect::OpenError;
use respguard_engine::command::DEFAULT_USER;
use respguard_engine::link::handshake::{Refusal, Step};

impl Link {
    /// Whether its clients may go on.
    pub fn login_validity(&self) -> LoginValidity {
        self.login_validity.get()
    }

    /// The user whose login came from a client and who can be deleted, which the default user cannot be.
    pub(super) fn named_user(&self) -> Option<&[u8]> {
        let login = self.params.login.as_ref().filter(|_| self.settings.login.is_none())?;
        Some(login.user()).filter(|user| *user != DEFAULT_USER)
    }

    /// True when the server refuses what this lane is, and not the proxy's own credentials.
    pub(super) fn is_refused(&self, error: &OpenError) -> bool {
        match error {
            OpenError::Refused { refusal, .. } => self.is_lanes_own(refusal),
            _ => false,
        }
    }

    fn is_lanes_own(&self, refusal: &Refusal) -> bool {
        refusal.is_about_lane() && (refusal.step != Step::Auth || self.settings.login.is_none())
    }

    /// The server does not take its clients any more: those that share it are closed, and so is who waits for a lease.
    pub(super) async fn revoke(&self) {
        self.login_validity.set(LoginValidity::Revoked);
        if self.shared.get() {
            info!(upstream = %self.server(), "the server refuses a login that it accepted before: its clients are closed");
            self.closed().await;
        }
        // What is owed to who holds the lease is not answered: he is closed.
        let owner = self.owner.borrow().clone();
        if let Some(owner) = owner {
            owner.lease_refused();
        }
    }

    async fn closed(&self) {
        std::future::poll_fn(|cx| {
            self.register(cx);
            if self.shared.get() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }

    /// The connection was lost: if the server ended it, others may tell why.
    pub(super) fn note_end(&self, loss: &Loss) {
        let by_server = matches!(loss, Loss::Eof | Loss::Io(_)) && self.named_user().is_some();
        self.ended_by_server.set(by_server.then(clock::now));
        self.user_connection.take();
    }

    /// A user has a connection.
    pub(super) fn note_user_connection(&self) {
        self.user_connection.set(self.named_user().map(|user| self.settings.connections.enter(user, clock::now())));
    }

    /// A new connection is there: whether its clients may go on over it.
    pub(super) async fn is_believed(&self) -> bool {
        let (Some(since), Some(user)) = (self.ended_by_server.take(), self.named_user()) else { return true };
        if !self.shared.get() || self.settings.connections.has_older(user, since) {
            return true;
        }
        self.login_validity.set(LoginValidity::InDoubt { since });
        std::future::poll_fn(|cx| {
            self.register(cx);
            match self.login_validity.get() {
                LoginValidity::Valid => Poll::Ready(true),
                LoginValidity::Revoked => Poll::Ready(false),
                _ if self.phase() == Phase::Closed => Poll::Ready(true),
                LoginValidity::InDoubt { .. } | LoginValidity::Checking => Poll::Pending,
            }
        })
        .await
    }

    /// Asks a connection of others whether it is still the one that was there when this one was ended.
    pub fn resolve_doubt(self: &Rc<Self>, others: &Link) {
        let LoginValidity::InDoubt { since } = self.login_validity.get() else { return };
        let was_there = others.phase() == Phase::Ready && others.opened_at.get().is_some_and(|opened| opened < since);
        self.login_validity.set(LoginValidity::Checking);
        if !was_there {
            return self.conclude(LoginValidity::Valid);
        }
        let link = Rc::clone(self);
        call(others, PING, self.settings.queue_timeout, move |answer| {
            link.conclude(match answer {
                // The others are there: only this user's connections were ended.
                Answer::Reply(_) => LoginValidity::Revoked,
                Answer::Lost | Answer::NotSent => LoginValidity::Valid,
            });
        });
    }

    fn conclude(&self, login_validity: LoginValidity) {
        if self.login_validity.get() == LoginValidity::Checking {
            self.login_validity.set(login_validity);
            self.wake();
        }
    }
}
