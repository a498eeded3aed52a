//! The first words on a new upstream connection: who we are, which protocol, which db, and what the server can do.

use crate::engine::command::Login;
use crate::engine::resp::{Protocol, encode, value};

/// What a lane's connections must be before they carry a client's commands.
#[derive(Debug, Clone)]
pub struct Opening {
    /// For AUTH (<https://redis.io/docs/latest/commands/auth/>).
    pub login: Option<Login>,
    /// Protocol to switch to (<https://redis.io/docs/latest/commands/hello/>).
    pub protocol: Protocol,
    /// Number of the db to select.
    pub db: u32,
}

/// What the server told about itself and the connection.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Facts {
    /// CLIENT ID of the connection, by which it can be killed or unblocked.
    pub client_id: Option<i64>,
    /// `MULTI` `EXEC` answered `+OK` and an empty array.
    pub transactions: bool,
    /// The server wants a password first.
    pub wants_password: bool,
}

/// Why the server does not take the connection as it was asked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What was being asked.
    pub step: Step,
    /// The server's whole error frame.
    pub reply: Box<[u8]>,
}

/// One request of the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Auth,
    Hello,
    Select,
    ClientId,
    Multi,
    Exec,
}

/// Where the handshake is after an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    Pending,
    Done(Facts),
    Refused(Refusal),
}

/// Sends everything in one write and reads the answers in order.
#[derive(Debug)]
pub struct Handshake {
    steps: Vec<Step>,
    answered: usize,
    facts: Facts,
    in_transaction: bool,
}

impl Handshake {
    /// Appends the handshake's requests to `out`.
    pub fn begin(opening: &Opening, out: &mut Vec<u8>) -> Handshake {
        let mut steps = Vec::with_capacity(6);
        if let Some(login) = &opening.login {
            steps.push(Step::Auth);
            encode::request(out, &std::iter::once(&b"AUTH"[..]).chain(login.arguments()).collect::<Vec<_>>());
        }
        if opening.protocol == Protocol::Resp3 {
            steps.push(Step::Hello);
            encode::request(out, &[b"HELLO", b"3"]);
        }
        if opening.db != 0 {
            steps.push(Step::Select);
            encode::request(out, &[b"SELECT", opening.db.to_string().as_bytes()]);
        }
        steps.extend([Step::ClientId, Step::Multi, Step::Exec]);
        encode::request(out, &[b"CLIENT", b"ID"]);
        encode::request(out, &[b"MULTI"]);
        encode::request(out, &[b"EXEC"]);
        Handshake { steps, answered: 0, facts: Facts::default(), in_transaction: false }
    }

    /// Takes the answer to the next request, one whole frame.
    pub fn admit(&mut self, reply: &[u8]) -> Progress {
        let Some(&step) = self.steps.get(self.answered) else {
            return Progress::Done(self.facts.clone());
        };
        self.answered += 1;
        match step {
            Step::Auth | Step::Hello | Step::Select if value::is_error(reply) => {
                return Progress::Refused(Refusal { step, reply: reply.into() });
            }
            Step::Auth | Step::Hello | Step::Select => {}
            Step::ClientId => {
                self.facts.client_id = value::integer(reply);
                self.facts.wants_password = reply.starts_with(b"-NOAUTH ");
            }
            Step::Multi => self.in_transaction = reply == b"+OK\r\n",
            Step::Exec => self.facts.transactions = self.in_transaction && reply == b"*0\r\n",
        }
        // An opened transaction that does not end would swallow every later command. EXECABORT ends it: so answers
        // the server a user who may not EXEC.
        if step == Step::Exec && self.in_transaction && !self.facts.transactions && !reply.starts_with(b"-EXECABORT") {
            return Progress::Refused(Refusal { step, reply: reply.into() });
        }
        if self.answered == self.steps.len() { Progress::Done(self.facts.clone()) } else { Progress::Pending }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(opening: &Opening, replies: &[&[u8]]) -> (Vec<u8>, Progress) {
        let mut out = Vec::new();
        let mut handshake = Handshake::begin(opening, &mut out);
        let mut progress = Progress::Pending;
        for reply in replies {
            assert_eq!(progress, Progress::Pending);
            progress = handshake.admit(reply);
        }
        (out, progress)
    }

    fn plain() -> Opening {
        Opening { login: None, protocol: Protocol::Resp2, db: 0 }
    }

    #[test]
    fn a_plain_lane_asks_only_for_facts() {
        let (out, progress) = run(&plain(), &[b":7\r\n", b"+OK\r\n", b"*0\r\n"]);
        assert!(out.starts_with(b"*2\r\n$6\r\nCLIENT\r\n"));
        assert_eq!(progress, Progress::Done(Facts { client_id: Some(7), transactions: true, wants_password: false }));
    }

    #[test]
    fn login_comes_before_protocol_and_db() {
        let opening = Opening { login: Some(Login::new(Some(b"u"), b"p")), protocol: Protocol::Resp3, db: 3 };
        let (out, progress) = run(&opening, &[b"+OK\r\n", b"%0\r\n", b"+OK\r\n", b":7\r\n", b"+OK\r\n"]);
        let text = String::from_utf8_lossy(&out);
        let places: Vec<_> = ["AUTH", "HELLO", "SELECT", "CLIENT"].map(|word| text.find(word)).into();
        assert!(places.is_sorted() && places[0].is_some(), "{text}");
        assert_eq!(progress, Progress::Pending);
    }

    #[test]
    fn a_refused_login_ends_it_with_the_servers_own_words() {
        let opening = Opening { login: Some(Login::new(None, b"p")), ..plain() };
        let (_, progress) = run(&opening, &[b"-WRONGPASS no\r\n"]);
        assert_eq!(progress, Progress::Refused(Refusal { step: Step::Auth, reply: b"-WRONGPASS no\r\n".as_slice().into() }));
    }

    #[test]
    fn a_server_that_wants_a_password_first_is_taken_without_facts() {
        let noauth = b"-NOAUTH Authentication required.\r\n".as_slice();
        let (_, progress) = run(&plain(), &[noauth, noauth, noauth]);
        assert_eq!(progress, Progress::Done(Facts { client_id: None, transactions: false, wants_password: true }));
    }

    #[test]
    fn a_user_who_may_not_exec_is_taken_without_transactions() {
        let refused = b"-EXECABORT Transaction discarded because of: NOPERM this user has no permissions\r\n".as_slice();
        let (_, progress) = run(&plain(), &[b":7\r\n", b"+OK\r\n", refused]);
        assert_eq!(progress, Progress::Done(Facts { client_id: Some(7), transactions: false, wants_password: false }));
    }

    #[test]
    fn a_transaction_that_does_not_end_refuses_the_connection() {
        let (_, progress) = run(&plain(), &[b":7\r\n", b"+OK\r\n", b"-NOPERM no\r\n"]);
        assert!(matches!(progress, Progress::Refused(Refusal { step: Step::Exec, .. })));
    }
}
