//! Tests of `resolve`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::command::Table;
use crate::link::budget::{Allowance, Budget};
use crate::link::handshake::ServerInfo;
use crate::pipeline::failure_tracker::{FailureTracker, Scope};
use crate::pipeline::finding::{Fault, Outcome, Place, TtlState};
use crate::pipeline::group::WrappedGroup;
use crate::pipeline::in_doubt::InDoubt;
use crate::pipeline::probe::Probe;
use crate::pipeline::reading::Context;
use crate::policy::rule::{Written, WrittenGroup, WrittenMember};
use crate::policy::{OnPartial, compile};
use crate::session::Session;
use respguard_resp::Protocol;
use respguard_resp::scan::{ReplyScanner, ScanLimits};

struct Client {
    slots: Sequencer,
    /// What one connection owes, in order.
    owed: VecDeque<Owed>,
    session: Session,
    table: Table,
    out: Vec<u8>,
    found: Vec<Finding>,
}

impl Client {
    fn new() -> Client {
        let (slots, session) = (Sequencer::default(), Session::default());
        Client { slots, owed: VecDeque::new(), session, table: Table::builtin(), out: Vec::new(), found: Vec::new() }
    }

    fn push(&mut self, role: Role, command: &str) {
        let id = self.table.by_name(command).expect("known");
        let seq = self.slots.push(None, role, id, None);
        self.owed.push_back(Owed::each(seq, 1));
    }

    fn push_probe(&mut self, probe: Probe) {
        let owed = self.slots.push_probes(std::iter::once(probe));
        self.owed.push_back(owed);
    }

    fn push_group(&mut self, on_partial: OnPartial) {
        self.push_wrapped(on_partial, |group| group);
    }

    /// A group with a marker, which nobody waits for longer than a second; and now.
    fn push_marked(&mut self, marker: &str) -> Instant {
        let now = Instant::now();
        let in_doubt = InDoubt::new(marker.into(), b"again".to_vec(), now, now + Duration::from_secs(1));
        self.push_wrapped(OnPartial::Report, |group| group.with_doubt(in_doubt));
        now
    }

    fn push_wrapped(&mut self, on_partial: OnPartial, wrapped: impl FnOnce(WrappedGroup) -> WrappedGroup) {
        let member = |template: &str| WrittenMember { template: template.to_owned(), ..WrittenMember::default() };
        let commands = Some(vec![member("SET a{x} *"), member("SADD b{x} *")]);
        let written = WrittenGroup { name: "pair".to_owned(), commands, on_partial, ..WrittenGroup::default() };
        let policy = compile(&Written { groups: vec![written], ..Written::default() }, &self.table).expect("good rules");
        let members = ["set", "sadd"].map(|name| self.table.by_name(name).expect("known")).to_vec();
        let group = wrapped(WrappedGroup::new(0, Arc::clone(&policy.groups()[0]), members));
        let frames = group.frames();
        let seq = self.slots.push_group(None, group);
        self.owed.push_back(Owed::request(seq, frames));
    }

    /// Gives the frames in `bytes` to the places, each in pieces of at most `piece` bytes.
    fn feed(&mut self, bytes: &[u8], piece: usize) {
        let mut scanner = ReplyScanner::new(ScanLimits::default());
        let (mut at, mut first) = (0, true);
        while at < bytes.len() {
            let scanned = scanner.scan(&bytes[at..bytes.len().min(at + piece)]).expect("a reply");
            let part = Part { first, last: scanned.end, top: scanner.top() };
            let context = Context { table: &self.table, client_id: 42 };
            let piece = &bytes[at..at + scanned.bytes];
            let owed = self.owed.front_mut().expect("something is owed");
            let (session, out, found) = (&mut self.session, &mut self.out, &mut self.found);
            let more = self.slots.admit(owed.next(), piece, part, &mut ClientSide { session, out, found, context });
            if part.last {
                owed.came(more);
                self.owed.pop_front_if(|owed| owed.frames() == 0);
            }
            at += scanned.bytes;
            first = scanned.end;
        }
    }

    fn feed_plain(&mut self, replies: &[u8], frames: u32) {
        let context = Context { table: &self.table, client_id: 42 };
        let (session, out, found) = (&mut self.session, &mut self.out, &mut self.found);
        self.slots.admit_plain(replies, frames, &mut ClientSide { session, out, found, context });
        self.owed.drain(..frames as usize);
    }

    /// What is owed next will not come.
    fn fault(&mut self, fault: Fault) {
        let context = Context { table: &self.table, client_id: 42 };
        let owed = self.owed.pop_front().expect("something is owed");
        let (session, out, found) = (&mut self.session, &mut self.out, &mut self.found);
        self.slots.fault(owed, fault, &mut ClientSide { session, out, found, context });
    }

    /// What is owed next was sent on a connection that is lost, the server's so-and-so-manieth.
    fn lose(&mut self, connection: i64) {
        let next = self.owed.front().expect("something is owed").next();
        let info = ServerInfo { client_id: Some(connection), address: Some((*b"10.0.0.1:9").into()), ..Default::default() };
        self.fault(Fault::Lost);
        if let ReplyTo::Request(seq) = next {
            self.slots.note_lost(seq, || info.orphan());
        }
    }

    /// What is to be sent for a group whose connection was lost.
    fn recover(&mut self, now: Instant) -> Option<String> {
        let context = Context { table: &self.table, client_id: 42 };
        let (session, out, found) = (&mut self.session, &mut self.out, &mut self.found);
        let mut budget = Budget::new(Allowance { share: 1.0, per_second: 10.0 });
        let recovery = self.slots.recovery(now, &mut budget, &mut ClientSide { session, out, found, context })?;
        self.owed.push_back(recovery.owed);
        Some(String::from_utf8_lossy(&recovery.request).into_owned())
    }

    fn takes_plain(&mut self, most: u32) -> u32 {
        match self.owed.front().map(|owed| owed.next()) {
            Some(ReplyTo::Request(seq)) => self.slots.takes_plain(seq, most),
            _ => 0,
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }

    fn outcomes(&self) -> Vec<Outcome> {
        let outcomes = self.found.iter().filter_map(|finding| match finding {
            Finding::Group { outcome, .. } => Some(*outcome),
            _ => None,
        });
        outcomes.collect()
    }

    fn closes(&self) -> bool {
        self.found.iter().any(|finding| matches!(finding, Finding::CloseUpstream))
    }
}

const QUEUED: &str = "+OK\r\n+QUEUED\r\n+QUEUED\r\n";

#[test]
fn replies_leave_in_order_and_answers_of_our_own_wait_for_their_turn() {
    let mut client = Client::new();
    client.push(Role::Plain, "get");
    client.slots.answer(None, b":42\r\n".to_vec(), &mut client.out);
    client.push(Role::Plain, "get");
    assert_eq!(client.text(), "");
    client.feed(b"$1\r\na\r\n", 99);
    assert_eq!(client.text(), "$1\r\na\r\n:42\r\n");
    client.feed(b"$1\r\nb\r\n", 1);
    assert_eq!(client.text(), "$1\r\na\r\n:42\r\n$1\r\nb\r\n");
    assert!(client.slots.is_empty() && client.slots.is_drained());
}

#[test]
fn plain_replies_taken_together_are_scored_and_let_answers_of_our_own_go_as_one_by_one() {
    let mut client = Client::new();
    let get = client.table.by_name("get").expect("known");
    let tracker = client.slots.push_tracker(FailureTracker::new(Scope::Pipeline { report: true }, 3));
    for _ in 0..3 {
        let seq = client.slots.push(None, Role::Plain, get, tracker);
        client.owed.push_back(Owed::each(seq, 1));
    }
    client.push(Role::Plain, "set");
    client.slots.answer(None, b":42\r\n".to_vec(), &mut client.out);
    client.push(Role::Multi, "multi");
    assert_eq!(client.takes_plain(9), 3, "the fourth is not scored");
    assert_eq!(client.takes_plain(2), 2);
    client.feed(b"-WRONGTYPE no\r\n", 99);
    client.feed_plain(b"$1\r\na\r\n:1\r\n", 2);
    let [Finding::PartialFailure(_), Finding::Violation(violation)] = &client.found[..] else { panic!("{:?}", client.found) };
    assert_eq!((violation.place, violation.error.as_deref()), (Some(1), Some("WRONGTYPE")));
    assert_eq!(client.takes_plain(9), 1);
    client.feed_plain(b"+OK\r\n", 1);
    assert_eq!(client.text(), "-WRONGTYPE no\r\n$1\r\na\r\n:1\r\n+OK\r\n:42\r\n");
    assert_eq!((client.takes_plain(9), client.slots.len()), (0, 1), "MULTI is looked at");
}

#[test]
fn a_groups_replies_are_the_elements_of_its_array_however_they_are_cut() {
    let frames = format!("{QUEUED}*2\r\n+OK\r\n:1\r\n");
    for piece in 1..=frames.len() {
        let mut client = Client::new();
        client.push_group(OnPartial::Report);
        client.feed(frames.as_bytes(), piece);
        assert_eq!((client.text(), client.outcomes()), ("+OK\r\n:1\r\n".to_owned(), vec![Outcome::Applied]), "{piece}");
        assert!(client.slots.is_drained() && !client.closes());
    }
}

#[test]
fn a_large_answer_to_exec_is_passed_on_as_it_comes_unless_a_failure_would_change_it() {
    let (large, half) = ("x".repeat(2000), QUEUED.len() + 1000);
    let frames = format!("{QUEUED}*2\r\n${}\r\n{large}\r\n-WRONGTYPE no\r\n", large.len());
    for (on_partial, passes) in [(OnPartial::Report, true), (OnPartial::Fail, false)] {
        let mut client = Client::new();
        client.push_group(on_partial);
        client.feed(&frames.as_bytes()[..half], 400);
        assert_eq!(!client.out.is_empty(), passes);
    }
    let mut client = Client::new();
    client.push_group(OnPartial::Report);
    client.feed(frames.as_bytes(), 400);
    assert_eq!(client.text(), frames.split_once("*2\r\n").expect("an array").1);
    assert_eq!(client.outcomes(), [Outcome::Torn]);
}

#[test]
fn what_a_lost_question_had_found_before_the_write_is_forgotten() {
    let rule = crate::policy::rule::WrittenTtl { name: "t".to_owned(), keys: vec!["k".to_owned()], ..Default::default() };
    let policy = compile(&Written { ttls: vec![rule], ..Written::default() }, &Table::builtin()).expect("good rules");
    let (rule, key) = (&policy.ttl_rules()[0], b"k".as_slice());
    let probe = |before| Probe { index: 0, rule: Arc::clone(rule), key: key.into(), command: CommandId::UNKNOWN, before };
    let mut client = Client::new();
    client.push_probe(probe(true));
    client.push_probe(probe(false));
    client.feed(b":5000\r\n", 99);
    client.fault(Fault::Lost);
    client.found.clear();
    client.push_probe(probe(false));
    client.feed(b":-1\r\n", 99);
    let missing = TtlState::None { dropped: false };
    assert!(matches!(&client.found[..], [Finding::Ttl { state, .. }] if *state == missing));
}

#[test]
fn a_torn_group_is_reported_and_told_if_its_rule_says_so() {
    let frames = format!("{QUEUED}*2\r\n+OK\r\n-WRONGTYPE no\r\n");
    let mut client = Client::new();
    client.push_group(OnPartial::Report);
    client.feed(frames.as_bytes(), 99);
    assert_eq!((client.text(), client.outcomes()), ("+OK\r\n-WRONGTYPE no\r\n".to_owned(), vec![Outcome::Torn]));
    let mut client = Client::new();
    client.push_group(OnPartial::Fail);
    client.feed(frames.as_bytes(), 99);
    let partial = "-PARTIAL respguard: group pair was applied in part: member 2 of 2 (SADD) answered WRONGTYPE no\r\n";
    assert_eq!(client.text(), partial.repeat(2));
}

#[test]
fn a_refused_member_gets_its_own_error_and_the_others_that_nothing_was_applied() {
    let mut client = Client::new();
    client.push_group(OnPartial::Report);
    client.feed(b"+OK\r\n+QUEUED\r\n-NOPERM no\r\n-EXECABORT Transaction discarded because of previous errors.\r\n", 99);
    let text = client.text();
    assert!(text.starts_with("-EXECABORT ") && text.ends_with("-NOPERM no\r\n") && text.lines().count() == 2, "{text}");
    assert_eq!(client.outcomes(), [Outcome::Aborted]);
    assert!(!client.closes(), "EXECABORT proves that the transaction ended");
}

#[test]
fn whatever_but_an_array_means_that_nothing_was_applied() {
    for exec in ["*-1", "_", "-EXECABORT x", "-MOVED 1 h:1", "-CROSSSLOT x", "-TRYAGAIN x"] {
        let mut client = Client::new();
        client.push_group(OnPartial::Report);
        client.feed(format!("{QUEUED}{exec}\r\n").as_bytes(), 99);
        let text = client.text();
        assert!(text.lines().count() == 2 && text.lines().all(|line| line.starts_with("-EXECABORT ")), "{exec}: {text}");
        assert!(!client.closes(), "{exec}");
    }
}

#[test]
fn an_exec_that_may_have_left_the_transaction_open_closes_the_connection() {
    for frames in [format!("{QUEUED}-NOPERM no\r\n"), format!("{QUEUED}*1\r\n+OK\r\n")] {
        let mut client = Client::new();
        client.push_group(OnPartial::Report);
        client.feed(frames.as_bytes(), 99);
        assert!(client.closes() && client.text().lines().count() == 2, "{frames}");
    }
}

#[test]
fn without_its_multi_a_group_ran_unwrapped_and_its_replies_are_its_own() {
    let mut client = Client::new();
    client.push_group(OnPartial::Report);
    client.feed(b"-NOPERM no\r\n+OK\r\n:1\r\n-ERR EXEC without MULTI\r\n", 99);
    assert_eq!((client.text(), client.outcomes()), ("+OK\r\n:1\r\n".to_owned(), vec![Outcome::Unwrapped]));
    assert!(client.closes());
}

#[test]
fn a_lost_connection_answers_every_member_once_wherever_it_was_lost() {
    let frames = [b"+OK\r\n".as_slice(), b"+QUEUED\r\n", b"+QUEUED\r\n"];
    for seen in 0..=3 {
        let mut client = Client::new();
        client.push_group(OnPartial::Report);
        client.push(Role::Plain, "incr");
        client.feed(&frames[..seen].concat(), 99);
        client.fault(Fault::Lost);
        client.fault(Fault::Unavailable);
        let text = client.text();
        let words: Vec<_> = text.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(words, ["-TIMEOUT", "-TIMEOUT", "-ERR"], "{seen}: {text}");
        assert!(client.slots.is_empty() && client.slots.is_drained());
    }
}

#[test]
fn a_group_in_doubt_is_asked_for_where_it_was_lost_however_late_its_turn_comes() {
    let mut client = Client::new();
    let now = client.push_marked("one");
    client.push_marked("two");
    client.lose(7);
    client.lose(8);
    let first = client.recover(now).expect("the first is asked for");
    assert!(first.contains("$1\r\n7\r\n") && first.ends_with("EXISTS\r\n$3\r\none\r\n"), "{first}");
    client.feed(b":1\r\n:1\r\n", 99);
    assert!(client.text().starts_with("-COMMITTED "), "{}", client.text());
    let second = client.recover(now).expect("the second, although there is a connection again");
    assert!(second.contains("$1\r\n8\r\n") && second.ends_with("EXISTS\r\n$3\r\ntwo\r\n"), "{second}");
    client.feed(b":0\r\n:0\r\n", 99);
    assert_eq!(client.recover(now).as_deref(), Some("again"), "it was not applied");
    client.lose(9);
    let third = client.recover(now).expect("it is asked for again");
    assert!(third.contains("$1\r\n9\r\n"), "{third}");
}

#[test]
fn hello_tells_the_proxys_id_of_the_client() {
    let mut client = Client::new();
    client.push(Role::Hello, "hello");
    client.feed(b"%2\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:7\r\n", 99);
    assert_eq!(client.text(), "%2\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:42\r\n");
    assert_eq!(client.session.protocol, Protocol::Resp3, "the answer proves it");
}

#[test]
fn a_clients_own_transaction_is_judged_by_its_array() {
    let mut client = Client::new();
    for (role, command) in [(Role::Multi, "multi"), (Role::Queued, "set"), (Role::Queued, "lpush"), (Role::Exec, "exec")] {
        client.push(role, command);
    }
    let frames = format!("{QUEUED}*2\r\n+OK\r\n-WRONGTYPE no\r\n");
    client.feed(frames.as_bytes(), 99);
    assert_eq!(client.text(), frames, "it is the client's as it is");
    assert!(matches!(client.found[..], [Finding::PartialFailure(Place::Transaction), Finding::Violation(_)]));
}

#[test]
fn an_answer_in_the_shape_of_an_error_hides_no_failure_behind_it() {
    for (second, error) in [("-WRONGTYPE no", Some((2, "WRONGTYPE"))), ("+OK", None)] {
        let mut client = Client::new();
        for (role, command) in [
            (Role::Multi, "multi"),
            (Role::Queued, "evalsha"),
            (Role::Queued, "lpush"),
            (Role::Queued, "set"),
            (Role::Exec, "exec"),
        ] {
            client.push(role, command);
        }
        client.feed(format!("{QUEUED}+QUEUED\r\n*3\r\n-NOSCRIPT no\r\n{second}\r\n+OK\r\n").as_bytes(), 99);
        let told = client.found.iter().find_map(|finding| match finding {
            Finding::Violation(violation) => violation.place.zip(violation.error.as_deref()),
            _ => None,
        });
        assert_eq!(told, error, "{second}");
    }
}

#[test]
fn a_discard_ends_the_transaction_unless_it_is_refused() {
    for (reply, closes) in [("+OK\r\n", false), ("-NOPERM no\r\n", true)] {
        let mut client = Client::new();
        client.push(Role::Multi, "multi");
        client.push(Role::Exec, "discard");
        client.feed(format!("+OK\r\n{reply}").as_bytes(), 99);
        assert_eq!((client.text(), client.closes()), (format!("+OK\r\n{reply}"), closes));
    }
}

#[test]
fn a_probes_answer_is_never_the_clients() {
    let rule = crate::policy::rule::WrittenTtl { name: "t".to_owned(), keys: vec!["k".to_owned()], ..Default::default() };
    let table = Table::builtin();
    let policy = compile(&Written { ttls: vec![rule], ..Written::default() }, &table).expect("good rules");
    let probe = |before| Probe {
        index: 0,
        rule: Arc::clone(&policy.ttl_rules()[0]),
        key: b"k".as_slice().into(),
        command: CommandId::UNKNOWN,
        before,
    };
    let mut client = Client::new();
    client.push_probe(probe(true));
    client.push(Role::Plain, "set");
    client.push_probe(probe(false));
    client.feed(b":5000\r\n+OK\r\n:-1\r\n", 99);
    assert_eq!(client.text(), "+OK\r\n");
    let dropped = TtlState::None { dropped: true };
    assert!(matches!(&client.found[..], [Finding::Ttl { state, .. }] if *state == dropped));
    for (reply, expected) in [("-NOPERM no\r\n", TtlState::Refused), ("-LOADING wait\r\n", TtlState::Unknown)] {
        client.found.clear();
        client.push_probe(probe(false));
        client.feed(reply.as_bytes(), 99);
        assert!(matches!(&client.found[..], [Finding::Ttl { state, .. }] if *state == expected), "{reply}");
    }
}

#[test]
fn a_refused_subscription_is_owed_its_one_error_however_many_names_it_has() {
    let mut client = Client::new();
    client.session.subscriptions.sent();
    client.push(Role::Subscription { frames: 3, confirmed: 0 }, "subscribe");
    client.feed(b"-NOAUTH Authentication required.\r\n", 99);
    assert!(client.slots.is_empty() && client.slots.is_drained() && !client.session.subscriptions.any());
}

#[test]
fn unsubscribing_from_all_is_owed_a_confirmation_for_each_name() {
    let mut client = Client::new();
    client.session.subscriptions.sent();
    client.push(Role::Subscription { frames: 2, confirmed: 0 }, "subscribe");
    client.feed(b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n", 99);
    assert!(client.slots.is_empty());
    client.session.subscriptions.sent();
    client.push(Role::UnsubscribeAll(crate::command::SubscriptionKind::Channel), "unsubscribe");
    client.feed(b"*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:1\r\n", 99);
    assert!(!client.slots.is_empty(), "one more is owed");
    client.feed(b"*3\r\n$11\r\nunsubscribe\r\n$1\r\nb\r\n:0\r\n", 99);
    assert!(client.slots.is_empty() && !client.session.subscriptions.any());
}
