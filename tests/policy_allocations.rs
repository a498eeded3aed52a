//! Counts what recognising groups allocates: nothing.

#[path = "../benches/cost/mod.rs"]
mod cost;

use respguard_engine::command::Table;
use respguard_engine::policy::rule::{Written, WrittenGroup, WrittenMember, WrittenTtl};
use respguard_engine::policy::{Member, Recognition, compile};
use respguard_resp::request::{Args, Span};

fn split(line: &str) -> (Vec<u8>, Vec<Span>) {
    let mut spans = Vec::new();
    let mut start = 0;
    for word in line.split(' ') {
        let end = start + word.len() as u32;
        spans.push(Span { start, end });
        start = end + 1;
    }
    (line.as_bytes().to_vec(), spans)
}

fn written() -> Written {
    let member = |template: &str| WrittenMember {
        template: template.into(),
        optional: template.starts_with("SMEMBERS"),
        ..WrittenMember::default()
    };
    let lines = ["SETEX rt:{user}:{token} * *", "SADD sess:{user} {token}", "SMEMBERS sess:{user}"];
    let login = WrittenGroup { name: "login".into(), commands: Some(lines.map(member).into()), ..WrittenGroup::default() };
    let blob = WrittenGroup { name: "blob".into(), keys: Some(vec!["blobs:*".into()]), ..WrittenGroup::default() };
    let ttl = WrittenTtl { name: "t".into(), keys: vec!["rt:*".into()], ..WrittenTtl::default() };
    Written { groups: vec![login, blob], ttls: vec![ttl], ..Written::default() }
}

#[test]
fn recognising_groups_and_finding_ttl_rules_allocates_nothing() {
    let table = Table::builtin();
    let policy = compile(&written(), &table).expect("the rules are good");
    let lines = ["SETEX rt:u:t 60 v", "SADD sess:u t", "SMEMBERS sess:u", "HSET blobs:1 a b", "DEL blobs:1", "PING"];
    let commands = lines.map(split);
    let recognise = |from: usize| {
        policy.recognise(&table, &mut |place| {
            let (bytes, spans) = commands.get(from + place)?;
            let args = Args::new(bytes, spans);
            Some(Member { id: table.lookup(args), args })
        })
    };
    let cost = cost::cost(
        commands.len(),
        || (),
        |()| {
            assert_eq!(policy.ttl_rule_for(b"rt:u:t").map(|(place, _)| place), Some(0));
            for from in 0..commands.len() {
                std::hint::black_box(recognise(from));
            }
            commands.len()
        },
    );
    assert!(cost.allocations == 0.0, "{cost}");
    let found: [Recognition; 6] = std::array::from_fn(recognise);
    assert_eq!(found[0], Recognition::Whole { group: 0, members: 3, open: false });
    assert_eq!(found[3], Recognition::Whole { group: 1, members: 2, open: false });
    assert_eq!([found[1], found[2], found[5]], [Recognition::None; 3]);
}
