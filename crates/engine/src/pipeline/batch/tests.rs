//! Checks that a batch does not depend on how its bytes are split, and that what waits in it keeps its place.

use super::*;
use respguard_resp::request::Limits;

fn parser() -> RequestParser {
    RequestParser::new(Limits::default())
}

const TWO: &[u8] = b"*1\r\n$4\r\nPING\r\n\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";

#[test]
fn commands_cut_at_every_byte_are_the_same_commands() {
    let table = Table::builtin();
    for cut in 0..=TWO.len() {
        let (mut batch, mut parser) = (Batch::default(), parser());
        let tail = batch.parse(&mut parser, &table, &TWO[..cut], usize::MAX);
        assert!(matches!(tail, Tail::Clean | Tail::Partial), "{cut}");
        assert_eq!(batch.parse(&mut parser, &table, TWO, usize::MAX), Tail::Clean);
        assert_eq!(batch.len(), 2, "{cut}");
        assert_eq!(batch.args(TWO, 1).get(1), Some(&b"k"[..]));
        assert_eq!(batch.wire(0..2), 0..TWO.len());
    }
}

#[test]
fn commands_in_a_row_are_told_together() {
    let table = Table::builtin();
    let mut batch = Batch::default();
    batch.parse(&mut parser(), &table, b"PING\r\nGET a\r\nget b\r\nSET c d\r\n", usize::MAX);
    let id = |name| table.by_name(name).expect("a command");
    assert_eq!(batch.rows(0..4).collect::<Vec<_>>(), [(id("ping"), 1), (id("get"), 2), (id("set"), 1)]);
    assert_eq!(batch.rows(1..2).rev().collect::<Vec<_>>(), [(id("get"), 1)]);
    assert_eq!(batch.rows(0..0).count(), 0);
}

#[test]
fn consuming_the_first_command_moves_the_second_to_the_front() {
    let table = Table::builtin();
    let (mut batch, mut parser) = (Batch::default(), parser());
    batch.parse(&mut parser, &table, TWO, usize::MAX);
    let gone = batch.consume(1);
    let rest = &TWO[gone..];
    assert_eq!(batch.len(), 1);
    assert_eq!(batch.args(rest, 0).get(0), Some(&b"GET"[..]));
    assert_eq!(batch.wire(0..1), 0..rest.len());
    assert_eq!(batch.consume(1), rest.len());
}

#[test]
fn decoded_arguments_are_forgotten_with_their_command_whatever_follows_it() {
    let table = Table::builtin();
    let (mut batch, mut parser) = (Batch::default(), parser());
    let bytes = b"ECHO a\r\n*2\r\n$4\r\nECHO\r\n$1";
    assert_eq!(batch.parse(&mut parser, &table, bytes, usize::MAX), Tail::Partial);
    let gone = batch.consume(1);
    assert!(batch.arena.is_empty());
    let rest = [&bytes[gone..], b"\r\nb\r\nECHO c\r\n"].concat();
    assert_eq!(batch.parse(&mut parser, &table, &rest, usize::MAX), Tail::Clean);
    assert_eq!((batch.args(&rest, 0).get(1), batch.args(&rest, 1).get(1)), (Some(&b"b"[..]), Some(&b"c"[..])));
}

#[test]
fn kept_commands_stand_before_the_rest_with_their_own_arguments() {
    let table = Table::builtin();
    let held = |place| Held { seq: Seq::default().plus(place), since: Instant::now(), begins: place == 7 };
    let mut bytes =
        b"ECHO one\r\nSET a 1\r\n\r\n*2\r\n$4\r\nECHO\r\n$5\r\nthree\r\nGET b\r\nECHO five\r\n*2\r\n$4\r\nECHO\r\n$1".to_vec();
    let (mut batch, mut parser) = (Batch::default(), parser());
    assert_eq!(batch.parse(&mut parser, &table, &bytes, usize::MAX), Tail::Partial);
    let gone = batch.consume_around(4, &[(0, held(7)), (2, held(9))], &mut bytes);
    bytes.drain(..gone);
    let words = |batch: &Batch, bytes: &[u8], at| batch.args(bytes, at).get(1).map(<[u8]>::to_vec);
    assert_eq!(batch.len(), 3);
    assert_eq!([batch.number(0), batch.number(1), batch.number(2)], [0, 2, 4]);
    let said: Vec<_> = (0..3).filter_map(|at| words(&batch, &bytes, at)).collect();
    assert_eq!(said, [&b"one"[..], b"three", b"five"]);
    assert_eq!([0, 1].map(|at| batch.held(at).map(|held| held.seq)), [7, 9].map(|place| Some(Seq::default().plus(place))));
    assert!(batch.held(2).is_none());

    bytes.extend_from_slice(b"\r\n6\r\n");
    assert_eq!(batch.parse(&mut parser, &table, &bytes, usize::MAX), Tail::Clean);
    assert_eq!(words(&batch, &bytes, 3), Some(b"6".to_vec()));
    assert_eq!(&bytes[batch.wire(1..2)], b"*2\r\n$4\r\nECHO\r\n$5\r\nthree\r\n");

    let gone = batch.consume_around(4, &[(1, held(9))], &mut bytes);
    bytes.drain(..gone);
    assert_eq!((batch.len(), words(&batch, &bytes, 0)), (1, Some(b"three".to_vec())));
    assert_eq!((batch.consume(1), batch.all_held().len()), (bytes.len(), 0));
}

#[test]
fn decoded_arguments_do_not_pile_up_while_a_command_always_waits() {
    let table = Table::builtin();
    let held = Held { seq: Seq::default(), since: Instant::now(), begins: true };
    let (mut batch, mut parser) = (Batch::default(), parser());
    let mut bytes = b"SET kept \"a b\"\r\n".to_vec();
    for round in 0..1000 {
        bytes.extend_from_slice(format!("SET key-{round} some-value-that-passes\r\n").as_bytes());
        assert_eq!(batch.parse(&mut parser, &table, &bytes, usize::MAX), Tail::Clean);
        let last = batch.len() - 1;
        assert_eq!(batch.args(&bytes, last).get(1), Some(format!("key-{round}").as_bytes()));
        let gone = batch.consume_around(batch.len(), &[(0, held)], &mut bytes);
        bytes.drain(..gone);
        assert_eq!(batch.args(&bytes, 0).get(2), Some(&b"a b"[..]), "{round}");
        assert!(batch.arena.len() <= 2 * ARENA_BYTES_MIN, "{round}: {}", batch.arena.len());
    }
}

#[test]
fn what_waits_and_is_not_planned_yet_keeps_its_place() {
    let table = Table::builtin();
    let held = |place| Held { seq: Seq::default().plus(place), since: Instant::now(), begins: true };
    let mut bytes = b"GET a\r\nGET b\r\nGET c\r\n".to_vec();
    let (mut batch, mut parser) = (Batch::default(), parser());
    assert_eq!(batch.parse(&mut parser, &table, &bytes, usize::MAX), Tail::Clean);
    assert_eq!(batch.consume_around(3, &[(0, held(0)), (1, held(1)), (2, held(2))], &mut bytes), 0);
    assert_eq!(batch.consume_around(1, &[(0, held(0))], &mut bytes), 0);
    assert_eq!(batch.all_held().iter().map(|held| held.seq.since(Seq::default()).unwrap_or(99)).collect::<Vec<_>>(), [0, 1, 2]);
    let gone = batch.consume_around(2, &[(1, held(1))], &mut bytes);
    bytes.drain(..gone);
    assert_eq!(batch.all_held().iter().map(|held| held.seq.since(Seq::default()).unwrap_or(99)).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(batch.args(&bytes, 0).get(1), Some(&b"b"[..]));
}

#[test]
fn what_arguments_begin_with_is_told_where_it_lies_in_the_buffer() {
    let table = Table::builtin();
    let bytes = b"GET inline\r\n*2\r\n$3\r\nGET\r\n$9\r\nuser:1000\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
    let (mut batch, mut parser) = (Batch::default(), parser());
    assert_eq!(batch.parse(&mut parser, &table, bytes, usize::MAX), Tail::Clean);
    let said = std::cell::RefCell::new(Vec::new());
    let note = |(): &(), prefixes: Prefixes<'_>| {
        said.borrow_mut().push(prefixes.at(1));
        true
    };
    assert_eq!(batch.skim(bytes, 0, |_| Some(()), note), 3);
    assert_eq!(said.take(), [None; 3], "one was sent inline, and does not lie there");
    batch.consume(3);
    let bytes = &bytes[12..];
    assert_eq!(batch.parse(&mut parser, &table, bytes, usize::MAX), Tail::Clean);
    let expected = [Some(u64::from_le_bytes(*b"user:100")), Some(u64::from_le_bytes(*b"k\r\n\0\0\0\0\0"))];
    assert_eq!(batch.skim(bytes, 0, |_| Some(()), note), 2);
    assert_eq!(said.take(), expected);
    let is_first = |(): &(), prefixes: Prefixes<'_>| prefixes.at(1) == expected[0];
    assert_eq!(batch.skim(bytes, 0, |_| Some(()), is_first), 1, "the first that does not pass");
    assert_eq!(batch.skim(bytes, 0, |_| None, is_first), 0);
    assert_eq!(batch.skim(bytes, 2, |_| None, is_first), 2);
}

#[test]
fn what_a_command_is_matters_of_each() {
    let table = Table::builtin();
    let bytes = b"GET a\r\nGET b\r\nSET a v\r\nDEL a\r\n";
    let (mut batch, mut parser) = (Batch::default(), parser());
    assert_eq!(batch.parse(&mut parser, &table, bytes, usize::MAX), Tail::Clean);
    let skim = |known: &[&str]| {
        let known = |id| known.contains(&table.spec(id).name()).then_some(id);
        batch.skim(bytes, 0, known, |id, _| table.spec(*id).name() != "del")
    };
    assert_eq!([skim(&["set"]), skim(&["get"]), skim(&["get", "set"]), skim(&["get", "set", "del"])], [0, 2, 3, 3]);
}

#[test]
fn inline_and_multibulk_requests_mix() {
    let table = Table::builtin();
    let bytes = b"SET a \"b c\"\r\n*1\r\n$4\r\nPING\r\nGET a\r\n";
    let (mut batch, mut parser) = (Batch::default(), parser());
    assert_eq!(batch.parse(&mut parser, &table, bytes, usize::MAX), Tail::Clean);
    assert_eq!(batch.args(bytes, 0).get(2), Some(&b"b c"[..]));
    assert_eq!(batch.args(bytes, 2).get(1), Some(&b"a"[..]));
    assert_eq!(table.spec(batch.id(1)).name(), "ping");
}

#[test]
fn line_ends_are_fixed_where_they_are_none() {
    let table = Table::builtin();
    let sent = b"*1\r\n$4\r\nPINGab*0\rX*2\rX$3\r\rGET\n\n$1\r\nk\r\r*1\r\n$4\r\nPING";
    for cut in 0..=sent.len() {
        let (mut batch, mut parser, mut bytes) = (Batch::default(), parser(), sent[..cut].to_vec());
        batch.parse(&mut parser, &table, &bytes, usize::MAX);
        batch.fix_line_ends(&mut bytes);
        bytes.extend_from_slice(&sent[cut..]);
        assert_eq!(batch.parse(&mut parser, &table, &bytes, usize::MAX), Tail::Partial);
        batch.fix_line_ends(&mut bytes);
        assert_eq!(batch.len(), 2, "{cut}");
        let fixed = b"*1\r\n$4\r\nPING\r\n*0\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*1\r\n$4\r\nPING";
        assert_eq!(bytes.escape_ascii().to_string(), fixed.escape_ascii().to_string(), "{cut}");
    }
}
