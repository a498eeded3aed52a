//! Long compressed values: they are read off the worker's thread, in their places, within the memory that there is.

use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::harness::wire::words;
use crate::harness::{Proxy, RedisServer, Setup, Wire, eventually, text};

const RULE: &str = r#"
[[compress]]
name = "pages"
keys = ["page:*"]
min_bytes = 100
[[group]]
name = "pair"
atomic = "guarded"
commands = ["SET page:n:{id} *", "GET page:{id}"]
"#;

/// Some text that becomes a tenth of its length.
fn json(bytes: usize) -> Vec<u8> {
    let items = (0u64..).map(|item| format!("{{\"id\":{item},\"tags\":[\"a\",\"b\"],\"text\":\"some words\"}},"));
    let mut all = items.flat_map(String::into_bytes).take(bytes).collect::<Vec<u8>>();
    all.truncate(bytes);
    all
}

/// Letters in no order, which become a quarter shorter.
fn letters(bytes: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252u64;
    let mut letter = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b'@' + u8::try_from(state >> 58).unwrap_or(0)
    };
    (0..bytes).map(|_| letter()).collect()
}

fn bulk(value: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat()
}

fn set(wire: &mut Wire, key: &str, value: &[u8]) {
    wire.send(&words(&[b"SET", key.as_bytes(), value]));
    assert_eq!(text(&wire.reply()), "+OK\r\n");
}

fn before(redis: &RedisServer, listen: &str) -> Proxy {
    Setup::new(redis).top("workers = 1").listen(listen).rules(RULE).start()
}

fn kept(proxy: &Proxy) -> f64 {
    proxy.metric("respguard_kept_bytes", &[])
}

/// The longest time between two answers to a neighbour while a long value is read, as a part of the time that this takes.
fn longest_gap(proxy: &Proxy, key: &str) -> f64 {
    let (mut reader, mut beside) = (proxy.wire(), proxy.wire());
    beside.ask("PING");
    let begun = Instant::now();
    let read = std::thread::spawn({
        let key = key.to_owned();
        move || {
            reader.send(&words(&[b"GET", key.as_bytes()]));
            reader.reply().len()
        }
    });
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    while !read.is_finished() {
        assert_eq!(beside.ask("PING"), "+PONG\r\n");
        longest = longest.max(last.elapsed());
        last = Instant::now();
    }
    assert!(read.join().expect("it has read") > 10_000_000);
    longest.as_secs_f64() / begun.elapsed().as_secs_f64()
}

#[test]
fn a_neighbour_does_not_wait_while_long_values_are_read() {
    let redis = RedisServer::start(&[]);
    let proxy = before(&redis, "");
    set(&mut proxy.wire(), "page:1", &json(40_000_000));
    // A busy machine may stop anybody for a while, but not each time.
    let parts: Vec<f64> = (0..6).map(|_| longest_gap(&proxy, "page:1")).collect();
    assert!(parts.iter().any(|part| *part < 0.5), "{parts:?}");
    assert!(proxy.metric("respguard_compress_seconds_count", &[]) >= 7.0);
}

#[test]
fn replies_keep_their_order_whatever_takes_how_long() {
    let redis = RedisServer::start(&[]);
    let proxy = before(&redis, "");
    let mut wire = proxy.wire();
    let (long, longer, short) = (json(1_000_000), json(10_000_000), json(500));
    for (key, value) in [("page:1", &long), ("page:2", &longer), ("page:3", &short)] {
        set(&mut wire, key, value);
    }
    wire.ask("SET other plain");
    let mut commands = Vec::new();
    let mut wanted: Vec<Vec<u8>> = Vec::new();
    let array = |parts: &[Vec<u8>]| [format!("*{}\r\n", parts.len()).into_bytes(), parts.concat()].concat();
    let mut ask = |command: &[&[u8]], reply: Vec<u8>| {
        commands.extend(words(command));
        wanted.push(reply);
    };
    for _ in 0..3 {
        ask(&[b"GET", b"page:2"], bulk(&longer));
        ask(&[b"GET", b"page:3"], bulk(&short));
        ask(&[b"GET", b"other"], bulk(b"plain"));
        ask(&[b"MGET", b"page:1", b"other", b"page:2"], array(&[bulk(&long), bulk(b"plain"), bulk(&longer)]));
        ask(&[b"PING"], b"+PONG\r\n".to_vec());
        // The next transaction begins while the first one's values are read.
        for (key, value) in [(&b"page:2"[..], &longer), (b"page:3", &short), (b"page:1", &long)] {
            ask(&[b"MULTI"], b"+OK\r\n".to_vec());
            ask(&[b"GET", key], b"+QUEUED\r\n".to_vec());
            ask(&[b"ECHO", b"x"], b"+QUEUED\r\n".to_vec());
            ask(&[b"EXEC"], array(&[bulk(value), bulk(b"x")]));
        }
        // A guarded group.
        ask(&[b"SET", b"page:n:2", b"1"], b"+OK\r\n".to_vec());
        ask(&[b"GET", b"page:2"], bulk(&longer));
        ask(&[b"STRLEN", b"other"], b":5\r\n".to_vec());
    }
    let mut sender = wire.stream().try_clone().expect("a second handle");
    let sent = std::thread::spawn(move || sender.write_all(&commands));
    for (at, wanted) in wanted.iter().enumerate() {
        let reply = wire.reply();
        assert!(reply == *wanted, "{at}: {} bytes, not {}: {}", reply.len(), wanted.len(), text(&reply[..reply.len().min(100)]));
    }
    sent.join().expect("it has sent").expect("all of it");
    assert_eq!(proxy.groups("pair", "applied"), 3.0);
    // What the client does not want to hear.
    wire.send(&[words(&[b"CLIENT", b"REPLY", b"SKIP"]), words(&[b"GET", b"page:2"]), words(&[b"GET", b"page:1"])].concat());
    assert!(wire.reply() == bulk(&long));
    eventually("nothing is kept", || kept(&proxy) < 1_000_000.0);
}

#[test]
fn what_is_read_for_clients_that_have_left_goes_nowhere() {
    let redis = RedisServer::start(&[]);
    let proxy = before(&redis, "");
    let mut wire = proxy.wire();
    let long = json(10_000_000);
    set(&mut wire, "page:1", &long);
    for _ in 0..4 {
        let mut leaving: Vec<Wire> = (0..6).map(|_| proxy.wire()).collect();
        for one in &mut leaving {
            one.send(&words(&[b"GET", b"page:1"]).repeat(3));
        }
        drop(leaving);
        assert_eq!(wire.ask("PING"), "+PONG\r\n");
    }
    wire.send(&words(&[b"GET", b"page:1"]));
    assert!(wire.reply() == bulk(&long));
    // One that sends nothing more, and waits for its replies, gets them all.
    let mut last = proxy.wire();
    last.send(&words(&[b"GET", b"page:1"]).repeat(2));
    last.finish_sending();
    assert!(last.replies(2).iter().all(|reply| *reply == bulk(&long)));
    drop(wire);
    drop(last);
    eventually("nothing is kept for them", || kept(&proxy) < 1_000_000.0);
    assert_eq!(proxy.metric("respguard_panics_total", &[]), 0.0);
}

#[test]
fn beyond_what_may_be_kept_values_are_not_read_and_their_clients_are_told_so() {
    let redis = RedisServer::start(&[]);
    let (long, bulky, short) = (json(10_000_000), letters(12_000_000), json(500));
    let mut wire = before(&redis, "").wire();
    let proxy = before(&redis, "buffered_bytes_max = 8000000");
    let unlimited = before(&redis, "");
    let mut writer = unlimited.wire();
    for key in ["page:1", "page:2"] {
        set(&mut writer, key, &long);
    }
    set(&mut writer, "page:3", &short);
    set(&mut writer, "page:4", &bulky);
    drop(writer);
    let mut limited = proxy.wire();
    let mut ask = |command: &[&[u8]]| {
        limited.send(&words(command));
        limited.reply()
    };
    let told = "no room is left to read compressed values (buffered_bytes_max, compress rule pages)\r\n";
    // Its value would be too long, or what is stored is.
    for key in ["page:1", "page:4"] {
        assert_eq!(text(&ask(&[b"GET", key.as_bytes()])), format!("-ERR respguard: {told}"), "{key}");
    }
    assert!(ask(&[b"GET", b"page:3"]) == bulk(&short));
    // Only the replies that are too long are refused, and what was done stays done.
    ask(&[b"MULTI"]);
    for key in [&b"page:1"[..], b"page:3", b"page:4"] {
        ask(&[b"GET", key]);
    }
    ask(&[b"INCR", b"n"]);
    let array = text(&ask(&[b"EXEC"]));
    assert!(array.starts_with(&format!("*4\r\n-ERR respguard: {told}")) && array.ends_with(":1\r\n"), "{array}");
    let deleted = text(&ask(&[b"GETDEL", b"page:2"]));
    assert_eq!(deleted, format!("-COMMITTED respguard: it was applied, but {told}"));
    assert_eq!(ask(&[b"EXISTS", b"page:2"]), b":0\r\n");
    limited.send(&[words(&[b"SET", b"page:n:1", b"1"]), words(&[b"GET", b"page:1"])].concat());
    assert_eq!(text(&limited.replies(2).concat()), format!("+OK\r\n-ERR respguard: {told}"));
    assert_eq!(proxy.groups("pair", "applied"), 1.0);
    // Where there is room they are there.
    drop(std::mem::replace(&mut wire, unlimited.wire()));
    wire.send(&words(&[b"MGET", b"page:4", b"page:1"]));
    assert!(wire.reply() == [&b"*2\r\n"[..], &bulk(&bulky), &bulk(&long)].concat());
    eventually("nothing is kept", || kept(&proxy) < 100_000.0);
}
