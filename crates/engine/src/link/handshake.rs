//! The handshake of a new upstream connection: login, protocol, db, and what the server supports.

use super::breaker::is_state_error;
use crate::command::Login;
use respguard_resp::{Protocol, encode, value};

/// What a lane's connections must be before they carry a client's commands.
#[derive(Debug, Clone, Default)]
pub struct ConnectParams {
    /// For AUTH (<https://redis.io/docs/latest/commands/auth/>).
    pub login: Option<Login>,
    /// As whom the db is selected.
    pub selects: Selects,
    /// Protocol to switch to (<https://redis.io/docs/latest/commands/hello/>).
    pub protocol: Protocol,
    /// Number of the db to select.
    pub db: u32,
}

/// As whom a connection enters its db: AUTH leaves it there, also as a user who may not go there himself
/// (<https://redis.io/docs/latest/commands/select/>).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum Selects {
    /// As the user that it is for.
    #[default]
    Itself,
    /// As whoever the client was before; without a login as the default user.
    Before(Option<Login>),
}

/// What the server reported about itself and the connection.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ServerInfo {
    /// CLIENT ID of the connection, by which it can be killed or unblocked.
    pub client_id: Option<i64>,
    /// The connection's address as the server sees it (<https://redis.io/docs/latest/commands/client-info/>).
    pub address: Option<Box<[u8]>>,
    /// What it tells about a client.
    pub fields: ClientFields,
    /// The error by which the server says that it serves nobody now.
    pub state: Option<Box<[u8]>>,
    /// `MULTI` `EXEC` answered `+OK` and an empty array.
    pub transactions: bool,
    /// The error by which the server refused one of them.
    pub no_transactions: Option<Box<[u8]>>,
    /// The server wants a password first.
    pub wants_password: bool,
    /// What came of ending lost connections, one for each.
    pub kills: Vec<Kill>,
}

/// Fields of CLIENT INFO that not every server has: client libraries read some of them, and refuse what they do not know.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct ClientFields {
    /// Valkey.
    pub capa: bool,
    /// Redis from 7.4, Valkey.
    pub watch: bool,
    /// Redis from 8.0.
    pub io_thread: bool,
    /// `tot-net-in` and its like.
    pub totals: bool,
}

impl ClientFields {
    fn read(line: &[u8]) -> ClientFields {
        let has = |name: &[u8]| line.split(|byte| *byte == b' ').any(|field| field.starts_with(name));
        ClientFields { capa: has(b"capa="), watch: has(b"watch="), io_thread: has(b"io-thread="), totals: has(b"tot-net-in=") }
    }
}

/// What came of ending a lost connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kill {
    /// It was still there.
    Ended,
    /// It was gone already.
    Gone,
    /// The server does not let this user.
    Denied,
}

impl Kill {
    /// Reads the server's answer.
    pub fn read(reply: &[u8]) -> Kill {
        match value::integer(reply) {
            Some(1..) => Kill::Ended,
            Some(_) => Kill::Gone,
            None => Kill::Denied,
        }
    }
}

/// A connection that was lost while it owed replies: what was sent on it may still lie unread at the server, and
/// run after what its clients send elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrphanedConnection {
    id: i64,
    /// A server that was started anew has given the id to somebody else, but not with this address.
    address: Box<[u8]>,
}

impl ServerInfo {
    /// How the server ends the connection; `None` where it did not tell enough. Over a unix socket all have one
    /// address.
    pub fn orphan(&self) -> Option<OrphanedConnection> {
        let address = self.address.clone().filter(|address| !address.contains(&b'/'))?;
        Some(OrphanedConnection { id: self.client_id?, address })
    }
}

impl OrphanedConnection {
    /// Appends the request that ends it (<https://redis.io/docs/latest/commands/client-kill/>).
    pub fn kill(&self, out: &mut Vec<u8>) {
        encode::request(out, &[b"CLIENT", b"KILL", b"ID", self.id.to_string().as_bytes(), b"ADDR", &self.address]);
    }
}

/// Why the server refused the handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What was being asked.
    pub step: Step,
    /// The server's whole error frame.
    pub reply: Box<[u8]>,
}

impl Refusal {
    /// True when the server serves others, and refuses what this lane is: its login, protocol or db. Not so when it says
    /// that it serves nobody now, which it may say before it has looked at the first request.
    pub fn is_about_lane(&self) -> bool {
        let is_about_server = |reply: &[u8]| is_state_error(reply) || is_full(reply) || reply.starts_with(b"-DENIED ");
        matches!(self.step, Step::Auth | Step::Hello | Step::Select) && !is_about_server(&self.reply)
    }
}

/// One request of the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// AUTH
    Auth,
    /// HELLO
    Hello,
    /// SELECT
    Select,
    /// Ends a connection that was lost: whether it was still there does not matter.
    Kill,
    /// CLIENT ID
    ClientId,
    /// CLIENT INFO
    ClientInfo,
    /// PING
    Ping,
    /// MULTI
    Multi,
    /// EXEC
    Exec,
}

/// Where the handshake is after an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// Answers are still to come.
    Pending,
    /// The connection can be used.
    Done(ServerInfo),
    /// The server has refused it.
    Refused(Refusal),
}

/// Sends everything in one write and reads the answers in order.
#[derive(Debug)]
pub struct Handshake {
    steps: Vec<Step>,
    answered: usize,
    info: ServerInfo,
    in_transaction: bool,
}

impl Handshake {
    /// Appends the handshake's requests to `out`. The orphaned connections are gone once it is over. A server that is known not to
    /// end a transaction by EXEC is not asked again: `no_transactions` is what it said.
    pub fn begin(
        no_transactions: Option<Box<[u8]>>,
        params: &ConnectParams,
        orphans: &[OrphanedConnection],
        out: &mut Vec<u8>,
    ) -> Handshake {
        let mut steps = Vec::with_capacity(10 + orphans.len());
        if let Selects::Before(login) = &params.selects {
            log_in(login.as_ref(), &mut steps, out);
            select(params.db, &mut steps, out);
        }
        log_in(params.login.as_ref(), &mut steps, out);
        if params.protocol == Protocol::Resp3 {
            steps.push(Step::Hello);
            encode::request(out, &[b"HELLO", b"3"]);
        }
        if params.selects == Selects::Itself {
            select(params.db, &mut steps, out);
        }
        for orphan in orphans {
            steps.push(Step::Kill);
            orphan.kill(out);
        }
        steps.extend([Step::ClientId, Step::ClientInfo, Step::Ping]);
        encode::request(out, &[b"CLIENT", b"ID"]);
        encode::request(out, &[b"CLIENT", b"INFO"]);
        encode::request(out, &[b"PING"]);
        if no_transactions.is_none() {
            steps.extend([Step::Multi, Step::Exec]);
            encode::request(out, &[b"MULTI"]);
            encode::request(out, &[b"EXEC"]);
        }
        Handshake { steps, answered: 0, info: ServerInfo { no_transactions, ..ServerInfo::default() }, in_transaction: false }
    }

    /// Takes the answer to the next request, one whole frame.
    pub fn admit(&mut self, reply: &[u8]) -> Progress {
        // In RESP3 a server may push at any time: that answers nothing.
        if reply.starts_with(b">") {
            return Progress::Pending;
        }
        let Some(&step) = self.steps.get(self.answered) else {
            return Progress::Done(self.info.clone());
        };
        self.answered += 1;
        match step {
            Step::Auth | Step::Hello | Step::Select if value::is_error(reply) => {
                return Progress::Refused(Refusal { step, reply: reply.into() });
            }
            Step::Auth | Step::Hello | Step::Select => {}
            Step::Kill => self.info.kills.push(Kill::read(reply)),
            Step::ClientInfo => {
                let line = value::bulk(reply).unwrap_or_default();
                (self.info.address, self.info.fields) = (address(line), ClientFields::read(line));
            }
            Step::Ping => self.info.state = is_state_error(reply).then(|| reply.into()),
            Step::ClientId => {
                self.info.client_id = value::integer(reply);
                self.info.wants_password = reply.starts_with(b"-NOAUTH ");
            }
            Step::Multi => self.in_transaction = reply == b"+OK\r\n",
            Step::Exec => self.info.transactions = self.in_transaction && reply == b"*0\r\n",
        }
        if matches!(step, Step::Multi | Step::Exec) && value::is_error(reply) && self.info.no_transactions.is_none() {
            self.info.no_transactions = Some(reply.into());
        }
        // An opened transaction that does not end would swallow every later command. EXECABORT ends it: so answers
        // the server a user who may not EXEC.
        if step == Step::Exec && self.in_transaction && !self.info.transactions && !reply.starts_with(b"-EXECABORT") {
            return Progress::Refused(Refusal { step, reply: reply.into() });
        }
        if self.answered == self.steps.len() { Progress::Done(self.info.clone()) } else { Progress::Pending }
    }
}

fn log_in(login: Option<&Login>, steps: &mut Vec<Step>, out: &mut Vec<u8>) {
    if let Some(login) = login {
        steps.push(Step::Auth);
        encode::request(out, &std::iter::once(&b"AUTH"[..]).chain(login.arguments()).collect::<Vec<_>>());
    }
}

fn select(db: u32, steps: &mut Vec<Step>, out: &mut Vec<u8>) {
    if db != 0 {
        steps.push(Step::Select);
        encode::request(out, &[b"SELECT", db.to_string().as_bytes()]);
    }
}

/// The server accepts no more connections: this error is not a reply to the request on this connection.
pub fn is_full(reply: &[u8]) -> bool {
    reply.starts_with(b"-ERR max number of clients")
}

/// The address in the line about a client.
fn address(line: &[u8]) -> Option<Box<[u8]>> {
    line.split(|byte| *byte == b' ').find_map(|field| field.strip_prefix(b"addr=")).map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(params: &ConnectParams, replies: &[&[u8]]) -> (Vec<u8>, Progress) {
        let mut out = Vec::new();
        let mut handshake = Handshake::begin(None, params, &[], &mut out);
        let mut progress = Progress::Pending;
        for reply in replies {
            assert_eq!(progress, Progress::Pending);
            progress = handshake.admit(reply);
        }
        (out, progress)
    }

    const INFO: &[u8] = b"$29\r\nid=7 addr=1.2.3.4:5 laddr=x:1\r\n";

    fn info(transactions: bool) -> ServerInfo {
        ServerInfo { client_id: Some(7), transactions, ..ServerInfo::default() }
    }

    #[test]
    fn a_server_that_loads_says_so_and_is_taken_with_that() {
        let loading = b"-LOADING Redis is loading the dataset in memory\r\n".as_slice();
        let (_, progress) = run(&plain(), &[b":7\r\n", INFO, loading, b"+OK\r\n", b"*0\r\n"]);
        let Progress::Done(info) = progress else { panic!("{progress:?}") };
        assert_eq!(info.state.as_deref(), Some(loading));
    }

    #[test]
    fn lost_connections_are_ended_before_anything_else_is_asked() {
        let lost = ServerInfo { address: Some(b"1.2.3.4:5".as_slice().into()), ..info(true) };
        let orphan = lost.orphan().expect("it has id and address");
        let mut out = Vec::new();
        let mut handshake = Handshake::begin(None, &plain(), &[orphan.clone(), orphan], &mut out);
        assert!(
            out.starts_with(b"*6\r\n$6\r\nCLIENT\r\n$4\r\nKILL\r\n$2\r\nID\r\n$1\r\n7\r\n$4\r\nADDR\r\n$9\r\n1.2.3.4:5\r\n*6")
        );
        assert_eq!(handshake.admit(b":1\r\n"), Progress::Pending);
        assert_eq!(handshake.admit(b"-ERR No such client\r\n"), Progress::Pending, "it was gone already");
    }

    #[test]
    fn what_a_server_tells_about_a_client_is_kept_field_by_field() {
        let fields = |line: &str| ClientFields::read(line.as_bytes());
        assert_eq!(fields("id=3 addr=a:1 name= flags=N db=0 lib-name= lib-ver="), ClientFields::default());
        let valkey = fields("id=3 flags=N capa= db=0 multi=-1 watch=0 qbuf=0 lib-ver= tot-net-in=13 tot-net-out=0");
        assert_eq!(valkey, ClientFields { capa: true, watch: true, io_thread: false, totals: true });
    }

    #[test]
    fn a_connection_that_cannot_be_told_from_others_is_not_ended() {
        let on_socket = ServerInfo { address: Some(b"/run/redis:0".as_slice().into()), ..info(true) };
        assert_eq!((on_socket.orphan(), info(true).orphan()), (None, None));
    }

    #[test]
    fn what_the_server_says_to_everybody_is_not_about_one_lane() {
        let is_about_lane = |step, reply: &[u8]| Refusal { step, reply: reply.into() }.is_about_lane();
        for reply in ["-WRONGPASS invalid username-password pair or user is disabled.\r\n", "-NOPERM x\r\n", "-ERR DB index\r\n"]
        {
            assert!(is_about_lane(Step::Auth, reply.as_bytes()) && is_about_lane(Step::Select, reply.as_bytes()), "{reply}");
            assert!(!is_about_lane(Step::Exec, reply.as_bytes()), "{reply}");
        }
        for reply in
            ["-ERR max number of clients reached\r\n", "-DENIED Redis is running in protected mode\r\n", "-LOADING x\r\n"]
        {
            assert!(!is_about_lane(Step::Auth, reply.as_bytes()), "{reply}");
        }
    }

    fn plain() -> ConnectParams {
        ConnectParams::default()
    }

    #[test]
    fn what_is_pushed_meanwhile_answers_nothing() {
        let params = ConnectParams { protocol: Protocol::Resp3, ..plain() };
        let push = &b">1\r\n$1\r\nx\r\n"[..];
        let (_, progress) = run(&params, &[b"%0\r\n", push, b":7\r\n", INFO, b"+PONG\r\n", push, b"+OK\r\n", push, b"*0\r\n"]);
        assert_eq!(progress, Progress::Done(ServerInfo { address: Some(b"1.2.3.4:5".as_slice().into()), ..info(true) }));
    }

    #[test]
    fn a_plain_lane_asks_only_for_facts() {
        let (out, progress) = run(&plain(), &[b":7\r\n", INFO, b"+PONG\r\n", b"+OK\r\n", b"*0\r\n"]);
        assert!(out.starts_with(b"*2\r\n$6\r\nCLIENT\r\n"));
        assert_eq!(progress, Progress::Done(ServerInfo { address: Some(b"1.2.3.4:5".as_slice().into()), ..info(true) }));
    }

    #[test]
    fn login_comes_before_protocol_and_db() {
        let params = ConnectParams { login: Some(Login::new(Some(b"u"), b"p")), protocol: Protocol::Resp3, db: 3, ..plain() };
        let (out, progress) = run(&params, &[b"+OK\r\n", b"%0\r\n", b"+OK\r\n", b":7\r\n", INFO, b"+PONG\r\n", b"+OK\r\n"]);
        let text = String::from_utf8_lossy(&out);
        let places: Vec<_> = ["AUTH", "HELLO", "SELECT", "CLIENT"].map(|word| text.find(word)).into();
        assert!(places.is_sorted() && places[0].is_some(), "{text}");
        assert_eq!(progress, Progress::Pending);
    }

    #[test]
    fn who_may_not_select_is_there_before_he_logs_in() {
        let before = Selects::Before(Some(Login::new(Some(b"v"), b"q")));
        let params = ConnectParams { login: Some(Login::new(Some(b"u"), b"p")), selects: before, db: 3, ..plain() };
        let (out, progress) = run(&params, &[b"+OK\r\n", b"+OK\r\n"]);
        let text = String::from_utf8_lossy(&out);
        let places: Vec<_> = ["$1\r\nv\r\n", "SELECT", "$1\r\nu\r\n", "CLIENT"].map(|word| text.find(word)).into();
        assert!(places.is_sorted() && places[0].is_some(), "{text}");
        assert_eq!(progress, Progress::Pending);
        let (out, _) = run(&ConnectParams { selects: Selects::Before(None), ..params }, &[b"+OK\r\n"]);
        assert!(out.starts_with(b"*2\r\n$6\r\nSELECT\r\n"));
    }

    #[test]
    fn what_is_known_about_transactions_is_not_asked_again() {
        let mut out = Vec::new();
        let said = b"-ERR unknown command 'EXEC'\r\n".as_slice();
        let mut handshake = Handshake::begin(Some(said.into()), &plain(), &[], &mut out);
        assert!(!String::from_utf8_lossy(&out).contains("MULTI"));
        assert_eq!((handshake.admit(b":7\r\n"), handshake.admit(INFO)), (Progress::Pending, Progress::Pending));
        let Progress::Done(info) = handshake.admit(b"+PONG\r\n") else { panic!("it is over") };
        assert_eq!((info.transactions, info.no_transactions.as_deref()), (false, Some(said)));
    }

    #[test]
    fn a_refused_login_ends_it_with_the_servers_own_words() {
        let params = ConnectParams { login: Some(Login::new(None, b"p")), ..plain() };
        let (_, progress) = run(&params, &[b"-WRONGPASS no\r\n"]);
        assert_eq!(progress, Progress::Refused(Refusal { step: Step::Auth, reply: b"-WRONGPASS no\r\n".as_slice().into() }));
    }

    #[test]
    fn a_server_that_wants_a_password_first_is_taken_without_facts() {
        let noauth = b"-NOAUTH Authentication required.\r\n".as_slice();
        let (_, progress) = run(&plain(), &[noauth, noauth, noauth, noauth, noauth]);
        let wanted = ServerInfo { wants_password: true, no_transactions: Some(noauth.into()), ..ServerInfo::default() };
        assert_eq!(progress, Progress::Done(wanted));
    }

    #[test]
    fn a_user_who_may_not_exec_is_taken_without_transactions() {
        let refused = b"-EXECABORT Transaction discarded because of: NOPERM this user has no permissions\r\n".as_slice();
        let (_, progress) = run(&plain(), &[b":7\r\n", b"-NOPERM no\r\n", b"+PONG\r\n", b"+OK\r\n", refused]);
        assert_eq!(progress, Progress::Done(ServerInfo { no_transactions: Some(refused.into()), ..info(false) }));
    }

    #[test]
    fn a_transaction_that_does_not_end_refuses_the_connection() {
        let (_, progress) = run(&plain(), &[b":7\r\n", INFO, b"+PONG\r\n", b"+OK\r\n", b"-NOPERM no\r\n"]);
        assert!(matches!(progress, Progress::Refused(Refusal { step: Step::Exec, .. })));
    }
}
