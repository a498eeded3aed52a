//! Commands that end, move, freeze or save a server, each on servers of its own.

use std::time::{Duration, Instant};

use crate::harness::wire::requests;
use crate::harness::{RedisServer, Setup, Twin, eventually, text};

#[test]
fn shutdown_ends_the_server_and_not_the_client() {
    for line in ["SHUTDOWN NOSAVE", "SHUTDOWN", "DEBUG SEGFAULT"] {
        let redis = RedisServer::start(&[]);
        let proxy = Setup::new(&redis).upstream("queue_timeout_ms = 300").start();
        let (mut wire, mut other) = (proxy.wire(), proxy.wire());
        assert_eq!(other.ask("SET k v"), "+OK\r\n");
        wire.send_line(line);
        // Redis closes without a word, and so does the connection through which it was told to.
        let end = text(&wire.until_closed());
        assert!(end.is_empty() || end.starts_with("-TIMEOUT "), "{line}: {end}");
        assert!(other.ask("GET k").starts_with('-'), "{line}: the server is gone, the client is not");
    }
}

#[test]
fn shutdown_that_cannot_be_answers_as_redis_does() {
    let twin = Twin::start("");
    for line in ["SHUTDOWN NOSUCH", "SHUTDOWN NOSAVE SAVE", "SHUTDOWN ABORT", "DEBUG NOSUCH", "DEBUG"] {
        twin.pair().same_line(line);
    }
}

#[test]
fn saving_answers_as_redis_does() {
    let twin = Twin::start("");
    let mut pair = twin.pair();
    for line in ["SET k v", "SAVE", "BGSAVE"] {
        pair.same_line(line);
    }
    for server in [&twin.direct, &twin.behind] {
        eventually("it is saved", || server.info("persistence", "rdb_bgsave_in_progress") == 0);
    }
    for line in ["BGSAVE SCHEDULE", "BGSAVE NOSUCH"] {
        pair.same_line(line);
    }
    for server in [&twin.direct, &twin.behind] {
        eventually("it is saved", || server.info("persistence", "rdb_bgsave_in_progress") == 0);
    }
    pair.same_line("BGREWRITEAOF");
}

#[test]
fn a_server_that_becomes_a_replica_refuses_writes_through_the_proxy_too() {
    let master = RedisServer::start(&[]);
    let twin = Twin::start("");
    let mut pair = twin.pair();
    pair.same_line(&format!("REPLICAOF 127.0.0.1 {}", master.port()));
    for server in [&twin.direct, &twin.behind] {
        eventually("it follows", || server.ask("INFO replication").contains("master_link_status:up"));
    }
    for line in ["SET k v", "GET k", "MULTI", "SET k v", "EXEC", "REPLICAOF x", "FAILOVER", "WAIT 0 0"] {
        pair.same_line(line);
    }
    for line in ["REPLICAOF NO ONE", "SET k v", "SLAVEOF NO ONE"] {
        pair.same_line(line);
    }
    assert_eq!(master.ask("PING"), "+PONG\r\n");
}

#[test]
fn a_paused_server_holds_clients_up_as_long_as_it_says() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).start();
    let (mut wire, mut other) = (proxy.wire(), proxy.wire());
    let start = Instant::now();
    assert_eq!(wire.ask("CLIENT PAUSE 300 WRITE"), "+OK\r\n");
    assert_eq!(other.ask("GET k"), "$-1\r\n");
    assert_eq!(other.ask("SET k v"), "+OK\r\n");
    assert!(start.elapsed() >= Duration::from_millis(250), "{:?}", start.elapsed());
    // Everything waits, but not the word that ends the waiting.
    assert_eq!(wire.ask("CLIENT PAUSE 600000 WRITE"), "+OK\r\n");
    other.send_line("SET k w");
    assert!(other.is_silent_for(Duration::from_millis(100)));
    assert_eq!(wire.ask("CLIENT UNPAUSE"), "+OK\r\n");
    let reply = text(&other.reply());
    assert!(reply == "+OK\r\n" || reply.starts_with("-TIMEOUT "), "{reply}");
}

#[test]
fn replication_is_refused_in_clear_words() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).start();
    let mut wire = proxy.wire();
    for line in ["SYNC", "PSYNC ? -1"] {
        let reply = wire.ask(line);
        assert_eq!(reply, "-ERR respguard: no replication through a proxy: connect the replica to the server itself\r\n");
    }
    assert_eq!(wire.ask("PING"), "+PONG\r\n");
    assert_eq!(wire.pipeline(&["PSYNC", "GET k"])[0], "-ERR wrong number of arguments for 'psync' command\r\n");
}

#[test]
fn monitor_sees_what_other_clients_do() {
    for hello in ["HELLO 2", "HELLO 3"] {
        let redis = RedisServer::start(&[]);
        let proxy = Setup::new(&redis).start();
        let (mut monitor, mut other) = (proxy.wire(), proxy.wire());
        monitor.ask(hello);
        assert_eq!(monitor.ask("MONITOR"), "+OK\r\n");
        assert_eq!(other.ask("SET k v"), "+OK\r\n");
        let mut seen = String::new();
        eventually("it is seen", || {
            seen += &text(&monitor.reply());
            seen.contains("\"SET\" \"k\" \"v\"")
        });
        monitor.send_line("QUIT");
        assert!(text(&monitor.until_closed()).ends_with("+OK\r\n"));
    }
}

#[test]
fn keys_migrate_from_behind_the_proxy() {
    let twin = Twin::start("");
    let target = RedisServer::start(&[]);
    let mut pair = twin.pair();
    let migrate = format!("MIGRATE 127.0.0.1 {} k 0 5000 COPY REPLACE", target.port());
    for line in ["SET k v", &migrate, "GET k"] {
        pair.same_line(line);
    }
    assert_eq!(target.ask("GET k"), "$1\r\nv\r\n");
    let dump = pair.same(&requests(&["DUMP k"]), 1).remove(0);
    let payload = &dump[dump.iter().position(|byte| *byte == b'\n').expect("a head") + 1..dump.len() - 2];
    pair.same(&crate::harness::wire::words(&[b"RESTORE", b"copy", b"0", payload]), 1);
    pair.same(&crate::harness::wire::words(&[b"RESTORE", b"copy", b"0", payload]), 1);
    pair.same_line("GET copy");
}
