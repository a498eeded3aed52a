//! What a worker does with one batch of a client's, one pass at a time: bounding, planning, filling places.

use std::hint::black_box;
use std::ops::Range;

use respguard_engine::command::Table;
use respguard_engine::link::owed::{Owed, ReplyTo};
use respguard_engine::pipeline::batch::{Batch, Tail};
use respguard_engine::pipeline::plan::{Holding, Plan, Rules, Step, plan};
use respguard_engine::pipeline::reading::{ClientSide, Context, Part};
use respguard_engine::pipeline::sequencer::Sequencer;
use respguard_engine::pipeline::ttl::Undecided;
use respguard_engine::policy::rule::{
    GuardAction, Written, WrittenExpect, WrittenGroup, WrittenGuard, WrittenMember, WrittenTtl,
};
use respguard_engine::policy::{Policy, compile};
use respguard_engine::session::Session;
use respguard_resp::encode;
use respguard_resp::request::{Limits, RequestParser};
use respguard_resp::scan::{ReplyScanner, ScanLimits};

/// The key that [`plain`] is about.
const KEY: &[u8] = b"user:1000";
const VALUE: &[u8] = &[b'v'; 64];

/// So many requests: GET and SET in turn.
pub fn plain(commands: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for place in 0..commands {
        if place % 2 == 0 {
            encode::request(&mut out, &[b"GET", KEY]);
        } else {
            encode::request(&mut out, &[b"SET", KEY, VALUE]);
        }
    }
    out
}

/// So many replies of 64 bytes.
pub fn plain_replies(commands: usize) -> Vec<u8> {
    let mut out = Vec::new();
    (0..commands).for_each(|_| encode::bulk(&mut out, VALUE));
    out
}

/// So many rules of all sorts about GET and SET whose keys differ from that of [`plain`] only in their fifth byte.
pub fn rules_beside(count: usize) -> Policy {
    policy(count, |rules, name, place| match place % 4 {
        0 => rules.groups.push(group(name, [format!("GET user{place}:{{id}}"), format!("SET user{place}:{{id}} *")])),
        1 => rules.ttls.push(WrittenTtl { name, keys: vec![format!("user{place}:*")], ..WrittenTtl::default() }),
        2 => rules.expects.push(expect(name, format!("GET user{place}:*"), "!nil")),
        _ => rules.guards.push(guard(name, format!("SET user{place}:* ..."))),
    })
}

/// So many rules about commands that [`plain`] does not have.
pub fn rules_elsewhere(count: usize) -> Policy {
    policy(count, |rules, name, place| match place % 4 {
        0 | 1 => rules.groups.push(group(name, [format!("HSET user{place}:{{id}} ..."), "SADD users {id}".to_owned()])),
        2 => rules.expects.push(expect(name, format!("DEL user{place}:*"), ">= 1")),
        _ => rules.guards.push(guard(name, format!("LPUSH user{place}:* ..."))),
    })
}

/// What so many rules mean, of which `add` writes each.
fn policy(count: usize, add: impl Fn(&mut Written, String, usize)) -> Policy {
    let mut rules = Written::default();
    (0..count).for_each(|place| add(&mut rules, format!("rule-{place}"), place));
    compile(&rules, &Table::builtin()).expect("good rules")
}

fn group(name: String, members: [String; 2]) -> WrittenGroup {
    let member = |template| WrittenMember { template, ..WrittenMember::default() };
    WrittenGroup { name, commands: Some(members.map(member).into()), ..WrittenGroup::default() }
}

fn expect(name: String, command: String, reply: &str) -> WrittenExpect {
    WrittenExpect { name, command, reply: reply.to_owned(), ..WrittenExpect::default() }
}

fn guard(name: String, command: String) -> WrittenGuard {
    let action = GuardAction::Reject;
    WrittenGuard { name, commands: Some(vec![command]), value_bytes_max: Some(1024), action, ..WrittenGuard::default() }
}

/// Parsing and looking commands up, which planning builds on.
pub struct Parsing {
    table: Table,
    batch: Batch,
    parser: RequestParser,
    requests: Vec<u8>,
}

impl Parsing {
    pub fn of(requests: Vec<u8>) -> Parsing {
        Parsing { table: Table::builtin(), batch: Batch::default(), parser: RequestParser::new(Limits::default()), requests }
    }

    /// Gives the number of commands.
    pub fn pass(&mut self) -> usize {
        let commands = self.parse();
        self.batch.consume(commands);
        commands
    }

    fn parse(&mut self) -> usize {
        let tail = self.batch.parse(&mut self.parser, &self.table, black_box(&self.requests), usize::MAX);
        assert_eq!(tail, Tail::Clean, "whole requests");
        self.batch.len()
    }
}

/// Planning a batch that has been parsed.
pub struct Planning<'p> {
    parsed: Parsing,
    policy: &'p Policy,
    session: Session,
    undecided: Undecided,
    plan: Plan,
}

impl<'p> Planning<'p> {
    pub fn of(requests: Vec<u8>, policy: &'p Policy) -> Planning<'p> {
        let mut parsed = Parsing::of(requests);
        parsed.parse();
        Planning { parsed, policy, session: Session::default(), undecided: Undecided::default(), plan: Plan::default() }
    }

    /// Gives the number of commands.
    pub fn pass(&mut self) -> usize {
        let Parsing { table, batch, requests, .. } = &self.parsed;
        let rules =
            Rules { hold: Holding { willing: true, across: true, ..Holding::default() }, ..Rules::usual(table, self.policy) };
        plan(&mut self.session, &mut self.undecided, rules, black_box(batch), requests, false, &mut self.plan);
        self.plan.commands
    }

    /// How many groups the last pass has wrapped, and whether all its steps did that or all sent commands as they came.
    pub fn wrapped(&self) -> (usize, bool) {
        let is_wrap = |step: &&Step| matches!(step, Step::Wrap { .. });
        let wrapped = self.plan.steps.iter().filter(is_wrap).count();
        let sent = self.plan.steps.iter().filter(|step| matches!(step, Step::Send { .. })).count();
        (wrapped, self.plan.steps.len() == wrapped.max(sent))
    }
}

/// Making places, and filling them with replies.
pub struct Resolving<'r, F> {
    table: Table,
    replies: &'r [u8],
    frames: Vec<(Range<usize>, Part)>,
    place: F,
    slots: Sequencer,
    /// What the server owes for what was placed.
    owed: Vec<Owed>,
    session: Session,
    out: Vec<u8>,
}

impl<'r, F: FnMut(&Table, &mut Sequencer, &mut Vec<Owed>)> Resolving<'r, F> {
    /// `place` makes the places that the replies fill.
    pub fn of(replies: &'r [u8], place: F) -> Self {
        let (table, frames) = (Table::builtin(), frames(replies));
        Resolving {
            table,
            replies,
            frames,
            place,
            slots: Sequencer::default(),
            owed: Vec::new(),
            session: Session::default(),
            out: Vec::new(),
        }
    }

    /// Gives the number of bytes for the client.
    pub fn pass(&mut self) -> usize {
        let (context, mut found) = (Context { table: &self.table, client_id: 1 }, Vec::new());
        self.out.clear();
        self.owed.clear();
        let mut client = ClientSide { session: &mut self.session, out: &mut self.out, found: &mut found, context };
        (self.place)(&self.table, &mut self.slots, &mut self.owed);
        let (mut at, mut piece) = (0, 0);
        while let Some((frame, part)) = self.frames.get(at) {
            let owed = &mut self.owed[piece];
            let plain = match *owed {
                Owed::Each { first: ReplyTo::Request(first), requests, .. } => self.slots.takes_plain(first, requests),
                _ => 0,
            };
            if plain > 0 {
                owed.came_plain(plain);
                at += plain as usize;
                let replies = black_box(&self.replies[frame.start..self.frames[at - 1].0.end]);
                self.slots.admit_plain(replies, plain, &mut client);
            } else {
                at += 1;
                let frame = black_box(&self.replies[frame.clone()]);
                let more = self.slots.admit(owed.next(), frame, *part, &mut client);
                owed.came(more);
            }
            piece += usize::from(owed.frames() == 0);
        }
        assert!(self.slots.is_empty(), "every place is filled");
        self.out.len()
    }
}

/// Frames with what the scanner knows of them, as an upstream connection hands them over.
fn frames(bytes: &[u8]) -> Vec<(Range<usize>, Part)> {
    let (mut scanner, mut at, mut frames) = (ReplyScanner::new(ScanLimits::default()), 0, Vec::new());
    while at < bytes.len() {
        let scanned = scanner.scan(&bytes[at..]).expect("good frames");
        assert!(scanned.end, "whole frames");
        frames.push((at..at + scanned.bytes, Part { first: true, last: true, top: scanner.top() }));
        at += scanned.bytes;
    }
    frames
}
