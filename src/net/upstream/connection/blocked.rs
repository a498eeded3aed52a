//! Whether the server really waits with its answer to a command that may block.
//!
//! Such a command need not wait: then the server has run it, and its reply is under way. Whose client has left is asked about:
//! only where the server waits there is nothing to be lost.

use std::cell::Cell;

use respguard_resp::{encode, value};

/// So often at most the server is asked: it may be there that it has not read the command yet.
const ROUNDS_MAX: u8 = 100;

/// What the server has said of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Blocked {
    /// Nothing, or that it did not wait.
    #[default]
    NotKnown,
    Asked,
    /// It waits, or nobody can say.
    Waits,
}

/// The same, and how often it was asked.
#[derive(Debug, Default)]
pub struct BlockedInquiry {
    known: Cell<Blocked>,
    rounds: Cell<u8>,
}

impl BlockedInquiry {
    /// What the server has said.
    pub fn known(&self) -> Blocked {
        self.known.get()
    }

    /// Another client has the connection: nothing is known, and nothing was asked.
    pub fn begin(&self) {
        self.known.set(Blocked::NotKnown);
        self.rounds.set(0);
    }

    /// It cannot be asked now.
    pub fn pause(&self) {
        self.known.set(Blocked::Asked);
    }

    /// It can be asked again.
    pub fn resume(&self) {
        self.known.set(Blocked::NotKnown);
    }

    /// What the server is now asked about its client `id`; `None` where there is no id, so that it cannot be asked.
    pub fn ask(&self, id: Option<i64>) -> Option<Vec<u8>> {
        self.rounds.set(self.rounds.get() + 1);
        self.known.set(if id.is_some() { Blocked::Asked } else { Blocked::Waits });
        Some(encode::request_frame(&[b"CLIENT", b"LIST", b"ID", id?.to_string().as_bytes()]))
    }

    /// The server's answer to that, if one has come.
    pub fn answered(&self, reply: Option<&[u8]>) {
        self.known.set(read(reply, self.rounds.get()));
    }
}

/// What is known once it has been asked so often, and this was the answer (<https://redis.io/docs/latest/commands/client-list/>).
fn read(reply: Option<&[u8]>, rounds: u8) -> Blocked {
    let told = reply.filter(|reply| !value::is_error(reply)).map(String::from_utf8_lossy);
    let flags = told.as_deref().and_then(|told| told.split(" flags=").nth(1)).and_then(|rest| rest.split(' ').next());
    match flags {
        Some(flags) if !flags.contains('b') && rounds < ROUNDS_MAX => Blocked::NotKnown,
        _ => Blocked::Waits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_waits_that_has_the_flag_of_those_who_do() {
        let listed = |flags: &str| format!("$40\r\nid=7 addr=1.2.3.4:5 name= flags={flags} db=0 cmd=blpop\n\r\n");
        let read = |reply: &str, rounds| read(Some(reply.as_bytes()), rounds);
        assert_eq!(read(&listed("N"), 1), Blocked::NotKnown);
        assert_eq!(read(&listed("b"), 1), Blocked::Waits);
        assert_eq!(read(&listed("tb"), 1), Blocked::Waits);
        assert_eq!(read(&listed("N"), ROUNDS_MAX), Blocked::Waits, "it has been asked often enough");
    }

    #[test]
    fn it_is_asked_again_until_it_waits_and_not_where_there_is_nobody_to_ask_about() {
        let inquiry = BlockedInquiry::default();
        assert!(inquiry.ask(Some(7)).is_some_and(|question| question.ends_with(b"$2\r\nID\r\n$1\r\n7\r\n")));
        assert_eq!(inquiry.known(), Blocked::Asked);
        inquiry.answered(Some(b"$9\r\nx flags=N \r\n"));
        assert_eq!(inquiry.known(), Blocked::NotKnown);
        assert!(inquiry.ask(Some(7)).is_some());
        inquiry.answered(Some(b"$9\r\nx flags=b \r\n"));
        assert_eq!(inquiry.known(), Blocked::Waits);
        inquiry.begin();
        assert_eq!((inquiry.known(), inquiry.rounds.get()), (Blocked::NotKnown, 0), "it is about another client");
        let inquiry = BlockedInquiry::default();
        assert_eq!((inquiry.ask(None), inquiry.known()), (None, Blocked::Waits));
    }

    #[test]
    fn where_nobody_can_say_it_is_taken_to_wait() {
        assert_eq!(read(Some(b"-NOPERM no permissions"), 1), Blocked::Waits);
        assert_eq!(read(Some(b"$0\r\n\r\n"), 1), Blocked::Waits);
        assert_eq!(read(None, 1), Blocked::Waits);
    }
}
