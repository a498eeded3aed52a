//! Reads HELLO, AUTH and SELECT: which user, protocol and db a client wants to have.

use crate::command::integer::integer;
use crate::command::{Lane, Login};
use respguard_resp::Protocol;
use respguard_resp::request::Args;

/// What a well-formed HELLO, AUTH or SELECT asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LaneChange {
    /// <https://redis.io/docs/latest/commands/auth/>
    pub login: Option<Login>,
    /// <https://redis.io/docs/latest/commands/hello/>
    pub protocol: Option<Protocol>,
    /// The name that HELLO's SETNAME gives.
    pub name: Option<Box<[u8]>>,
    /// <https://redis.io/docs/latest/commands/select/>
    pub db: Option<u32>,
}

/// Who answers a change of user, database or protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnsweredBy {
    /// The server, when the client's transaction is executed.
    Exec,
    /// The proxy, which knows users of its own: the login is not sent.
    OwnUsers,
    /// The proxy, which has credentials of its own for the server: the login is refused.
    Refusal,
    /// The server, on a connection that is changed or opened for it.
    Server,
}

impl LaneChange {
    /// Who answers it, within a transaction (`is_open`) or not, where the proxy has users or credentials of its own or not.
    pub fn answered_by(&self, is_open: bool, has_users: bool, has_credentials: bool) -> AnsweredBy {
        match self.login {
            Some(_) if is_open && has_credentials => AnsweredBy::Refusal,
            _ if is_open => AnsweredBy::Exec,
            Some(_) if has_users => AnsweredBy::OwnUsers,
            Some(_) if has_credentials => AnsweredBy::Refusal,
            _ => AnsweredBy::Server,
        }
    }

    /// What the request asks for; `None` when the server would answer an error to its form, which
    /// changes nothing on any connection.
    pub fn read(lane: Lane, args: Args<'_>) -> Option<LaneChange> {
        match lane {
            Lane::Select => {
                let db = u32::try_from(integer(args.get(1)?)?).ok()?;
                Some(LaneChange { db: Some(db), ..LaneChange::default() })
            }
            Lane::Auth if matches!(args.len(), 2 | 3) => {
                let login = match args.get(2) {
                    Some(password) => Login::new(args.get(1), password),
                    None => Login::new(None, args.get(1)?),
                };
                Some(LaneChange { login: Some(login), ..LaneChange::default() })
            }
            Lane::Auth => None,
            Lane::Hello => LaneChange::read_hello(args),
        }
    }

    fn read_hello(args: Args<'_>) -> Option<LaneChange> {
        let mut change = LaneChange::default();
        if args.len() == 1 {
            return Some(change);
        }
        change.protocol = match args.get(1)? {
            b"2" => Some(Protocol::Resp2),
            b"3" => Some(Protocol::Resp3),
            _ => return None,
        };
        let mut at = 2;
        while let Some(option) = args.get(at) {
            if option.eq_ignore_ascii_case(b"AUTH") {
                change.login = Some(Login::new(args.get(at + 1), args.get(at + 2)?));
                at += 3;
            } else if option.eq_ignore_ascii_case(b"SETNAME") {
                change.name = Some(args.get(at + 1).filter(|name| is_name(name))?.into());
                at += 2;
            } else {
                return None;
            }
        }
        Some(change)
    }

    /// The words of a HELLO that asks for the same.
    pub fn hello(&self) -> Vec<Box<[u8]>> {
        let mut words: Vec<&[u8]> = vec![b"HELLO"];
        words.extend(self.protocol.map(|protocol| match protocol {
            Protocol::Resp2 => &b"2"[..],
            Protocol::Resp3 => b"3",
        }));
        if let Some(login) = &self.login {
            words.extend([&b"AUTH"[..], login.user(), login.password()]);
        }
        if let Some(name) = &self.name {
            words.extend([&b"SETNAME"[..], name]);
        }
        words.into_iter().map(Into::into).collect()
    }

    /// True when the client asks for nothing but what it has.
    pub fn is_idle(&self, protocol: Protocol) -> bool {
        self.login.is_none() && self.name.is_none() && self.db.is_none() && self.protocol.is_none_or(|wanted| wanted == protocol)
    }
}

/// Names of clients have no spaces and no special characters
/// (<https://redis.io/docs/latest/commands/client-setname/>).
pub fn is_name(name: &[u8]) -> bool {
    name.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use respguard_resp::request::{Limits, Parsed, RequestParser};

    fn read(lane: Lane, line: &str) -> Option<LaneChange> {
        let (mut spans, mut arena) = (Vec::new(), Vec::new());
        let line = format!("{line}\r\n");
        let parsed = RequestParser::new(Limits::default()).parse(line.as_bytes(), &mut spans, &mut arena, usize::MAX);
        assert!(matches!(parsed, Parsed::Request { .. }));
        LaneChange::read(lane, Args::new(&arena, &spans))
    }

    #[test]
    fn hello_may_log_in_and_name_the_client() {
        let change = read(Lane::Hello, "HELLO 3 setname me AUTH u p").expect("well-formed");
        assert_eq!(change.protocol, Some(Protocol::Resp3));
        assert_eq!(change.login, Some(Login::new(Some(b"u"), b"p")));
        assert_eq!(change.name, Some(b"me".as_slice().into()));
    }

    #[test]
    fn a_hello_written_again_asks_for_the_same() {
        for line in ["HELLO", "HELLO 2", "HELLO 3 SETNAME auth AUTH u p", "HELLO 3 AUTH u p"] {
            let change = read(Lane::Hello, line).expect("well-formed");
            let again: Vec<String> = change.hello().iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
            assert_eq!(read(Lane::Hello, &again.join(" ")), Some(change), "{line}");
        }
        let without = LaneChange { login: None, ..read(Lane::Hello, "HELLO 3 SETNAME auth AUTH u p").expect("well-formed") };
        assert_eq!(without.hello().iter().map(|word| &word[..]).collect::<Vec<_>>(), [&b"HELLO"[..], b"3", b"SETNAME", b"auth"]);
    }

    #[test]
    fn hello_with_an_unknown_version_or_option_changes_nothing() {
        for line in ["HELLO 4", "HELLO x", "HELLO 3 AUTH u", "HELLO 3 FOO", "HELLO 3 SETNAME"] {
            assert_eq!(read(Lane::Hello, line), None, "{line}");
        }
    }

    #[test]
    fn hello_that_asks_for_what_is_there_is_idle() {
        assert!(read(Lane::Hello, "HELLO").expect("well-formed").is_idle(Protocol::Resp2));
        assert!(read(Lane::Hello, "HELLO 3").expect("well-formed").is_idle(Protocol::Resp3));
        assert!(!read(Lane::Hello, "HELLO 3").expect("well-formed").is_idle(Protocol::Resp2));
    }

    #[test]
    fn select_wants_a_number() {
        assert_eq!(read(Lane::Select, "SELECT 5").and_then(|change| change.db), Some(5));
        assert_eq!(read(Lane::Select, "SELECT -1"), None);
        assert_eq!(read(Lane::Select, "SELECT x"), None);
        assert_eq!(read(Lane::Select, "SELECT 01"), None);
    }

    #[test]
    fn auth_takes_one_or_two_words() {
        assert!(read(Lane::Auth, "AUTH p").is_some() && read(Lane::Auth, "AUTH u p").is_some());
        assert_eq!(read(Lane::Auth, "AUTH u p x"), None);
    }

    #[test]
    fn a_login_is_the_proxys_affair_where_it_has_users_or_credentials_of_its_own() {
        let login = LaneChange { login: Some(Login::new(None, b"secret")), ..LaneChange::default() };
        assert_eq!(login.answered_by(false, false, false), AnsweredBy::Server);
        assert_eq!(login.answered_by(false, true, true), AnsweredBy::OwnUsers);
        assert_eq!(login.answered_by(false, false, true), AnsweredBy::Refusal);
        assert_eq!(login.answered_by(true, true, true), AnsweredBy::Refusal);
        assert_eq!(login.answered_by(true, false, false), AnsweredBy::Exec);
        let select = LaneChange { db: Some(3), ..LaneChange::default() };
        assert_eq!(select.answered_by(false, true, true), AnsweredBy::Server);
        assert_eq!(select.answered_by(true, true, true), AnsweredBy::Exec);
    }
}
