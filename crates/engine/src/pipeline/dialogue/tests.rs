//! A dialogue takes bytes in, and says what is to be done, without a socket.

use super::*;
use crate::pipeline::plan::Step;
use crate::policy::compile;
use crate::policy::rule::{Written, WrittenGroup, WrittenMember};
use crate::session::affinity::Reason;

const GAP: Duration = Duration::from_millis(5);
const LONG: Duration = Duration::from_millis(20);
const LIMITS: policy::Hold = policy::Hold { gap: GAP, max: LONG };

fn follow(dialogue: &mut Dialogue, turn: Option<Barrier>, has_more: bool) -> Next {
    let (mut plan, tail) = (Plan { turn, commands: 1, ..Plan::default() }, if has_more { Tail::More } else { Tail::Clean });
    dialogue.follow(&mut plan, &Batch::default(), &tail, || (LIMITS, Instant::now()))
}

fn policy(table: &Table) -> Policy {
    let member = |template: &str| WrittenMember { template: template.to_owned(), ..WrittenMember::default() };
    let commands = Some(vec![member("SET a{x} *"), member("SADD b{x} *")]);
    let written = WrittenGroup { name: "pair".to_owned(), commands, ..WrittenGroup::default() };
    compile(&Written { groups: vec![written], ..Written::default() }, table).expect("good rules")
}

/// One that drives a dialogue: bytes go in, what is to be done comes out.
struct Driver {
    dialogue: Dialogue,
    session: Session,
    undecided: Undecided,
    batch: Batch,
    parser: RequestParser,
    bytes: Vec<u8>,
    now: Instant,
}

impl Driver {
    fn new() -> Driver {
        Driver {
            dialogue: Dialogue::default(),
            session: Session::default(),
            undecided: Undecided::default(),
            batch: Batch::default(),
            parser: RequestParser::new(Limits::default()),
            bytes: Vec::new(),
            now: Instant::now(),
        }
    }

    fn sends(&mut self, sent: &str) -> Vec<String> {
        let table = Table::builtin();
        let policy = policy(&table);
        let Driver { dialogue, session, undecided, batch, parser, bytes, now } = self;
        let now = *now;
        bytes.extend_from_slice(sent.as_bytes());
        let (mut done, mut plan) = (Vec::new(), Plan::default());
        loop {
            let tail = batch.parse(parser, &table, bytes, usize::MAX);
            if batch.is_empty() {
                return done;
            }
            if let Some(group) = dialogue.begin(true, batch, bytes, &table, &policy) {
                done.push(format!("sequence of {group}"));
            }
            let sent = Sent { batch, bytes, tail: &tail, filled: false, open: true, must_go: false };
            dialogue.plan((session, undecided), Rules::usual(&table, &policy), sent, now, &mut plan);
            done.extend(plan.steps.iter().map(|step| match step {
                Step::Send { commands } => format!("send {}", commands.len()),
                Step::Wrap { members, .. } => format!("wrap {}", members.len()),
                other => format!("{other:?}"),
            }));
            dialogue.note(&plan, plan.has_group(), batch, bytes);
            let gone = plan.take_out(plan.commands, (batch, bytes), |_| Seq::default(), now);
            bytes.drain(..gone);
            match dialogue.follow(&mut plan, batch, &tail, || (policy.hold, now)) {
                Next::On if batch.is_empty() => return done,
                Next::On => {}
                Next::Wait(_) => {
                    done.push("wait".to_owned());
                    return done;
                }
                Next::Do(barrier) => {
                    done.push(format!("{barrier:?}"));
                    let dealt_with = usize::from(barrier.takes_command());
                    bytes.drain(..batch.consume(dealt_with));
                }
            }
        }
    }
}

#[test]
fn bytes_go_in_and_what_is_to_be_done_comes_out() {
    let mut driver = Driver::new();
    assert_eq!(driver.sends("PING\r\nSELECT 3\r\nGET k\r\nGET"), ["send 1", "Lane", "send 1"]);
    assert_eq!(driver.sends(" l\r\n"), ["send 1"]);
    assert_eq!(driver.sends("SET a1 v\r\nSADD b1 v\r\n"), ["wrap 2"]);
}

#[test]
fn what_begins_a_group_waits_for_its_rest_until_the_time_is_over() {
    let mut driver = Driver::new();
    assert_eq!(driver.sends("GET k\r\nSET a1 v\r\n"), ["send 1", "wait"]);
    assert!(driver.dialogue.take_wait().is_some_and(|wait| wait.groups == [0]));
    assert_eq!(driver.sends("SADD b1 v\r\n"), ["wrap 2"]);
    assert_eq!(driver.sends("SET a2 v\r\n"), ["wait"]);
    driver.dialogue.end_wait();
    assert_eq!(driver.sends(""), ["send 1"]);
    assert!(driver.dialogue.has_expired(), "its rest may still come");
}

#[test]
fn who_waits_for_each_answer_is_known_the_third_time() {
    let mut driver = Driver::new();
    for _ in 0..2 {
        assert_eq!(driver.sends("SET a1 v\r\n"), ["wait"]);
        driver.dialogue.end_wait();
        assert_eq!(driver.sends(""), ["send 1"]);
        assert_eq!(driver.sends("SADD b1 v\r\n"), ["send 1"]);
    }
    assert_eq!(driver.sends("SET a1 v\r\n"), ["wait"]);
    driver.dialogue.end_wait();
    driver.sends("");
    assert_eq!(driver.sends("SADD b1 v\r\n"), ["sequence of 0", "send 1"]);
    assert_eq!(driver.sends("SET a1 v\r\n"), ["send 1"], "nothing is waited for any more");
}

#[test]
fn each_barrier_but_those_that_wait_is_to_be_done() {
    let mut dialogue = Dialogue::default();
    assert_eq!(follow(&mut dialogue, None, false), Next::On);
    assert_eq!(follow(&mut dialogue, Some(Barrier::Hold), false), Next::Wait(GAP));
    assert_eq!(follow(&mut dialogue, Some(Barrier::Wait), false), Next::Wait(LONG));
    assert_eq!(follow(&mut dialogue, Some(Barrier::Wait), true), Next::On, "it has been read already");
    let pin = Barrier::Pin(Reason::Large);
    assert_eq!(follow(&mut dialogue, Some(pin), false), Next::Do(pin));
}

#[test]
fn a_gap_ends_the_wait_for_all_that_is_held_until_nothing_is() {
    let mut dialogue = Dialogue::default();
    assert_eq!(dialogue.begin_wait(GAP, LONG, None, Instant::now()), GAP);
    assert!(!dialogue.is_over());
    dialogue.end_wait();
    assert!(dialogue.is_over());
    follow(&mut dialogue, None, false);
    assert!(!dialogue.is_over());
}

#[test]
fn the_longest_wait_ends_for_the_oldest_alone() {
    let mut dialogue = Dialogue::default();
    assert_eq!(dialogue.begin_wait(LONG, GAP, None, Instant::now()), GAP);
    dialogue.end_wait();
    assert!(!dialogue.is_over(), "what was held later has time left");
    assert_eq!(dialogue.begin_wait(GAP, GAP, None, Instant::now()), GAP);
    dialogue.end_wait();
    assert!(dialogue.is_over());
}

#[test]
fn what_was_waited_for_is_told_once() {
    let (mut dialogue, now) = (Dialogue::default(), Instant::now());
    dialogue.begin_wait(GAP, LONG, Some(vec![3]), now);
    assert_eq!(dialogue.take_wait(), Some(Wait { since: now, groups: vec![3] }));
    assert_eq!(dialogue.take_wait(), None);
    dialogue.begin_wait(GAP, LONG, None, now);
    assert_eq!(dialogue.take_wait(), None, "a request that is not whole yet belongs to no group");
}

#[test]
fn nothing_is_waited_for_where_nothing_more_can_come_or_all_must_go() {
    let (mut dialogue, now) = (Dialogue::default(), Instant::now());
    assert!(dialogue.holding(LIMITS, false, false, now).willing);
    assert!(!dialogue.holding(LIMITS, true, false, now).willing);
    let must_go = dialogue.holding(LIMITS, false, true, now);
    assert_eq!((must_go.willing, must_go.overdue), (false, Some(now)));
    assert!(!dialogue.holding(policy::Hold { gap: Duration::ZERO, max: LONG }, false, false, now).willing);
    dialogue.end();
    assert!(dialogue.holding(LIMITS, false, false, now).over);
}

#[test]
fn who_goes_on_three_times_after_its_answer_is_sequential() {
    let table = Table::builtin();
    let policy = policy(&table);
    let (mut batch, mut parser) = (Batch::default(), RequestParser::new(Limits::default()));
    let begins = b"SET a1 v\r\n";
    batch.parse(&mut parser, &table, begins, usize::MAX);
    let mut dialogue = Dialogue::default();
    assert_eq!(dialogue.finds_sequence(true, b"SADD b1 v\r\n", &table, &policy), None, "nothing went out alone");
    let mut found = Vec::new();
    for (is_answered, next) in [
        (false, "SADD b1 v\r\n"),
        (true, "SADD b2 v\r\n"),
        (true, "SADD b1 v\r\n"),
        (true, "SADD b1 v\r\n"),
        (true, "SADD b1 v\r\n"),
    ] {
        dialogue.expire(0, &[0], &batch, begins);
        found.push(dialogue.finds_sequence(is_answered, next.as_bytes(), &table, &policy));
    }
    assert_eq!(found, [None, None, None, None, Some(0)]);
    assert!(!dialogue.holding(LIMITS, false, false, Instant::now()).willing);
}
