//! Time and allocations per command of deciding what becomes of it, and of filling its place with the reply.

mod cost;
mod passes;
mod scenario;

use cost::{Cost, cost};
use criterion::{Criterion, Throughput};
use passes::{Parsing, Planning, Resolving, plain, plain_replies, rules_beside, rules_elsewhere};
use respguard_engine::command::{CommandId, Table};
use respguard_engine::link::owed::Owed;
use respguard_engine::pipeline::group::WrappedGroup;
use respguard_engine::pipeline::sequencer::Sequencer;
use respguard_engine::policy::Policy;

const DEPTHS: [usize; 3] = [1, 16, 64];
/// Members of the group that is matched.
const MEMBERS: usize = 4;

/// Rules about single commands, none of which a GET or SET meets that no rule names.
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

/// The rules that are in force, none of which matches.
fn policies() -> Vec<(&'static str, Policy)> {
    let idle = scenario::IDLE_RULES;
    vec![
        ("no rules", Policy::passive()),
        ("20 about other commands", rules_elsewhere(20)),
        ("20 about other keys", rules_beside(20)),
        ("1000 about other commands", rules_elsewhere(1000)),
        ("1000 about other keys", rules_beside(1000)),
        ("10 groups, 5 ttl rules", policy(idle)),
        ("the same, 5 guards and expectations", policy(&format!("{idle}{SINGLE_RULES}"))),
    ]
}

/// The policy that these rules of a configuration file mean.
fn policy(rules: &str) -> Policy {
    let file = std::path::Path::new("bench.toml");
    respguard::config::read(rules, file, &Table::builtin(), &|_| None).expect("good rules").policy
}

fn places(slots: &mut Sequencer, owed: &mut Vec<Owed>, table: &Table, depth: usize) {
    let get = table.by_name("get").expect("a command");
    let first = slots.push_plain((0..depth).map(|_| get), None);
    owed.push(Owed::each(first, depth as u32));
}

fn places_of_groups(slots: &mut Sequencer, owed: &mut Vec<Owed>, table: &Table, policy: &Policy, groups: usize) {
    let members: Vec<CommandId> = ["set", "hset", "sadd", "expire"].iter().filter_map(|name| table.by_name(name)).collect();
    for _ in 0..groups {
        let wrapped = WrappedGroup::new(0, policy.groups()[0].clone(), members.clone());
        let frames = wrapped.frames();
        owed.push(Owed::request(slots.push_group(None, wrapped), frames));
    }
}

fn print_row(name: &str, cost: Cost, base: f64) {
    println!("{name:<52}{cost:>18}{:>10.2}", cost.time_ns / base);
}

/// One table of one run: ratios are to planning without rules at the same depth.
fn print_ratios(policies: &[(&str, Policy)]) {
    println!("{:<52}{:>18}{:>10}", "per command of the client's", "cost", "ratio");
    for depth in DEPTHS {
        let mut base = None;
        for (name, policy) in policies {
            let mut planning = Planning::of(plain(depth), policy);
            let cost = cost(depth, || (), |()| planning.pass());
            assert_eq!(planning.wrapped(), (0, true), "nothing matches");
            print_row(&format!("plan, {depth}, {name}"), cost, *base.get_or_insert(cost.time_ns));
        }
        let base = base.unwrap_or(1.0);
        let mut parsing = Parsing::of(plain(depth));
        print_row(&format!("parse and look up, {depth}"), cost(depth, || (), |()| parsing.pass()), base);
        let replies = plain_replies(depth);
        let mut resolving = Resolving::of(&replies, |table: &Table, slots: &mut Sequencer, owed: &mut Vec<Owed>| {
            places(slots, owed, table, depth)
        });
        let resolved = cost(
            depth,
            || (),
            |()| {
                resolving.pass();
                depth
            },
        );
        print_row(&format!("resolve, {depth} replies of 64 B"), resolved, base);
    }
    let (rules, groups) = (policy(scenario::GROUP), 4);
    let commands = groups * MEMBERS;
    let mut planning = Planning::of(scenario::groups(groups), &rules);
    let planned = cost(commands, || (), |()| planning.pass());
    assert_eq!(planning.wrapped(), (groups, true), "every group matches");
    print_row("plan, groups of 4 match", planned, planned.time_ns);
    let replies = scenario::replies(groups);
    let mut resolving = Resolving::of(&replies, |table: &Table, slots: &mut Sequencer, owed: &mut Vec<Owed>| {
        places_of_groups(slots, owed, table, &rules, groups)
    });
    let resolved = cost(
        commands,
        || (),
        |()| {
            resolving.pass();
            commands
        },
    );
    print_row("resolve, a group's MULTI, QUEUED and EXEC", resolved, planned.time_ns);
}

fn main() {
    let policies = policies();
    // Cargo says so when it benches; a test run only tries that everything works.
    if std::env::args().any(|argument| argument == "--bench") {
        print_ratios(&policies);
    }
    let mut criterion = Criterion::default().configure_from_args();
    for depth in DEPTHS {
        let mut group = criterion.benchmark_group(format!("plan {depth}"));
        group.throughput(Throughput::Elements(depth as u64));
        for (name, policy) in &policies {
            let mut planning = Planning::of(plain(depth), policy);
            group.bench_function(*name, |bencher| bencher.iter(|| planning.pass()));
        }
        group.finish();
        let mut group = criterion.benchmark_group(format!("resolve {depth}"));
        group.throughput(Throughput::Elements(depth as u64));
        let replies = plain_replies(depth);
        let mut resolving = Resolving::of(&replies, |table: &Table, slots: &mut Sequencer, owed: &mut Vec<Owed>| {
            places(slots, owed, table, depth)
        });
        group.bench_function("plain replies of 64 B", |bencher| bencher.iter(|| resolving.pass()));
        group.finish();
    }
    criterion.final_summary();
}
