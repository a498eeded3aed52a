//! Groups with other commands between their members, which keep their order.

use super::*;
use crate::policy::rule::GuardAction;

fn member(template: &str) -> WrittenMember {
    WrittenMember { template: template.to_owned(), ..WrittenMember::default() }
}

fn group(name: &str, members: &[&str]) -> WrittenGroup {
    let commands = Some(members.iter().map(|template| member(template)).collect());
    WrittenGroup { name: name.to_owned(), commands, ..WrittenGroup::default() }
}

fn pairs() -> Vec<WrittenGroup> {
    vec![group("pair", &["SET a:{n} *", "SET b:{n} *"]), group("list", &["RPUSH l:{n} *", "INCR n:{n}"])]
}

fn client(groups: Vec<WrittenGroup>) -> Client {
    let mut client = Client::new(&Written { groups, ..Written::default() });
    client.hold = Holding { willing: true, across: true, ..Holding::default() };
    client
}

fn planned(lines: &[&str]) -> Plan {
    client(pairs()).plan(lines, false)
}

fn span(commands: &[usize], groups: &[(usize, &[u32])]) -> Shape {
    Shape::Span { commands: commands.to_vec(), groups: groups.iter().map(|(group, places)| (*group, places.to_vec())).collect() }
}

#[test]
fn what_stands_between_the_members_is_carried_in_its_place() {
    let plan = planned(&["GET x", "SET a:1 v", "GET y", "PUBLISH c m", "SET b:1 v", "GET z"]);
    assert_eq!(shapes(&plan), [SEND(0..1), span(&[1, 2, 3, 4], &[(0, &[0, 3])])]);
    assert_eq!((plan.commands, plan.turn), (5, Some(Barrier::Resolve)), "what follows waits for it");
    for between in
        ["GET a:1", "DEL a:1", "EVAL x 0", "EVALSHA x 1 a:1", "DBSIZE", "PING", "ECHO x", "SORT k BY w_*", "EXISTS b:1"]
    {
        let plan = planned(&["SET a:1 v", between, "SET b:1 v"]);
        assert_eq!(shapes(&plan), [span(&[0, 1, 2], &[(0, &[0, 2])])], "{between}");
    }
    let plan = planned(&["SET a:1 v", "SET b:1 v", "GET x"]);
    assert_eq!(shapes(&plan), [WRAP(0..2), SEND(2..3)], "nothing stands between");
}

#[test]
fn reads_go_out_behind_a_transaction_that_may_go_out_again_and_nothing_else_does() {
    let lines = ["SET a:1 v", "GET y", "SET b:1 v", "GET z", "STRLEN a:1", "SET z 1", "GET z"];
    let mut client = client(pairs());
    client.reads_ahead = true;
    let plan = client.plan(&lines, false);
    assert_eq!(shapes(&plan), [span(&[0, 1, 2], &[(0, &[0, 2])]), SEND(3..5)]);
    assert_eq!((plan.commands, plan.turn), (5, Some(Barrier::Resolve)));
    assert!(roles(&plan)[3..].iter().all(|role| matches!(role, Role::ReadAhead(_))));
    client.slots = true;
    let tagged = ["SET a:{1} v", "GET y{1}", "SET b:{1} v", "GET z{1}"];
    assert_eq!(client.plan(&tagged, false).commands, 3, "each node has its own order");
    client.slots = false;
    // What comes while it is unanswered.
    client.fenced = true;
    for (lines, sent) in [
        (&["GET z", "SET z 1", "GET z"][..], 1),
        (&["GET z", "GET y"][..], 2),
        (&["SET a:2 v", "GET z"][..], 0),
        (&["KEYS *"][..], 0),
    ] {
        let plan = client.plan(lines, false);
        assert_eq!((plan.commands, plan.turn), (sent, Some(Barrier::Resolve)), "{lines:?}");
    }
    client.reads_ahead = false;
    assert_eq!(client.plan(&["GET z"], false).commands, 0);
}

#[test]
fn nothing_waits_longer_than_it_may_for_a_group_that_began_later() {
    let mut client = client(pairs());
    client.hold.overdue = Instant::now().checked_sub(LONG_AGO / 2);
    (client.held, client.oldest) = (2, None);
    let plan = client.plan(&["SET a:1 v", "GET y"], false);
    assert_eq!((shapes(&plan).len(), plan.turn), (0, Some(Barrier::Hold)));
    // What was sent in vain stands behind what came before it and was held later.
    client.oldest = Some(1);
    for more in [false, true] {
        let plan = client.plan(&["SET a:1 v", "GET y"], more);
        assert_eq!((shapes(&plan), plan.turn), (vec![SEND(0..2)], None));
        assert!(matches!(plan.notes[..], [Note::Expired { group: 0, .. }]), "{:?}", plan.notes);
    }
    // The group of two where what stands between may be passed.
    let mut client = login();
    client.hold = Holding { willing: true, across: true, over: false, overdue: Instant::now().checked_sub(LONG_AGO / 2) };
    (client.held, client.oldest) = (1, Some(0));
    assert_eq!(shapes(&client.plan(&[SETEX, "GET x"], false)), [SEND(0..2)]);
}

#[test]
fn groups_between_each_others_members_share_a_transaction() {
    let plan = planned(&["SET a:1 v", "SET a:2 v", "SET b:1 v", "GET x", "SET b:2 v"]);
    assert_eq!(shapes(&plan), [span(&[0, 1, 2, 3, 4], &[(0, &[0, 2]), (0, &[1, 4])])]);
    let plan = planned(&["SET a:1 v", "RPUSH l:1 x", "INCR n:1", "SET b:1 v"]);
    assert_eq!(shapes(&plan), [span(&[0, 1, 2, 3], &[(0, &[0, 3]), (1, &[1, 2])])]);
}

#[test]
fn what_cannot_be_carried_cuts_and_is_told() {
    for between in ["CONFIG GET x", "TIME", "SCRIPT EXISTS x", "INFO", "CLIENT SETINFO LIB-NAME x"] {
        let plan = planned(&["SET a:1 v", between, "SET b:1 v"]);
        assert!(!shapes(&plan).iter().any(|step| matches!(step, Shape::Span { .. } | Shape::Wrap { .. })), "{between}");
        if plan.commands == 3 {
            assert_eq!(plan.notes, [Note::Obstructed { group: 0, members: 0..2, why: SplitReason::NotCarried }], "{between}");
        }
    }
}

#[test]
fn what_is_pushed_is_not_read_in_the_same_transaction() {
    for (lines, cut) in [
        (&["SET a:1 v", "LPUSH q j", "LLEN q", "SET b:1 v"][..], true),
        (&["SET a:1 v", "LPUSH q j", "LPOP q", "SET b:1 v"], true),
        (&["SET a:1 v", "ZADD q 1 j", "EXISTS q", "SET b:1 v"], true),
        (&["SET a:1 v", "XADD q * f v", "DBSIZE", "SET b:1 v"], true),
        (&["SET a:1 v", "EVAL x 0", "LPOP q", "SET b:1 v"], true),
        (&["SET a:1 v", "RENAME x q", "LPOP q", "SET b:1 v"], true),
        (&["SET a:1 v", "LPUSH q j", "LPUSH q k", "SET b:1 v"], false),
        (&["SET a:1 v", "LPUSH q j", "LLEN other", "SET b:1 v"], false),
        (&["SET a:1 v", "LPUSH q j", "SET b:1 v", "LPOP q"], false),
        (&["SET a:1 v", "LLEN q", "LPUSH q j", "SET b:1 v"], false),
    ] {
        let plan = planned(lines);
        assert_eq!(!shapes(&plan).iter().any(|step| matches!(step, Shape::Span { .. })), cut, "{lines:?}");
        let told = plan.notes.iter().any(|note| matches!(note, Note::Obstructed { why: SplitReason::Pushed, .. }));
        assert_eq!(told, cut, "{lines:?}");
    }
    let both = group("queue", &["RPUSH q:{n} *", "LLEN q:{n}"]);
    let plan = client(vec![both]).plan(&["RPUSH q:1 x", "GET y", "LLEN q:1"], false);
    assert_eq!(shapes(&plan), [span(&[0, 1, 2], &[(0, &[0, 2])])], "members of one group are meant to be together");
}

#[test]
fn a_cut_is_made_where_the_fewest_groups_are_open() {
    // The first two are open between the push and the read only together with the third, which is open alone behind them.
    let plan = planned(&["SET a:1 v", "SET a:2 v", "LPUSH q j", "SET b:1 v", "SET a:3 v", "SET b:2 v", "LLEN q", "SET b:3 v"]);
    assert_eq!(shapes(&plan)[0], span(&[0, 1, 2, 3, 4, 5], &[(0, &[0, 3]), (0, &[1, 5])]));
    assert!(matches!(plan.notes[..], [Note::Obstructed { why: SplitReason::Pushed, .. }]), "{:?}", plan.notes);
}

#[test]
fn all_behind_a_beginning_waits_with_it() {
    let plan = planned(&["GET x", "SET a:1 v", "GET y", "INCR z"]);
    assert_eq!(shapes(&plan), [SEND(0..1)]);
    assert_eq!((&plan.kept[..], plan.turn), (&[(1, true), (2, false), (3, false)][..], Some(Barrier::Hold)));
    assert_eq!((plan.commands, &plan.notes[..]), (4, &[Note::Held { group: 0, members: 1 }][..]));
    let plan = planned(&["SET a:1 v", "SET a:2 v", "SET b:1 v"]);
    assert_eq!(
        (shapes(&plan).len(), &plan.kept[..]),
        (0, &[(0, false), (1, true), (2, false)][..]),
        "the whole one shares its fate"
    );
    let plan = planned(&["SET a:1 v", "TIME"]);
    assert_eq!((plan.kept.len(), plan.turn), (0, None), "it cannot ride");
    let mut impatient = client(pairs());
    impatient.hold.across = false;
    assert_eq!(impatient.plan(&["SET a:1 v", "GET y"], false).kept.len(), 0);
}

#[test]
fn nothing_is_carried_with_a_group_that_is_rolled_back() {
    let rolled_back = |lines: &[&str]| {
        let atomic = Atomic::Rollback;
        client(vec![WrittenGroup { atomic, ..group("g", &["SET a:{n} *", "SET b:{n} *"]) }]).plan(lines, false)
    };
    let plan = rolled_back(&["SET a:1 v", "GET x", "SET b:1 v"]);
    assert_eq!(shapes(&plan), [SEND(0..3)]);
    assert!(matches!(plan.notes[..], [Note::Obstructed { why: SplitReason::RolledBack, .. }]), "{:?}", plan.notes);
    assert!(matches!(shapes(&rolled_back(&["SET a:1 v", "SET b:1 v"]))[..], [Shape::Guard { .. }]));
}

#[test]
fn a_guarded_group_is_refused_alone_and_the_others_are_planned_again() {
    let guarded = |name: &str, members: &[&str]| WrittenGroup { atomic: Atomic::Guarded, ..group(name, members) };
    let groups = || vec![guarded("g", &["SADD a:{n} *", "EXPIRE a:{n} *"]), group("pair", &["SET c:{n} *", "SET d:{n} *"])];
    let plan = client(groups()).plan(&["SADD a:1 x", "SET c:1 v", "EXPIRE a:1 no", "GET x", "SET d:1 v"], false);
    assert_eq!(shapes(&plan), [Shape::RefuseGroup { members: 0..2, group: 0 }, span(&[1, 3, 4], &[(1, &[0, 2])])]);
    assert_eq!(plan.members[..2], [0, 2]);
    let plan = client(groups()).plan(&["SADD a:1 x", "EVAL x 0", "SADD a:1 y", "EXPIRE a:1 5", "GET x"], false);
    assert!(!shapes(&plan).contains(&Shape::Guard { members: 0..2, group: 0 }), "{:?}", shapes(&plan));
}

#[test]
fn what_is_refused_within_a_transaction_neither_waits_nor_goes_again() {
    let guarded = |name: &str, members: &[&str]| WrittenGroup { atomic: Atomic::Guarded, ..group(name, members) };
    let groups = vec![guarded("g", &["SADD a:{n} *", "EXPIRE a:{n} *"]), group("pair", &["SET c:{n} *", "SET d:{n} *"])];
    let plan = client(groups).plan(&["SET c:2 v", "SADD a:1 x", "GET x", "EXPIRE a:1 no", "SET d:2 v", "SET c:3 v"], false);
    assert_eq!(shapes(&plan), [Shape::RefuseGroup { members: 0..2, group: 0 }, span(&[0, 2, 4], &[(1, &[0, 2])])]);
    assert_eq!((&plan.members[..2], plan.kept.len(), plan.turn), (&[1, 3][..], 0, Some(Barrier::Resolve)));
}

#[test]
fn a_refused_member_behind_what_is_planned_is_done_with() {
    let guarded = |name: &str, members: &[&str]| WrittenGroup { atomic: Atomic::Guarded, ..group(name, members) };
    let groups = vec![guarded("g", &["SADD a:{n} *", "EXPIRE a:{n} *"]), group("pair", &["SET c:{n} *", "SET d:{n} *"])];
    let lines = ["SADD a:1 x", "SET c:1 v", "GET x", "SET d:1 v", "GET z", "EXPIRE a:1 no", "GET y"];
    let plan = client(groups).plan(&lines, false);
    assert_eq!(shapes(&plan), [Shape::RefuseGroup { members: 0..2, group: 0 }, span(&[1, 2, 3], &[(1, &[0, 2])])]);
    assert_eq!((plan.commands, &plan.kept[..], plan.turn), (6, &[(4, false)][..], Some(Barrier::Resolve)));
}

#[test]
fn a_carried_command_that_a_rule_refuses_is_answered_alone() {
    let commands = Some(vec!["DEL *".to_owned()]);
    let guard = WrittenGuard { name: "no".to_owned(), commands, action: GuardAction::Reject, ..WrittenGuard::default() };
    let mut client = Client::new(&Written { groups: pairs(), guards: vec![guard], ..Written::default() });
    let plan = client.plan(&["SET a:1 v", "DEL x", "GET y", "SET b:1 v"], false);
    assert_eq!(shapes(&plan), [Shape::Refuse { command: 1 }, span(&[0, 2, 3], &[(0, &[0, 2])])]);
}

#[test]
fn a_transaction_has_no_more_than_512_commands() {
    let mut lines = vec!["SET a:1 v"];
    lines.extend(std::iter::repeat_n("GET x", 510));
    lines.push("SET b:1 v");
    assert!(matches!(&shapes(&planned(&lines))[..], [Shape::Span { commands, .. }] if commands.len() == 512));
    lines.insert(1, "GET x");
    let plan = planned(&lines);
    assert!(!shapes(&plan).iter().any(|step| matches!(step, Shape::Span { .. })));
    assert!(matches!(plan.notes[..], [Note::Obstructed { why: SplitReason::TooMuch, .. }]), "{:?}", plan.notes);
}

#[test]
fn a_held_beginning_that_is_cut_off_from_its_rest_is_told() {
    let mut waiting = client(pairs());
    waiting.held = 2;
    let cut_by = |plan: &Plan| match &plan.notes[..] {
        [Note::Broken { group: 0, members, why: Some(why) }] if plan.members[members.clone()] == [0] => Some(*why),
        _ => None,
    };
    let behind = |command: &str, times: usize| {
        let mut lines = vec!["SET a:1 v", "GET y"];
        lines.extend(std::iter::repeat_n(command, times));
        waiting.plan(&lines, false)
    };
    let mut behind = behind;
    for times in [511, 900] {
        let plan = behind("GET x", times);
        assert_eq!(
            (cut_by(&plan), plan.turn, plan.kept.len()),
            (Some(SplitReason::TooMuch), None, 0),
            "{times}: {:?}",
            plan.notes
        );
    }
    assert_eq!(cut_by(&behind("TIME", 1)), Some(SplitReason::NotCarried));
    let plan = behind("GET x", 510);
    assert_eq!((&plan.notes[..], plan.kept.len()), (&[][..], 512), "it waits on");
}

#[test]
fn a_chain_of_groups_is_cut_where_the_fewest_are_open() {
    let mut lines = Vec::new();
    for n in 0..400 {
        lines.push(format!("SET a:{} v", n + 1));
        if n > 0 {
            lines.push(format!("SET b:{n} v"));
        }
    }
    lines.push("SET b:400 v".to_owned());
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let plan = planned(&lines);
    let Shape::Span { commands, groups } = &shapes(&plan)[0] else { panic!("{:?}", shapes(&plan)) };
    assert!(commands.len() <= 512 && groups.len() >= 254, "{} {}", commands.len(), groups.len());
    assert_eq!(plan.notes.len(), 1, "{:?}", plan.notes);
}

#[test]
fn before_a_cluster_what_is_of_another_slot_has_no_order_with_a_group() {
    let mut client = client(vec![group("pair", &["SET a:{{{n}}} *", "SET b:{{{n}}} *"])]);
    client.slots = true;
    // Of one slot are the keys with the same hash tag.
    let plan = client.plan(&["SET a:{1} v", "GET x{1}", "SET a:{2} v", "GET y", "SET b:{1} v", "SET b:{2} v", "PING"], false);
    assert_eq!(shapes(&plan), [span(&[0, 1, 4], &[(0, &[0, 2])])]);
    assert_eq!(plan.turn, Some(Barrier::Resolve));
    assert_eq!((plan.commands, &plan.kept[..]), (5, &[(2, false), (3, false)][..]));
    // What concerns every node cuts.
    let plan = client.plan(&["SET a:{1} v", "DBSIZE", "SET b:{1} v"], false);
    assert!(matches!(plan.notes[..], [Note::Obstructed { why: SplitReason::NotCarried, .. }]), "{:?}", plan.notes);
}
