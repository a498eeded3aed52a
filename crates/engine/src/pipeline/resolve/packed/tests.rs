//! Tests of replies whose values are decompressed off the worker's thread.

use super::*;
use crate::command::Table;
use crate::link::owed::Owed;
use crate::packed::{Method, pack};
use crate::pipeline::batch::Batch;
use crate::pipeline::finding::{Fault, Finding};
use crate::pipeline::reading::Context;
use crate::pipeline::reply_check::ReplyCheck;
use crate::policy::rule::{Written, WrittenCompress};
use crate::policy::{Member, Policy, compile};
use crate::session::Session;
use respguard_resp::encode;
use respguard_resp::request::{Limits, RequestParser};
use respguard_resp::scan::{ReplyScanner, ScanLimits};

struct Client {
    slots: Sequencer,
    session: Session,
    table: Table,
    policy: Policy,
    out: Vec<u8>,
    found: Vec<Finding>,
}

fn value(bytes: usize) -> Vec<u8> {
    b"some words, ".iter().copied().cycle().take(bytes).collect()
}

fn stored(bytes: usize) -> Vec<u8> {
    bulk(&pack(&value(bytes), Some(Method::Zstd(1))).expect("smaller"))
}

fn bulk(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode::bulk(&mut out, value);
    out
}

const LONG: usize = 300_000;

impl Client {
    fn new() -> Client {
        let table = Table::builtin();
        let rule = WrittenCompress { name: "pages".into(), keys: vec!["page:*".into()], ..WrittenCompress::default() };
        let policy = compile(&Written { compresses: vec![rule], ..Written::default() }, &table).expect("good rules");
        let (slots, session) = (Sequencer::default(), Session::default());
        Client { slots, session, table, policy, out: Vec::new(), found: Vec::new() }
    }

    fn check(&self, words: &[&[u8]]) -> Box<ReplyCheck> {
        let mut request = Vec::new();
        encode::request(&mut request, words);
        let (mut batch, mut parser) = (Batch::default(), RequestParser::new(Limits::default()));
        batch.parse(&mut parser, &self.table, &request, usize::MAX);
        let command = Member { id: batch.id(0), args: batch.args(&request, 0) };
        ReplyCheck::of(&self.policy, &self.table, command, None).expect("a rule is about it")
    }

    fn get(&mut self) -> Seq {
        let check = self.check(&[b"GET", b"page:1"]);
        self.push(Role::Checked(check), "get")
    }

    fn push(&mut self, role: Role, command: &str) -> Seq {
        let id = self.table.by_name(command).expect("known");
        self.slots.push(None, role, id, None)
    }

    /// The reply in pieces of so many bytes.
    fn reply(&mut self, seq: Seq, frame: &[u8], size: usize) {
        let (mut scanner, mut at) = (ReplyScanner::new(ScanLimits::default()), 0);
        while at < frame.len() {
            let scanned = scanner.scan(&frame[at..frame.len().min(at + size)]).expect("a reply");
            let part = Part { first: at == 0, last: scanned.end, top: scanner.top() };
            self.piece(seq, &frame[at..at + scanned.bytes], part);
            at += scanned.bytes;
        }
    }

    fn piece(&mut self, seq: Seq, piece: &[u8], part: Part) {
        let context = Context { table: &self.table, client_id: 1 };
        let Client { slots, session, out, found, .. } = self;
        slots.admit(ReplyTo::Request(seq), piece, part, &mut ClientSide { session, out, found, context });
    }

    fn admit_read(&mut self, reply: ReadReply) {
        let context = Context { table: &self.table, client_id: 1 };
        let Client { slots, session, out, found, .. } = self;
        slots.admit_read(reply, &mut ClientSide { session, out, found, context });
    }

    fn read_next(&mut self) {
        let packed = self.slots.next_packed().expect("a reply with long values");
        self.admit_read(packed.read());
    }

    #[track_caller]
    fn told(&mut self, wanted: &[Vec<u8>]) {
        assert!(
            self.out == wanted.concat(),
            "{} bytes: {}",
            self.out.len(),
            String::from_utf8_lossy(&self.out[..self.out.len().min(300)])
        );
        self.out.clear();
    }
}

#[test]
fn long_values_wait_in_their_places_and_short_ones_do_not() {
    for size in [usize::MAX / 2, 100_000, 50, 7] {
        let mut client = Client::new();
        let (one, two, three) = (client.get(), client.get(), client.push(Role::Plain, "ping"));
        client.reply(one, &stored(LONG), size);
        client.reply(two, &stored(5000), size);
        client.reply(three, b"+PONG\r\n", size);
        client.told(&[]);
        assert!(!client.slots.is_drained(), "nothing may overtake it");
        client.read_next();
        client.told(&[bulk(&value(LONG)), bulk(&value(5000)), b"+PONG\r\n".to_vec()]);
        assert!(client.slots.is_drained() && client.slots.is_empty() && client.slots.packed_bytes() == 0);
        let read = client.found.iter().filter(|found| matches!(found, Finding::Packed { .. })).count();
        assert_eq!(read, 2);
    }
}

#[test]
fn several_are_taken_in_the_order_in_which_they_came_and_may_come_back_in_any() {
    let mut client = Client::new();
    let (one, two) = (client.get(), client.get());
    client.reply(one, &stored(LONG), usize::MAX / 2);
    client.reply(two, &stored(LONG + 1), usize::MAX / 2);
    let (first, second) = (client.slots.next_packed().expect("one"), client.slots.next_packed().expect("two"));
    assert!(first.promised() < second.promised() && !client.slots.has_packed());
    client.admit_read(second.read());
    client.told(&[]);
    client.admit_read(first.read());
    client.told(&[bulk(&value(LONG)), bulk(&value(LONG + 1))]);
}

#[test]
fn a_transaction_ends_before_its_values_are_read() {
    let mut client = Client::new();
    let mut wanted = Vec::new();
    for round in 0..2 {
        let check = client.check(&[b"GET", b"page:1"]);
        let multi = client.push(Role::Multi, "multi");
        let get = client.push(Role::QueuedChecked(check), "get");
        let other = client.push(Role::Queued, "incr");
        let exec = client.push(Role::Exec, "exec");
        client.reply(multi, b"+OK\r\n", 100);
        client.reply(get, b"+QUEUED\r\n", 100);
        client.reply(other, b"+QUEUED\r\n", 100);
        let array = [b"*2\r\n".to_vec(), stored(LONG + round), b":1\r\n".to_vec()].concat();
        client.reply(exec, &array, 60);
        wanted.extend([b"+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n".to_vec(), bulk(&value(LONG + round)), b":1\r\n".to_vec()]);
    }
    client.read_next();
    client.read_next();
    client.told(&wanted);
    assert!(client.slots.is_empty() && client.slots.is_drained());
}

#[test]
fn without_room_an_error_is_in_the_place_of_the_values_and_the_rest_is_not_kept() {
    let mut client = Client::new();
    let (one, two) = (client.get(), client.push(Role::Plain, "ping"));
    let frame = stored(LONG);
    client.piece(one, &frame[..30], Part { first: true, last: false, top: Top::default() });
    assert!(client.slots.packed_bytes() >= 30);
    let Client { slots, session, table, out, found, .. } = &mut client;
    let context = Context { table, client_id: 1 };
    slots.refuse_begun(&mut ClientSide { session, out, found, context });
    client.piece(one, &frame[30..40], Part { first: false, last: false, top: Top::default() });
    assert_eq!(client.slots.packed_bytes(), 0);
    client.piece(one, &frame[40..], Part { first: false, last: true, top: Top::default() });
    client.reply(two, b"+PONG\r\n", 100);
    let error = "-ERR respguard: no room is left to read compressed values (buffered_bytes_max, compress rule pages)\r\n";
    client.told(&[error.as_bytes().to_vec(), b"+PONG\r\n".to_vec()]);
    // One that is whole and may not be read, of a command that writes.
    let check = client.check(&[b"GETDEL", b"page:1"]);
    let deleted = client.push(Role::Checked(check), "getdel");
    client.reply(deleted, &frame, usize::MAX / 2);
    let refused = client.slots.next_packed().expect("whole").refuse();
    client.admit_read(refused);
    assert!(client.out.starts_with(b"-COMMITTED respguard: it was applied, but no room is left"));
}

#[test]
fn a_reply_that_is_cut_off_is_told_as_lost_and_one_that_comes_again_counts_once() {
    let mut client = Client::new();
    let one = client.get();
    let frame = stored(LONG);
    let begin = Part { first: true, last: false, top: Top::default() };
    client.piece(one, &frame[..30], begin);
    assert!(client.slots.is_unseen(ReplyTo::Request(one)));
    client.piece(one, &frame[..20], begin);
    client.piece(one, &frame[20..], Part { first: false, last: true, top: Top::default() });
    client.read_next();
    client.told(&[bulk(&value(LONG))]);
    let two = client.get();
    client.piece(two, &frame[..30], begin);
    let Client { slots, session, table, out, found, .. } = &mut client;
    let context = Context { table, client_id: 1 };
    slots.fault(Owed::each(two, 1), Fault::Lost, &mut ClientSide { session, out, found, context });
    assert!(client.out.starts_with(b"-TIMEOUT "));
    assert_eq!(client.slots.packed_bytes(), 0);
}
