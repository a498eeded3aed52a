//! Tests of relations: what is walked, asked and concluded.

use super::*;
use crate::command::Table;
use crate::policy::compile;
use crate::policy::rule::{Written, WrittenRelation};
use respguard_resp::scan::elements;
use respguard_resp::value;

fn compiled(written: WrittenRelation) -> Arc<Relation> {
    let written = Written { relations: vec![WrittenRelation { name: "r".into(), ..written }], ..Written::default() };
    Arc::clone(&compile(&written, &Table::builtin()).expect("good").relations()[0])
}

fn set(keys: &[&str]) -> Arc<Relation> {
    compiled(WrittenRelation { keys: Some(keys.iter().map(ToString::to_string).collect()), ..WrittenRelation::default() })
}

fn reference(from: &str, needs: &[&str], ttl: Option<TtlBound>) -> Arc<Relation> {
    let needs = Some(needs.iter().map(ToString::to_string).collect());
    compiled(WrittenRelation { from: Some(from.into()), needs, ttl, ..WrittenRelation::default() })
}

fn questions(relation: &Relation, subject: &Subject) -> String {
    let mut bytes = Vec::new();
    let asked = subject.questions(relation.ttl, &mut bytes);
    let mut lines = Vec::new();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let mut words = elements(rest);
        let text: Vec<_> =
            words.by_ref().map(|word| String::from_utf8_lossy(value::bulk(word).expect("a word")).into_owned()).collect();
        rest = words.rest();
        lines.push(text.join(" "));
    }
    assert_eq!(lines.len(), asked);
    lines.join(", ")
}

fn verdict(relation: &Relation, subject: &Subject, replies: &[&[u8]]) -> Verdict {
    subject.judge(relation.ttl, replies.iter().copied())
}

const YES: &[u8] = b":1\r\n";
const NO: &[u8] = b":0\r\n";
const NULL: &[u8] = b"$-1\r\n";
const WRONG: &[u8] = b"-WRONGTYPE Operation\r\n";

#[test]
fn each_key_of_a_set_meets_it_and_the_first_that_is_there_tells() {
    let relation = set(&["blobs:{id}", "info:{id}", "thumb:{id}"]);
    assert_eq!(relation.walks().len(), 3);
    let subjects: Vec<_> = ["blobs:7", "info:7", "thumb:7"]
        .iter()
        .enumerate()
        .map(|(walk, key)| relation.subject(walk, key.as_bytes(), None).expect("one"))
        .collect();
    assert_eq!(questions(&relation, &subjects[1]), "EXISTS blobs:7, EXISTS info:7, EXISTS thumb:7");
    let of = |replies: &[&[u8]]| subjects.iter().map(|subject| verdict(&relation, subject, replies)).collect::<Vec<_>>();
    assert_eq!(of(&[YES, YES, YES]), [Verdict::Holds, Verdict::Holds, Verdict::Holds]);
    assert_eq!(of(&[NO, NO, NO]), [Verdict::Gone, Verdict::Gone, Verdict::Gone]);
    assert_eq!(of(&[YES, YES, NO]), [Verdict::Missing(4), Verdict::Elsewhere, Verdict::Gone]);
    assert_eq!(of(&[NO, YES, YES]), [Verdict::Gone, Verdict::Missing(1), Verdict::Elsewhere]);
    assert_eq!(relation.subject(0, b"other:7", None), None);
}

#[test]
fn keys_that_can_be_read_in_two_ways_are_told_by_each_walk_for_its_own_set() {
    let relation = set(&["a:{x}:{y}", "b:{y}:{x}"]);
    // As b:{y}:{x} it is y = 1 and x = 2:3, whose partner is a:2:3:1, which belongs to x = 2 and y = 3:1.
    let subject = relation.subject(1, b"b:1:2:3", None).expect("one");
    assert_eq!(questions(&relation, &subject), "EXISTS a:2:3:1, EXISTS b:1:2:3");
    assert_eq!(verdict(&relation, &subject, &[YES, YES]), Verdict::Holds);
    assert_eq!(verdict(&relation, &subject, &[NO, YES]), Verdict::Missing(1));
}

#[test]
fn a_reference_is_asked_for_with_what_it_needs() {
    let relation =
        reference("member {token} of sess:{user}", &["rt:{user}:{token}", "field {token} of all"], Some(TtlBound::AtLeast));
    let subject = relation.subject(0, b"sess:u", Some(b"t")).expect("one");
    let wanted = "SISMEMBER sess:u t, ZSCORE sess:u t, EXISTS rt:u:t, HEXISTS all t, PTTL sess:u, PTTL rt:u:t, PTTL all";
    assert_eq!(questions(&relation, &subject), wanted);
    let of = |replies: [&[u8]; 7]| verdict(&relation, &subject, &replies);
    assert_eq!(of([YES, WRONG, YES, YES, b":5000\r\n", b":5000\r\n", b":5900\r\n"]), Verdict::Holds);
    assert_eq!(of([WRONG, b"$1\r\n0\r\n", YES, YES, b":-1\r\n", b":-1\r\n", b":1\r\n"]), Verdict::Holds);
    assert_eq!(of([WRONG, NULL, NO, NO, NO, NO, NO]), Verdict::Gone);
    assert_eq!(of([YES, WRONG, NO, YES, NO, NO, NO]), Verdict::Missing(1));
    assert_eq!(of([YES, WRONG, YES, WRONG, NO, NO, NO]), Verdict::Missing(2));
    assert_eq!(of([YES, WRONG, YES, YES, b":5000\r\n", b":4000\r\n", b":6001\r\n"]), Verdict::Lifetime(1));
    assert_eq!(of([YES, WRONG, YES, YES, b":5000\r\n", b":-1\r\n", b":1\r\n"]), Verdict::Lifetime(0));
    assert_eq!(of([YES, WRONG, YES, YES, b":-2\r\n", b":-1\r\n", b":1\r\n"]), Verdict::Holds, "it has just ended");
}

#[test]
fn at_most_is_the_other_way_round() {
    let relation = reference("key rt:{user}", &["sess:{user}"], Some(TtlBound::AtMost));
    let subject = relation.subject(0, b"rt:u", None).expect("one");
    assert_eq!(verdict(&relation, &subject, &[YES, YES, b":-1\r\n", b":5000\r\n"]), Verdict::Lifetime(0));
    assert_eq!(verdict(&relation, &subject, &[YES, YES, b":6000\r\n", b":5000\r\n"]), Verdict::Holds);
    assert_eq!(verdict(&relation, &subject, &[YES, YES, b":1\r\n", b":-1\r\n"]), Verdict::Holds);
}

#[test]
fn values_and_items_refer_only_where_they_look_like_it() {
    let relation = reference("value {id} of latest:{r}", &["snap:{r}:{id}"], None);
    assert_eq!(relation.subject(0, b"latest:eu", Some(b"")), None);
    let subject = relation.subject(0, b"latest:eu", Some(b"42")).expect("one");
    assert_eq!(questions(&relation, &subject), format!("GETRANGE latest:eu 0 {VALUE_BYTES_MAX}, EXISTS snap:eu:42"));
    assert_eq!(verdict(&relation, &subject, &[b"$2\r\n42\r\n", NO]), Verdict::Missing(1));
    assert_eq!(verdict(&relation, &subject, &[b"$2\r\n43\r\n", NO]), Verdict::Gone);
    assert_eq!(verdict(&relation, &subject, &[b"$0\r\n\r\n", NO]), Verdict::Gone);
    let relation = reference("item job-{id} of queue", &["job:{id}"], None);
    assert_eq!(relation.subject(0, b"queue", Some(b"other")), None);
    let subject = relation.subject(0, b"queue", Some(b"job-9")).expect("one");
    assert_eq!(questions(&relation, &subject), "LPOS queue job-9, EXISTS job:9");
    assert_eq!(verdict(&relation, &subject, &[b":0\r\n", NO]), Verdict::Missing(1));
    assert_eq!(verdict(&relation, &subject, &[NULL, NO]), Verdict::Gone);
}

#[test]
fn what_the_server_refuses_is_no_answer() {
    let relation = set(&["a:{x}", "b:{x}"]);
    let subject = relation.subject(0, b"a:1", None).expect("one");
    let refused = verdict(&relation, &subject, &[YES, b"-NOPERM no access\r\n"]);
    assert_eq!(refused, Verdict::Refused(b"NOPERM no access"[..].into()));
    let ok: &[u8] = b"+OK\r\n";
    let queued: &[u8] = b"+QUEUED\r\n";
    let atomic = |replies: [&[u8]; 4]| subject.judge_atomic(None, &replies);
    assert_eq!(atomic([ok, queued, queued, b"*2\r\n:1\r\n:0\r\n"]), Verdict::Missing(2));
    assert_eq!(atomic([ok, b"-NOPERM x\r\n", queued, b"-EXECABORT y\r\n"]), Verdict::Refused(b"NOPERM x"[..].into()));
    let mut bytes = Vec::new();
    assert_eq!(subject.atomic_questions(None, &mut bytes), 4);
    assert!(bytes.starts_with(b"*1\r\n$5\r\nMULTI\r\n") && bytes.ends_with(b"*1\r\n$4\r\nEXEC\r\n"));
}

#[test]
fn on_a_cluster_what_can_span_slots_is_only_reported() {
    let repair = |keys: &[&str], topology| {
        let keys = Some(keys.iter().map(ToString::to_string).collect());
        compiled(WrittenRelation { keys, repair: Repair::Delete, ..WrittenRelation::default() }).repair_on(topology)
    };
    let (spread, tagged) = (["blobs:{id}", "info:{id}"], ["blobs:{{{id}}}", "info:{{{id}}}:x"]);
    assert_eq!(repair(&spread, Topology::OneServer), Repair::Delete);
    assert_eq!(repair(&spread, Topology::Cluster), Repair::Report);
    assert_eq!(repair(&tagged, Topology::Cluster), Repair::Delete);
}

#[test]
fn a_description_names_what_is_walked_and_asked() {
    let text = describe(&reference("member {t} of sess:{u}", &["rt:{u}:{t}"], Some(TtlBound::AtLeast)));
    for wanted in
        ["SCAN MATCH sess:*", "SSCAN or ZSCAN", "SISMEMBER sess:{u} {t}", "EXISTS rt:{u}:{t}", "PTTL sess:{u} is at least"]
    {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
}
