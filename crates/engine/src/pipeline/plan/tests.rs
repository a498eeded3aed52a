//! Tests of `plan`.

use super::*;
use crate::command::SubscriptionKind;
use crate::link::owed::Seq;
use crate::pipeline::batch::{Held, Tail};
use crate::pipeline::finding::Unwrapped;
use crate::policy::rule::{DegradedReads, GuardAction, TtlAction, Written, WrittenAtomic};
use crate::policy::rule::{WrittenDegrade, WrittenExpect, WrittenGroup, WrittenGuard, WrittenMember, WrittenTtl};
use crate::policy::{Between, Mode, OnUnsupported, compile};
use crate::session::lane::LaneChange;
use respguard_resp::Protocol;
use respguard_resp::request::{Limits, RequestParser};

mod carry;

/// Plans the lines, from a session that is as the lines before it left it.
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
}

impl Client {
    fn new(written: &Written) -> Client {
        let table = Table::builtin();
        let policy = compile(written, &table).expect("the rules are good");
        let (session, undecided) = (Session::default(), Undecided::default());
        let (ability, hold) = (Ability::Able, Holding::default());
        Client { session, undecided, table, policy, probes: true, transactions: true, ability, hold, degraded: false }
    }

    fn plan(&mut self, lines: &[&str], more: bool) -> Plan {
        let bytes: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let mut batch = Batch::default();
        let mut parser = RequestParser::new(Limits::default());
        assert_eq!(batch.parse(&mut parser, &self.table, bytes.as_bytes(), usize::MAX), Tail::Clean);
        let mut planned = Plan::default();
        let (transactions, probes, hold) = (self.transactions, self.probes, self.hold);
        let (ability, degraded) = (self.ability, self.degraded);
        let ttl_fixes = probes;
        let rules = Rules {
            table: &self.table,
            policy: &self.policy,
            transactions,
            probes,
            ttl_fixes,
            setnx_fixes: ttl_fixes,
            ability,
            hold,
            degraded,
            troubled: false,
            carries: true,
            slots: false,
            unserved: None,
            alone: false,
            skips: false,
            unix_ms: 0,
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
fn a_whole_transaction_of_keyed_commands_rides_on_the_shared_connection() {
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

#[test]
fn a_group_is_wrapped_between_its_neighbours() {
    let plan = login().plan(&["GET a", SETEX, SADD, "GET b"], false);
    let wrap = Shape::Wrap { members: 0..2, group: 0 };
    assert_eq!(shapes(&plan), [Shape::Send { commands: 0..1 }, wrap, Shape::Send { commands: 3..4 }]);
    assert!(!plan.reorders());
    assert_eq!(plan.members, [1, 2]);
}

fn guarded(on_unsupported: OnUnsupported) -> Client {
    let member = |text: &str| WrittenMember { template: text.to_owned(), ..WrittenMember::default() };
    let commands = Some(vec![member("SET a ..."), member("SADD b *")]);
    let atomic = WrittenAtomic::Guarded;
    let group = WrittenGroup { name: "g".to_owned(), atomic, on_unsupported, commands, ..WrittenGroup::default() };
    Client::new(&Written { groups: vec![group], ..Written::default() })
}

#[test]
fn a_guarded_group_goes_out_behind_its_preflight() {
    let plan = guarded(OnUnsupported::Refuse).plan(&["SET a 1", "SADD b 1"], false);
    assert_eq!(shapes(&plan), [Shape::Guard { members: 0..2, group: 0 }]);
}

#[test]
fn what_a_connection_lacks_is_for_the_rule_to_judge() {
    let lacking = |on_unsupported| {
        let mut client = guarded(on_unsupported);
        client.ability = Ability::Lacking(Lack::Eval);
        client.plan(&["SET a 1", "SADD b 1"], false)
    };
    let plan = lacking(OnUnsupported::Refuse);
    assert_eq!(shapes(&plan), [Shape::RefuseGroup { members: 0..2, group: 0 }]);
    assert!(matches!(&plan.steps[..], [Step::RefuseGroup { refusal: Refusal::Lacking(Lack::Eval), .. }]));
    let plan = lacking(OnUnsupported::Transaction);
    assert_eq!(shapes(&plan), [Shape::Wrap { members: 0..2, group: 0 }]);
    assert!(matches!(plan.notes[..], [Note::Degraded { lack: Lack::Eval, .. }]), "{:?}", plan.notes);
}

#[test]
fn a_group_that_must_fail_is_not_sent() {
    let plan = guarded(OnUnsupported::Refuse).plan(&["SET a 1 EX 0", "SADD b 1", "GET c"], false);
    assert_eq!(shapes(&plan), [Shape::RefuseGroup { members: 0..2, group: 0 }, Shape::Send { commands: 2..3 }]);
}

#[test]
fn members_whose_captures_differ_are_no_group() {
    let plan = login().plan(&[SETEX, "SADD sess:other t"], false);
    assert_eq!(shapes(&plan), [Shape::Send { commands: 0..2 }]);
}

#[test]
fn a_prefix_waits_only_while_more_is_known_to_come() {
    let plan = login().plan(&["GET a", SETEX], true);
    assert_eq!((&plan.kept[..], plan.turn), (&[(1, true)][..], Some(Barrier::Wait)));
    let plan = login().plan(&["GET a", SETEX], false);
    assert_eq!((plan.commands, plan.turn), (2, None));
}

#[test]
fn a_prefix_at_the_end_is_held_where_that_is_wanted_and_of_use() {
    let mut client = login();
    client.hold.willing = true;
    let plan = client.plan(&["GET a", SETEX], false);
    assert_eq!((plan.commands, &plan.kept[..], plan.turn), (2, &[(1, true)][..], Some(Barrier::Hold)));
    assert_eq!(plan.notes, [Note::Held { group: 0, members: 1 }]);
    let plan = client.plan(&[SETEX, "GET a"], false);
    assert_eq!((plan.commands, plan.turn), (2, None), "something else stands behind it");
    client.policy.mode = Mode::Observe;
    let plan = client.plan(&[SETEX], false);
    assert_eq!(plan.turn, None, "a group that is only observed");
}

const SEND: fn(Range<usize>) -> Shape = |commands| Shape::Send { commands };
const WRAP: fn(Range<usize>) -> Shape = |members| Shape::Wrap { members, group: 0 };

#[test]
fn members_that_are_apart_are_brought_together_where_the_last_one_stands() {
    let plan = login().plan(&[SETEX, "GET a", "ECHO x", SADD, "GET b"], false);
    assert_eq!(shapes(&plan), [SEND(1..3), WRAP(0..2), SEND(4..5)]);
    assert_eq!((&plan.members[..], plan.reorders(), plan.turn), (&[0, 3][..], true, None));
}

#[test]
fn what_is_whole_and_has_waited_long_enough_for_an_optional_member_goes_together() {
    let client = login();
    let bytes = [SETEX, "GET a", SADD].map(|line| format!("{line}\r\n")).concat();
    let (mut batch, mut parser, now) = (Batch::default(), RequestParser::new(Limits::default()), Instant::now());
    batch.parse(&mut parser, &client.table, bytes.as_bytes(), usize::MAX);
    let held = Held { seq: Seq::default(), since: now, begins: true };
    batch.consume_around(3, &[(0, held), (1, held), (2, held)], &mut bytes.clone().into_bytes());
    for (overdue, steps) in [(None, vec![SEND(1..2)]), (Some(now), vec![SEND(1..2), WRAP(0..2)])] {
        let hold = Holding { willing: true, across: true, over: false, overdue };
        let (table, policy) = (&client.table, &client.policy);
        let rules = Rules {
            table,
            policy,
            transactions: true,
            probes: true,
            ttl_fixes: true,
            setnx_fixes: true,
            ability: Ability::Able,
            hold,
            degraded: false,
            troubled: false,
            carries: true,
            slots: false,
            unserved: None,
            alone: false,
            skips: false,
            unix_ms: 0,
        };
        let mut planned = Plan::default();
        let (mut session, mut undecided) = (Session::default(), Undecided::default());
        plan(&mut session, &mut undecided, rules, &batch, bytes.as_bytes(), true, &mut planned);
        assert_eq!(shapes(&planned), steps);
        assert!(!planned.notes.iter().any(|note| matches!(note, Note::Expired { .. })), "nothing is split");
    }
}

#[test]
fn what_judges_the_members_of_a_refused_group_judges_nobody_else() {
    let member = |text: &str| WrittenMember { template: text.to_owned(), ..WrittenMember::default() };
    let commands = Some(vec![member("DEL a:{n}"), member("SET b:{n} *")]);
    let group = WrittenGroup { name: "g".to_owned(), mode: Some(Mode::Observe), commands, ..WrittenGroup::default() };
    let commands = Some(vec!["SET ...".to_owned()]);
    let guard = WrittenGuard { name: "no-set".to_owned(), commands, action: GuardAction::Reject, ..WrittenGuard::default() };
    let expect =
        WrittenExpect { name: "e".to_owned(), command: "DEL *".to_owned(), reply: ">= 1".to_owned(), ..WrittenExpect::default() };
    let written = Written { groups: vec![group], guards: vec![guard], expects: vec![expect], ..Written::default() };
    let plan = Client::new(&written).plan(&["DEL a:1", "SET b:1 x", "DEL c", "GET d"], false);
    let refuse = |command| Shape::Refuse { command };
    assert_eq!(shapes(&plan), [refuse(0), refuse(1), SEND(2..4)]);
    assert!(matches!(roles(&plan)[2..], [Role::Checked(_), Role::Plain]));
}

#[test]
fn a_write_gets_no_ttl_fix_where_its_exec_would_end_a_watch() {
    let mut client = expiring();
    let (action, default) = (TtlAction::Fix, Some("50s".to_owned()));
    let ttl = WrittenTtl { name: "s".to_owned(), keys: vec!["s:*".to_owned()], action, default, ..WrittenTtl::default() };
    client.policy = compile(&Written { ttls: vec![ttl], ..Written::default() }, &client.table).expect("good rules");
    client.session.affinity.pin(Reason::Transaction);
    let ttl_fixes = |plan: &Plan| shapes(plan).contains(&Shape::TtlFix { command: 0 });
    assert!(ttl_fixes(&client.plan(&["SET s:1 x"], false)));
    client.plan(&["WATCH k"], false);
    assert!(!ttl_fixes(&client.plan(&["SET s:1 x"], false)));
    client.plan(&["UNWATCH"], false);
    assert!(ttl_fixes(&client.plan(&["SET s:1 x"], false)));
}

#[test]
fn instances_between_each_other_are_told_apart_by_their_captures() {
    let plan = login().plan(&["SETEX rt:v:t 60 v", SETEX, "SADD sess:v t", SADD, "GET a"], false);
    assert_eq!(shapes(&plan).len(), 3);
    let members = plan.steps.iter().map(|step| match step {
        Step::Wrap { members, .. } => &plan.members[members.clone()],
        _ => &[],
    });
    assert_eq!(members.collect::<Vec<_>>(), [&[0, 2][..], &[1, 3], &[]]);
}

#[test]
fn members_do_not_go_past_what_has_their_keys_or_does_more_than_touch_its_own() {
    for (between, why) in [
        ("GET rt:u:t", Obstacle::Key),
        ("DEL a rt:u:t b", Obstacle::Key),
        ("PUBLISH c m", Obstacle::Command),
        ("FLUSHALL", Obstacle::Command),
        ("EVAL x 0", Obstacle::Command),
        ("DBSIZE", Obstacle::Command),
    ] {
        let plan = login().plan(&[SETEX, between, SADD], false);
        assert!(!shapes(&plan).iter().any(|step| matches!(step, Shape::Wrap { .. })), "{between}");
        assert_eq!(plan.notes, [Note::Obstructed { group: 0, members: 0..2, why }], "{between}");
        assert_eq!(plan.commands, 3, "{between}");
    }
    let plan = login().plan(&[SETEX, "BLPOP l 0", SADD], false);
    assert_eq!((plan.commands, plan.turn), (1, Some(Barrier::Pin(Reason::Blocking))));
}

#[test]
fn what_is_whole_goes_without_an_optional_member_behind_an_obstacle() {
    let plan = login().plan(&[SETEX, "GET a", SADD, "PUBLISH c m", "SMEMBERS sess:u"], false);
    assert_eq!(shapes(&plan), [SEND(1..2), WRAP(0..2), SEND(3..5)]);
    assert_eq!(plan.notes, [Note::LeftOut { group: 0, members: 0..3, why: Obstacle::Command }]);
    let plan = login().plan(&[SETEX, SADD, "SADD sess:u other", "SMEMBERS sess:u"], false);
    assert_eq!(shapes(&plan), [WRAP(3..5), SEND(2..4)]);
    assert_eq!((&plan.members[..], plan.notes.len()), (&[0, 1, 3, 0, 1][..], 1));
    let plan = login().plan(&[SETEX, SADD, "SADD sess:u other", "SMEMBERS sess:other"], false);
    assert_eq!((&plan.members[..], plan.notes.len()), (&[0, 1][..], 0));
}

#[test]
fn a_beginning_is_held_across_other_commands_where_that_is_wanted() {
    let mut client = login();
    client.hold = Holding { willing: true, across: true, ..Holding::default() };
    let plan = client.plan(&["GET a", SETEX, "GET b"], false);
    assert_eq!(shapes(&plan), [SEND(0..1), SEND(2..3)]);
    assert_eq!((&plan.kept[..], plan.turn), (&[(1, true)][..], Some(Barrier::Hold)));
    let plan = client.plan(&[SETEX, "PUBLISH c m"], false);
    assert_eq!((plan.kept.len(), plan.turn), (0, None), "it cannot go past");
    client.hold.across = false;
    let plan = client.plan(&[SETEX, "GET b"], false);
    assert_eq!((plan.kept.len(), plan.turn), (0, None));
}

#[test]
fn nothing_is_wrapped_inside_a_transaction_or_a_watch() {
    let mut client = login();
    let plan = client.plan(&["MULTI", SETEX, SADD, "EXEC"], false);
    assert_eq!(shapes(&plan), [Shape::Send { commands: 0..4 }]);
    client.session.affinity.pin(Reason::Transaction);
    client.plan(&["WATCH k"], false);
    let plan = client.plan(&[SETEX, SADD, "GET k"], false);
    let watched = Shape::Watch { commands: 0..2, group: 0, unwrapped: Some(Unwrapped::Watched) };
    assert_eq!(shapes(&plan), [watched, Shape::Send { commands: 2..3 }], "it is told");
}

#[test]
fn where_transactions_cannot_be_had_a_group_passes_and_is_told() {
    let mut client = login();
    client.transactions = false;
    let plan = client.plan(&[SETEX, SADD], false);
    assert_eq!(shapes(&plan), [Shape::Watch { commands: 0..2, group: 0, unwrapped: Some(Unwrapped::NoTransactions) }]);
}

#[test]
fn observing_leaves_a_group_as_it_is() {
    let mut client = login();
    client.policy.mode = Mode::Observe;
    let plan = client.plan(&[SETEX, SADD], false);
    assert_eq!(shapes(&plan), [Shape::Watch { commands: 0..2, group: 0, unwrapped: None }]);
}

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
fn a_write_that_may_leave_no_ttl_is_asked_about() {
    let plan = expiring().plan(&["SADD s:1 x", "GET other"], false);
    assert_eq!(shapes(&plan), [Shape::Send { commands: 0..2 }, Shape::Probe]);
    let plan = expiring().plan(&["SET s:1 x"], false);
    assert_eq!(shapes(&plan), [Shape::Probe, Shape::Send { commands: 0..1 }, Shape::Probe], "what it drops is asked first");
}

#[test]
fn what_the_batch_decides_is_not_asked() {
    for lines in
        [&["SADD s:1 x", "EXPIRE s:1 60"][..], &["SETEX s:1 60 x"], &["SET s:1 x", "DEL s:1"], &["SET other x"], &["GET s:1"]]
    {
        let plan = expiring().plan(lines, false);
        assert!(!shapes(&plan).contains(&Shape::Probe), "{lines:?}");
    }
}

#[test]
fn a_split_transaction_is_asked_about_behind_its_exec() {
    let mut client = expiring();
    client.session.affinity.pin(Reason::Transaction);
    for write in ["SADD s:1 x", "SET s:1 x"] {
        let plan = client.plan(&["MULTI", write], false);
        assert_eq!(shapes(&plan), [Shape::Send { commands: 0..2 }]);
        let plan = client.plan(&["EXEC"], false);
        assert_eq!(shapes(&plan), [Shape::Send { commands: 0..1 }, Shape::Probe], "{write}");
    }
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

#[test]
fn each_key_of_a_write_needs_its_own_expiry_behind_it() {
    for (action, default) in [(TtlAction::Reject, None), (TtlAction::Fix, Some("50s".to_owned()))] {
        let ttl = WrittenTtl { name: "s".to_owned(), keys: vec!["s:*".to_owned()], action, default, ..WrittenTtl::default() };
        let written = Written { ttls: vec![ttl], ..Written::default() };
        let acts = |step: &Shape| matches!(step, Shape::Refuse { command: 0 } | Shape::TtlFix { command: 0 });
        let passes = |lines: &[&str]| !shapes(&Client::new(&written).plan(lines, false)).iter().any(acts);
        let mset = "MSET s:1 v s:2 v s:3 v";
        assert!(passes(&[mset, "EXPIRE s:1 9", "DEL s:3 s:2"]), "{action:?}");
        for behind in [["EXPIRE s:1 9", "DEL s:3"], ["EXPIRE s:1 9", "DEL s:2"], ["EXPIRE s:2 9", "DEL s:3"]] {
            assert!(!passes(&[mset, behind[0], behind[1]]), "{action:?} {behind:?}");
        }
    }
}

#[test]
fn a_key_that_long_commands_share_keeps_members_apart() {
    let member = |text: &str| WrittenMember { template: text.to_owned(), ..WrittenMember::default() };
    let commands = Some(vec![member("MSET a:{x} ..."), member("SET b:{x} *")]);
    let between = Between::Pass;
    let group = WrittenGroup { name: "g".to_owned(), commands, between, ..WrittenGroup::default() };
    let written = Written { groups: vec![group], ..Written::default() };
    let keys = |first: &str| (0..30).map(|n| format!(" {first}{n} v")).collect::<String>();
    let (first, last) = (format!("MSET a:1 v{}", keys("k")), "SET b:1 v");
    for (between, apart) in [(format!("MSET{} k29 v", keys("o")), true), (format!("MSET{}", keys("o")), false)] {
        let plan = Client::new(&written).plan(&[&first, &between, last], false);
        assert_eq!(plan.notes.iter().any(|note| matches!(note, Note::Obstructed { why: Obstacle::Key, .. })), apart, "{between}");
        assert_eq!(shapes(&plan).iter().any(|step| matches!(step, Shape::Wrap { .. })), !apart, "{between}");
    }
}
