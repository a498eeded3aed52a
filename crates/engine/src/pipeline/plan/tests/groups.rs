//! Groups as transactions.

use super::*;

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
    let atomic = Atomic::Guarded;
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
        client.ability = Ability::Lacking(Unsupported::Eval);
        client.plan(&["SET a 1", "SADD b 1"], false)
    };
    let plan = lacking(OnUnsupported::Refuse);
    assert_eq!(shapes(&plan), [Shape::RefuseGroup { members: 0..2, group: 0 }]);
    assert!(matches!(&plan.steps[..], [Step::RefuseGroup { refusal: Refusal::Lacking(Unsupported::Eval), .. }]));
    let plan = lacking(OnUnsupported::Transaction);
    assert_eq!(shapes(&plan), [Shape::Wrap { members: 0..2, group: 0 }]);
    assert!(matches!(plan.notes[..], [Note::Degraded { lack: Unsupported::Eval, .. }]), "{:?}", plan.notes);
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
        let rules = Rules { hold, ..Rules::usual(table, policy) };
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
        ("GET rt:u:t", SplitReason::Key),
        ("DEL a rt:u:t b", SplitReason::Key),
        ("PUBLISH c m", SplitReason::Command),
        ("FLUSHALL", SplitReason::Command),
        ("EVAL x 0", SplitReason::Command),
        ("DBSIZE", SplitReason::Command),
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
    assert_eq!(plan.notes, [Note::LeftOut { group: 0, members: 0..3, why: SplitReason::Command }]);
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
        assert_eq!(
            plan.notes.iter().any(|note| matches!(note, Note::Obstructed { why: SplitReason::Key, .. })),
            apart,
            "{between}"
        );
        assert_eq!(shapes(&plan).iter().any(|step| matches!(step, Shape::Wrap { .. })), !apart, "{between}");
    }
}
