//! Subscriptions before a cluster: a client that knows nothing of it hears what it would hear from one server.

use std::time::{Duration, Instant};

use respguard_engine::route::slots::key_slot;

use crate::harness::wire::requests;
use crate::harness::{Nodes, Proxy, RedisServer, Setup, Wire, eventually, text};

fn before(nodes: &Nodes) -> Proxy {
    let times = "request_timeout_ms = 8000\nstall_timeout_ms = 30000\n";
    Setup::before(1).cluster(&nodes.ports(), times).top("workers = 1").start()
}

fn message(channel: &str, text: &str) -> String {
    format!("$7\r\nmessage\r\n${}\r\n{channel}\r\n${}\r\n{text}\r\n", channel.len(), text.len())
}

/// What the client hears next is this message.
#[track_caller]
fn hears(wire: &mut Wire, frame: &str) {
    assert_eq!(text(&wire.reply()), frame);
}

#[track_caller]
fn same(direct: &mut Wire, proxied: &mut Wire, lines: &[&str], frames: usize) {
    direct.send(&requests(lines));
    proxied.send(&requests(lines));
    let said = |wire: &mut Wire| wire.replies(frames).iter().map(|reply| text(reply)).collect::<Vec<_>>();
    assert_eq!(said(proxied), said(direct), "{lines:?}");
}

#[test]
fn confirmations_are_those_of_one_server_in_both_protocols() {
    let nodes = Nodes::start(3, false);
    let proxy = before(&nodes);
    let alone = RedisServer::start(&[]);
    let (mut direct, mut proxied) = (alone.wire(), proxy.wire());
    let mut both = |lines: &[&str], frames| same(&mut direct, &mut proxied, lines, frames);
    both(&["SUBSCRIBE a b c"], 3);
    both(&["PSUBSCRIBE n* o*"], 2);
    both(&["SSUBSCRIBE s"], 1);
    both(&["SUBSCRIBE a"], 1);
    both(&["SUBSCRIBE __keyevent@0__:set"], 1);
    both(&["PING"], 1);
    both(&["PING hello"], 1);
    both(&["GET k"], 1);
    both(&["SET k v"], 1);
    both(&["CONFIG GET maxmemory"], 1);
    both(&["GET"], 1);
    both(&["NOSUCH"], 1);
    both(&["SUBSCRIBE"], 1);
    both(&["UNSUBSCRIBE b nothing"], 2);
    both(&["PSUBSCRIBE * _* *"], 3);
    both(&["PUNSUBSCRIBE n* _* x*"], 3);
    both(&["PUNSUBSCRIBE *", "PUNSUBSCRIBE", "PUNSUBSCRIBE"], 3);
    both(&["SUNSUBSCRIBE"], 1);
    both(&["UNSUBSCRIBE a c __keyevent@0__:set"], 3);
    both(&["GET k", "SET k v", "PING"], 3);
    both(&["SUBSCRIBE z", "UNSUBSCRIBE", "GET k", "UNSUBSCRIBE", "MULTI", "GET k", "EXEC"], 7);
    let (mut direct, mut proxied) = (alone.wire(), proxy.wire());
    for wire in [&mut direct, &mut proxied] {
        assert!(wire.ask("HELLO 3").starts_with('%'));
    }
    let mut both = |lines: &[&str], frames| same(&mut direct, &mut proxied, lines, frames);
    both(&["SUBSCRIBE a b", "SET k v", "GET k", "PING", "PSUBSCRIBE p*", "INCR n"], 7);
    both(&["HSET h f v", "HGETALL h", "UNSUBSCRIBE a", "GET k"], 4);
    both(&["MULTI", "GET k", "EXEC", "BLPOP none 0.01"], 4);
    both(&["UNSUBSCRIBE", "PUNSUBSCRIBE", "GET k", "UNSUBSCRIBE"], 4);
    both(&["SSUBSCRIBE s", "GET k", "SUNSUBSCRIBE s", "GET k"], 4);
    // Whatever a client does, it keeps no connection to a node behind.
    drop((proxied, direct));
    eventually("nothing is left", || nodes.servers.iter().all(|server| server.ask("CLIENT LIST TYPE pubsub") == "$0\r\n\r\n"));
}

#[test]
fn messages_come_once_and_in_order_wherever_they_were_published() {
    let nodes = Nodes::start(3, false);
    let proxy = before(&nodes);
    let (mut two, mut three) = (proxy.wire(), proxy.wire());
    assert!(three.ask("HELLO 3").starts_with('%'));
    assert_eq!(two.ask("SUBSCRIBE news"), "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
    assert_eq!(three.ask("PSUBSCRIBE n*"), ">3\r\n$10\r\npsubscribe\r\n$2\r\nn*\r\n:1\r\n");
    let mut publishers: Vec<Wire> = (0..6).map(|_| proxy.wire()).collect();
    for round in 0..60 {
        let text = format!("item-{round:02}");
        let publisher = &mut publishers[round % 6];
        assert!(publisher.ask(&format!("PUBLISH news {text}")).starts_with(':'));
        hears(&mut two, &format!("*3\r\n{}", message("news", &text)));
        let own = message("news", &text).split_off("$7\r\nmessage\r\n".len());
        hears(&mut three, &format!(">4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n{own}"));
    }
    // One publisher's messages keep their order, also among the client's own replies.
    let lines: Vec<String> = (0..500).map(|n| format!("PUBLISH news {n}")).collect();
    publishers[0].send(&requests(&lines.iter().map(String::as_str).collect::<Vec<_>>()));
    three.send(&requests(&["PING"; 100]));
    let (mut pongs, mut heard) = (0, 0);
    while pongs < 100 || heard < 500 {
        let frame = text(&three.reply());
        if frame == "+PONG\r\n" {
            pongs += 1;
        } else {
            assert!(frame.ends_with(&format!("\r\n{heard}\r\n")), "{frame}");
            heard += 1;
        }
    }
    for n in 0..500 {
        hears(&mut two, &format!("*3\r\n{}", message("news", &n.to_string())));
    }
    assert_eq!(publishers[0].replies(500).len(), 500);
    // What is large comes whole.
    let large = "x".repeat(300_000);
    publishers[1].send(&requests(&[&format!("PUBLISH news {large}"), "PUBLISH news small"]));
    hears(&mut two, &format!("*3\r\n{}", message("news", &large)));
    hears(&mut two, &format!("*3\r\n{}", message("news", "small")));
    assert_eq!(two.ask("UNSUBSCRIBE news"), "*3\r\n$11\r\nunsubscribe\r\n$4\r\nnews\r\n:0\r\n");
    assert!(publishers[2].ask("PUBLISH news late").starts_with(':'));
    assert_eq!(two.ask("PING"), "+PONG\r\n");
}

#[test]
fn sharded_channels_are_at_their_slots_node_and_are_followed() {
    let nodes = Nodes::start(3, false);
    let proxy = before(&nodes);
    let (mut wire, mut publisher) = (proxy.wire(), proxy.wire());
    let channels: Vec<String> = (0..3).map(|at| nodes.key_of(at, "c")).collect();
    let smessage = |channel: &str, text: &str| {
        format!("*3\r\n$8\r\nsmessage\r\n${}\r\n{channel}\r\n${}\r\n{text}\r\n", channel.len(), text.len())
    };
    for (count, channel) in channels.iter().enumerate() {
        let confirmed = format!("*3\r\n$10\r\nssubscribe\r\n${}\r\n{channel}\r\n:{}\r\n", channel.len(), count + 1);
        assert_eq!(wire.ask(&format!("SSUBSCRIBE {channel}")), confirmed);
    }
    for channel in &channels {
        assert_eq!(publisher.ask(&format!("SPUBLISH {channel} one")), ":1\r\n");
        hears(&mut wire, &smessage(channel, "one"));
    }
    assert_eq!(publisher.ask(&format!("PUBSUB SHARDNUMSUB {}", channels[0])).lines().last(), Some(":1"));
    let slot = key_slot(channels[0].as_bytes());
    for at in [1, 0, 2] {
        let moved = format!("CLUSTER SETSLOT {slot} NODE {}", nodes.id(1));
        assert_eq!(nodes.servers[at].ask(&moved), "+OK\r\n");
    }
    eventually("it is heard at the new node", || nodes.servers[1].ask("PUBSUB SHARDCHANNELS").contains(&channels[0]));
    eventually("and the proxy knows", || publisher.ask(&format!("SPUBLISH {} two", channels[0])) == ":1\r\n");
    hears(&mut wire, &smessage(&channels[0], "two"));
    assert_eq!(publisher.ask(&format!("SPUBLISH {} three", channels[2])), ":1\r\n");
    hears(&mut wire, &smessage(&channels[2], "three"));
    let ended = format!("*3\r\n$12\r\nsunsubscribe\r\n${}\r\n{}\r\n:2\r\n", channels[0].len(), channels[0]);
    assert_eq!(wire.ask(&format!("SUNSUBSCRIBE {}", channels[0])), ended);
    eventually("nobody hears it", || nodes.servers[1].ask(&format!("PUBSUB SHARDNUMSUB {}", channels[0])).ends_with(":0\r\n"));
}

#[test]
fn events_of_keys_come_from_all_nodes_once_each() {
    let nodes = Nodes::start(3, false);
    let proxy = before(&nodes);
    for server in &nodes.servers {
        assert_eq!(server.ask("CONFIG SET notify-keyspace-events KEA"), "+OK\r\n");
    }
    let (mut events, mut pattern, mut wire) = (proxy.wire(), proxy.wire(), proxy.wire());
    assert!(events.ask("SUBSCRIBE __keyevent@0__:set").starts_with("*3\r\n$9\r\nsubscribe\r\n"));
    assert!(pattern.ask("PSUBSCRIBE __keyspace@0__:k*").starts_with("*3\r\n$10\r\npsubscribe\r\n"));
    for n in 0..30 {
        let key = nodes.key_of(n % 3, &format!("k{n}:"));
        assert_eq!(wire.ask(&format!("SET {key} 1")), "+OK\r\n");
        hears(&mut events, &format!("*3\r\n{}", message("__keyevent@0__:set", &key)));
        assert!(text(&pattern.reply()).ends_with(&format!("__keyspace@0__:{key}\r\n$3\r\nset\r\n")));
    }
    for client in [&mut events, &mut pattern] {
        assert!(client.is_silent_for(Duration::from_millis(300)));
    }
}

#[test]
fn patterns_that_cover_events_of_keys_hear_those_of_all_nodes_and_all_else_once() {
    let nodes = Nodes::start(3, false);
    let proxy = before(&nodes);
    for server in &nodes.servers {
        assert_eq!(server.ask("CONFIG SET notify-keyspace-events KEA"), "+OK\r\n");
    }
    let mut wire = proxy.wire();
    for (pattern, channel) in [("*", "news"), ("_*", "_news"), ("[_a]*", "a-news"), ("?_key*", "a_key"), ("\\__key*", "__keys")] {
        let mut listener = proxy.wire();
        assert_eq!(
            listener.ask(&format!("PSUBSCRIBE {pattern}")),
            format!("*3\r\n$10\r\npsubscribe\r\n${}\r\n{pattern}\r\n:1\r\n", pattern.len())
        );
        for n in 0..9 {
            let key = nodes.key_of(n % 3, &format!("k{n}:"));
            assert_eq!(wire.ask(&format!("SET {key} 1")), "+OK\r\n");
            assert!(text(&listener.reply()).ends_with(&format!("__keyspace@0__:{key}\r\n$3\r\nset\r\n")), "{pattern}");
            let event = text(&listener.reply());
            assert!(event.ends_with(&format!("__keyevent@0__:set\r\n${}\r\n{key}\r\n", key.len())), "{pattern} {event}");
            // Only what becomes of keys begins like that.
            if channel != "__keys" {
                assert!(wire.ask(&format!("PUBLISH {channel} {n}")).starts_with(':'));
                let told = text(&listener.reply());
                assert!(told.ends_with(&format!("{channel}\r\n$1\r\n{n}\r\n")), "{pattern} {told}");
            }
        }
        assert!(listener.is_silent_for(Duration::from_millis(200)), "{pattern}");
        assert!(listener.ask("PUNSUBSCRIBE").ends_with(&format!("{pattern}\r\n:0\r\n")));
    }
}

#[test]
fn a_pattern_that_covers_everything_outlives_whatever_node_dies() {
    let mut nodes = Nodes::start(3, true);
    let proxy = before(&nodes);
    for server in &nodes.servers {
        assert_eq!(server.ask("CONFIG SET notify-keyspace-events KEA"), "+OK\r\n");
    }
    // Some of these hear from the node that will die what every node tells.
    let mut listeners: Vec<Wire> = (0..8).map(|_| proxy.wire()).collect();
    for wire in &mut listeners {
        assert!(wire.ask("PSUBSCRIBE *").ends_with("*\r\n:1\r\n"));
    }
    nodes.servers[0].kill();
    eventually("the replica is the primary", || nodes.servers[3].ask("ROLE").contains("master"));
    eventually("all listen to it", || nodes.servers[3].ask("CLIENT LIST TYPE pubsub").matches(" psub=1 ").count() == 8);
    let mut wire = proxy.wire();
    eventually("it serves", || wire.ask(&format!("GET {}", nodes.key_of(0, "k"))) == "$-1\r\n");
    assert!(wire.ask("PUBLISH news again").starts_with(':'));
    let keys = [0, 1, 2].map(|node| nodes.key_of(node, "k"));
    keys.iter().for_each(|key| assert_eq!(wire.ask(&format!("SET {key} 1")), "+OK\r\n"));
    for client in &mut listeners {
        let frames: Vec<String> = client.replies(7).iter().map(|frame| text(frame)).collect();
        let told = |end: &str| frames.iter().filter(|frame| frame.ends_with(end)).count();
        assert_eq!(told("news\r\n$5\r\nagain\r\n"), 1, "{frames:?}");
        keys.iter().for_each(|key| assert_eq!(told(&format!("__keyspace@0__:{key}\r\n$3\r\nset\r\n")), 1, "{frames:?}"));
        assert!(client.is_silent_for(Duration::from_millis(50)));
    }
    // Without a replica a node stays away: nobody waits for it who would hear more than its events.
    nodes.servers[1].kill();
    nodes.servers[4].kill();
    let begun = Instant::now();
    assert!(proxy.wire().ask("PSUBSCRIBE *").ends_with("*\r\n:1\r\n"));
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}

#[test]
fn who_is_subscribed_stays_so_when_the_node_that_it_listens_to_dies() {
    let mut nodes = Nodes::start(3, true);
    let proxy = before(&nodes);
    for server in &nodes.servers {
        assert_eq!(server.ask("CONFIG SET notify-keyspace-events KEA"), "+OK\r\n");
    }
    let shard = nodes.key_of(0, "c");
    // Some of these listen to the node that will die, whichever node each has.
    let mut listeners: Vec<Wire> = (0..8).map(|_| proxy.wire()).collect();
    for wire in &mut listeners {
        assert!(wire.ask("SUBSCRIBE news").ends_with("news\r\n:1\r\n"));
        assert!(wire.ask(&format!("SSUBSCRIBE {shard}")).ends_with(":1\r\n"));
        assert!(wire.ask("SUBSCRIBE __keyevent@0__:set").ends_with(":2\r\n"));
    }
    let listens = |at: usize| nodes.servers[at].ask("PUBSUB NUMSUB news").ends_with(":0\r\n");
    assert!(!listens(0) || !listens(1) || !listens(2));
    nodes.servers[0].kill();
    eventually("the replica is the primary", || nodes.servers[3].ask("ROLE").contains("master"));
    eventually("the sharded channel is there", || {
        nodes.servers[3].ask(&format!("PUBSUB SHARDNUMSUB {shard}")).ends_with(":8\r\n")
    });
    // PUBSUB NUMSUB is not asked: Valkey 9.1.2 now and then answers it, for such channels, with a number that is no count.
    let subscriptions = |at: usize| -> Vec<usize> {
        let list = nodes.servers[at].ask("CLIENT LIST TYPE pubsub");
        let counts = list.split_whitespace().filter_map(|field| field.strip_prefix("sub=")?.parse().ok());
        counts.filter(|count| *count > 0).collect()
    };
    eventually("all have another node, and events of each", || {
        let all = [1, 2, 3].map(subscriptions);
        all.iter().all(|of_node| of_node.len() == 8) && all.iter().flatten().sum::<usize>() == 8 + 3 * 8
    });
    let mut wire = proxy.wire();
    let key = nodes.key_of(0, "k");
    assert_eq!(wire.ask(&format!("SET {key} 1")), "+OK\r\n");
    assert_eq!(wire.ask(&format!("SPUBLISH {shard} again")), ":8\r\n");
    assert!(wire.ask("PUBLISH news again").starts_with(':'));
    for client in &mut listeners {
        let mut frames: Vec<String> = client.replies(3).iter().map(|frame| text(frame)).collect();
        frames.sort();
        assert_eq!(frames[0], format!("*3\r\n{}", message("__keyevent@0__:set", &key)));
        assert_eq!(frames[1], format!("*3\r\n{}", message("news", "again")));
        assert!(frames[2].contains("smessage") && frames[2].ends_with("again\r\n"), "{frames:?}");
        assert!(client.ask("UNSUBSCRIBE news").ends_with("news\r\n:1\r\n"));
    }
}

/// It closes no connection, and no other takes its place.
#[test]
fn who_is_subscribed_hears_the_others_when_the_node_that_it_listens_to_hangs() {
    let nodes = Nodes::start(3, false);
    for server in &nodes.servers {
        assert_eq!(server.ask("CONFIG SET cluster-require-full-coverage no"), "+OK\r\n");
    }
    let proxy = before(&nodes);
    let mut listening: Vec<Wire> = (0..4).map(|_| proxy.wire()).collect();
    for wire in &mut listening {
        wire.send_line("SUBSCRIBE news");
        hears(wire, "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
    }
    let listen = |at: usize| {
        let reply = nodes.servers[at].ask("PUBSUB NUMSUB news");
        reply.lines().last().and_then(|line| line.strip_prefix(':')).expect("a number").parse::<u32>().expect("a number")
    };
    let (hung, well): (Vec<usize>, Vec<usize>) = (0..3).partition(|at| listen(*at) > 0);
    assert!(!well.is_empty(), "clients of one proxy do not listen everywhere");
    hung.iter().for_each(|at| nodes.servers[*at].pause());
    eventually("all listen elsewhere", || well.iter().map(|at| listen(*at)).sum::<u32>() == 4);
    nodes.servers[well[0]].ask("PUBLISH news hello");
    listening.iter_mut().for_each(|wire| hears(wire, &format!("*3\r\n{}", message("news", "hello"))));
    hung.iter().for_each(|at| nodes.servers[*at].resume());
}

#[test]
fn who_may_not_listen_is_told_so_and_hears_nothing() {
    let nodes = Nodes::start(2, false);
    for server in &nodes.servers {
        assert_eq!(server.ask("ACL SETUSER bob on >p ~* +@all resetchannels &mine*"), "+OK\r\n");
    }
    let proxy = before(&nodes);
    let mut bob = proxy.wire();
    assert_eq!(bob.ask("AUTH bob p"), "+OK\r\n");
    assert!(bob.ask("SUBSCRIBE mine other").starts_with("-NOPERM "));
    assert!(bob.ask("SSUBSCRIBE other").starts_with("-NOPERM "));
    assert_eq!(bob.ask("PING"), "+PONG\r\n");
    assert_eq!(bob.ask("SUBSCRIBE mine"), "*3\r\n$9\r\nsubscribe\r\n$4\r\nmine\r\n:1\r\n");
    assert!(proxy.wire().ask("PUBLISH mine yes").starts_with(':'));
    hears(&mut bob, &format!("*3\r\n{}", message("mine", "yes")));
    // His rights end: the nodes end his connections, and the proxy his.
    for server in &nodes.servers {
        assert_eq!(server.ask("ACL DELUSER bob"), ":1\r\n");
    }
    bob.until_closed();
}

#[test]
fn replies_that_one_client_does_not_want_are_still_sent_to_others() {
    let nodes = Nodes::start(1, false);
    let proxy = before(&nodes);
    let (mut quiet, mut other) = (proxy.wire(), proxy.wire());
    assert_eq!(other.ask("SET a 1"), "+OK\r\n");
    quiet.send(&requests(&["CLIENT REPLY OFF", "SET k 1", "CLIENT REPLY ON"]));
    assert_eq!(text(&quiet.reply()), "+OK\r\n");
    quiet.send(&requests(&["CLIENT REPLY SKIP", "SET k 2", "GET k"]));
    assert_eq!(text(&quiet.reply()), "$1\r\n2\r\n");
    assert_eq!(other.ask("GET a"), "$1\r\n1\r\n");
}

#[test]
fn whoever_is_subscribed_is_refused_each_command_as_redis_does() {
    let nodes = Nodes::start(2, false);
    let proxy = before(&nodes);
    let alone = RedisServer::start(&[]);
    let in_one = ["SUBSCRIBE ch", "MULTI", "GET a", "EXEC", "WATCH a", "READONLY", "DBSIZE", "PING x", "UNSUBSCRIBE", "GET a"];
    assert_eq!(proxy.wire().pipeline(&in_one), alone.wire().pipeline(&in_one));
    let (mut wire, mut direct) = (proxy.wire(), alone.wire());
    for line in ["SUBSCRIBE ch", "MULTI", "GET a", "UNSUBSCRIBE", "MULTI", "GET a", "EXEC"] {
        assert_eq!(wire.ask(line), direct.ask(line), "{line}");
    }
}

#[test]
fn whoever_is_subscribed_may_go_back_to_the_older_protocol() {
    let nodes = Nodes::start(2, false);
    let proxy = before(&nodes);
    let mut wire = proxy.wire();
    assert!(wire.ask("HELLO 3").starts_with('%'));
    assert_eq!(wire.ask("SUBSCRIBE ch"), ">3\r\n$9\r\nsubscribe\r\n$2\r\nch\r\n:1\r\n");
    assert!(wire.ask("HELLO 2").starts_with("*14\r\n"));
    assert_eq!(proxy.wire().ask("PUBLISH ch hi"), ":1\r\n");
    assert_eq!(text(&wire.reply()), "*3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$2\r\nhi\r\n");
    assert!(wire.ask("GET a").starts_with("-ERR Can't execute 'get'"));
    assert_eq!(wire.ask("UNSUBSCRIBE"), "*3\r\n$11\r\nunsubscribe\r\n$2\r\nch\r\n:0\r\n");
    assert_eq!(wire.ask("GET a"), "$-1\r\n");
}
