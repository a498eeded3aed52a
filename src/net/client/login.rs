//! Authenticates a client that must log in to the proxy itself.

use std::time::Duration;

use tracing::{debug, info};

use super::connection::Connection;
use crate::telemetry::gauge;
use respguard_engine::command::{DEFAULT_USER, Login as Credentials};
use respguard_engine::session::Admission;

/// Redis' own text (<https://redis.io/docs/latest/commands/auth/>).
const WRONGPASS: &[u8] = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n";
/// Guesses of one connection, before it is closed.
const REFUSED_MAX: u32 = 8;
/// How long the answer to the first wrong guess takes; each further one takes twice as long, up to the last.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What is known of a client's logins.
#[derive(Debug, Default)]
pub(super) struct Login {
    /// Those that the proxy has refused in a row.
    refused: u32,
    /// The server has accepted a password on the client's own connection.
    accepted_by_server: bool,
}

impl Login {
    /// The proxy refuses one; how long the answer takes.
    fn refuse(&mut self) -> Duration {
        self.refused += 1;
        (PAUSE_FIRST.saturating_mul(1 << self.refused.min(REFUSED_MAX)) / 2).min(PAUSE_MAX)
    }

    /// True when no more guesses are taken.
    fn is_given_up(&self) -> bool {
        self.refused >= REFUSED_MAX
    }

    /// The proxy accepts one.
    fn accept(&mut self) {
        self.refused = 0;
    }

    pub(super) fn accept_by_server(&mut self) {
        self.accepted_by_server = true;
    }

    pub(super) fn is_accepted_by_server(&self) -> bool {
        self.accepted_by_server
    }

    /// The client starts over; its wrong guesses still count.
    pub(super) fn start_over(&mut self) {
        self.accepted_by_server = false;
    }
}

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
    pub(super) async fn log_in(&mut self, login: &Credentials) -> bool {
        if self.shared.users.as_ref().is_some_and(|users| users.accept(login)) {
            self.admit(login);
            return true;
        }
        let pause = self.login.refuse();
        gauge::count_refused_login();
        debug!(client = %self.client.peer, refused = self.login.refused, "login refused");
        tokio::time::sleep(pause).await;
        self.answer_first(WRONGPASS);
        if self.login.is_given_up() {
            info!(client = %self.client.peer, refused = self.login.refused, "closed: too many logins were refused");
            self.input.give_up();
        }
        false
    }

    fn admit(&mut self, login: &Credentials) {
        self.exchange.state.borrow_mut().session.admission = Admission::Granted;
        self.login.accept();
        self.note(Some(login.user()), None, None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wrong_guess_takes_twice_as_long_as_the_one_before_up_to_the_longest() {
        let mut login = Login::default();
        let pauses: Vec<u128> = (0..REFUSED_MAX).map(|_| login.refuse().as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 2000, 2000]);
    }

    #[test]
    fn the_last_guess_ends_it_and_a_right_one_begins_anew() {
        let mut login = Login::default();
        for _ in 1..REFUSED_MAX {
            login.refuse();
        }
        assert!(!login.is_given_up());
        login.accept();
        for _ in 1..REFUSED_MAX {
            login.refuse();
        }
        assert!(!login.is_given_up());
        login.refuse();
        assert!(login.is_given_up());
    }

    #[test]
    fn reset_forgets_the_servers_yes_and_no_wrong_guess() {
        let mut login = Login::default();
        login.accept_by_server();
        for _ in 0..REFUSED_MAX {
            login.refuse();
        }
        login.start_over();
        assert!(!login.is_accepted_by_server() && login.is_given_up());
    }
}
