//! A server whose bytes are no sound replies loses that connection, and no client reads another's reply.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::{Act, FakeServer, Setup, eventually, text};

/// Answers `GET bad` once with these bytes, ECHO with its word, and all else with `+OK`.
fn server(bad: &'static [u8]) -> FakeServer {
    let told = AtomicBool::new(false);
    FakeServer::start(move |words| {
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        match words[..] {
            ["GET", "bad"] if !told.swap(true, Ordering::SeqCst) => Act::Say(bad.to_vec()),
            ["ECHO", word] => Act::Say(format!("${}\r\n{word}\r\n", word.len()).into_bytes()),
            _ => Act::Say(b"+OK\r\n".to_vec()),
        }
    })
}

#[test]
fn what_is_no_reply_ends_the_connection_and_reaches_nobody() {
    let unsound: &[&[u8]] = &[
        b"+a\rb\r\n",
        b"+a\nb\r\n",
        b"-ERR a\rb\r\n",
        b":1\n",
        b":1\r2\r\n",
        b"$3\r\nabcd\r\n",
        b"$1\r\nab\r\n+OK\r\n",
        b"$-2\r\n",
        b"*-2\r\n",
        b"*x\r\n",
        b"hello\r\n",
        b"\r\n",
        b">2\r\n$7\r\nmessage\r\n$1\r\nx\r\n",
    ];
    for bad in unsound {
        let server = server(bad);
        let proxy =
            Setup::before(server.port()).top("workers = 1").upstream("request_timeout_ms = 5000\nretry_reads = false").start();
        let (mut one, mut other) = (proxy.wire(), proxy.wire());
        assert_eq!(other.ask("ECHO before"), "$6\r\nbefore\r\n");
        let reply = one.ask("GET bad");
        assert!(reply.starts_with("-TIMEOUT respguard: outcome of GET unknown"), "{:?}: {reply:?}", text(bad));
        eventually("it is counted", || proxy.metric("respguard_out_of_sync_total", &[]) == 1.0);
        for (wire, word) in [(&mut one, "mine"), (&mut other, "yours")] {
            assert_eq!(wire.ask(&format!("ECHO {word}")), format!("${}\r\n{word}\r\n", word.len()), "{:?}", text(bad));
        }
    }
}

#[test]
fn a_reply_that_nobody_awaits_ends_the_connection_and_reaches_nobody() {
    for bad in [&b"$1\r\na\r\n$6\r\nsecret\r\n"[..], b"$1\r\na\r\n+OK\r\n", b"$1\r\na\r\n>1\r\n$6\r\nsecret\r\n"] {
        let server = server(bad);
        let proxy = Setup::before(server.port()).top("workers = 1").start();
        let (mut one, mut other) = (proxy.wire(), proxy.wire());
        assert_eq!(one.ask("GET bad"), "$1\r\na\r\n");
        eventually("it is counted", || proxy.metric("respguard_out_of_sync_total", &[]) == 1.0);
        for (wire, word) in [(&mut one, "mine"), (&mut other, "yours")] {
            assert_eq!(wire.ask(&format!("ECHO {word}")), format!("${}\r\n{word}\r\n", word.len()));
        }
    }
}

#[test]
fn a_groups_answer_that_is_cut_leaves_the_client_its_connection() {
    let server = FakeServer::start(|words| match words[0].as_str() {
        "MULTI" => Act::Say(b"+OK\r\n".to_vec()),
        "EXEC" => Act::SayAndClose([b"*2\r\n$100000\r\n".as_slice(), &[b'x'; 70_000]].concat()),
        "PING" => Act::Say(b"+PONG\r\n".to_vec()),
        _ => Act::Say(b"+QUEUED\r\n".to_vec()),
    });
    let rule = |on_partial| {
        format!("[[group]]\nname = \"pair\"\non_partial = \"{on_partial}\"\ncommands = [\"GETSET a{{x}} *\", \"GET b{{x}}\"]\n")
    };
    let proxy = Setup::before(server.port()).rules(&rule("fail")).start();
    let mut wire = proxy.wire();
    for reply in wire.pipeline(&["GETSET a1 v", "GET b1"]) {
        assert!(reply.starts_with("-TIMEOUT respguard: outcome of group pair unknown"), "{reply}");
    }
    assert_eq!(wire.ask("PING"), "+PONG\r\n");
    assert_eq!(proxy.groups("pair", "unknown"), 1.0);
    // Where the replies are passed on as they come, half of one has gone: only the connection's end can tell.
    let proxy = Setup::before(server.port()).rules(&rule("report")).start();
    let mut wire = proxy.wire();
    wire.send(&crate::harness::wire::requests(&["GETSET a1 v", "GET b1"]));
    assert!(wire.until_closed().starts_with(b"$100000\r\nxxx"));
}
