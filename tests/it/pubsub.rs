//! Subscriptions and MONITOR behave as on a connection of the client's own.

use std::time::Duration;

use crate::harness::wire::requests;
use crate::harness::{Proxy, Twin, eventually, request, text};

#[test]
fn confirmations_are_those_of_redis_in_resp2() {
    let twin = Twin::start("");
    let mut pair = twin.pair();
    pair.same(&request("SUBSCRIBE a b c"), 3);
    pair.same(&request("PSUBSCRIBE n* o*"), 2);
    pair.same(&request("SSUBSCRIBE s"), 1);
    pair.same(&request("SUBSCRIBE a"), 1);
    pair.same(&request("PING"), 1);
    pair.same(&request("PING hello"), 1);
    pair.same(&request("GET k"), 1);
    pair.same(&request("SET k v"), 1);
    pair.same(&request("NOSUCH"), 1);
    pair.same(&request("SUBSCRIBE"), 1);
    pair.same(&request("UNSUBSCRIBE b nothing"), 2);
    // Of several patterns, which goes first depends on the server's hash seed.
    pair.same(&requests(&["PUNSUBSCRIBE n*", "PUNSUBSCRIBE", "PUNSUBSCRIBE"]), 3);
    pair.same(&request("SUNSUBSCRIBE"), 1);
    pair.same(&requests(&["SUBSCRIBE d", "UNSUBSCRIBE d", "PING", "SUBSCRIBE e f"]), 5);
    let mut names: Vec<String> = Vec::new();
    // Which of several channels is unsubscribed first depends on the server's hash seed.
    for wire in [&mut pair.direct, &mut pair.proxied] {
        wire.send_line("UNSUBSCRIBE");
        let mut last: Vec<String> = wire.replies(4).iter().map(|reply| text(reply)).collect();
        assert!(last[3].ends_with(":0\r\n"), "{last:?}");
        last.iter_mut().for_each(|reply| reply.truncate(reply.rfind(':').expect("a count")));
        last.sort();
        names.push(last.concat());
    }
    assert_eq!(names[0], names[1]);
    pair.same(&requests(&["GET k", "SET k v", "PING"]), 3);
    pair.same(&requests(&["SUBSCRIBE z", "UNSUBSCRIBE", "GET k", "UNSUBSCRIBE", "MULTI", "GET k", "EXEC"]), 7);
}

#[test]
fn confirmations_are_those_of_redis_in_resp3_among_other_commands() {
    let twin = Twin::start("");
    let mut pair = twin.pair3();
    pair.same(&requests(&["SUBSCRIBE a b", "SET k v", "GET k", "PING", "PSUBSCRIBE p*", "INCR n"]), 7);
    pair.same(&requests(&["HSET h f v", "HGETALL h", "UNSUBSCRIBE a", "GET k"]), 4);
    pair.same(&requests(&["MULTI", "GET k", "EXEC", "BLPOP none 0.01"]), 4);
    pair.same(&requests(&["UNSUBSCRIBE", "PUNSUBSCRIBE", "GET k", "UNSUBSCRIBE"]), 4);
    pair.same(&requests(&["SSUBSCRIBE s", "GET k", "SUNSUBSCRIBE s", "GET k"]), 4);
}

#[test]
fn many_channels_in_one_command_are_confirmed_one_by_one() {
    let twin = Twin::start("");
    let names: Vec<String> = (0..500).map(|i| format!("channel:{i}")).collect();
    let subscribe = format!("SUBSCRIBE {}", names.join(" "));
    let unsubscribe = format!("UNSUBSCRIBE {}", names.join(" "));
    for mut pair in [twin.pair(), twin.pair3()] {
        pair.same(&requests(&[&subscribe, &unsubscribe, "PING"]), 1001);
        pair.same(&requests(&["SET k v", "GET k"]), 2);
    }
}

#[test]
fn a_message_goes_from_one_client_to_the_other_in_both_protocols() {
    let (_redis, proxy) = Proxy::with_redis("");
    let (mut two, mut three, mut publisher) = (proxy.wire(), proxy.wire(), proxy.wire());
    assert!(three.ask("HELLO 3").starts_with('%'));
    assert_eq!(two.ask("SUBSCRIBE news"), "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
    assert_eq!(three.ask("PSUBSCRIBE n*"), ">3\r\n$10\r\npsubscribe\r\n$2\r\nn*\r\n:1\r\n");
    for round in 0..50 {
        assert_eq!(publisher.ask(&format!("PUBLISH news item-{round:02}")), ":2\r\n");
        let payload = format!("$4\r\nnews\r\n$7\r\nitem-{round:02}\r\n");
        assert_eq!(text(&two.reply()), format!("*3\r\n$7\r\nmessage\r\n{payload}"));
        assert_eq!(text(&three.reply()), format!(">4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n{payload}"));
    }
    let mut shard = proxy.wire();
    shard.ask("SSUBSCRIBE news");
    assert_eq!(publisher.ask("SPUBLISH news x"), ":1\r\n");
    assert_eq!(shard.reply(), b"*3\r\n$8\r\nsmessage\r\n$4\r\nnews\r\n$1\r\nx\r\n");
    assert!(two.is_silent_for(Duration::from_millis(50)));
    drop((two, three, shard));
    eventually("their subscriptions end with them", || publisher.ask("PUBLISH news x") == ":0\r\n");
}

#[test]
fn messages_and_replies_of_a_resp3_subscriber_both_arrive_in_their_order() {
    let (_redis, proxy) = Proxy::with_redis("");
    let (mut subscriber, mut publisher) = (proxy.wire(), proxy.wire());
    subscriber.ask("HELLO 3");
    subscriber.ask("SUBSCRIBE news");
    let (rounds, commands) = (40, 20);
    let publishing = std::thread::spawn(move || {
        for round in 0..rounds {
            assert_eq!(publisher.ask(&format!("PUBLISH news {round}")), ":1\r\n");
        }
    });
    let (mut messages, mut replies) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let lines: Vec<String> = (0..commands).map(|i| format!("ECHO {}", round * commands + i)).collect();
        subscriber.send(&requests(&lines.iter().map(String::as_str).collect::<Vec<_>>()));
        while replies.len() < (round + 1) * commands {
            let frame = text(&subscriber.reply());
            let last = frame.trim_end().rsplit("\r\n").next().and_then(|word| word.parse::<usize>().ok()).expect("a number");
            if frame.starts_with('>') { messages.push(last) } else { replies.push(last) }
        }
    }
    while messages.len() < rounds {
        let frame = text(&subscriber.reply());
        assert!(frame.starts_with('>'), "{frame}");
        messages.push(frame.trim_end().rsplit("\r\n").next().and_then(|word| word.parse().ok()).expect("a number"));
    }
    publishing.join().expect("published");
    assert_eq!(messages, (0..rounds).collect::<Vec<_>>());
    assert_eq!(replies, (0..rounds * commands).collect::<Vec<_>>());
}

#[test]
fn a_client_that_publishes_to_itself_sees_message_and_reply() {
    let twin = Twin::start("");
    let mut pair = twin.pair3();
    pair.same(&request("SUBSCRIBE me"), 1);
    pair.same(&request("PUBLISH me x"), 2);
    pair.same(&requests(&["MULTI", "PUBLISH me y", "GET k", "EXEC", "GET k"]), 5);
}

#[test]
fn after_its_last_unsubscribe_a_client_is_an_ordinary_one() {
    let (_redis, proxy) = Proxy::with_redis("");
    let mut wire = proxy.wire();
    for _ in 0..20 {
        wire.send(&requests(&["SUBSCRIBE a", "UNSUBSCRIBE a", "SET k v", "GET k"]));
        assert_eq!(wire.replies(4)[3], b"$1\r\nv\r\n");
        assert_eq!(wire.pipeline(&["LPUSH q x", "BLPOP q 1"])[1], "*2\r\n$1\r\nq\r\n$1\r\nx\r\n");
        assert_eq!(wire.pipeline(&["WATCH k", "MULTI", "GET k", "EXEC"])[3], "*1\r\n$1\r\nv\r\n");
    }
    let mut other = proxy.wire();
    assert_eq!(other.ask("PUBLISH a lost"), ":0\r\n");
    assert!(wire.is_silent_for(Duration::from_millis(50)));
}

/// Confirmations within EXEC's array: the server counts its elements without those of RESP3, or as one for each command,
/// and the client gets the very bytes.
#[test]
fn subscribing_inside_multi_answers_what_redis_answers() {
    let twin = Twin::start("");
    for queued in [
        &["SUBSCRIBE a"][..],
        &["SUBSCRIBE a b", "SET k v"],
        &["SET k v", "PSUBSCRIBE p*", "GET k"],
        &["UNSUBSCRIBE"],
        &["UNSUBSCRIBE a b", "GET k"],
        &["PUNSUBSCRIBE", "SUBSCRIBE a", "UNSUBSCRIBE a"],
    ] {
        for protocol in ["HELLO 2", "HELLO 3"] {
            for apart in [true, false] {
                let mut pair = twin.pair();
                let mut lines = vec!["MULTI"];
                lines.extend(queued);
                lines.extend(["EXEC", "PUBLISH a x"]);
                for wire in [&mut pair.direct, &mut pair.proxied] {
                    wire.ask(protocol);
                    let writes: Vec<&[&str]> = if apart { lines.chunks(1).collect() } else { vec![&lines[..]] };
                    writes.iter().for_each(|write| wire.send(&requests(write)));
                }
                let direct = pair.direct.until_silent_for(Duration::from_millis(150));
                let proxied = pair.proxied.bytes(direct.len());
                assert_eq!(text(&proxied), text(&direct), "{queued:?}, {protocol}, apart: {apart}");
            }
        }
    }
}

#[test]
fn a_subscriber_is_closed_when_its_upstream_is_lost_and_others_are_not() {
    let (redis, proxy) = Proxy::with_redis("");
    let (mut subscriber, mut other) = (proxy.wire(), proxy.wire());
    subscriber.ask("SUBSCRIBE a");
    assert_eq!(other.ask("PING"), "+PONG\r\n");
    assert_eq!(redis.ask("CLIENT KILL TYPE pubsub"), ":1\r\n");
    assert_eq!(subscriber.until_closed(), b"", "only a reconnect rebuilds a subscription");
    assert_eq!(other.ask("PING"), "+PONG\r\n");
}

#[test]
fn monitor_shows_what_other_clients_do() {
    let (redis, proxy) = Proxy::with_redis("");
    let (mut monitor, mut other) = (proxy.wire(), proxy.wire());
    assert_eq!(monitor.ask("MONITOR"), "+OK\r\n");
    for round in 0..20 {
        other.ask(&format!("SET k {round}"));
        let expected = format!("\"SET\" \"k\" \"{round}\"\r\n");
        loop {
            let line = text(&monitor.reply());
            assert!(line.starts_with('+'), "{line}");
            if line.ends_with(&expected) {
                break;
            }
        }
    }
    drop(monitor);
    eventually("the server has lost its monitor", || !redis.ask("CLIENT LIST").contains("flags=O"));
    assert_eq!(other.ask("GET k"), "$2\r\n19\r\n");
}
