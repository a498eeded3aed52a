//! Values that a rule stores compressed: clients see what they have written, and nothing else.

use std::io::{Seek as _, Write as _};

use crate::harness::proxy::command;
use crate::harness::wire::words;
use crate::harness::{Nodes, Proxy, RedisServer, Setup, Wire, text};

const RULE: &str = r#"
[[compress]]
name = "pages"
keys = ["page:*"]
min_bytes = 100
[[group]]
name = "pair"
atomic = "guarded"
commands = ["SET page:{id} *", "HSET page:h:{id} ...", "GET page:{id}"]
[[group]]
name = "plain"
commands = ["SETEX page:t:{id} * *", "SADD index {id}", "GET page:t:{id}"]
"#;

const MAGIC: &[u8] = b"\xffRGCOMP\xfe";

struct Stage {
    redis: RedisServer,
    proxy: Proxy,
}

impl Stage {
    fn new(rules: &str) -> Stage {
        let redis = RedisServer::start(&[]);
        let proxy = Setup::new(&redis).rest("").rules(rules).start();
        Stage { redis, proxy }
    }

    fn stored(&self, key: &str) -> Vec<u8> {
        let mut wire = self.redis.wire();
        wire.send(&words(&[b"GET", key.as_bytes()]));
        wire.reply()
    }
}

fn json(items: usize) -> Vec<u8> {
    (0..items)
        .flat_map(|item| format!("{{\"id\":{item},\"tags\":[\"a\",\"b\"],\"text\":\"some words\"}},").into_bytes())
        .collect()
}

fn bulk(value: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat()
}

fn ask(wire: &mut Wire, command: &[&[u8]]) -> Vec<u8> {
    wire.send(&words(command));
    wire.reply()
}

#[test]
fn values_are_stored_smaller_and_come_back_as_they_were() {
    let stage = Stage::new(RULE);
    let mut wire = stage.proxy.wire();
    // The longest is compressed off the worker's thread, and was too long to be read whole without its rule.
    for (key, value) in [("page:1", json(10)), ("page:2", json(20_000)), ("page:3", json(200_000))] {
        assert_eq!(text(&ask(&mut wire, &[b"SET", key.as_bytes(), &value])), "+OK\r\n");
        let stored = stage.stored(key);
        assert!(stored.len() < value.len() / 2 && stored.windows(8).any(|window| window == MAGIC), "{key}: {}", stored.len());
        assert!(ask(&mut wire, &[b"GET", key.as_bytes()]) == bulk(&value), "{key}");
    }
    // What is short, what is a number, and what other keys have stays as it is.
    let long = json(10);
    for (key, value) in [("page:4", &b"short"[..]), ("page:5", &[b'1'; 300]), ("other", &long)] {
        ask(&mut wire, &[b"SET", key.as_bytes(), value]);
        assert_eq!(stage.stored(key), bulk(value));
        assert_eq!(ask(&mut wire, &[b"GET", key.as_bytes()]), bulk(value));
    }
    // What begins as a header does is behind one.
    let headed = [MAGIC, b"x"].concat();
    ask(&mut wire, &[b"SET", b"page:6", &headed]);
    assert_ne!(stage.stored("page:6"), bulk(&headed));
    assert_eq!(ask(&mut wire, &[b"GET", b"page:6"]), bulk(&headed));
    // Old values and new ones.
    assert_eq!(ask(&mut stage.redis.wire(), &[b"SET", b"page:7", &long]), b"+OK\r\n");
    assert_eq!(ask(&mut wire, &[b"GET", b"page:7"]), bulk(&long));
    let bytes = |form: &str, direction: &str| {
        stage.proxy.metric("respguard_compress_bytes_total", &[("rule", "pages"), ("form", form), ("direction", direction)])
    };
    assert!(bytes("stored", "write") < bytes("original", "write") / 2.0 && bytes("original", "read") > 8e6);
    // Two were written and read off the worker's thread.
    assert_eq!(stage.proxy.metric("respguard_compress_seconds_count", &[]), 4.0);
}

/// What clients send, and in RESP3 once more; keys begin with `page` or with `other`, and are of one slot where these say so.
fn script(value: &[u8], other: &[u8], page: &str, plain: &str) -> Vec<Vec<Vec<u8>>> {
    let (v, o) = (value, other);
    let lines: Vec<Vec<&[u8]>> = vec![
        vec![b"SET", b"page:a", v],
        vec![b"SET", b"page:a", o, b"GET"],
        vec![b"SET", b"page:a", v, b"XX", b"EX", b"100", b"GET"],
        vec![b"SETNX", b"page:n", v],
        vec![b"SETNX", b"page:n", o],
        vec![b"SETEX", b"page:e", b"100", v],
        vec![b"PSETEX", b"page:p", b"100000", v],
        vec![b"GETSET", b"page:n", o],
        vec![b"MSET", b"page:m", v, b"k", v, b"page:o", o],
        vec![b"MSETNX", b"page:x", v, b"page:y", b"s"],
        vec![b"MGET", b"page:m", b"k", b"nothing", b"page:o", b"page:x", b"page:y"],
        vec![b"GET", b"page:n"],
        vec![b"GETEX", b"page:e", b"PERSIST"],
        vec![b"HSET", b"page:h", b"f", v, b"g", b"short", b"h", o],
        vec![b"HMSET", b"page:h", b"i", o],
        vec![b"HSETNX", b"page:h", b"j", v],
        vec![b"HGET", b"page:h", b"f"],
        vec![b"HMGET", b"page:h", b"f", b"no", b"g", b"h"],
        // One field: the order of several is each server's own.
        vec![b"HSET", b"page:one", b"f", v],
        vec![b"HVALS", b"page:one"],
        vec![b"HGETALL", b"page:one"],
        vec![b"HSCAN", b"page:one", b"0", b"COUNT", b"1000"],
        vec![b"HRANDFIELD", b"page:one", b"100", b"WITHVALUES"],
        vec![b"HKEYS", b"page:one"],
        vec![b"HLEN", b"page:h"],
        vec![b"COPY", b"page:a", b"page:c"],
        vec![b"GET", b"page:c"],
        vec![b"RENAME", b"page:c", b"page:d"],
        vec![b"GETDEL", b"page:d"],
        vec![b"TYPE", b"page:h"],
        vec![b"INCR", b"page:a"],
        vec![b"LPUSH", b"page:a", b"x"],
        vec![b"HGET", b"page:a", b"f"],
        vec![b"GET", b"page:h"],
        vec![b"SET", b"page:a"],
        vec![b"MSET", b"page:a", v, b"page:b"],
        vec![b"HSET", b"page:h", b"f"],
        vec![b"MULTI"],
        vec![b"SET", b"page:a", o],
        vec![b"GET", b"page:a"],
        vec![b"MGET", b"page:a", b"k"],
        vec![b"HGETALL", b"page:one"],
        vec![b"EXEC"],
        vec![b"MULTI"],
        vec![b"SET", b"page:a", v],
        vec![b"DISCARD"],
        vec![b"GET", b"page:a"],
    ];
    let placed = |word: &&[u8]| match *word {
        b"k" => [plain.as_bytes(), b"k"].concat(),
        word => match word.strip_prefix(b"page:") {
            Some(name) => [page.as_bytes(), name].concat(),
            None => word.to_vec(),
        },
    };
    lines.iter().map(|line| line.iter().map(placed).collect()).collect()
}

#[test]
fn every_command_answers_as_without_the_rule() {
    let stage = Stage::new(RULE);
    let twin = Stage::new("");
    let (value, other) = (json(10), json(30));
    let (v, o): (&[u8], &[u8]) = (&value, &other);
    let script = script(v, o, "page:", "");
    for protocol in ["HELLO 2", "HELLO 3"] {
        let (mut wire, mut beside) = (stage.proxy.wire(), twin.proxy.wire());
        wire.ask(protocol);
        beside.ask(protocol);
        for command in &script {
            let (reply, wanted) = (ask(&mut wire, &slices(command)), ask(&mut beside, &slices(command)));
            assert!(reply == wanted, "{protocol} {}: {}", text(&words(&slices(command))), text(&reply));
        }
        // In one go, as groups too.
        let piece: Vec<u8> = [
            words(&[b"SET", b"page:9", v]),
            // They go in the group's transaction.
            words(&[b"SET", b"page:rider", o]),
            words(&[b"GET", b"page:rider"]),
            words(&[b"HSET", b"page:h:9", b"f", v, b"g", o]),
            words(&[b"GET", b"page:9"]),
            words(&[b"SETEX", b"page:t:9", b"100", o]),
            words(&[b"SADD", b"index", b"9"]),
            words(&[b"GET", b"page:t:9"]),
            words(&[b"MGET", b"page:9", b"page:t:9"]),
            words(&[b"DEL", b"index", b"page:h:9"]),
        ]
        .concat();
        wire.send(&piece);
        beside.send(&piece);
        assert!(wire.replies(10) == beside.replies(10), "{protocol}");
    }
    assert_eq!((stage.proxy.groups("pair", "applied"), stage.proxy.groups("plain", "applied")), (2.0, 2.0));
    assert!(stage.stored("page:9").len() < value.len() && stage.stored("page:rider").len() < other.len());
    // Over REST.
    let mut http = stage.proxy.rest();
    let answer = http.get("/get/page:9");
    assert_eq!(answer.json()["result"].as_str().map(str::as_bytes), Some(v));
}

#[test]
fn what_would_look_into_values_is_refused_and_nothing_of_it_runs() {
    let stage = Stage::new(RULE);
    let mut wire = stage.proxy.wire();
    let value = json(10);
    ask(&mut wire, &[b"SET", b"page:1", &value]);
    let before = stage.stored("page:1");
    for line in [
        "GETRANGE page:1 0 1",
        "SUBSTR page:1 0 1",
        "SETRANGE page:1 0 x",
        "APPEND page:1 x",
        "STRLEN page:1",
        "HSTRLEN page:1 f",
        "SETBIT page:1 0 1",
        "GETBIT page:1 0",
        "BITCOUNT page:1",
        "BITPOS page:1 1",
        "BITFIELD page:1 GET u8 0",
        "BITOP NOT to page:1",
        "LCS page:1 b",
        "PFADD page:1 x",
        "PFCOUNT page:1",
        "SORT list BY page:*",
        "SORT list GET page:*",
        "SORT list GET *",
        "EVAL return 1 page:1",
        "EVALSHA x 1 page:1",
    ] {
        let reply = wire.ask(line);
        assert!(reply.starts_with("-ERR respguard: ") && reply.contains("refused by compress rule pages"), "{line}: {reply}");
    }
    for line in ["STRLEN k", "EVAL return 1 0", "SORT list GET other:* GET #", "TTL page:1", "DUMP nothing"] {
        assert!(!wire.ask(line).contains("compress"), "{line}");
    }
    assert_eq!(wire.ask("MULTI"), "+OK\r\n");
    assert!(wire.ask("APPEND page:1 x").starts_with("-ERR respguard: "));
    assert!(wire.ask("EXEC").starts_with("-EXECABORT"));
    assert_eq!(stage.stored("page:1"), before);
    assert_eq!(stage.proxy.metric("respguard_compress_refused_total", &[("rule", "pages")]), 21.0);
}

#[test]
fn what_cannot_be_read_is_an_error_and_a_promise_takes_no_room() {
    let stage = Stage::new(&RULE.replace("min_bytes = 100", "min_bytes = 100\nvalue_bytes_max = 1000000"));
    let mut wire = stage.proxy.wire();
    assert_eq!(stage.proxy.metric("respguard_compress_failed_total", &[("rule", "pages")]), 0.0);
    for (key, behind) in [
        ("page:1", &b"\x01\x01\xff\xff\xff\x1f\0\0\0\0x"[..]),
        ("page:2", b"\x02"),
        ("page:3", b"\x01\x01\x05\0\0\0\0\0\0\0hello"),
    ] {
        ask(&mut stage.redis.wire(), &[b"SET", key.as_bytes(), &[MAGIC, behind].concat()]);
        let reply = text(&ask(&mut wire, &[b"GET", key.as_bytes()]));
        assert!(reply.starts_with("-ERR respguard: a value cannot be read: ") && reply.contains("keys page:*"), "{reply}");
    }
    assert_eq!(ask(&mut wire, &[b"MGET", b"page:2", b"k"]).split(|byte| *byte == b'\n').count(), 4);
    assert_eq!(stage.proxy.metric("respguard_compress_failed_total", &[("rule", "pages")]), 4.0);
    let long = text(&ask(&mut wire, &[b"SET", b"page:4", &vec![b'x'; 1_000_001]]));
    assert!(long.contains("a value is longer than value_bytes_max (1000000)"), "{long}");
    let longer = text(&ask(&mut wire, &[b"SET", b"page:4", &vec![b'x'; 12_000_000]]));
    assert!(longer.starts_with("-ERR respguard: SET is refused by compress rule pages"), "{longer}");
    assert_eq!(wire.ask("EXISTS page:4"), ":0\r\n");
}

#[test]
fn switched_off_or_observing_it_still_reads() {
    let stage = Stage::new(RULE);
    let value = json(10);
    ask(&mut stage.proxy.wire(), &[b"SET", b"page:1", &value]);
    for change in ["write = false", "mode = \"observe\""] {
        let rules = RULE.replace("min_bytes = 100", &format!("min_bytes = 100\n{change}"));
        let proxy = Setup::new(&stage.redis).rules(&rules).start();
        let mut wire = proxy.wire();
        assert_eq!(ask(&mut wire, &[b"GET", b"page:1"]), bulk(&value), "{change}");
        ask(&mut wire, &[b"SET", b"page:2", &value]);
        assert_eq!(stage.stored("page:2"), bulk(&value), "{change}");
        let headed = [MAGIC, b"x"].concat();
        ask(&mut wire, &[b"SET", b"page:3", &headed]);
        assert_eq!(ask(&mut wire, &[b"GET", b"page:3"]), bulk(&headed), "{change}");
        let saved =
            proxy.metric("respguard_compress_bytes_total", &[("rule", "pages"), ("form", "stored"), ("direction", "write")]);
        assert_eq!(saved > 0.0, change.starts_with("mode"), "{change}: {saved}");
        assert_eq!(wire.ask("STRLEN page:1").starts_with("-ERR"), change.starts_with("write"));
    }
}

fn slices(command: &[Vec<u8>]) -> Vec<&[u8]> {
    command.iter().map(|word| &word[..]).collect()
}

/// Every reply of a client in both protocols, one by one and then all in one go.
fn replies(proxy: &Proxy, script: &[Vec<Vec<u8>>]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for protocol in ["HELLO 2", "HELLO 3"] {
        let mut wire = proxy.wire();
        wire.ask(protocol);
        all.extend(script.iter().map(|command| ask(&mut wire, &slices(command))));
        wire.send(&script.iter().map(|command| words(&slices(command))).collect::<Vec<_>>().concat());
        all.extend(wire.replies(script.len()));
    }
    all
}

#[test]
fn before_a_cluster_every_command_answers_as_without_the_rule() {
    let nodes = Nodes::start(3, false);
    let before = |rules: &str| {
        let times = "request_timeout_ms = 20000\nstall_timeout_ms = 60000\nsplit_writes = true\n";
        Setup::before(1).cluster(&nodes.ports(), times).top("workers = 1").rules(rules).start()
    };
    let rules = RULE.replace(":{id}", ":{{t}}{id}").replace("index", "index{{t}}");
    let groups = &rules[rules.find("[[group]]").expect("groups")..];
    let (proxy, twin) = (before(&rules), before(groups));
    let (value, other, long) = (json(10), json(30), json(20_000));
    // Keys of one slot, and of several: what is cut up by slot is put together again.
    for (page, plain) in [("page:{t}", "{t}"), ("page:", "")] {
        let mut script = script(&value, &other, page, plain);
        let key = |name: &str| format!("{page}{name}").into_bytes();
        for (name, value) in [("l1", &long), ("l2", &value), ("l3", &long)] {
            script.push(vec![b"SET".to_vec(), key(name), value.clone()]);
        }
        script.push([b"MGET".to_vec()].into_iter().chain(["l1", "l2", "l3", "a"].map(key)).collect());
        // What goes with a group's members and is one itself.
        for line in [["SET", "page:{t}9"], ["HSET", "page:h:{t}9"], ["GET", "page:{t}9"]] {
            let more: &[&[u8]] = match line[0] {
                "SET" => &[&value],
                "HSET" => &[b"f", &other],
                _ => &[],
            };
            script.push(line.iter().map(|word| word.as_bytes().to_vec()).chain(more.iter().map(|word| word.to_vec())).collect());
        }
        let [compressed, plainly] = [&proxy, &twin].map(|proxy| {
            assert_eq!(proxy.wire().ask("FLUSHALL"), "+OK\r\n");
            replies(proxy, &script)
        });
        for (at, (reply, wanted)) in compressed.iter().zip(&plainly).enumerate() {
            let line = &script[at % script.len()];
            assert!(reply == wanted, "{page} {at} {}: {} not {}", text(&line[0]), brief(reply), brief(wanted));
        }
    }
    assert!(proxy.groups("pair", "applied") >= 2.0);
    let wire = &mut proxy.wire();
    ask(wire, &[b"SET", b"page:{t}9", &value]);
    assert_eq!(ask(wire, &[b"GET", b"page:{t}9"]), bulk(&value));
    let mut owner = nodes.servers[nodes.owner("page:{t}9")].wire();
    assert!(ask(&mut owner, &[b"GET", b"page:{t}9"]).windows(8).any(|window| window == MAGIC), "stored compressed");
    for line in ["STRLEN page:1", "EVAL return 1 page:1", "APPEND page:1 x"] {
        assert!(wire.ask(line).contains("refused by compress rule pages"), "{line}");
    }
}

fn brief(reply: &[u8]) -> String {
    format!("{} ({} bytes)", text(&reply[..reply.len().min(200)]), reply.len())
}

#[test]
fn the_program_reads_what_is_stored() {
    let stage = Stage::new(&RULE.replace("min_bytes", "algorithm = \"lz4\"\nmin_bytes"));
    let value = json(5000);
    let mut wire = stage.proxy.wire();
    ask(&mut wire, &[b"SET", b"page:1", &value]);
    let reply = stage.stored("page:1");
    let stored = reply[reply.iter().position(|byte| *byte == b'\n').expect("a head") + 1..].strip_suffix(b"\r\n").expect("whole");
    let run = |input: &[u8]| {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(input).and_then(|()| file.rewind()).expect("written");
        command().arg("decompress").stdin(file).output().expect("it runs")
    };
    assert!(run(stored).stdout == value);
    assert_eq!(run(b"plain").stdout, b"plain");
    let damaged = run(&stored[..stored.len() - 1]);
    assert!(!damaged.status.success() && String::from_utf8_lossy(&damaged.stderr).contains("damaged"), "{damaged:?}");
}
