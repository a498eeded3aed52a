//! Lets a client in that must log in to the proxy itself.

use std::time::Duration;

use tracing::{debug, info};

use super::connection::Connection;
use crate::telemetry::gauge;
use respguard_engine::command::{DEFAULT_USER, Login};
use respguard_engine::session::Admission;

/// Redis' own text (<https://redis.io/docs/latest/commands/auth/>).
const WRONGPASS: &[u8] = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n";
/// Guesses of one connection, before it is closed.
const REFUSED_MAX: u32 = 8;
/// How long the answer to the first wrong guess takes; each further one takes twice as long, up to the last.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

impl Connection {
    /// True for a client that must log in and has not.
    pub(super) fn is_unauthenticated(&self) -> bool {
        self.exchange.state.borrow().session.admission == Admission::Awaited
    }

    /// The client is new, or has started over. Whoever let it in before it was served has asked for its credentials.
    pub(super) fn await_login(&mut self) {
        let is_admitted = self.exchange.state.borrow().session.admission == Admission::Granted;
        if self.shared.users.is_some() && !is_admitted {
            self.exchange.state.borrow_mut().session.admission = Admission::Awaited;
            self.note(Some(DEFAULT_USER), None, None, None);
        }
    }

    /// True when the client may go on as the user that he says he is; else the command is answered. A refused login
    /// leaves him as who he was.
    pub(super) async fn log_in(&mut self, login: &Login) -> bool {
        if self.shared.users.as_ref().is_some_and(|users| users.accept(login)) {
            self.admit(login);
            return true;
        }
        self.refused_logins += 1;
        gauge::count_refused_login();
        debug!(client = %self.client.peer, refused = self.refused_logins, "login refused");
        let pause = PAUSE_FIRST.saturating_mul(1 << self.refused_logins.min(REFUSED_MAX)) / 2;
        tokio::time::sleep(pause.min(PAUSE_MAX)).await;
        self.answer_first(WRONGPASS);
        if self.refused_logins >= REFUSED_MAX {
            info!(client = %self.client.peer, refused = self.refused_logins, "closed: too many logins were refused");
            self.give_up();
        }
        false
    }

    fn admit(&mut self, login: &Login) {
        self.exchange.state.borrow_mut().session.admission = Admission::Granted;
        self.refused_logins = 0;
        self.note(Some(login.user()), None, None, None);
    }
}
