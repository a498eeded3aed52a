//! Several clients at once, each step of one of them chosen at random, get from the proxy what they get from Redis alone.

use fastrand::Rng;

use crate::every_command::likeness::Likeness;
use crate::harness::wire::{requests, words};
use crate::harness::{RedisServer, Twin, Wire, eventually, request, text};
use crate::sessions_at_random::{COMMANDS, Seeds, filled};

const CLIENTS: usize = 4;
const STEPS: usize = 60;
const CROWDS: u64 = 25;

/// What sessions of several clients are made of, beside the commands of single sessions; `;` separates steps between
/// which other clients may come.
const PASSAGES: &[&str] = &[
    "WATCH K;GET K;MULTI;INCR K;EXEC",
    "WATCH K K;MULTI;SET K V;GET K;EXEC",
    "WATCH K;UNWATCH;MULTI;INCR K;EXEC",
    "WATCH K;DISCARD;MULTI;PING;DISCARD",
    "MULTI;SET K 1;PUBLISH ch in-multi;EXEC",
    "MULTI;INCR K;NOSUCH;EXEC",
    "MULTI;CLIENT SETNAME multi;CLIENT GETNAME;EXEC",
    "MULTI;EVAL return(redis.call('INCRBY',KEYS[1],2)) 1 K;FCALL put 1 K 5;EXEC",
    "SUBSCRIBE ch;PING;UNSUBSCRIBE ch;PING",
    "SUBSCRIBE ch other;UNSUBSCRIBE other;UNSUBSCRIBE",
    "PSUBSCRIBE c*;PUNSUBSCRIBE",
    "SSUBSCRIBE shard;SUNSUBSCRIBE shard",
    "SUBSCRIBE ch;RESET;PING",
    "SUBSCRIBE ch;GET K;UNSUBSCRIBE;GET K",
    "HELLO 3;SUBSCRIBE ch;GET K;PUBLISH ch myself;UNSUBSCRIBE;GET K",
    "HELLO 3;CLIENT TRACKING ON;GET K;SET K V;GET K;CLIENT TRACKING OFF",
    "HELLO 3;CLIENT TRACKING ON;CLIENT TRACKINGINFO",
    "HELLO 3;CLIENT TRACKING ON NOLOOP;GET K;SET K 1;GET K",
    "HELLO 3;CLIENT TRACKING ON OPTIN;CLIENT CACHING YES;GET K;GET K;CLIENT GETREDIR",
    "HELLO 3;CLIENT TRACKING ON OPTOUT;CLIENT CACHING NO;GET K;GET K",
    "PUBLISH ch hello",
    "PUBLISH other hello",
    "SPUBLISH shard hello",
    "PUBSUB NUMSUB ch other",
    "PUBSUB NUMPAT",
    "SELECT 1;SET K 1;SELECT 0;GET K",
    "SELECT 1;WATCH K;SELECT 0;MULTI;INCR K;EXEC",
    "EVAL return(redis.call('GET',KEYS[1])) 1 K",
    "EVAL return(redis.call('LPUSH',KEYS[1],1)) 1 K",
    "EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0",
    "SCRIPT LOAD return(1)",
    "SCRIPT EXISTS e0e1f9fabfc9d4800c877a703b823ac0578ff8db",
    "FCALL put 1 K 7",
    "FCALL_RO look 1 K",
    "FCALL nosuch 0",
    "CLIENT SETNAME me;CLIENT GETNAME",
    "CLIENT NO-EVICT ON;GET K",
    "HELLO 2;GET K",
    "RESET;GET K",
    "DEL K;BLPOP K 0.01",
    "RPUSH L v;BLPOP L 1",
    "XADD K 5-1 f v;XREAD BLOCK 5 STREAMS K 0",
    "BLMOVE L L LEFT RIGHT 0.01",
    "DUMP K",
    "SORT L ALPHA",
    "OBJECT ENCODING K",
    "WAIT 0 0",
    "COPY K K DB 1",
];

const LIBRARY: &[u8] = b"#!lua name=crowd\n\
    redis.register_function('put', function(keys, args) return redis.call('SET', keys[1], args[1]) end)\n\
    redis.register_function{function_name='look', callback=function(keys) return redis.call('TYPE', keys[1]) end, flags={'no-writes'}}";

/// One client of each side, and what it still has to do.
struct Player {
    direct: Wire,
    proxied: Wire,
    plan: Vec<String>,
    in_multi: bool,
}

#[test]
fn a_crowd_gets_what_redis_alone_gives_it() {
    let twin = Twin::start("");
    let mut steps = 0;
    let mut crowds = 0;
    for seed in Seeds::new("crowds", 2_000_000, CROWDS) {
        for server in [&twin.direct, &twin.behind] {
            prepare(server);
        }
        steps += crowd(&twin, seed);
        crowds += 1;
    }
    assert_eq!(twin.proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
    eprintln!("{crowds} crowds of {CLIENTS} clients, {steps} steps, no difference");
}

fn prepare(server: &RedisServer) {
    let mut wire = server.wire();
    wire.send(&[requests(&["FLUSHALL", "SCRIPT FLUSH", "FUNCTION FLUSH"]), words(&[b"FUNCTION", b"LOAD", LIBRARY])].concat());
    wire.replies(4);
}

fn crowd(twin: &Twin, seed: u64) -> usize {
    let rng = &mut Rng::with_seed(seed);
    let player = |_| Player { direct: twin.direct.wire(), proxied: twin.proxy.wire(), plan: Vec::new(), in_multi: false };
    let mut players: Vec<Player> = (0..CLIENTS).map(player).collect();
    let mut told = Vec::new();
    for step in 0..STEPS {
        let who = rng.usize(..CLIENTS);
        if rng.u8(..) < 8 && players.iter().all(|player| !player.in_multi) {
            hand_over(twin, rng, seed, &mut told);
            continue;
        }
        let player = &mut players[who];
        if player.plan.is_empty() {
            let any = if rng.bool() { COMMANDS[rng.usize(..COMMANDS.len())] } else { PASSAGES[rng.usize(..PASSAGES.len())] };
            player.plan = any.split(';').rev().map(str::to_owned).collect();
        }
        // Some of what comes next goes out in the same write.
        let count = if rng.u8(..) < 60 { player.plan.len() } else { 1 };
        let lines: Vec<String> = (0..count).filter_map(|_| player.plan.pop()).map(|line| filled(&line, rng)).collect();
        told.push(format!("{who}: {}", lines.join("; ").chars().take(120).collect::<String>()));
        if let Some(difference) = player.step(&lines, step, rng) {
            panic!("crowds, seed {seed}, step {step}\n{told:#?}\n{difference}");
        }
    }
    for (who, player) in players.into_iter().enumerate() {
        player.leave(&format!("crowds, seed {seed}, client {who} leaves"), rng);
    }
    STEPS
}

impl Player {
    /// Sends the lines to both, in pieces, and compares all that comes up to the end of the step.
    fn step(&mut self, lines: &[String], step: usize, rng: &mut Rng) -> Option<String> {
        let marker = format!("end-of-step-{step}");
        let mut bytes: Vec<u8> = lines.iter().flat_map(|line| request(line)).collect();
        bytes.extend(request(&format!("PING {marker}")));
        let cut = rng.usize(..=bytes.len());
        for wire in [&mut self.direct, &mut self.proxied] {
            wire.send(&bytes[..cut]);
            wire.send(&bytes[cut..]);
        }
        let likeness = lines.iter().map(|line| Likeness::of(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>()));
        let likeness = likeness.into_iter().find(|likeness| *likeness != Likeness::Bytes).unwrap_or(Likeness::Bytes);
        let mut queued = self.in_multi;
        for line in lines {
            queued = match line.split(' ').next() {
                Some("MULTI") => true,
                Some("EXEC" | "DISCARD" | "RESET") => false,
                _ => queued,
            };
        }
        self.in_multi = queued;
        let end = |wire: &mut Wire| {
            let mut frames = Vec::new();
            loop {
                let frame = wire.frame().unwrap_or_else(|error| error.to_string().into_bytes());
                let over = text(&frame).contains(&marker) || frame.starts_with(b"Resource") || frame.starts_with(b"unexpected");
                // The marker's own reply is the last of as many as there were requests.
                let over = over || (queued && frame == b"+QUEUED\r\n" && frames.len() >= lines.len());
                frames.push(likeness.view(&frame));
                if over {
                    return frames;
                }
            }
        };
        let (direct, proxied) = (end(&mut self.direct), end(&mut self.proxied));
        (direct != proxied).then(|| format!("  Redis: {}\n  proxy: {}", excerpt(&direct), excerpt(&proxied)))
    }

    /// Says a last word and closes its sending side: what it is owed still comes, then the end.
    fn leave(mut self, what: &str, rng: &mut Rng) {
        let last = ["GET a", "MULTI", "SET a 1", "SUBSCRIBE ch", "BLPOP nothing 0", "QUIT", "EXEC"][rng.usize(..7)];
        let ends = [&mut self.direct, &mut self.proxied].map(|wire| {
            wire.send(&requests(&["ECHO last", last]));
            wire.finish_sending();
            wire.until_closed()
        });
        assert_eq!(text(&ends[0]), text(&ends[1]), "{what} after {last}");
    }
}

/// A client waits for an element, and another brings it, or word that there is none.
fn hand_over(twin: &Twin, rng: &mut Rng, seed: u64, told: &mut Vec<String>) {
    let waits =
        ["BLPOP q 0", "BRPOP q other 0", "BLMOVE q r LEFT LEFT 0", "BLMPOP 0 1 q LEFT", "BRPOPLPUSH q r 0"][rng.usize(..5)];
    let brings = [
        "RPUSH q v",
        "MULTI;RPUSH q v w;LPOP q;EXEC",
        "EVAL return(redis.call('RPUSH',KEYS[1],'v')) 1 q",
        "CLIENT UNBLOCK ID",
        "CLIENT UNBLOCK ID ERROR",
    ][rng.usize(..5)];
    told.push(format!("one waits: {waits}; another brings: {brings}"));
    let side = |server: &RedisServer, mut waiting: Wire, mut bringing: Wire| {
        bringing.pipeline(&["DEL q", "DEL r"]);
        let id = waiting.ask("CLIENT ID").trim_start_matches(':').trim().to_owned();
        waiting.send_line(waits);
        eventually("the client is blocked", || server.info("clients", "blocked_clients") == 1);
        let lines: Vec<String> = brings.split(';').map(|line| line.replace("ID", &id)).collect();
        let brought = bringing.pipeline(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        waiting.send_line("ECHO end");
        (brought, text(&waiting.reply()), text(&waiting.reply()))
    };
    let direct = side(&twin.direct, twin.direct.wire(), twin.direct.wire());
    let proxied = side(&twin.behind, twin.proxy.wire(), twin.proxy.wire());
    assert_eq!(direct, proxied, "crowds, seed {seed}: {waits}; {brings}");
}

fn excerpt(frames: &[Vec<u8>]) -> String {
    format!("{:?}", frames.iter().map(|frame| text(frame).chars().take(200).collect::<String>()).collect::<Vec<_>>())
}
