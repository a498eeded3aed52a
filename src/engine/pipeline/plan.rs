//! Decides what becomes of the commands that one client has sent: the only place where that is decided.

use std::ops::Range;

use super::batch::Batch;
use super::decide::Decision;
use super::slot::{Probe, Role};
use super::ttl::Undecided;
use crate::engine::command::{Local, Table};
use crate::engine::policy::Policy;
use crate::engine::session::affinity::Reason;
use crate::engine::session::{Admission, Session};

/// What is to be done, in this order.
#[derive(Debug, PartialEq, Eq, Clone)]
pub enum Step {
    /// The bytes of these commands go out as they are, in one piece.
    Send { commands: Range<usize> },
    /// `MULTI`, these commands, `EXEC`, in one piece.
    Wrap { commands: Range<usize>, group: usize },
    /// These commands are a group that goes out as it is: its rule says so, or, when `unwrapped`,
    /// the connection cannot do transactions.
    Watch { commands: Range<usize>, group: usize, unwrapped: bool },
    /// A PTTL of our own; the probe lies in `Plan::probes` in the order of these steps.
    Probe,
    /// A PING of our own whose answer nobody sees: it brings the connection up to the server's last
    /// write, which WAIT speaks about (<https://redis.io/docs/latest/commands/wait/>).
    CatchUp,
    /// The proxy itself answers this command.
    Answer { command: usize, by: Answer },
}

/// How the proxy answers a command itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Over the clients of the proxy.
    Local(Local),
    /// `+OK`, in a transaction whose connection is gone.
    Ok,
    /// `+QUEUED`, likewise.
    Queued,
    /// `-EXECABORT`, at its end.
    ExecAbort,
    /// This error.
    Refuse(&'static str),
}

/// Something that must be done before the next command can be planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Take a leased connection, once nothing is owed on the shared one. The command is planned again.
    Pin(Reason),
    /// The client changes its user, protocol or db with this command.
    Lane,
    /// The command goes to a spare connection, past everything else.
    Spare,
    /// CLIENT KILL and CLIENT UNBLOCK concern clients of other workers.
    ///
    /// CLIENT LIST takes a turn because its answer may be large: each is given only when there is room.
    Elsewhere(Local),
    /// The client says good-bye.
    Quit,
    /// The client starts over.
    Reset,
    /// What is there may become a group, or a transaction, and more is known to be coming.
    Wait,
    /// What is there begins a group, and the rest may come.
    Hold { group: usize, members: usize },
}

/// The outcome of planning.
#[derive(Debug, Default)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// One for each command that a step covers, in order.
    pub roles: Vec<Role>,
    pub probes: Vec<Probe>,
    /// How many of the batch's commands the steps cover.
    pub commands: usize,
    /// What must be done about the command behind them.
    pub turn: Option<Turn>,
}

impl Plan {
    fn clear(&mut self) {
        self.steps.clear();
        self.roles.clear();
        self.probes.clear();
        self.commands = 0;
        self.turn = None;
    }
}

/// What planning looks at beside the session.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    pub table: &'a Table,
    pub policy: &'a Policy,
    /// The connection can do MULTI and EXEC.
    pub transactions: bool,
    /// PTTL may be injected: the user is allowed to.
    pub probes: bool,
    /// The beginning of a group may be held back.
    pub hold: bool,
}

/// Plans the commands of `batch`, whose bytes are `bytes`.
///
/// `more` says that bytes behind the last whole command are known to be on their way; a group that
/// is not complete yet then waits for them.
///
/// `undecided` keeps what a transaction that is still open has written.
pub fn plan(
    session: &mut Session,
    undecided: &mut Undecided,
    rules: Rules<'_>,
    batch: &Batch,
    bytes: &[u8],
    more: bool,
    plan: &mut Plan,
) {
    plan.clear();
    let within = session.transaction.is_open();
    Planner { session, undecided, rules, batch, bytes, more, plan, run: 0, within }.plan();
}

/// A plan in the making: this file puts its steps together, `decide` says what becomes of each command.
pub(super) struct Planner<'a> {
    pub(super) session: &'a mut Session,
    pub(super) undecided: &'a mut Undecided,
    pub(super) rules: Rules<'a>,
    pub(super) batch: &'a Batch,
    pub(super) bytes: &'a [u8],
    pub(super) more: bool,
    pub(super) plan: &'a mut Plan,
    /// First command that is to be sent and is not yet in a step.
    run: usize,
    /// The run begins inside the client's own MULTI.
    within: bool,
}

impl Planner<'_> {
    fn plan(&mut self) {
        let mut at = 0;
        let awaits_login = self.session.admission == Admission::Awaited;
        while at < self.batch.len() {
            let decision = if awaits_login { self.decide_stranger(at) } else { self.decide(at) };
            match decision {
                Decision::Send(role) => {
                    self.plan.roles.push(role);
                    at += 1;
                    if role == Role::Exec {
                        self.end_run(at);
                    }
                }
                Decision::Transaction(commands) => {
                    self.plan.roles.push(Role::Multi);
                    self.plan.roles.extend((2..commands).map(|_| Role::Queued));
                    self.plan.roles.push(self.role_of_end(at + commands - 1));
                    at += commands;
                }
                Decision::Group { group, members } => {
                    self.end_run(at);
                    self.push_group(group, at..at + members);
                    at += members;
                    self.run = at;
                }
                Decision::Answer(by) => {
                    self.end_run(at);
                    self.plan.roles.push(Role::Answer);
                    self.plan.steps.push(Step::Answer { command: at, by });
                    at += 1;
                    self.run = at;
                }
                Decision::Turn(turn) => {
                    self.plan.turn = Some(turn);
                    break;
                }
            }
        }
        self.end_run(at);
        self.plan.commands = at;
    }

    /// Puts the commands that are to be sent as they are, up to `end`, into a step.
    pub(super) fn end_run(&mut self, end: usize) {
        let commands = self.run..end;
        self.run = end;
        if commands.is_empty() {
            return;
        }
        self.with_probes(commands.clone(), Step::Send { commands });
        self.within = self.session.transaction.is_open();
    }

    fn push_group(&mut self, group: usize, commands: Range<usize>) {
        let observed = self.is_observed(group);
        let wrapped = !observed && self.rules.transactions;
        self.plan.roles.extend(commands.clone().map(|_| if wrapped { Role::Group } else { Role::Plain }));
        let step = if wrapped {
            Step::Wrap { commands: commands.clone(), group }
        } else {
            Step::Watch { commands: commands.clone(), group, unwrapped: !observed }
        };
        self.with_probes(commands, step);
    }

    /// The step, between the questions about TTLs that its commands leave open.
    fn with_probes(&mut self, commands: Range<usize>, step: Step) {
        if self.rules.policy.ttl_rules().is_empty() || !self.rules.probes {
            self.plan.steps.push(step);
            return;
        }
        for at in commands {
            self.undecided.admit(self.rules.policy, self.rules.table, self.batch.id(at), self.batch.args(self.bytes, at));
        }
        // Behind an open MULTI a question would be queued: it waits for the EXEC.
        if self.session.transaction.is_open() {
            self.plan.steps.push(step);
            return;
        }
        let before = self.plan.probes.len();
        // Before the EXEC of a MULTI sent earlier it would be queued too.
        if !self.within {
            self.plan.probes.extend(self.undecided.before());
        }
        let first_after = self.plan.probes.len();
        self.plan.probes.extend(self.undecided.after());
        self.plan.steps.extend((before..first_after).map(|_| Step::Probe));
        self.plan.steps.push(step);
        self.plan.steps.extend((first_after..self.plan.probes.len()).map(|_| Step::Probe));
        self.undecided.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::pipeline::batch::Tail;
    use crate::engine::policy::Mode;
    use crate::engine::policy::compile;
    use crate::engine::policy::rule::{Written, WrittenGroup, WrittenMember, WrittenTtl};
    use crate::engine::resp::request::{Limits, RequestParser};

    /// Plans the lines, from a session that is as the lines before it left it.
    struct Client {
        session: Session,
        undecided: Undecided,
        table: Table,
        policy: Policy,
        probes: bool,
        transactions: bool,
        hold: bool,
    }

    impl Client {
        fn new(written: &Written) -> Client {
            let table = Table::builtin();
            let policy = compile(written, &table).expect("the rules are good");
            let (session, undecided) = (Session::default(), Undecided::default());
            Client { session, undecided, table, policy, probes: true, transactions: true, hold: false }
        }

        fn plan(&mut self, lines: &[&str], more: bool) -> Plan {
            let bytes: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            let mut batch = Batch::default();
            let mut parser = RequestParser::new(Limits::default());
            assert_eq!(batch.parse(&mut parser, &self.table, bytes.as_bytes(), usize::MAX), Tail::Clean);
            let mut planned = Plan::default();
            let (transactions, probes, hold) = (self.transactions, self.probes, self.hold);
            let rules = Rules { table: &self.table, policy: &self.policy, transactions, probes, hold };
            plan(&mut self.session, &mut self.undecided, rules, &batch, bytes.as_bytes(), more, &mut planned);
            planned
        }
    }

    fn without_rules() -> Client {
        Client::new(&Written::default())
    }

    fn login() -> Client {
        let member = |text: &str, optional| WrittenMember { template: text.to_owned(), optional };
        let commands = vec![
            member("SETEX rt:{user}:{token} {ttl} *", false),
            member("SADD sess:{user} {token}", false),
            member("SMEMBERS sess:{user}", true),
        ];
        let group = WrittenGroup { name: "login".to_owned(), commands: Some(commands), ..WrittenGroup::default() };
        Client::new(&Written { groups: vec![group], ..Written::default() })
    }

    fn expiring() -> Client {
        let ttl = WrittenTtl { name: "sessions".to_owned(), keys: vec!["s:*".to_owned()], ..WrittenTtl::default() };
        Client::new(&Written { ttls: vec![ttl], ..Written::default() })
    }

    const SETEX: &str = "SETEX rt:u:t 60 v";
    const SADD: &str = "SADD sess:u t";

    #[test]
    fn plain_commands_go_out_in_one_piece() {
        let plan = without_rules().plan(&["SET a 1", "GET a", "NOPE"][..2], false);
        assert_eq!(plan.steps, [Step::Send { commands: 0..2 }]);
        assert_eq!((plan.commands, plan.turn), (2, None));
    }

    #[test]
    fn what_pins_stops_the_plan_before_it() {
        for (line, reason) in [
            ("BLPOP l 0", Reason::Blocking),
            ("WATCH k", Reason::Transaction),
            ("SUBSCRIBE c", Reason::Subscription),
            ("CLIENT TRACKING ON", Reason::Exclusive),
            ("NOSUCHCOMMAND", Reason::Exclusive),
            ("MONITOR", Reason::Tunnel),
            ("CLIENT REPLY OFF", Reason::Tunnel),
        ] {
            let plan = without_rules().plan(&["SET a 1", line, "GET a"], false);
            assert_eq!(plan.steps, [Step::Send { commands: 0..1 }], "{line}");
            assert_eq!((plan.commands, plan.turn), (1, Some(Turn::Pin(reason))), "{line}");
        }
    }

    #[test]
    fn a_whole_transaction_of_keyed_commands_rides_on_the_shared_connection() {
        let plan = without_rules().plan(&["MULTI", "SET a 1", "INCR a", "EXEC", "GET a"], false);
        assert_eq!(plan.steps, [Step::Send { commands: 0..5 }]);
        assert_eq!(plan.roles, [Role::Multi, Role::Queued, Role::Queued, Role::Exec, Role::Plain]);
    }

    #[test]
    fn a_transaction_that_is_split_or_does_more_than_keys_is_pinned() {
        for lines in [&["MULTI", "SET a 1"][..], &["MULTI", "SELECT 1", "EXEC"], &["MULTI", "EVAL x 0", "EXEC"]] {
            let plan = without_rules().plan(lines, false);
            assert_eq!((plan.commands, plan.turn), (0, Some(Turn::Pin(Reason::Transaction))), "{lines:?}");
        }
        let plan = without_rules().plan(&["MULTI", "SET a 1"], true);
        assert_eq!(plan.turn, Some(Turn::Wait), "its EXEC may be on the way");
    }

    #[test]
    fn a_wait_is_preceded_by_what_brings_its_connection_up_to_the_last_write() {
        let mut client = without_rules();
        assert_eq!(client.plan(&["SET a 1", "WAIT 1 0"], false).turn, Some(Turn::Pin(Reason::Blocking)));
        client.session.affinity.pin(Reason::Blocking);
        let plan = client.plan(&["SET a 1", "WAIT 1 0"], false);
        assert_eq!(plan.steps, [Step::Send { commands: 0..1 }, Step::CatchUp, Step::Send { commands: 1..2 }]);
    }

    #[test]
    fn an_errors_shape_changes_nothing_and_passes() {
        let plan = without_rules().plan(&["EXEC", "DISCARD", "MULTI x", "WATCH", "SELECT x", "HELLO 9", "BLPOP"], false);
        assert_eq!((plan.commands, plan.turn), (7, None));
        assert!(plan.roles.iter().all(|role| *role == Role::Plain));
    }

    #[test]
    fn a_group_is_wrapped_between_its_neighbours() {
        let plan = login().plan(&["GET a", SETEX, SADD, "GET b"], false);
        let wrap = Step::Wrap { commands: 1..3, group: 0 };
        assert_eq!(plan.steps, [Step::Send { commands: 0..1 }, wrap, Step::Send { commands: 3..4 }]);
    }

    #[test]
    fn members_whose_captures_differ_are_no_group() {
        let plan = login().plan(&[SETEX, "SADD sess:other t"], false);
        assert_eq!(plan.steps, [Step::Send { commands: 0..2 }]);
    }

    #[test]
    fn a_prefix_waits_only_while_more_is_known_to_come() {
        let plan = login().plan(&["GET a", SETEX], true);
        assert_eq!((plan.commands, plan.turn), (1, Some(Turn::Wait)));
        let plan = login().plan(&["GET a", SETEX], false);
        assert_eq!((plan.commands, plan.turn), (2, None));
    }

    #[test]
    fn a_prefix_at_the_end_is_held_where_that_is_wanted_and_of_use() {
        let mut client = login();
        client.hold = true;
        let plan = client.plan(&["GET a", SETEX], false);
        assert_eq!((plan.commands, plan.turn), (1, Some(Turn::Hold { group: 0, members: 1 })));
        let plan = client.plan(&[SETEX, "GET a"], false);
        assert_eq!((plan.commands, plan.turn), (2, None), "its next member is something else");
        client.policy.mode = Mode::Observe;
        let plan = client.plan(&[SETEX], false);
        assert_eq!(plan.turn, None, "a group that is only observed");
    }

    #[test]
    fn nothing_is_wrapped_inside_a_transaction_or_a_watch() {
        let mut client = login();
        let plan = client.plan(&["MULTI", SETEX, SADD, "EXEC"], false);
        assert_eq!(plan.steps, [Step::Send { commands: 0..4 }]);
        client.session.affinity.pin(Reason::Transaction);
        client.plan(&["WATCH k"], false);
        let plan = client.plan(&[SETEX, SADD], false);
        assert_eq!(plan.steps, [Step::Send { commands: 0..2 }]);
    }

    #[test]
    fn where_transactions_cannot_be_had_a_group_passes_and_is_told() {
        let mut client = login();
        client.transactions = false;
        let plan = client.plan(&[SETEX, SADD], false);
        assert_eq!(plan.steps, [Step::Watch { commands: 0..2, group: 0, unwrapped: true }]);
    }

    #[test]
    fn observing_leaves_a_group_as_it_is() {
        let mut client = login();
        client.policy.mode = Mode::Observe;
        let plan = client.plan(&[SETEX, SADD], false);
        assert_eq!(plan.steps, [Step::Watch { commands: 0..2, group: 0, unwrapped: false }]);
    }

    #[test]
    fn a_lost_transaction_is_answered_until_its_exec() {
        let mut client = without_rules();
        client.session.transaction.watch();
        client.session.transaction.lose();
        let plan = client.plan(&["GET a", "MULTI", "SET a 1", "EXEC", "GET a"], false);
        let answer = |command, by| Step::Answer { command, by };
        assert_eq!(
            plan.steps,
            [
                Step::Send { commands: 0..1 },
                answer(1, Answer::Ok),
                answer(2, Answer::Queued),
                answer(3, Answer::ExecAbort),
                Step::Send { commands: 4..5 }
            ]
        );
    }

    #[test]
    fn a_write_that_may_leave_no_ttl_is_asked_about() {
        let plan = expiring().plan(&["SADD s:1 x", "GET other"], false);
        assert_eq!(plan.steps, [Step::Send { commands: 0..2 }, Step::Probe]);
        let plan = expiring().plan(&["SET s:1 x"], false);
        assert_eq!(plan.steps, [Step::Probe, Step::Send { commands: 0..1 }, Step::Probe], "what it drops is asked first");
    }

    #[test]
    fn what_the_batch_decides_is_not_asked() {
        for lines in
            [&["SADD s:1 x", "EXPIRE s:1 60"][..], &["SETEX s:1 60 x"], &["SET s:1 x", "DEL s:1"], &["SET other x"], &["GET s:1"]]
        {
            let plan = expiring().plan(lines, false);
            assert!(!plan.steps.contains(&Step::Probe), "{lines:?}");
        }
    }

    #[test]
    fn a_split_transaction_is_asked_about_behind_its_exec() {
        let mut client = expiring();
        client.session.affinity.pin(Reason::Transaction);
        for write in ["SADD s:1 x", "SET s:1 x"] {
            let plan = client.plan(&["MULTI", write], false);
            assert_eq!(plan.steps, [Step::Send { commands: 0..2 }]);
            let plan = client.plan(&["EXEC"], false);
            assert_eq!(plan.steps, [Step::Send { commands: 0..1 }, Step::Probe], "{write}");
        }
    }

    #[test]
    fn a_change_of_lane_never_goes_to_a_shared_connection() {
        let mut client = without_rules();
        client.session.transaction.watch();
        client.session.transaction.lose();
        let plan = client.plan(&["SELECT 1"], false);
        assert_eq!((plan.commands, plan.turn), (0, Some(Turn::Lane)));
        assert!(!client.session.affinity.is_pinned(), "its lease is lost");
    }

    #[test]
    fn a_change_of_lane_on_a_lease_that_cannot_be_left_makes_it_the_clients_own() {
        let mut client = without_rules();
        client.session.affinity.pin(Reason::Transaction);
        let plan = client.plan(&["WATCH k", "SELECT 1"], false);
        assert_eq!((plan.commands, plan.turn), (1, Some(Turn::Lane)));
        assert!(!client.session.affinity.is_passing());
    }

    #[test]
    fn a_resp2_subscriber_sends_everything_to_its_own_connection() {
        let mut client = without_rules();
        client.session.affinity.pin(Reason::Subscription);
        let plan = client.plan(&["SUBSCRIBE a b", "PING", "UNSUBSCRIBE"], false);
        let all = crate::engine::command::SubscriptionKind::Channel;
        assert_eq!(plan.roles, [Role::Subscription { frames: 2 }, Role::Plain, Role::UnsubscribeAll(all)]);
        let plan = client.plan(&["SELECT 1"], false);
        assert_eq!(plan.turn, Some(Turn::Pin(Reason::Subscription)), "which state it meets is not known yet");
        client.session.subscriptions.confirm(b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
        client.session.subscriptions.answered();
        client.session.subscriptions.answered();
        let plan = client.plan(&["SELECT 1", "CLIENT ID"], false);
        assert_eq!(plan.roles, [Role::Plain, Role::Plain], "the server refuses them");
    }
}
