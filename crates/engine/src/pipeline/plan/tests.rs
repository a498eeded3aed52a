//! Tests of `plan`.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::*;
use crate::command::{Blank, SubscriptionKind, Table};
use crate::link::owed::Seq;
use crate::pipeline::batch::{Held, Tail};
use crate::pipeline::finding::Unwrapped;
use crate::pipeline::refusal::Refusal;
use crate::policy::rule::{Atomic, DegradedReads, GuardAction, TtlAction, Written};
use crate::policy::rule::{WrittenDegrade, WrittenExpect, WrittenGroup, WrittenGuard, WrittenMember, WrittenTtl};
use crate::policy::{Between, Mode, OnUnsupported, Policy, compile};
use crate::preflight::{Ability, Unsupported};
use crate::session::affinity::Reason;
use crate::session::lane::LaneChange;
use respguard_resp::Protocol;
use respguard_resp::request::{Limits, RequestParser};

mod carry;
mod groups;
mod ttl;

/// A step without what it carries.
#[derive(Debug, PartialEq, Clone)]
enum Shape {
    Send {
        commands: Range<usize>,
    },
    Wrap {
        members: Range<usize>,
        group: usize,
    },
    Guard {
        members: Range<usize>,
        group: usize,
    },
    RefuseGroup {
        members: Range<usize>,
        group: usize,
    },
    Watch {
        commands: Range<usize>,
        group: usize,
        unwrapped: Option<Unwrapped>,
    },
    Probe,
    CatchUp,
    Answer {
        command: usize,
        by: Answer,
    },
    Refuse {
        command: usize,
    },
    TtlFix {
        command: usize,
    },
    /// Each group with the places of its members.
    Span {
        commands: Vec<usize>,
        groups: Vec<(usize, Vec<u32>)>,
    },
}

fn roles(plan: &Plan) -> Vec<&Role> {
    plan.roles.iter().collect()
}

fn shapes(plan: &Plan) -> Vec<Shape> {
    let shape = |step: &Step| match step {
        Step::Send { commands } => Shape::Send { commands: commands.clone() },
        Step::Wrap { members, group, .. } => Shape::Wrap { members: members.clone(), group: *group },
        Step::Guard { members, group, .. } => Shape::Guard { members: members.clone(), group: *group },
        Step::RefuseGroup { members, group, .. } => Shape::RefuseGroup { members: members.clone(), group: *group },
        Step::Watch { commands, group, unwrapped } => {
            Shape::Watch { commands: commands.clone(), group: *group, unwrapped: *unwrapped }
        }
        Step::Probe(_) => Shape::Probe,
        Step::CatchUp => Shape::CatchUp,
        Step::Answer { command, by } => Shape::Answer { command: *command, by: *by },
        Step::Refuse { command, .. } => Shape::Refuse { command: *command },
        Step::TtlFix { command, .. } => Shape::TtlFix { command: *command },
        Step::Span(span) => Shape::Span {
            commands: plan.members[span.commands.clone()].to_vec(),
            groups: span.groups.iter().map(|group| (group.group, group.places.clone())).collect(),
        },
    };
    plan.steps.iter().map(shape).collect()
}

/// Longer than anything may be held.
const LONG_AGO: Duration = Duration::from_secs(1);

struct Client {
    session: Session,
    undecided: Undecided,
    table: Table,
    policy: Policy,
    probes: bool,
    transactions: bool,
    ability: Ability,
    hold: Holding,
    degraded: bool,
    slots: bool,
    reads_ahead: bool,
    fenced: bool,
    /// So many commands have waited already, the first of them as the beginning of a group.
    held: usize,
    /// The one of them that has waited longer than all others.
    oldest: Option<usize>,
}

impl Client {
    fn new(written: &Written) -> Client {
        let table = Table::builtin();
        let policy = compile(written, &table).expect("the rules are good");
        let (session, undecided) = (Session::default(), Undecided::default());
        let (ability, hold) = (Ability::Able, Holding::default());
        Client {
            session,
            undecided,
            table,
            policy,
            probes: true,
            transactions: true,
            ability,
            hold,
            degraded: false,
            slots: false,
            reads_ahead: false,
            fenced: false,
            held: 0,
            oldest: None,
        }
    }

    /// Plans the lines, from a session that is as the lines before it left it.
    fn plan(&mut self, lines: &[&str], more: bool) -> Plan {
        let bytes: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let mut batch = Batch::default();
        let mut parser = RequestParser::new(Limits::default());
        assert_eq!(batch.parse(&mut parser, &self.table, bytes.as_bytes(), usize::MAX), Tail::Clean);
        let now = Instant::now();
        let since = |at| if self.oldest == Some(at) { now - LONG_AGO } else { now };
        let held = |at| Held { seq: Seq::default(), since: since(at), begins: at == 0 };
        let kept: Vec<_> = (0..self.held).map(|at| (at, held(at))).collect();
        batch.consume_around(self.held, &kept, &mut bytes.clone().into_bytes());
        let mut planned = Plan::default();
        let (transactions, probes, hold) = (self.transactions, self.probes, self.hold);
        let (ability, degraded) = (self.ability, self.degraded);
        let ttl_fixes = probes;
        let rules = Rules {
            transactions,
            probes,
            ttl_fixes,
            setnx_fixes: ttl_fixes,
            ability,
            hold,
            degraded,
            reads_ahead: self.reads_ahead,
            fenced: self.fenced,
            slots: self.slots,
            ..Rules::usual(&self.table, &self.policy)
        };
        plan(&mut self.session, &mut self.undecided, rules, &batch, bytes.as_bytes(), more, &mut planned);
        planned
    }
}

fn without_rules() -> Client {
    Client::new(&Written::default())
}

fn login() -> Client {
    let member = |text: &str, optional| WrittenMember { template: text.to_owned(), optional, ..WrittenMember::default() };
    let commands = vec![
        member("SETEX rt:{user}:{token} {ttl} *", false),
        member("SADD sess:{user} {token}", false),
        member("SMEMBERS sess:{user}", true),
    ];
    let between = Between::Pass;
    let group = WrittenGroup { name: "login".to_owned(), commands: Some(commands), between, ..WrittenGroup::default() };
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
    assert_eq!(shapes(&plan), [Shape::Send { commands: 0..2 }]);
    assert_eq!((plan.commands, plan.turn), (2, None));
}

#[test]
fn a_batch_that_no_rule_is_about_passes_whole_whatever_its_keys_look_like() {
    let group = |name: &str, first: &str| {
        let members = [first, "SET seen *"].map(|text| WrittenMember { template: text.to_owned(), ..WrittenMember::default() });
        WrittenGroup { name: name.to_owned(), commands: Some(members.to_vec()), ..WrittenGroup::default() }
    };
    let groups = vec![group("session", "GET session:user:{id}"), group("token", "GET token:{id}")];
    let client = Client::new(&Written { groups, ..Written::default() });
    let passes = |requests: &str| {
        let (mut batch, mut parser) = (Batch::default(), RequestParser::new(Limits::default()));
        assert_eq!(batch.parse(&mut parser, &client.table, requests.as_bytes(), usize::MAX), Tail::Clean);
        let rules = (&client.table, &client.policy);
        passes_whole(&client.session, &client.undecided, rules, &batch, requests.as_bytes())
    };
    // At the end of what was read, begun like the key of a rule, and inline.
    let short = "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
    let alike = "*2\r\n$3\r\nGET\r\n$14\r\nsession:others\r\n";
    let matching = "*2\r\n$3\r\nGET\r\n$14\r\nsession:user:1\r\n";
    assert!(passes(short) && passes(alike) && passes("GET k\r\n") && passes(&[alike, short, "GET k\r\n", short].concat()));
    assert!(!passes(matching) && !passes(&[short, matching, short].concat()) && !passes("GET token:1\r\n"));
}

#[test]
fn a_hello_for_the_protocol_that_the_client_has_makes_up_for_one_that_was_missed() {
    let mut client = without_rules();
    assert_eq!(client.plan(&["HELLO 2"], false).turn, None, "it changes nothing");
    client.session.missed.miss(&LaneChange { protocol: Some(Protocol::Resp3), ..LaneChange::default() });
    let plan = client.plan(&["GET a", "HELLO 2"], false);
    assert!(matches!(shapes(&plan)[..], [Shape::Answer { command: 0, .. }]));
    assert_eq!((plan.commands, plan.turn), (1, Some(Barrier::Lane)), "its answer tells");
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
    ] {
        let plan = without_rules().plan(&["SET a 1", line, "GET a"], false);
        assert_eq!(shapes(&plan), [Shape::Send { commands: 0..1 }], "{line}");
        assert_eq!((plan.commands, plan.turn), (1, Some(Barrier::Pin(reason))), "{line}");
    }
}

#[test]
fn a_whole_transaction_of_keyed_commands_is_carried_on_the_shared_connection() {
    let plan = without_rules().plan(&["MULTI", "SET a 1", "INCR a", "EXEC", "GET a"], false);
    assert_eq!(shapes(&plan), [Shape::Send { commands: 0..5 }]);
    assert!(matches!(roles(&plan)[..], [Role::Multi, Role::Queued, Role::Queued, Role::Exec, Role::Plain]));
}

#[test]
fn a_transaction_that_is_split_or_does_more_than_keys_is_pinned() {
    for lines in [&["MULTI", "SET a 1"][..], &["MULTI", "SELECT 1", "EXEC"], &["MULTI", "EVAL x 0", "EXEC"]] {
        let plan = without_rules().plan(lines, false);
        assert_eq!((plan.commands, plan.turn), (0, Some(Barrier::Pin(Reason::Transaction))), "{lines:?}");
    }
    let plan = without_rules().plan(&["MULTI", "SET a 1"], true);
    assert_eq!(plan.turn, Some(Barrier::Wait), "its EXEC may be on the way");
}

#[test]
fn a_wait_is_preceded_by_what_brings_its_connection_up_to_the_last_write() {
    let mut client = without_rules();
    assert_eq!(client.plan(&["SET a 1", "WAIT 1 0"], false).turn, Some(Barrier::Pin(Reason::Blocking)));
    client.session.affinity.pin(Reason::Blocking);
    let plan = client.plan(&["SET a 1", "WAIT 1 0"], false);
    assert_eq!(shapes(&plan), [Shape::Send { commands: 0..1 }, Shape::CatchUp, Shape::Send { commands: 1..2 }]);
}

#[test]
fn an_errors_shape_changes_nothing_and_passes() {
    let plan = without_rules().plan(&["EXEC", "DISCARD", "MULTI x", "WATCH", "SELECT x", "HELLO 9", "BLPOP"], false);
    assert_eq!((plan.commands, plan.turn), (7, None));
    assert!(plan.roles.iter().all(Role::is_plain));
}

#[test]
fn without_a_server_a_rule_answers_for_its_keys_and_nothing_else() {
    let keys = vec!["cache:*".to_owned()];
    let rule = WrittenDegrade { name: "cache".to_owned(), keys, reads: DegradedReads::Nil, ..WrittenDegrade::default() };
    let mut client = Client::new(&Written { degrades: vec![rule], ..Written::default() });
    let lines = ["GET cache:a", "GET other", "MGET cache:a other", "SET cache:a 1", "MGET cache:a cache:b"];
    assert_eq!(shapes(&client.plan(&lines, false)), [Shape::Send { commands: 0..5 }], "there is a server");
    client.degraded = true;
    let degraded = |command, blank| Shape::Answer { command, by: Answer::Degraded { rule: 0, blank } };
    let steps = [degraded(0, Blank::Null), Shape::Send { commands: 1..4 }, degraded(4, Blank::Nulls(2))];
    assert_eq!(shapes(&client.plan(&lines, false)), steps);
    client.policy.mode = Mode::Observe;
    assert_eq!(shapes(&client.plan(&lines, false)), [Shape::Send { commands: 0..5 }]);
}

const SEND: fn(Range<usize>) -> Shape = |commands| Shape::Send { commands };
const WRAP: fn(Range<usize>) -> Shape = |members| Shape::Wrap { members, group: 0 };

#[test]
fn a_lost_transaction_is_answered_until_its_exec() {
    let mut client = without_rules();
    client.session.transaction.watch();
    client.session.transaction.lose();
    let plan = client.plan(&["GET a", "MULTI", "SET a 1", "EXEC", "GET a"], false);
    let answer = |command, by| Shape::Answer { command, by };
    assert_eq!(
        shapes(&plan),
        [
            Shape::Send { commands: 0..1 },
            answer(1, Answer::Ok),
            answer(2, Answer::Queued),
            answer(3, Answer::ExecAbort),
            Shape::Send { commands: 4..5 }
        ]
    );
}

#[test]
fn a_change_of_lane_never_goes_to_a_shared_connection() {
    let mut client = without_rules();
    client.session.transaction.watch();
    client.session.transaction.lose();
    let plan = client.plan(&["SELECT 1"], false);
    assert_eq!((plan.commands, plan.turn), (0, Some(Barrier::Lane)));
    assert!(!client.session.affinity.is_pinned(), "its lease is lost");
}

#[test]
fn a_change_of_lane_on_a_lease_that_cannot_be_left_makes_it_the_clients_own() {
    let mut client = without_rules();
    client.session.affinity.pin(Reason::Transaction);
    let plan = client.plan(&["WATCH k", "SELECT 1"], false);
    assert_eq!((plan.commands, plan.turn), (1, Some(Barrier::Lane)));
    assert!(!client.session.affinity.is_passing());
}

#[test]
fn a_resp2_subscriber_sends_everything_to_its_own_connection() {
    let mut client = without_rules();
    client.session.affinity.pin(Reason::Subscription);
    let plan = client.plan(&["SUBSCRIBE a b", "PING", "UNSUBSCRIBE"], false);
    let roles = &roles(&plan)[..];
    assert!(matches!(
        roles,
        [Role::Subscription { frames: 2, .. }, Role::Plain, Role::UnsubscribeAll(SubscriptionKind::Channel)]
    ));
    let plan = client.plan(&["SELECT 1"], false);
    assert_eq!(plan.turn, Some(Barrier::Pin(Reason::Subscription)), "which state it meets is not known yet");
    client.session.subscriptions.confirm(b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
    client.session.subscriptions.answered();
    client.session.subscriptions.answered();
    let plan = client.plan(&["SELECT 1", "CLIENT ID"], false);
    assert!(plan.roles.iter().all(Role::is_plain), "the server refuses them");
}
