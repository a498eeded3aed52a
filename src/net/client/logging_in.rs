//! Authenticates a client that must log in to the proxy itself.

use tracing::{debug, info};

use super::connection::Connection;
use crate::telemetry::gauge;
use respguard_engine::command::{DEFAULT_USER, Login};
use respguard_engine::session::Admission;

/// Redis' own text (<https://redis.io/docs/latest/commands/auth/>).
const WRONGPASS: &[u8] = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n";
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
            self.exchange.state.borrow_mut().session.admission = Admission::Granted;
            self.login.accept();
            self.note(Some(login.user()), None, None, None);
            return true;
        }
        let pause = self.login.refuse();
        gauge::count_refused_login();
        debug!(client = %self.client.peer, refused = self.login.refused(), "login refused");
        tokio::time::sleep(pause).await;
        self.answer_first(WRONGPASS);
        if self.login.is_given_up() {
            info!(client = %self.client.peer, refused = self.login.refused(), "closed: too many logins were refused");
            self.input.give_up();
        }
        false
    }
}
