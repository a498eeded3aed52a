//! What happens at the edges of a connection's state: replies stay in order, and nothing of one client reaches another.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::harness::wire::{requests, words};
use crate::harness::{PATIENT, Proxy, RedisServer, Setup, Twin, eventually, request, text};

const ONE_WORKER: &str = "workers = 1";
const QUICK: &str = "request_timeout_ms = 400\nqueue_timeout_ms = 400\nconnect_timeout_ms = 300\nstall_timeout_ms = 30000";

fn bulk(bytes: &[u8]) -> String {
    format!("${}\r\n{}\r\n", bytes.len(), text(bytes))
}

#[test]
fn a_client_that_had_all_its_places_taken_is_read_from_again() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).upstream("request_timeout_ms = 20000\nstall_timeout_ms = 30000").start();
    let mut wire = proxy.wire();
    eventually("it is connected", || wire.ask("PING") == "+PONG\r\n");
    redis.pause();
    let count = 32 * 1024 + 2000;
    wire.send(&requests(&vec!["PING"; count]));
    std::thread::sleep(Duration::from_millis(1000));
    redis.resume();
    for _ in 0..count {
        assert_eq!(text(&wire.reply()), "+PONG\r\n");
    }
    assert_eq!(wire.ask("PING"), "+PONG\r\n");
}

#[test]
fn a_refused_subscription_to_several_channels_is_one_reply() {
    let redis = RedisServer::start(&["--requirepass", "secret"]);
    let proxy = Setup::new(&redis).upstream(QUICK).start();
    let mut wire = proxy.wire();
    assert!(wire.ask("SUBSCRIBE a b").starts_with("-NOAUTH "));
    assert_eq!(wire.ask("AUTH secret"), "+OK\r\n");
    assert_eq!(wire.ask("SET k v"), "+OK\r\n");
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(wire.pipeline(&["GET k", "PING"]), ["$1\r\nv\r\n", "+PONG\r\n"]);
}

#[test]
fn what_follows_an_unsubscribe_leaves_no_state_on_a_lease() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).top(ONE_WORKER).start();
    let (mut wire, mut other) = (proxy.wire(), proxy.wire());
    wire.ask("SUBSCRIBE a");
    wire.send(&requests(&["UNSUBSCRIBE a", "SELECT 1", "SET k one"]));
    assert!(text(&wire.reply()).contains("unsubscribe"));
    assert_eq!([text(&wire.reply()), text(&wire.reply())], ["+OK\r\n", "+OK\r\n"]);
    assert_eq!(other.ask("WATCH x"), "+OK\r\n");
    assert_eq!(other.ask("GET k"), "$-1\r\n", "the other client is in db 0");
    assert_eq!(wire.ask("GET k"), "$3\r\none\r\n");
}

#[test]
fn a_reset_inside_a_transaction_comes_behind_the_replies_before_it() {
    let (_redis, proxy) = Proxy::with_redis("");
    let mut wire = proxy.wire();
    assert_eq!(
        wire.pipeline(&["SET k v", "MULTI", "SET k w", "RESET", "GET k"]),
        ["+OK\r\n", "+OK\r\n", "+QUEUED\r\n", "+RESET\r\n", "$1\r\nv\r\n"]
    );
}

#[test]
fn a_multi_that_timed_out_stays_off_the_next_clients_connection() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).top(ONE_WORKER).upstream(QUICK).start();
    let (mut wire, mut other) = (proxy.wire(), proxy.wire());
    assert_eq!(wire.pipeline(&["WATCH k", "UNWATCH"]), ["+OK\r\n", "+OK\r\n"]);
    redis.pause();
    assert_eq!(wire.ask("MULTI"), "+OK\r\n");
    redis.resume();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(other.ask("WATCH k"), "+OK\r\n");
    assert_eq!(other.ask("SET x 1"), "+OK\r\n");
    assert_eq!(wire.ask("SET y 1"), "+QUEUED\r\n");
    assert!(wire.ask("EXEC").starts_with("-EXECABORT "));
    assert_eq!(redis.ask("EXISTS y"), ":0\r\n");
}

#[test]
fn a_subscription_that_timed_out_does_not_come_late() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).top(ONE_WORKER).upstream(QUICK).start();
    let mut wire = proxy.wire();
    assert_eq!(wire.pipeline(&["WATCH k", "UNWATCH"]), ["+OK\r\n", "+OK\r\n"]);
    redis.pause();
    assert!(wire.ask("SUBSCRIBE a b").starts_with("-TIMEOUT "));
    redis.resume();
    assert!(wire.is_silent_for(Duration::from_millis(300)));
    assert_eq!(wire.pipeline(&["SET k v", "SELECT 1", "GET k"]), ["+OK\r\n", "+OK\r\n", "$-1\r\n"]);
    assert_eq!(redis.ask("PUBSUB NUMSUB a"), "*2\r\n$1\r\na\r\n:0\r\n");
}

#[test]
fn a_long_list_of_channels_or_keys_is_what_it_is() {
    let redis = RedisServer::start(&[]);
    // The server compares each key of WATCH with those before it.
    let proxy = Setup::new(&redis).top(ONE_WORKER).upstream(PATIENT).start();
    for count in [3000_usize, 12_000] {
        let names: Vec<Vec<u8>> = (0..count).map(|n| format!("some-long-channel-name-{count}-{n:06}").into_bytes()).collect();
        let line =
            |command: &'static [u8]| words(&std::iter::once(command).chain(names.iter().map(Vec::as_slice)).collect::<Vec<_>>());
        let mut subscriber = proxy.wire().patience(Duration::from_secs(60));
        subscriber.send(&line(b"SUBSCRIBE"));
        for _ in 0..count {
            assert!(text(&subscriber.reply()).contains("subscribe"));
        }
        assert_eq!(redis.ask(&format!("PUBLISH some-long-channel-name-{count}-000001 hello")), ":1\r\n");
        assert!(text(&subscriber.reply()).contains("hello"));
        let mut watcher = proxy.wire().patience(Duration::from_secs(60));
        watcher.send(&line(b"WATCH"));
        assert_eq!(text(&watcher.reply()), "+OK\r\n");
        redis.ask(&format!("SET some-long-channel-name-{count}-000001 changed"));
        assert_eq!(watcher.pipeline(&["MULTI", "SET x 1", "EXEC"]), ["+OK\r\n", "+QUEUED\r\n", "*-1\r\n"]);
    }
}

#[test]
fn a_reply_under_way_is_not_cut_by_the_timeout_of_the_next() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).top(ONE_WORKER).upstream("request_timeout_ms = 1500\nstall_timeout_ms = 30000").start();
    let large = vec![b'x'; 30_000_000];
    let mut straight = redis.wire();
    straight.send(&words(&[b"SET", b"large", &large]));
    assert_eq!(text(&straight.reply()), "+OK\r\n");
    for pinned in [true, false] {
        let mut wire = proxy.wire();
        if pinned {
            assert_eq!(wire.ask("WATCH k"), "+OK\r\n");
        }
        redis.pause();
        wire.send_line("GET large");
        std::thread::sleep(Duration::from_millis(50));
        wire.send_line("ECHO behind");
        std::thread::sleep(Duration::from_millis(50));
        redis.resume();
        std::thread::sleep(Duration::from_millis(1900));
        let reply = wire.reply();
        assert!(text(&reply) == bulk(&large), "pinned {pinned}: {} bytes", reply.len());
        let behind = text(&wire.reply());
        assert!(behind == bulk(b"behind") || behind.starts_with("-TIMEOUT "), "{behind}");
        assert!(wire.is_silent_for(Duration::from_millis(100)));
    }
}

#[test]
fn a_queue_that_is_full_is_answered_while_the_server_stays_away() {
    let mut redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).upstream(QUICK).start();
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("PING"), "+PONG\r\n");
    redis.kill();
    let value = vec![b'x'; 50_000];
    let mut writer = wire.stream().try_clone().expect("a socket");
    let count = 200;
    let sending = std::thread::spawn(move || {
        for _ in 0..count {
            writer.write_all(&words(&[b"SET", b"k", &value])).expect("sent");
        }
    });
    for _ in 0..count {
        assert_eq!(wire.reply().first(), Some(&b'-'));
    }
    sending.join().expect("all was sent");
}

#[test]
fn a_blocked_client_that_leaves_while_it_waits_for_its_turn_is_not_waited_for() {
    let (redis, proxy) = Proxy::with_redis("");
    let mut wire = proxy.wire();
    wire.send(&requests(&["BLPOP q 0", "SELECT 1"]));
    eventually("it is blocked", || redis.info("clients", "blocked_clients") == 1);
    drop(wire);
    eventually("it is gone", || redis.info("clients", "blocked_clients") == 0);
}

#[test]
fn blocking_commands_behind_each_other_each_have_their_own_time() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).upstream("request_timeout_ms = 700").start();
    let mut wire = proxy.wire();
    assert_eq!(wire.pipeline(&["BLPOP a 1", "BLPOP b 1", "PING"]), ["*-1\r\n", "*-1\r\n", "+PONG\r\n"]);
    for line in ["BLPOP a 1", "BLPOP b 1", "PING"] {
        wire.send_line(line);
        std::thread::sleep(Duration::from_millis(50));
    }
    let replies: Vec<_> = wire.replies(3).iter().map(|reply| text(reply)).collect();
    assert_eq!(replies, ["*-1\r\n", "*-1\r\n", "+PONG\r\n"]);
}

#[test]
fn a_group_that_begins_with_a_large_member_is_held_for_its_rest() {
    let redis = RedisServer::start(&[]);
    let rules = "[[group]]\nname = \"login\"\ncommands = [\"SETEX rt:{user} {ttl} *\", \"SADD sess:{user} *\"]\n";
    let proxy = Setup::new(&redis).pipeline("hold_ms = 1000\nhold_max_ms = 3000").rules(rules).start();
    let mut wire = proxy.wire();
    wire.send(&words(&[b"SETEX", b"rt:u", b"60", &vec![b'x'; 400_000]]));
    std::thread::sleep(Duration::from_millis(200));
    wire.send_line("SADD sess:u t");
    assert_eq!([text(&wire.reply()), text(&wire.reply())], ["+OK\r\n", ":1\r\n"]);
    assert_eq!(proxy.groups("login", "applied"), 1.0);
}

#[test]
fn data_that_looks_like_a_message_is_a_reply() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).upstream(QUICK).start();
    redis.ask("RPUSH list message a b");
    redis.ask("RPUSH other subscribe a b");
    let mut wire = proxy.wire();
    wire.ask("HELLO 3");
    assert!(wire.ask("SUBSCRIBE c").starts_with('>'));
    let list = "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n";
    assert_eq!(wire.pipeline(&["LRANGE list 0 -1", "PING"]), [list, "+PONG\r\n"]);
    assert!(wire.is_silent_for(Duration::from_millis(800)), "nothing is owed any more");
    let other = "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n$1\r\nb\r\n";
    assert_eq!(wire.pipeline(&["LRANGE other 0 -1", "SUBSCRIBE d"])[0], other);
    assert!(wire.is_silent_for(Duration::from_millis(800)), "nothing is owed any more");
    let mut resp2 = proxy.wire();
    assert_eq!(resp2.ask("WATCH k"), "+OK\r\n");
    assert_eq!(resp2.pipeline(&["LRANGE other 0 -1", "SUBSCRIBE d"])[0], other);
    assert!(resp2.is_silent_for(Duration::from_millis(800)), "nothing is owed any more");
}

#[test]
fn a_question_of_our_own_does_not_keep_clients_from_timing_out() {
    let redis = RedisServer::start(&[]);
    let rules = "[[ttl]]\nname = \"sessions\"\nkeys = [\"s:*\"]\ngrace_ms = 300\n";
    let proxy = Setup::new(&redis).top(ONE_WORKER).upstream(QUICK).rules(rules).start();
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("SADD s:1 x"), ":1\r\n");
    redis.pause();
    std::thread::sleep(Duration::from_millis(500));
    let start = Instant::now();
    wire.send_line("GET k");
    assert!(text(&wire.reply()).starts_with("-TIMEOUT "));
    assert!(start.elapsed() < Duration::from_secs(8), "long before the connection is given up: {:?}", start.elapsed());
}

#[test]
fn a_split_transaction_keeps_its_own_replies_where_ttls_are_looked_at() {
    let (_redis, proxy) = Proxy::with_redis("[[ttl]]\nname = \"sessions\"\nkeys = [\"s:*\"]\n");
    let mut wire = proxy.wire();
    for (line, reply) in [("MULTI", "+OK\r\n"), ("SET s:1 x", "+QUEUED\r\n"), ("EXEC", "*1\r\n+OK\r\n"), ("PING", "+PONG\r\n")] {
        assert_eq!(wire.ask(line), reply);
    }
}

#[test]
fn quit_waits_for_what_is_owed() {
    let redis = RedisServer::start(&[]);
    redis.ask("RPUSH q x");
    let proxy = Proxy::start("", &redis);
    for (line, reply) in
        [("SUBSCRIBE a", "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"), ("BLPOP q 0", "*2\r\n$1\r\nq\r\n$1\r\nx\r\n")]
    {
        let mut wire = proxy.wire();
        wire.send(&requests(&[line, "QUIT"]));
        assert_eq!(text(&wire.until_closed()), format!("{reply}+OK\r\n"));
    }
    let mut wire = proxy.wire();
    wire.send(&requests(&["BLPOP q 0", "QUIT"]));
    eventually("it is blocked", || redis.info("clients", "blocked_clients") == 1);
    drop(wire);
    eventually("it is gone", || redis.info("clients", "blocked_clients") == 0);
}

#[test]
fn a_watch_after_a_lost_watch_stays_off_the_next_clients_connection() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).top(ONE_WORKER).start();
    let (mut wire, mut other) = (proxy.wire(), proxy.wire());
    assert_eq!(wire.ask("WATCH a"), "+OK\r\n");
    redis.ask("CLIENT KILL TYPE normal");
    eventually("it works again", || other.ask("PING") == "+PONG\r\n");
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(wire.ask("WATCH b"), "+OK\r\n");
    assert_eq!(wire.pipeline(&["MULTI", "SET c 1"]), ["+OK\r\n", "+QUEUED\r\n"]);
    assert!(wire.ask("EXEC").starts_with("-EXECABORT "));
    assert_eq!(wire.pipeline(&["PING"]), ["+PONG\r\n"]);
    assert_eq!(wire.pipeline(&["PING"]), ["+PONG\r\n"]);
    redis.ask("SET b changed");
    assert_eq!(other.ask("MULTI"), "+OK\r\n");
    assert_eq!(other.pipeline(&["SET c 2", "EXEC"]), ["+QUEUED\r\n", "*1\r\n+OK\r\n"]);
}

#[test]
fn a_large_request_of_a_client_that_sends_nothing_more_is_answered() {
    let (_redis, proxy) = Proxy::with_redis("");
    for _ in 0..5 {
        let mut wire = proxy.wire();
        wire.send(&words(&[b"SET", b"k", &vec![b'x'; 3_000_000]]));
        wire.finish_sending();
        assert_eq!(text(&wire.until_closed()), "+OK\r\n");
    }
}

#[test]
fn a_refused_discard_leaves_no_transaction_to_others() {
    let redis = RedisServer::start(&[]);
    redis.ask("ACL SETUSER default -discard");
    let proxy = Setup::new(&redis).top(ONE_WORKER).start();
    let (mut wire, mut other) = (proxy.wire(), proxy.wire());
    assert_eq!(wire.ask("MULTI"), "+OK\r\n");
    let discarded = wire.ask("DISCARD");
    assert!(discarded.starts_with('-'), "{discarded}");
    assert_eq!(other.ask("WATCH k"), "+OK\r\n");
    assert_eq!(other.ask("SET k v"), "+OK\r\n");
    other.send(&request("UNWATCH"));
    wire.pipeline(&["MULTI", "SET a 1", "DISCARD"]);
    assert_ne!(proxy.wire().ask("PING"), "+QUEUED\r\n");
}

#[test]
fn a_client_that_reads_late_is_no_stall_of_the_server() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).upstream("request_timeout_ms = 2000\nstall_timeout_ms = 2400").start();
    let large = vec![b'x'; 30_000_000];
    let (mut wire, mut straight) = (proxy.wire(), redis.wire());
    straight.send(&words(&[b"SET", b"large", &large]));
    assert_eq!(text(&straight.reply()), "+OK\r\n");
    assert_eq!(wire.ask("WATCH k"), "+OK\r\n");
    wire.send_line("GET large");
    std::thread::sleep(Duration::from_millis(4000));
    assert!(text(&wire.reply()) == bulk(&large));
    assert_eq!(wire.ask("UNWATCH"), "+OK\r\n");
}

#[test]
fn lists_of_clients_that_nobody_reads_do_not_pile_up() {
    const LISTS: usize = 20_000;
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).top(ONE_WORKER).start();
    let _others: Vec<_> = (0..60).map(|_| proxy.wire()).collect();
    let mut wire = proxy.wire();
    let before = proxy.memory_peak();
    wire.send(&requests(&["CLIENT LIST"]).repeat(LISTS));
    assert_eq!(proxy.wire().ask("PING"), "+PONG\r\n");
    let lists = wire.replies(LISTS);
    let bytes: usize = lists.iter().map(Vec::len).sum();
    let grown = proxy.memory_peak() - before;
    // What piled up would be all of it. How much is under way at a time depends on how busy the machine is: 25 to 42 MB were seen.
    assert!(bytes > 80_000_000 && grown < bytes as u64 / 4, "{bytes} bytes of answers, {grown} bytes more memory");
}

#[test]
fn a_client_that_has_silenced_its_replies_and_leaves_has_sent_all_it_sent() {
    let twin = Twin::start("");
    for lines in [&["CLIENT REPLY SKIP", "SET a 1", "GET a"][..], &["CLIENT REPLY OFF", "SET a 2", "CLIENT REPLY ON", "GET a"]] {
        let ends = twin.ends_of(&requests(lines));
        assert_eq!(ends[0], ends[1], "{lines:?}");
    }
    let ends = twin.ends_of(&[request("CLIENT REPLY OFF"), request("INCR n").repeat(20_000)].concat());
    assert_eq!(ends, ["", ""]);
    for server in [&twin.direct, &twin.behind] {
        eventually("all of it has run", || server.ask("GET n") == "$5\r\n20000\r\n");
    }
    let ends = twin.ends_of(&requests(&["MULTI", "SUBSCRIBE ch", "SET a 1"]));
    assert_eq!(ends[0], ends[1]);
}
