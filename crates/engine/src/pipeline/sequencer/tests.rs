//! One client with replies outstanding on several connections: in whatever order they arrive, each request gets its own.

use std::collections::VecDeque;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::command::Table;
use crate::pipeline::finding::Fault;
use crate::pipeline::reading::{ClientSide, Context, Part};
use crate::policy::compile;
use crate::policy::rule::{Written, WrittenGroup};
use crate::session::Session;
use respguard_resp::scan::{ReplyScanner, ScanLimits, elements};

/// What one node has yet to answer: to whom, and with which frames.
#[derive(Default)]
struct Node(VecDeque<(Owed, VecDeque<String>)>);

struct Client {
    table: Table,
    slots: Sequencer,
    session: Session,
    out: Vec<u8>,
    nodes: [Node; 2],
    /// What the client is to read for each request, in order; `None` for an error.
    expected: Vec<Option<String>>,
}

impl Client {
    fn new() -> Client {
        let (table, nodes) = (Table::builtin(), [Node::default(), Node::default()]);
        let (slots, session) = (Sequencer::default(), Session::default());
        Client { table, slots, session, out: Vec::new(), nodes, expected: Vec::new() }
    }

    fn next(&mut self) -> String {
        let reply = format!("+{}\r\n", self.expected.len());
        self.expected.push(Some(reply.clone()));
        reply
    }

    /// A command for one node, in a place that may have been kept before others were sent.
    fn command(&mut self, node: usize, reserved: Option<(Seq, String)>) {
        let get = self.table.by_name("get").expect("known");
        let (place, reply) = match reserved {
            Some((place, reply)) => (Some(place), reply),
            None => (None, self.next()),
        };
        let seq = self.slots.push(place, Role::Plain, get, None);
        self.nodes[node].0.push_back((Owed::each(seq, 1), [reply].into()));
    }

    /// A group of two, whose members stand side by side or have these places.
    fn group(&mut self, node: usize, reserved: Option<[(Seq, String); 2]>) {
        let written = WrittenGroup { name: "g".into(), keys: Some(vec!["k*".into()]), ..WrittenGroup::default() };
        let policy = compile(&Written { groups: vec![written], ..Written::default() }, &self.table).expect("good rules");
        let members = ["get", "incr"].map(|name| self.table.by_name(name).expect("known")).to_vec();
        let group = WrappedGroup::new(0, Arc::clone(&policy.groups()[0]), members);
        let frames = group.frames();
        let (places, replies) = match reserved {
            Some([(a, first), (b, second)]) => (Some([a, b]), [first, second]),
            None => (None, [self.next(), self.next()]),
        };
        let seq = self.slots.push_group(places.as_ref().map(|places| &places[..]), group);
        let exec = format!("*2\r\n{}{}", replies[0], replies[1]);
        let answers = ["+OK\r\n".to_owned(), "+QUEUED\r\n".to_owned(), "+QUEUED\r\n".to_owned(), exec];
        self.nodes[node].0.push_back((Owed::request(seq, frames), answers.into()));
    }

    fn reserve(&mut self) -> (Seq, String) {
        let reply = self.next();
        (self.slots.reserve(), reply)
    }

    /// The node's next frame comes, in pieces of so many bytes.
    fn answer(&mut self, node: usize, size: usize) {
        let Some((owed, frames)) = self.nodes[node].0.front_mut() else { return };
        let frame = frames.pop_front().expect("one for each that is owed");
        let (mut scanner, mut rest, mut first) = (ReplyScanner::new(ScanLimits::default()), frame.as_bytes(), true);
        while !rest.is_empty() {
            let scanned = scanner.scan(&rest[..rest.len().min(size)]).expect("a reply");
            let (now, later) = rest.split_at(scanned.bytes);
            let part = Part { first, last: scanned.end, top: scanner.top() };
            let context = Context { table: &self.table, client_id: 1 };
            let (session, out, found) = (&mut self.session, &mut self.out, &mut Vec::new());
            let more = self.slots.admit(owed.next(), now, part, &mut ClientSide { session, out, found, context });
            assert_eq!(more, 0);
            (rest, first) = (later, scanned.end);
        }
        owed.came(0);
        self.nodes[node].0.pop_front_if(|(owed, _)| owed.frames() == 0);
    }

    /// The node's connection is lost with all that it owes.
    fn lose(&mut self, node: usize) {
        for (owed, frames) in std::mem::take(&mut self.nodes[node].0) {
            let context = Context { table: &self.table, client_id: 1 };
            let (session, out, found) = (&mut self.session, &mut self.out, &mut Vec::new());
            self.slots.fault(owed, Fault::Lost, &mut ClientSide { session, out, found, context });
            for reply in elements(frames.back().map(String::as_bytes).unwrap_or_default()).map(<[u8]>::to_vec) {
                self.expect_error(&reply);
            }
            if let Some(reply) = frames.back() {
                self.expect_error(reply.as_bytes());
            }
        }
    }

    fn expect_error(&mut self, reply: &[u8]) {
        let is_it = |expected: &&mut Option<String>| expected.as_ref().is_some_and(|text| text.as_bytes() == reply);
        if let Some(expected) = self.expected.iter_mut().find(is_it) {
            *expected = None;
        }
    }

    /// What waits in the places, counted anew.
    fn waiting(&self) -> usize {
        let waits = |slot: &Slot| match &slot.role {
            Role::Buffered(early) => early.reply.len(),
            Role::Group(group) => group.replies.len(),
            _ => 0,
        };
        self.slots.queue.iter().map(waits).sum()
    }

    fn check(&self) {
        let text = String::from_utf8_lossy(&self.out);
        let lines: Vec<&str> = text.split_inclusive("\r\n").collect();
        assert_eq!(lines.len(), self.expected.len(), "one reply for each request: {text}");
        for (line, expected) in lines.iter().zip(&self.expected) {
            match expected {
                Some(reply) => assert_eq!(line, reply),
                None => assert!(line.starts_with("-TIMEOUT "), "{line}"),
            }
        }
    }
}

#[test]
fn the_place_of_a_group_serves_the_next_one_of_any_client() {
    let pool = Rc::<GroupPool>::default();
    let mut clients = [(); 2].map(|()| Client { slots: Sequencer::sharing(&pool), ..Client::new() });
    let place_of = |client: &mut Client| {
        client.group(0, None);
        match client.slots.queue.front().map(|slot| &slot.role) {
            Some(Role::Group(place)) => std::ptr::from_ref(&**place),
            other => panic!("no group stands there: {other:?}"),
        }
    };
    let places = clients.each_mut().map(place_of);
    assert_ne!(places[0], places[1], "both are under way");
    for client in &mut clients {
        (0..4).for_each(|_| client.answer(0, usize::MAX));
        assert!(client.slots.is_empty() && client.out == b"+0\r\n+1\r\n");
    }
    assert_eq!(place_of(&mut clients[0]), places[1], "the one that came back last");
    pool.trim();
    (0..4).for_each(|_| clients[0].answer(0, usize::MAX));
    assert_eq!(clients[0].out, b"+0\r\n+1\r\n+2\r\n+3\r\n");
}

proptest! {
    #[test]
    fn each_request_has_one_reply_in_its_place_whoever_owes_it(script in proptest::collection::vec((0u8..8, 0usize..2, 1usize..9), 0..80)) {
        let mut client = Client::new();
        let mut held: VecDeque<(Seq, String)> = VecDeque::new();
        for (step, node, size) in script {
            match step {
                0 => client.command(node, None),
                1 => client.group(node, None),
                2 => {
                    let place = client.reserve();
                    held.push_back(place);
                }
                3 if let Some(place) = held.pop_front() => client.command(node, Some(place)),
                4 if held.len() > 1 => {
                    let members = [held.pop_front(), held.pop_front()].map(|place| place.expect("there are two"));
                    client.group(node, Some(members));
                }
                5 => {
                    let reply = client.next();
                    client.slots.answer(None, reply.into_bytes(), &mut client.out);
                }
                6 if size == 1 => client.lose(node),
                _ => client.answer(node, size),
            }
            prop_assert_eq!(client.slots.waiting_bytes(), client.waiting());
        }
        for place in held {
            client.command(0, Some(place));
        }
        while client.nodes.iter().any(|node| !node.0.is_empty()) {
            client.answer(1, 3);
            client.answer(0, 99);
        }
        client.check();
        prop_assert!(client.slots.is_empty() && client.slots.is_drained() && client.slots.waiting_bytes() == 0);
    }
}

#[test]
fn what_has_begun_to_come_before_its_turn_is_counted_and_not_kept_for_a_client_that_has_left() {
    let mut client = Client::new();
    let (first, context) = (client.reserve(), Table::builtin());
    client.command(0, None);
    let context = Context { table: &context, client_id: 1 };
    let (mut session, mut out, mut found) = (Session::default(), Vec::new(), Vec::new());
    let (owed, _) = client.nodes[0].0.pop_front().expect("it was sent");
    let part = |first, last| Part { first, last, top: respguard_resp::scan::Top::default() };
    let mut side = ClientSide { session: &mut session, out: &mut out, found: &mut found, context };
    let mut admit = |slots: &mut Sequencer, piece: &[u8], part| {
        slots.admit(owed.next(), piece, part, &mut side);
    };
    admit(&mut client.slots, b"$100\r\nvvvv", part(true, false));
    assert_eq!(client.slots.waiting_bytes(), 10);
    client.slots.mute();
    assert_eq!(client.slots.waiting_bytes(), 0);
    admit(&mut client.slots, &[b'v'; 96], part(false, false));
    admit(&mut client.slots, b"\r\n", part(false, true));
    assert_eq!((client.slots.waiting_bytes(), client.waiting()), (0, 0));
    client.command(1, Some(first));
    client.lose(1);
    assert!(client.slots.is_empty() && client.slots.is_drained());
}
