//! Reads behind a transaction that may go out again: they do not wait for its answer, and are answered as if they had.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::harness::wire::requests;
use crate::harness::{Act, FakeServer, RedisServer, Setup, Twin, eventually, text};
use crate::interleaved::{RULES, interleaving, same_in_pieces};

/// The test at random ends then, even if fewer rounds were tried.
const TIME_MAX: Duration = Duration::from_secs(20);

fn rules() -> String {
    RULES.replace("between = \"pass\"\n", "")
}

/// What a server has got of a transaction that it does not answer yet.
#[derive(Default)]
struct Owing {
    /// Commands that are queued, while it is open.
    queued: Option<usize>,
    /// Its answer, kept back.
    answer: String,
    /// What came before that was given.
    early: Vec<String>,
}

/// A server that answers EXEC when it gets the read `GET y`, and no sooner.
fn late() -> (FakeServer, Arc<Mutex<Owing>>) {
    let owing = Arc::new(Mutex::new(Owing::default()));
    let shared = Arc::clone(&owing);
    let server = FakeServer::start(move |words| {
        let mut owing = shared.lock().expect("nobody panicked with it");
        let said = match (&*words[0].to_uppercase(), owing.queued) {
            ("MULTI", _) => {
                owing.queued = Some(0);
                "+OK\r\n".to_owned()
            }
            ("EXEC", Some(queued)) => {
                owing.queued = None;
                owing.answer = format!("*{queued}\r\n{}", ":1\r\n".repeat(queued));
                String::new()
            }
            (_, Some(queued)) => {
                owing.queued = Some(queued + 1);
                "+QUEUED\r\n".to_owned()
            }
            (name, None) => {
                if !owing.answer.is_empty() {
                    owing.early.push(words.join(" "));
                }
                let value = if name == "GET" { "$1\r\n1\r\n" } else { "+OK\r\n" };
                if words.get(1).is_some_and(|key| key == "y") {
                    std::mem::take(&mut owing.answer) + value
                } else {
                    value.to_owned()
                }
            }
        };
        Act::Say(said.into_bytes())
    });
    (server, owing)
}

#[test]
fn they_are_sent_before_it_is_answered_and_writes_are_not() {
    for apart in [false, true] {
        let (server, owing) = late();
        let proxy = Setup::before(server.port()).top("workers = 1").rules(&rules()).start();
        let mut wire = proxy.wire();
        let lines = ["HSET blob:1 a 1", "STRLEN x", "HSET info:1 b 1", "GET y", "SET z 1", "GET y"];
        let (group, behind) = lines.split_at(3);
        if apart {
            wire.send(&requests(group));
            eventually("it is under way", || !owing.lock().expect("no panic").answer.is_empty());
            wire.send(&requests(behind));
        } else {
            wire.send(&requests(&lines));
        }
        let replies: Vec<_> = wire.replies(lines.len()).iter().map(|reply| text(reply)).collect();
        assert_eq!(replies.concat(), ":1\r\n:1\r\n:1\r\n$1\r\n1\r\n+OK\r\n$1\r\n1\r\n");
        assert_eq!(owing.lock().expect("no panic").early, ["GET y"], "apart: {apart}");
        eventually("it is a group", || proxy.groups("blob", "applied") == 1.0);
        assert_eq!(proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
    }
}

/// In one write, or with a pause behind the transaction.
#[test]
fn where_it_has_not_run_they_are_read_again_behind_what_stood_in_it() {
    let redis = RedisServer::start(&[]);
    redis.ask("ACL SETUSER app on >pw ~* &* +@all -incr");
    let proxy = Setup::new(&redis).rules(&rules()).start();
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("AUTH app pw"), "+OK\r\n");
    for round in 1..=200 {
        let (set, first, last) =
            (format!("SET y {round}"), format!("HSET blob:{round} a {round}"), format!("HSET info:{round} b 1"));
        let again = format!("HGET blob:{round} a");
        let lines = [&first, "INCR x", &set, &last, "GET y", &again, "GET y", "DEL y", "GET y"];
        let cut = if round % 2 == 0 { lines.len() } else { 4 };
        wire.send(&requests(&lines[..cut]));
        wire.send(&requests(&lines[cut..]));
        let replies: Vec<_> = wire.replies(lines.len()).iter().map(|reply| text(reply)).collect();
        let value = format!("${}\r\n{round}\r\n", round.to_string().len());
        assert!(replies[1].starts_with("-NOPERM "), "{replies:?}");
        assert_eq!(replies[2..].concat(), format!("+OK\r\n:1\r\n{value}{value}{value}:1\r\n$-1\r\n"), "round {round}");
    }
    assert_eq!(proxy.groups("blob", "applied"), 200.0);
    assert_eq!(proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
}

/// Beside a second server, as a user whose transactions are refused now and then over what is carried.
#[test]
fn interleavings_of_which_much_is_refused_leave_redis_as_the_same_commands_sent_straight() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("RESPGUARD_SEED").unwrap_or_else(|| fastrand::u64(..));
    eprintln!("RESPGUARD_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let twin = Twin::with(&[], |setup| setup.pipeline("hold_ms = 1\nhold_max_ms = 4\n").rules(&rules()));
    for redis in [&twin.direct, &twin.behind] {
        redis.ask("ACL SETUSER app on >pw ~* &* +@all -append -rpush -lpop -rename -publish -mget");
    }
    let mut pair = twin.pair();
    pair.same_line("AUTH app pw");
    let (wished, begun) = (number("RESPGUARD_GROUPS"), Instant::now());
    for round in 0..wished.unwrap_or(1500) {
        if wished.is_none() && begun.elapsed() > TIME_MAX {
            break;
        }
        let mut lines = interleaving(&mut rng);
        lines.extend(interleaving(&mut rng));
        same_in_pieces(&mut pair, &lines, &format!("round {round} of seed {seed}"), &mut rng);
    }
    let wrapped = ["login", "blob", "count"].map(|group| twin.proxy.groups(group, "applied"));
    assert!(wrapped.iter().all(|groups| *groups > 10.0), "{wrapped:?}");
    assert_eq!(twin.proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
}

/// The connection is lost while they are under way: nobody is answered twice or never.
#[test]
fn where_the_connection_is_lost_they_are_answered_once() {
    let redis = RedisServer::start(&[]);
    redis.ask("SET y 7");
    let proxy = Setup::new(&redis).top("workers = 1").rules(&rules()).start();
    let mut wire = proxy.wire();
    for round in 0..20 {
        wire.ask("PING");
        redis.pause();
        let first = format!("HSET blob:{round} a 1");
        let last = format!("HSET info:{round} b 1");
        wire.send(&requests(&[&first, "GET y", &last, "GET y", "STRLEN y"]));
        std::thread::sleep(Duration::from_millis(20));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut killer = redis.wire();
                killer.send_line("CLIENT KILL TYPE normal SKIPME yes");
                killer.reply();
            });
            redis.resume();
        });
        let replies: Vec<_> = wire.replies(5).iter().map(|reply| text(reply)).collect();
        let is_known =
            |reply: &String, value: &str| reply == value || reply.starts_with("-TIMEOUT ") || reply.contains("was not sent");
        assert!(is_known(&replies[3], "$1\r\n7\r\n") && is_known(&replies[4], ":1\r\n"), "{replies:?}");
        assert_eq!(replies[0].starts_with("-TIMEOUT "), replies[2].starts_with("-TIMEOUT "), "{replies:?}");
        // A busy machine takes its time to connect anew, and what is sent meanwhile is refused.
        eventually("it is connected again", || wire.ask("ECHO end") == "$3\r\nend\r\n");
    }
    assert_eq!(proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
}
