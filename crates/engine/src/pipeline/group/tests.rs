//! Tests of `group`.

use std::ops::Range;

use super::super::finding::Outcome;
use super::super::wire::{EXEC, MULTI, Pieces, parts};
use super::*;
use crate::policy::OnPartial;
use crate::policy::compile;
use crate::policy::rule::{Written, WrittenGroup};
use respguard_resp::scan::{ReplyScanner, ScanLimits};

const OWN: [(u32, &str); 3] = [(0, "own0 "), (1, "own1 "), (2, "own2 ")];

fn injected() -> Vec<Injected> {
    OWN.map(|(behind, text)| Injected { behind, request: text.as_bytes().to_vec(), ttl_fix: None }).to_vec()
}

/// What a client reads for the answers to a group of two with commands of our own before, between and behind them.
fn replies(on_partial: OnPartial, answers: &str, piece: usize) -> (String, Vec<Finding>) {
    replies_beside(&injected(), on_partial, answers, piece)
}

/// The same, with these commands of our own.
fn replies_beside(own: &[Injected], on_partial: OnPartial, answers: &str, piece: usize) -> (String, Vec<Finding>) {
    let table = Table::builtin();
    let written = WrittenGroup { name: "g".into(), keys: Some(vec!["k*".into()]), on_partial, ..WrittenGroup::default() };
    let policy = compile(&Written { groups: vec![written], ..Written::default() }, &table).expect("good rules");
    let members = ["get", "incr"].map(|name| table.by_name(name).expect("known")).to_vec();
    let mut group = WrappedGroup::new(0, Arc::clone(&policy.groups()[0]), members).with_injected(own);
    let (mut out, mut found, mut scanner) = (Vec::new(), Vec::new(), ReplyScanner::new(ScanLimits::default()));
    let (mut rest, mut first, mut frames) = (answers.as_bytes(), true, group.frames());
    while !rest.is_empty() {
        let come = &rest[..rest.len().min(piece)];
        // As a connection does: where none has begun, those that say nothing are taken together.
        let (queued, bytes) = if first { group.take_queued(come) } else { (0, 0) };
        if queued > 0 {
            (frames, rest) = (frames - queued, &rest[bytes..]);
            continue;
        }
        let scanned = scanner.scan(come).expect("a reply");
        let (now, later) = rest.split_at(scanned.bytes);
        let part = Part { first, last: scanned.end, top: scanner.top() };
        frames -= u32::from(scanned.end);
        let done = group.admit((now, part), Behind::Nothing, &mut out, &mut Findings { table: &table, found: &mut found });
        assert_eq!(done, frames == 0, "done with its last frame");
        (rest, first) = (later, scanned.end);
    }
    (String::from_utf8(out).expect("text"), found)
}

const QUEUED: &str = "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n";

#[test]
fn commands_of_our_own_go_out_in_their_places() {
    let own = injected();
    let wire = |members: Range<u32>, parts: &mut Pieces<'_>| {
        parts.push(&b"get incr "[[0, 4, 9][members.start as usize]..[0, 4, 9][members.end as usize]]);
    };
    let both = |_, parts: &mut Pieces<'_>| parts.push(b"both");
    let text = String::from_utf8(parts(2, &own, wire).concat()).expect("text");
    assert_eq!(text, format!("{M}own0 get own1 incr own2 {E}", M = "*1\r\n$5\r\nMULTI\r\n", E = "*1\r\n$4\r\nEXEC\r\n"));
    assert_eq!(parts(2, &own[2..], both).len(), 4, "members that stand together go out together");
    assert_eq!(parts(2, &[], both).concat(), [MULTI, b"both", EXEC].concat());
}

#[test]
fn the_replies_to_commands_of_our_own_are_nobodys_however_the_array_is_cut() {
    let answers = format!("{QUEUED}*5\r\n+own\r\n$1\r\nv\r\n:9\r\n:1\r\n+own\r\n");
    for on_partial in [OnPartial::Report, OnPartial::Fail] {
        for piece in [1, 3, 1000] {
            assert_eq!(replies(on_partial, &answers, piece).0, "$1\r\nv\r\n:1\r\n", "{piece}");
        }
    }
}

#[test]
fn answers_that_say_nothing_are_taken_together_up_to_the_first_other_one() {
    let table = Table::builtin();
    let written = WrittenGroup { name: "g".into(), keys: Some(vec!["k*".into()]), ..WrittenGroup::default() };
    let policy = compile(&Written { groups: vec![written], ..Written::default() }, &table).expect("good rules");
    let taken = |answers: &str| {
        let members = ["get", "incr"].map(|name| table.by_name(name).expect("known")).to_vec();
        let mut group = WrappedGroup::new(0, Arc::clone(&policy.groups()[0]), members).with_injected(&injected());
        let taken = group.take_queued(answers.as_bytes());
        assert_eq!(group.remaining(), group.frames() - taken.0);
        taken
    };
    assert_eq!(taken(QUEUED), (6, QUEUED.len()));
    assert_eq!(taken(&format!("{QUEUED}+QUEUED\r\n")), (6, QUEUED.len()), "EXEC says something");
    assert_eq!(taken("+OK\r\n"), (1, 5));
    assert_eq!(taken("+OK\r\n+QUEUED\r\n-ERR no\r\n+QUEUED\r\n"), (2, 14));
    assert_eq!(taken("+OK\r\n+QUEUED\r\n+QUEU"), (2, 14), "it has not come whole");
    assert_eq!(taken("+QUEUED\r\n"), (0, 0), "MULTI is answered first");
    assert_eq!(taken("-NOPERM no\r\n+QUEUED\r\n"), (0, 0));
}

#[test]
fn a_failure_of_our_own_tears_no_group_and_a_members_place_is_among_the_members() {
    let (text, found) =
        replies(OnPartial::Fail, &format!("{QUEUED}*5\r\n-ERR own\r\n$1\r\nv\r\n-ERR own\r\n:1\r\n+own\r\n"), 1000);
    assert_eq!(text, "$1\r\nv\r\n:1\r\n");
    assert!(matches!(found[..], [Finding::Group { outcome: Outcome::Applied, .. }]), "{found:?}");
    let answers = format!("{QUEUED}*5\r\n+own\r\n$1\r\nv\r\n+own\r\n-ERR no integer\r\n+own\r\n");
    let (text, _) = replies(OnPartial::Fail, &answers, 1000);
    assert!(text.starts_with("-PARTIAL respguard: group g was applied in part: member 2 of 2 (INCR) answered ERR no"), "{text}");
    assert_eq!(replies(OnPartial::Report, &answers, 1000).0, "$1\r\nv\r\n-ERR no integer\r\n");
}

#[test]
fn a_command_of_our_own_that_is_refused_is_named_as_the_reason() {
    let answers = "+OK\r\n+QUEUED\r\n+QUEUED\r\n-NOPERM no\r\n+QUEUED\r\n+QUEUED\r\n-EXECABORT Transaction discarded\r\n";
    let (text, found) = replies(OnPartial::Report, answers, 1000);
    assert_eq!(text.matches("-EXECABORT ").count(), 2, "{text}");
    assert!(text.contains("a command that respguard adds was refused: NOPERM no"), "{text}");
    let named =
        |finding: &Finding| matches!(finding, Finding::Violation(violation) if violation.error.as_deref() == Some("NOPERM"));
    assert!(found.iter().any(named), "{found:?}");
}

#[test]
fn what_counts_as_a_failure_is_the_same_however_the_array_is_cut() {
    for (second, outcome, error) in [
        ("-NOSCRIPT No matching script.", Outcome::Torn, Some("NOSCRIPT")),
        ("-BUSYGROUP Consumer Group name already exists", Outcome::Torn, Some("BUSYGROUP")),
        ("-WRONGTYPE no", Outcome::Torn, Some("WRONGTYPE")),
        (":1", Outcome::Applied, None),
    ] {
        let answers = format!("+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n$1\r\nv\r\n{second}\r\n");
        for piece in 1..answers.len() {
            let (text, found) = replies_beside(&[], OnPartial::Report, &answers, piece);
            assert_eq!(text, format!("$1\r\nv\r\n{second}\r\n"), "in pieces of {piece}");
            let told = found.iter().find_map(|finding| match finding {
                Finding::Violation(violation) => violation.error.as_deref(),
                _ => None,
            });
            assert_eq!(told, error, "{second} in pieces of {piece}");
            assert!(matches!(found.last(), Some(Finding::Group { outcome: of, .. }) if *of == outcome), "{found:?}");
        }
    }
}
