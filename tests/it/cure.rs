//! A server in trouble hears what may be its cure, whatever the db, the protocol and the state.

use std::time::{Duration, Instant};

use crate::harness::wire::words;
use crate::harness::{RedisServer, Setup, eventually, request, text};
use crate::refused_state::fill;

const QUICK: &str = "request_timeout_ms = 2000\nqueue_timeout_ms = 400\nconnect_timeout_ms = 300\nstall_timeout_ms = 60000";
const ENDLESS: &[&[u8]] = &[b"EVAL", b"while true do end", b"0"];

/// The server knows of the connections that are kept for cures.
fn spare_is_kept(redis: &RedisServer, least: u64) {
    eventually("the spare connections are there", || redis.info("clients", "connected_clients") > least);
}

fn is_busy(redis: &RedisServer) {
    eventually("the script takes too long", || redis.ask("PING").starts_with("-BUSY"));
}

#[test]
fn a_script_can_be_killed_from_any_db_and_protocol() {
    let redis = RedisServer::start(&["--busy-reply-threshold 100"]);
    let lua = "#!lua name=lib\nredis.register_function('endless', function() while true do end end)";
    assert_eq!(redis.wire().ask("PING"), "+PONG\r\n");
    let mut loader = redis.wire();
    loader.send(&words(&[b"FUNCTION", b"LOAD", lua.as_bytes()]));
    assert_eq!(loader.reply(), b"$3\r\nlib\r\n");
    drop(loader);
    let proxy = Setup::new(&redis).upstream("request_timeout_ms = 20000\nstall_timeout_ms = 60000").start();
    spare_is_kept(&redis, 4);
    for (hello, call, kill) in [
        ("HELLO 2", words(ENDLESS), "SCRIPT KILL"),
        ("HELLO 3", words(ENDLESS), "SCRIPT KILL"),
        ("HELLO 2", request("FCALL endless 0"), "FUNCTION KILL"),
        ("HELLO 3", request("FCALL endless 0"), "FUNCTION KILL"),
    ] {
        let (mut looping, mut cure) = (proxy.wire(), proxy.wire());
        for wire in [&mut looping, &mut cure] {
            wire.ask(hello);
            assert_eq!(wire.ask("SELECT 9"), "+OK\r\n");
        }
        looping.send(&call);
        is_busy(&redis);
        let mut late = proxy.wire();
        assert!(late.ask("INFO").starts_with("-BUSY "), "as directly");
        // A db that the server does not let it have now does not keep anybody from the cure.
        let refused = late.pipeline(&["SELECT 7", kill.replace("KILL", "NOSUCH").as_str()]);
        // Valkey 9 selects while a script runs.
        assert_eq!(refused[0].starts_with('-'), redis.ask("SELECT 7").starts_with('-'), "{refused:?}");
        assert!(refused[1].starts_with('-'), "{refused:?}");
        assert_eq!(cure.ask(kill), "+OK\r\n", "{hello} {kill}");
        let killed = text(&looping.reply());
        assert!(killed.starts_with('-'), "{killed}");
        assert_eq!(cure.ask("GET k"), if hello == "HELLO 3" { "_\r\n" } else { "$-1\r\n" });
    }
}

#[test]
fn a_busy_server_can_be_shut_down() {
    let redis = RedisServer::start(&["--busy-reply-threshold 100"]);
    let proxy = Setup::new(&redis).upstream(QUICK).start();
    spare_is_kept(&redis, 4);
    let (mut looping, mut cure) = (redis.wire(), proxy.wire());
    assert_eq!(cure.ask("SELECT 9"), "+OK\r\n");
    looping.send(&words(ENDLESS));
    is_busy(&redis);
    cure.send(&request("SHUTDOWN NOSAVE"));
    assert_eq!(text(&cure.until_closed()), "");
    assert!(std::net::TcpStream::connect(("127.0.0.1", redis.port())).is_err(), "it is gone");
}

#[test]
fn a_server_that_takes_no_more_clients_can_be_told_to_take_more() {
    let redis = RedisServer::start(&["--maxclients 30"]);
    redis.ask("ACL SETUSER ann on >p ~* &* +@all");
    let proxy = Setup::new(&redis).upstream(QUICK).start();
    spare_is_kept(&redis, 4);
    let mut crowd = fill(&redis);
    let mut wire = proxy.wire();
    assert!(wire.ask("AUTH ann wrong").starts_with("-WRONGPASS "));
    assert_eq!(wire.ask("AUTH ann p"), "+OK\r\n", "nobody needs a connection for that");
    assert_eq!(wire.ask("ACL WHOAMI"), "$3\r\nann\r\n");
    let replies = wire.pipeline(&["SELECT 9", "SET k v", "CONFIG GET maxclients"]);
    assert!(replies[0].starts_with("-ERR respguard: ") && replies[1].contains("not run"), "{replies:?}");
    assert_eq!(replies[2], "*2\r\n$10\r\nmaxclients\r\n$2\r\n30\r\n");
    let mut resp3 = proxy.wire();
    assert!(resp3.ask("HELLO 3 AUTH ann p").starts_with('-') || resp3.ask("CONFIG GET maxclients").starts_with('%'));
    assert_eq!(wire.ask("CONFIG SET maxclients 100"), "+OK\r\n");
    eventually("it goes on, as the same user", || wire.pipeline(&["SELECT 0", "ACL WHOAMI"])[1] == "$3\r\nann\r\n");
    assert_eq!(redis.ask("EXISTS k"), ":0\r\n");
    crowd.clear();
}

#[test]
fn a_cure_is_asked_with_the_rights_of_who_asks() {
    let redis = RedisServer::start(&["--busy-reply-threshold 100"]);
    redis.ask("ACL SETUSER low on >p ~* &* +@all -script|kill -config");
    let proxy = Setup::new(&redis).top("workers = 1").upstream(QUICK).start();
    spare_is_kept(&redis, 2);
    let (mut low, mut high) = (proxy.wire(), proxy.wire());
    assert_eq!(low.ask("AUTH low p"), "+OK\r\n");
    for _ in 0..3 {
        assert!(low.ask("SCRIPT KILL").starts_with("-NOPERM "));
        assert!(high.ask("SCRIPT KILL").starts_with("-NOTBUSY "));
    }
    redis.ask("CLIENT KILL TYPE normal SKIPME yes");
    assert!(high.ask("SCRIPT KILL").starts_with("-NOTBUSY "), "another one is opened");
    redis.ask("ACL DELUSER low");
    let refused = low.try_reply().map(|reply| text(&reply));
    assert!(refused.is_none(), "{refused:?}");
}

#[test]
fn a_server_that_loads_its_data_answers_operators() {
    let mut redis = RedisServer::start(&["--loading-process-events-interval-bytes 1024", "--rdbcompression no"]);
    let proxy = Setup::new(&redis).top("workers = 1").upstream(QUICK).start();
    let mut wire = proxy.wire();
    let value = "v".repeat(2000);
    for key in 0..100 {
        assert_eq!(wire.ask(&format!("SET key:{key} {value}")), "+OK\r\n");
    }
    assert_eq!(wire.ask("SAVE"), "+OK\r\n");
    redis.restart_without_waiting(&["--key-load-delay", "200000"]);
    let mut info = String::new();
    eventually("INFO comes through", || {
        info = wire.ask("INFO persistence");
        info.starts_with('$')
    });
    assert!(info.contains("loading:1"), "{info}");
    assert!(wire.ask("PING").starts_with("-LOADING "), "the server's own word");
    assert!(wire.ask("CONFIG GET key-load-delay").contains("200000"));
    assert_eq!(wire.ask("CONFIG SET key-load-delay 0"), "+OK\r\n", "the cure");
    eventually("it serves", || wire.ask("STRLEN key:1") == ":2000\r\n");
}

#[test]
fn a_replica_without_its_master_can_be_made_one() {
    let redis = RedisServer::start(&["--replica-serve-stale-data no"]);
    let proxy = Setup::new(&redis).upstream(QUICK).start();
    spare_is_kept(&redis, 4);
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("SELECT 9"), "+OK\r\n");
    assert_eq!(redis.ask("REPLICAOF 127.0.0.1 1"), "+OK\r\n");
    eventually("nobody asks it any more", || {
        let reply = wire.ask("GET k");
        reply.contains("the breaker is open")
    });
    assert!(wire.ask("INFO replication").contains("role:slave"));
    assert!(wire.ask("PING").starts_with("-MASTERDOWN "));
    assert!(wire.ask("CLIENT ID").starts_with(':'));
    assert!(wire.ask("CLIENT KILL ID 987654").starts_with(":0"));
    assert_eq!(wire.ask("REPLICAOF NO ONE"), "+OK\r\n");
    eventually("it serves", || wire.ask("GET k") == "$-1\r\n");
}

#[test]
fn a_paused_server_answers_who_only_asks() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).top("workers = 1").upstream("request_timeout_ms = 20000\nstall_timeout_ms = 60000").start();
    spare_is_kept(&redis, 2);
    let (mut writer, mut wire) = (proxy.wire(), proxy.wire());
    assert_eq!(wire.ask("CLIENT PAUSE 600000 WRITE"), "+OK\r\n");
    writer.send_line("SET k v");
    std::thread::sleep(Duration::from_millis(300));
    let start = Instant::now();
    assert!(wire.ask("INFO server").contains("redis_version"));
    assert!(wire.ask("CONFIG GET port").starts_with('*'));
    assert_eq!(wire.ask("PING"), "+PONG\r\n");
    assert!(wire.ask("CLIENT LIST").contains("id="));
    assert_eq!(wire.ask("CLIENT UNPAUSE"), "+OK\r\n");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(writer.reply(), b"+OK\r\n");
}

#[test]
fn a_server_out_of_memory_can_be_given_more() {
    let redis = RedisServer::start(&["--maxmemory 1"]);
    let proxy = Setup::new(&redis).upstream(QUICK).start();
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("SELECT 9"), "+OK\r\n");
    assert!(wire.ask("SET k v").starts_with("-OOM "));
    assert_eq!(wire.ask("CLIENT NO-EVICT ON"), "+OK\r\n");
    assert_eq!(wire.ask("CONFIG SET maxmemory 0"), "+OK\r\n");
    assert_eq!(wire.ask("SET k v"), "+OK\r\n");
}
