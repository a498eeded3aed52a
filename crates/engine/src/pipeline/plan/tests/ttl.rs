//! TTL rules: what is added, and which questions are asked.

use super::*;

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
