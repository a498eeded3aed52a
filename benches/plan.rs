//! Time and allocations per command of deciding what becomes of it, and of filling its place with the reply.

mod cost;
#[path = "pipeline/scenario.rs"]
#[expect(dead_code, reason = "what clients send is measured elsewhere; the rules are wanted here")]
mod scenario;

use std::hint::black_box;

use cost::{Cost, cost};
use respguard::engine::command::{CommandId, Table};
use respguard::engine::pipeline::batch::{Batch, Tail};
use respguard::engine::pipeline::group::WrappedGroup;
use respguard::engine::pipeline::plan::{Holding, Plan, Rules, Step, plan};
use respguard::engine::pipeline::resolve::{Context, Part};
use respguard::engine::pipeline::slot::{Role, Slots};
use respguard::engine::pipeline::ttl::Undecided;
use respguard::engine::policy::Policy;
use respguard::engine::preflight::Ability;
use respguard::engine::resp::encode;
use respguard::engine::resp::request::{Limits, RequestParser};
use respguard::engine::resp::scan::{ReplyScanner, ScanLimits};
use respguard::engine::session::Session;

/// Commands in one batch.
const COMMANDS: usize = 16;
/// Members of the group that is matched.
const MEMBERS: usize = 4;

/// Rules about single commands, none of which GET and SET of this key meet.
const SINGLE_RULES: &str = r#"
expect = [
  { name = "deleted", command = "DEL token:{id}", reply = ">= 1" },
  { name = "configured", command = "GET config:*", reply = "!nil" },
]
guard = [
  { name = "dear", commands = ["KEYS *", "FLUSHALL ..."], action = "reject" },
  { name = "large", commands = ["SET blob:* ...", "HSET blob:* ..."], value_bytes_max = 1048576 },
  { name = "families", commands = ["MGET ..."], keys_allowed = ["cart:*", "info:*"] },
]
"#;

/// GET and SET in turn.
fn plain() -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..COMMANDS / 2 {
        encode::request(&mut out, &[b"GET", b"key"]);
        encode::request(&mut out, &[b"SET", b"key", &[b'v'; scenario::VALUE_BYTES]]);
    }
    out
}

/// The policy that these rules of a configuration file mean.
fn policy(rules: &str) -> Policy {
    let file = std::path::Path::new("bench.toml");
    respguard::config::read(rules, file, &Table::builtin(), &|_| None).expect("good rules").policy
}

/// Parsing and looking commands up, which planning builds on.
fn parse(requests: &[u8]) -> Cost {
    let (table, mut batch, mut parser) = (Table::builtin(), Batch::default(), RequestParser::new(Limits::default()));
    cost(
        COMMANDS,
        || (),
        |()| {
            let tail = batch.parse(&mut parser, &table, black_box(requests), usize::MAX);
            assert_eq!(tail, Tail::Clean, "whole requests");
            let commands = batch.len();
            batch.consume(commands);
            commands
        },
    )
}

/// Planning a batch that has been parsed; `wrapped` groups must come out of it.
fn planned(requests: &[u8], policy: &Policy, wrapped: usize) -> Cost {
    let (table, mut batch, mut parser) = (Table::builtin(), Batch::default(), RequestParser::new(Limits::default()));
    batch.parse(&mut parser, &table, requests, usize::MAX);
    let (mut session, mut undecided, mut out) = (Session::default(), Undecided::default(), Plan::default());
    let rules = Rules {
        table: &table,
        policy,
        transactions: true,
        probes: true,
        mends: true,
        ability: Ability::Able,
        hold: Holding { willing: true, across: true, ..Holding::default() },
        degraded: false,
    };
    let cost = cost(
        COMMANDS,
        || (),
        |()| {
            plan(&mut session, &mut undecided, rules, black_box(&batch), requests, false, &mut out);
            out.commands
        },
    );
    assert_eq!(out.steps.iter().filter(|step| matches!(step, Step::Wrap { .. })).count(), wrapped);
    cost
}

/// Frames with what the scanner knows of them, as an upstream connection hands them over.
fn frames(bytes: &[u8]) -> Vec<(&[u8], Part)> {
    let (mut scanner, mut rest, mut frames) = (ReplyScanner::new(ScanLimits::default()), bytes, Vec::new());
    while !rest.is_empty() {
        let scanned = scanner.scan(rest).expect("good frames");
        assert!(scanned.end, "whole frames");
        let (frame, behind) = rest.split_at(scanned.bytes);
        frames.push((frame, Part { first: true, last: true, top: scanner.top() }));
        rest = behind;
    }
    frames
}

/// Making places, and filling them with these replies.
fn resolved(replies: &[u8], mut place: impl FnMut(&mut Slots)) -> Cost {
    let table = Table::builtin();
    let (frames, context) = (frames(replies), Context { table: &table, client_id: 1 });
    let (mut slots, mut session, mut out, mut found) = (Slots::default(), Session::default(), Vec::new(), Vec::new());
    cost(
        COMMANDS,
        || (),
        |()| {
            out.clear();
            found.clear();
            place(&mut slots);
            for (frame, part) in &frames {
                slots.admit(black_box(frame), *part, &mut session, &mut out, &context, &mut found);
            }
            assert!(slots.is_empty(), "every place is filled");
            COMMANDS
        },
    )
}

fn resolved_plain(replies: &[u8]) -> Cost {
    let table = Table::builtin();
    let get = table.by_name("get").expect("a command");
    resolved(replies, |slots| (0..COMMANDS).for_each(|_| slots.push(Role::Plain, get, false)))
}

fn resolved_groups(replies: &[u8], policy: &Policy) -> Cost {
    let table = Table::builtin();
    let members: Vec<CommandId> = ["set", "hset", "sadd", "expire"].iter().filter_map(|name| table.by_name(name)).collect();
    let group = &policy.groups()[0];
    resolved(replies, |slots| {
        (0..COMMANDS / MEMBERS).for_each(|_| slots.push_group(Box::new(WrappedGroup::new(0, group.clone(), members.clone()))));
    })
}

fn main() {
    let groups = policy(scenario::GROUP);
    let (few, all) = (policy(scenario::IDLE_RULES), policy(&format!("{}{SINGLE_RULES}", scenario::IDLE_RULES)));
    let (plain, bare) = (plain(), scenario::Job::group(COMMANDS / MEMBERS));
    let of_group = scenario::Job::transaction(COMMANDS / MEMBERS).replies;
    let mut of_plain = Vec::new();
    (0..COMMANDS).for_each(|_| encode::bulk(&mut of_plain, &[b'v'; scenario::VALUE_BYTES]));

    let base = planned(&plain, &Policy::passive(), 0);
    let rows = [
        ("parse and look up", parse(&plain)),
        ("plan, no rules", base),
        ("plan, 10 groups and 5 ttl rules, none matches", planned(&plain, &few, 0)),
        ("plan, 5 guards and expectations beside them", planned(&plain, &all, 0)),
        ("plan, a group of 4 matches", planned(&bare.requests, &groups, COMMANDS / MEMBERS)),
        ("resolve, plain replies of 64 B", resolved_plain(&of_plain)),
        ("resolve, a group's MULTI, QUEUED and EXEC", resolved_groups(&of_group, &groups)),
    ];
    println!("{:<50}{:>18}{:>16}", "per command of the client's", "cost", "to the second");
    for (name, row) in rows {
        println!("{name:<50}{row:>18}{:>16.1}", row.time_ns / base.time_ns);
    }
}
