//! What is known of a client's logins, and how long the answer to a wrong guess takes.

use std::time::Duration;

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
    pub(super) fn refuse(&mut self) -> Duration {
        self.refused += 1;
        (PAUSE_FIRST.saturating_mul(1 << self.refused.min(REFUSED_MAX)) / 2).min(PAUSE_MAX)
    }

    /// How many it has refused in a row.
    pub(super) fn refused(&self) -> u32 {
        self.refused
    }

    /// True when no more guesses are taken.
    pub(super) fn is_given_up(&self) -> bool {
        self.refused >= REFUSED_MAX
    }

    /// The proxy accepts one.
    pub(super) fn accept(&mut self) {
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
