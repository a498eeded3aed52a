//! Each row of the time-to-live column is what a real server does.

use std::collections::BTreeSet;

use redis::{Connection, Value};
use respguard_engine::command::{Keys, Table, TtlColumn, TtlEffect, ttl_effects};

use crate::server::{Request, Server};
use crate::ttl_cases::CASES;

const ABSENT: i64 = -2;
const ENDLESS: i64 = -1;
/// What keys are given before the request, and how far a time may be off because the test takes time.
const GIVEN_MS: i64 = 100_000;
const SLACK_MS: i64 = 5_000;

/// A server, another one for MIGRATE, and what placeholders stand for.
struct Bench {
    connection: Connection,
    _server: Server,
    other: Server,
    payload: Vec<u8>,
    sha: Vec<u8>,
}

/// Which keys have a time to live, and which one is absent.
#[derive(Clone, Copy, Debug)]
struct Start {
    expires: fn(usize) -> bool,
    absent: Option<usize>,
}

/// One key of one run: place, effects said, time to live before and after.
#[derive(Clone, Debug)]
struct Seen {
    effect: Option<TtlEffect>,
    before: i64,
    after: i64,
}

#[test]
fn effects_are_what_the_server_does() {
    let mut table = Table::builtin();
    let mut bench = Bench::new();
    table.merge(&bench._server.raw("HELLO 2", "COMMAND")).expect("COMMAND is answered");
    let mut runs = 0;
    let mut witnessed = BTreeSet::new();
    for (setup, text) in CASES {
        let request = bench.request(text);
        if !table.spec(table.lookup(request.args())).present {
            continue;
        }
        let mut succeeded = false;
        for start in starts(&table, &request) {
            let (success, keys) = bench.run(&table, setup, &request, start);
            succeeded |= success;
            runs += 1;
            for (i, seen) in keys.iter().enumerate() {
                let source = keys[0].before;
                assert!(agrees(seen, success, source), "{text}: key {i} of {keys:?} from {start:?}");
                witness(&table, &request, seen, success, &mut witnessed);
            }
        }
        let name = table.spec(table.lookup(request.args())).name();
        if succeeded {
            witnessed.insert((name.to_owned(), "success"));
        }
    }
    println!("{} cases, {runs} runs", CASES.len());
    report_untested(&table, &witnessed);
}

/// Every row must have been seen to do what it says: an effect that is never exercised is not tested.
fn report_untested(table: &Table, witnessed: &BTreeSet<(String, &str)>) {
    let mut skipped = Vec::new();
    let mut untested = Vec::new();
    let rows = table.iter().map(|(_, spec)| spec).filter(|spec| spec.ttl != TtlColumn::None);
    for spec in rows {
        if !spec.present {
            skipped.push(spec.name());
            continue;
        }
        // XREADGROUP writes to groups, but its key specs say that it reads its keys: none is visited.
        if spec.name() == "xreadgroup" {
            continue;
        }
        for what in needed(spec.ttl) {
            if !witnessed.contains(&(spec.name().to_owned(), *what)) {
                untested.push((spec.name(), *what));
            }
        }
    }
    println!("skipped, because the server lacks them: {}", skipped.join(" "));
    assert_eq!(untested, []);
}

/// What must be seen of a row.
fn needed(column: TtlColumn) -> &'static [&'static str] {
    match column {
        TtlColumn::None | TtlColumn::Keyless => &[],
        TtlColumn::Written(TtlEffect::Drop) => &["dropped", "made"],
        TtlColumn::Written(TtlEffect::KeepOrCreate) => &["kept", "made"],
        TtlColumn::Written(TtlEffect::Keep) => &["kept"],
        TtlColumn::Written(TtlEffect::Persist) => &["dropped"],
        TtlColumn::Written(TtlEffect::Delete) => &["deleted"],
        TtlColumn::DeleteIf => &["kept", "gone"],
        TtlColumn::Written(_) => &["success"],
        TtlColumn::Set => &["dropped", "kept", "made", "set"],
        TtlColumn::TimeThenValue(_) => &["set"],
        TtlColumn::GetEx => &["kept", "set", "dropped"],
        TtlColumn::Expire(_) | TtlColumn::ExpireAt(_) => &["set", "deleted"],
        TtlColumn::MSetEx | TtlColumn::IncrEx => &["set", "dropped", "kept"],
        TtlColumn::Restore => &["dropped", "set"],
        TtlColumn::ElementMoves => &["kept", "made"],
        TtlColumn::Rename => &["deleted", "inherited"],
        TtlColumn::Copy => &["inherited"],
        TtlColumn::Migrate => &["deleted", "kept"],
        TtlColumn::SortedSetAdd | TtlColumn::StreamAdd | TtlColumn::GroupCreate => &["kept", "made"],
    }
}

fn witness(table: &Table, request: &Request, seen: &Seen, success: bool, witnessed: &mut BTreeSet<(String, &'static str)>) {
    let existed = seen.before != ABSENT;
    let what = match seen.effect {
        _ if !success => return,
        Some(TtlEffect::Drop | TtlEffect::KeepOrCreate | TtlEffect::Create) if !existed && seen.after == ENDLESS => "made",
        Some(TtlEffect::Drop | TtlEffect::Persist) if seen.before > 0 && seen.after == ENDLESS => "dropped",
        Some(TtlEffect::Keep | TtlEffect::KeepOrCreate | TtlEffect::Create) if seen.before > 0 && seen.after > 0 => "kept",
        Some(TtlEffect::Delete) if existed => "deleted",
        Some(TtlEffect::Keep) if existed && seen.after == ABSENT => "gone",
        Some(TtlEffect::Set { .. } | TtlEffect::SetAt { .. }) if seen.before == ENDLESS && seen.after > 0 => "set",
        Some(TtlEffect::Inherit) if seen.before <= 0 && seen.after > 0 => "inherited",
        _ => return,
    };
    let name = table.spec(table.lookup(request.args())).name().to_owned();
    witnessed.insert((name, what));
}

/// Whether the key went the way that was said. A command that failed must have changed nothing.
fn agrees(seen: &Seen, success: bool, source: i64) -> bool {
    let kept = near(seen.before, seen.after);
    let gone = seen.after == ABSENT;
    let existed = seen.before != ABSENT;
    let Some(effect) = seen.effect else {
        return kept;
    };
    if !success {
        return kept;
    }
    match effect {
        TtlEffect::Set { milliseconds: Some(time), conditional } => {
            let deleted = time <= 0 && gone;
            near(time, seen.after) || deleted || (kept && (conditional || !existed))
        }
        TtlEffect::Set { milliseconds: None, conditional } | TtlEffect::SetAt { conditional, .. } => {
            let past = gone;
            seen.after > GIVEN_MS || past || (kept && conditional)
        }
        TtlEffect::Drop => seen.after == ENDLESS || gone,
        TtlEffect::KeepOrCreate | TtlEffect::Create if existed => kept,
        TtlEffect::KeepOrCreate | TtlEffect::Create => seen.after == ENDLESS || gone,
        TtlEffect::Keep => kept || gone,
        TtlEffect::Persist if existed => seen.after == ENDLESS,
        TtlEffect::Persist => gone,
        TtlEffect::Delete => gone,
        TtlEffect::Inherit => near(source, seen.after) || kept,
        TtlEffect::Unknown => true,
    }
}

fn near(expected: i64, found: i64) -> bool {
    expected == found || (expected > 0 && found > expected - SLACK_MS && found <= expected)
}

/// Everything there, and each key absent in turn: all with a time to live, none, only the first, all but the first.
fn starts(table: &Table, request: &Request) -> Vec<Start> {
    let mut keys = 0;
    let spec = table.spec(table.lookup(request.args()));
    spec.for_each_key(request.args(), &mut |_, _| keys += 1);
    let expires: [fn(usize) -> bool; 4] = [|_| true, |_| false, |i| i == 0, |i| i != 0];
    let absent = std::iter::once(None).chain((0..keys).map(Some));
    absent.flat_map(|absent| expires.map(|expires| Start { expires, absent })).collect()
}

impl Bench {
    fn new() -> Bench {
        let server = Server::start();
        let mut connection = server.connect();
        let library = "#!lua name=l\nredis.register_function('f', function(k, a) return 1 end)";
        let loading = ["FUNCTION", "LOAD", library].map(str::as_bytes);
        // Redis before 7.0 has no functions; where the server lists FCALL, it must succeed.
        let _loaded = Request::new(loading).run(&mut connection);
        Request::parse("SET a 1").run(&mut connection).expect("a key");
        let bytes = |value| redis::from_redis_value::<Vec<u8>>(value).expect("bytes");
        let payload = bytes(Request::parse("DUMP a").run(&mut connection).expect("a payload"));
        let sha = bytes(Request::parse("SCRIPT LOAD return(1)").run(&mut connection).expect("a sha"));
        Bench { connection, _server: server, other: Server::start(), payload, sha }
    }

    fn request(&self, text: &str) -> Request {
        let port = self.other.port().to_string();
        Request::new(
            text.split(' ')
                .map(|word| match word {
                    "$payload" => &*self.payload,
                    "$sha" => &*self.sha,
                    "$port" => port.as_bytes(),
                    word => word.as_bytes(),
                })
                .map(<[u8]>::to_vec)
                .collect::<Vec<_>>()
                .iter()
                .map(Vec::as_slice),
        )
    }

    fn run(&mut self, table: &Table, setup: &str, request: &Request, start: Start) -> (bool, Vec<Seen>) {
        self.ask("FLUSHALL");
        for command in setup.split("; ") {
            self.ask(command);
        }
        let spec = table.spec(table.lookup(request.args()));
        let mut keys = Vec::new();
        spec.for_each_key(request.args(), &mut |place, _| keys.push(place));
        for (i, place) in keys.iter().enumerate() {
            if (start.expires)(i) {
                self.about(request, "PEXPIRE", *place, Some("100000"));
            } else {
                self.about(request, "PERSIST", *place, None);
            }
        }
        if let Some(absent) = start.absent {
            self.about(request, "DEL", keys[absent], None);
        }
        let mut seen = Vec::new();
        for place in &keys {
            let before = self.about(request, "PTTL", *place, None);
            seen.push(Seen { effect: None, before, after: 0 });
        }
        ttl_effects(spec, request.args(), &mut |place, effect| {
            let key = |place: usize| request.args().get(place);
            assert!(keys.contains(&place), "an effect on what is no key");
            for (seen, at) in seen.iter_mut().zip(&keys) {
                if key(*at) == key(place) {
                    seen.effect = Some(effect);
                }
            }
        });
        let success = request.run(&mut self.connection).is_ok();
        for (seen, place) in seen.iter_mut().zip(&keys) {
            seen.after = self.about(request, "PTTL", *place, None);
        }
        (success, seen)
    }

    fn ask(&mut self, text: &str) {
        let answer = Request::parse(text).run(&mut self.connection);
        assert!(answer.is_ok(), "{text}: {answer:?}");
    }

    fn about(&mut self, request: &Request, question: &str, place: usize, argument: Option<&str>) -> i64 {
        let key = request.args().get(place).expect("the place of a key");
        let words = [question.as_bytes(), key].into_iter().chain(argument.map(str::as_bytes));
        match Request::new(words).run(&mut self.connection) {
            Ok(Value::Int(number)) => number,
            other => panic!("{question}: {other:?}"),
        }
    }
}

#[test]
fn what_writes_without_keys_has_no_keys() {
    let table = Table::builtin();
    for (_, spec) in table.iter() {
        if spec.ttl == TtlColumn::Keyless {
            assert_eq!(spec.keys, Keys::Specs(Box::default()), "{}", spec.name());
        }
    }
}

/// Rows of commands that the servers at hand may lack, so that at least their reading is tested.
#[test]
fn options_of_newer_commands_are_read() {
    let table = Table::builtin();
    let set = |milliseconds, conditional| TtlEffect::Set { milliseconds, conditional };
    let at = |milliseconds| TtlEffect::SetAt { milliseconds: Some(milliseconds), conditional: false };
    for (text, expected) in [
        ("MSETEX 2 a 1 b 2", vec![(2, TtlEffect::Drop), (4, TtlEffect::Drop)]),
        ("MSETEX 1 a 1 EX 10", vec![(2, set(Some(10_000), false))]),
        ("MSETEX 1 a 1 nx px 10", vec![(2, set(Some(10), true))]),
        ("MSETEX 1 a 1 KEEPTTL", vec![(2, TtlEffect::KeepOrCreate)]),
        ("MSETEX 1 a 1 NX KEEPTTL", vec![(2, TtlEffect::Create)]),
        ("SET k v NX", vec![(1, TtlEffect::Create)]),
        ("SET k v EXAT 5", vec![(1, at(5_000))]),
        ("SET k v PXAT 5", vec![(1, at(5))]),
        ("GETEX k EXAT 5", vec![(1, at(5_000))]),
        ("GETEX k PXAT 5", vec![(1, at(5))]),
        ("EXPIREAT k 5", vec![(1, at(5_000))]),
        ("PEXPIREAT k 5", vec![(1, at(5))]),
        ("RESTORE k 0 x", vec![(1, TtlEffect::Create)]),
        ("RESTORE k 0 x REPLACE", vec![(1, TtlEffect::Drop)]),
        ("RESTORE k 5 x absttl", vec![(1, at(5))]),
        ("MSETEX 1 a EX EX 5", vec![(2, set(Some(5_000), false))]),
        ("MSETEX 2 a 1", vec![]),
        ("INCREX k", vec![(1, TtlEffect::KeepOrCreate)]),
        ("INCREX k BYINT 5 EX 10", vec![(1, set(Some(10_000), false))]),
        ("INCREX k UBOUND 5 PX 10 ENX", vec![(1, set(Some(10), true))]),
        ("INCREX k PERSIST", vec![(1, TtlEffect::Drop)]),
        ("SADDEX k EX 10 MEMBERS 1 m", vec![(1, TtlEffect::KeepOrCreate)]),
        ("SET k v IFEQ o", vec![(1, TtlEffect::Drop)]),
        ("SET k v IFEQ o EX 1", vec![(1, set(Some(1_000), true))]),
        ("SET k v IFEQ o KEEPTTL", vec![(1, TtlEffect::Keep)]),
        ("SET k v IFNE o KEEPTTL", vec![(1, TtlEffect::KeepOrCreate)]),
        ("SET k v WHAT", vec![(1, TtlEffect::Unknown)]),
        ("DELEX k", vec![(1, TtlEffect::Delete)]),
        ("DELEX k IFEQ v", vec![(1, TtlEffect::Keep)]),
        ("DELIFEQ k v", vec![(1, TtlEffect::Keep)]),
        ("HSETEX k EX 1 FIELDS 1 f v", vec![(1, TtlEffect::KeepOrCreate)]),
        ("HEXPIRE k 1 FIELDS 1 f", vec![(1, TtlEffect::Keep)]),
        ("EXPIRE k 9223372036854775807", vec![(1, set(None, false))]),
        ("EXPIRE k -2 XX", vec![(1, set(Some(-2_000), true))]),
    ] {
        let request = Request::parse(text);
        let mut found = Vec::new();
        let spec = table.spec(table.lookup(request.args()));
        ttl_effects(spec, request.args(), &mut |place, effect| found.push((place, effect)));
        assert_eq!(found, expected, "{text}");
    }
}
