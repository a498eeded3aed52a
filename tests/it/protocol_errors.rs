//! What is no Redis protocol gets Redis' own words, and the connection's end.

use std::time::Duration;

use crate::harness::wire::{requests, words};
use crate::harness::{Act, FakeServer, Setup, Twin, request, text};

/// An array of `arguments` times an `x`.
fn crowd(arguments: usize) -> Vec<u8> {
    [format!("*{arguments}\r\n").into_bytes(), b"$1\r\nx\r\n".repeat(arguments)].concat()
}

#[test]
fn http_is_not_answered_at_all() {
    let twin = Twin::start("");
    let lines: &[&[u8]] = &[
        b"POST / HTTP/1.1\r\n",
        b"post /\r\n",
        b"Host: localhost\r\n",
        b"HOST:\r\n",
        b"*1\r\n$4\r\nPOST\r\n",
        b"*2\r\n$5\r\nHost:\r\n$1\r\nx\r\n",
    ];
    for line in lines {
        assert_eq!(text(&twin.pair().same_end(line)), "", "{:?}", text(line));
        assert_eq!(text(&twin.pair3().same_end(line)), "", "{:?}", text(line));
    }
    for before in ["MULTI", "WATCH k", "SUBSCRIBE c", "CLIENT NO-EVICT ON"] {
        let mut pair = twin.pair();
        pair.same_line(before);
        assert_eq!(text(&pair.same_end(b"POST /\r\n")), "", "{before}");
    }
    // Redis forgets what it owed for commands of the same read, the proxy does not.
    let mut wire = twin.proxy.wire();
    wire.send(b"SET k v\r\nPOST / HTTP/1.1\r\nSET k never\r\n");
    assert_eq!(text(&wire.until_closed()), "+OK\r\n");
    assert_eq!(twin.behind.ask("GET k"), "$1\r\nv\r\n");
}

#[test]
fn a_client_without_its_password_may_send_little() {
    let twin = Twin::with(&["--requirepass p"], |setup| setup);
    let long = |bytes: usize| words(&[b"ECHO", &vec![b'x'; bytes]]);
    for allowed in
        [crowd(10), long(16 * 1024), requests(&["GET k", "MULTI", "EXEC", "SUBSCRIBE c", "BLPOP l 0", "WATCH k", "CLIENT ID"])]
    {
        let mut bytes = allowed.clone();
        bytes.extend(request("QUIT"));
        twin.pair().same_end(&bytes);
    }
    for refused in [crowd(11), crowd(2000), long(16 * 1024 + 1), b"*11\r\n".to_vec(), b"*2\r\n$16385\r\n".to_vec()] {
        twin.pair().same_end(&refused);
        twin.pair().same_end(&[b"AUTH wrong\r\n".as_slice(), &refused].concat());
        twin.pair().same_end(&[b"HELLO 3\r\n".as_slice(), &refused].concat());
        twin.pair().same_end(&[b"AUTH p\r\nRESET\r\n".as_slice(), &refused].concat());
    }
    for accepted in [crowd(11), long(16 * 1024 + 1), long(100_000), crowd(5000)] {
        twin.pair().same(&[b"AUTH p\r\n".as_slice(), &accepted].concat(), 2);
        let mut pair = twin.pair();
        pair.same(b"AUTH wrong\r\nAUTH default p\r\n", 2);
        pair.same(&accepted, 1);
        let mut pair = twin.pair();
        let hello = pair.direct.ask("HELLO 3 AUTH default p").len();
        assert!(pair.proxied.ask("HELLO 3 AUTH default p").len().abs_diff(hello) < 8);
        pair.same(&accepted, 1);
    }
}

#[test]
fn malformed_requests_end_as_with_redis_in_resp3_and_within_a_transaction() {
    let twin = Twin::start("");
    let malformed: &[&[u8]] = &[
        b"*x\r\n",
        b"*1\r\n$x\r\n",
        b"*1\r\n$-1\r\n",
        b"*2147483648\r\n",
        b"*99999999999999999999\r\n",
        b"*1\r\n$536870913\r\n",
        b"*1\r\n$99999999999999999999\r\n",
        b"*1\r\n:1\r\n",
        b"*1\r\n\r\n",
        b"*2\r\n$3\r\nGET\r\n+k\r\n",
        b"SET 'k v\r\n",
        b"SET \"k\"v x\r\n",
        b"SET 'k'v x\r\n",
        b"\"\\x4\"a\r\n",
    ];
    for bytes in malformed {
        twin.pair3().same_end(bytes);
        for before in ["MULTI", "WATCH k", "SUBSCRIBE c", "SELECT 3", "CLIENT NO-EVICT ON"] {
            twin.pair().same_end(&[&request(before), *bytes].concat());
            twin.pair3().same_end(&[&request(before), *bytes].concat());
        }
    }
    let endless = vec![b'x'; 70 * 1024];
    twin.pair3().same_end(&endless);
    twin.pair().same_end(&[b"PING\r\n*1\r\n$".as_slice(), &vec![b'1'; 70 * 1024]].concat());
    assert_eq!(twin.proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
}

#[test]
fn the_last_words_arrive_although_the_client_goes_on_to_send() {
    let twin = Twin::start("");
    for last in [&b"*x\r\n"[..], b"QUIT\r\n"] {
        let mut wire = twin.proxy.wire();
        wire.send(&requests(&["SET k v", "GET k"]));
        wire.send(last);
        wire.send(&request("GET k").repeat(20_000));
        let end = if last == b"QUIT\r\n" { "+OK\r\n" } else { "-ERR Protocol error: invalid multibulk length\r\n" };
        assert_eq!(text(&wire.until_closed()), format!("+OK\r\n$1\r\nv\r\n{end}"));
    }
}

#[test]
fn a_request_of_http_is_answered_as_redis_does() {
    let twin = Twin::start("");
    for lines in [
        &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        b"GET /x?y HTTP/1.0\r\nHOST: localhost\r\nAccept: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nQUIT\r\n",
    ] {
        twin.pair().same_end(lines);
    }
}

#[test]
fn a_protocol_error_while_replies_are_off_ends_the_connection() {
    let twin = Twin::start("");
    for mode in ["OFF", "SKIP"] {
        for last in [&b"*2\r\n$9999999999999999\r\n"[..], b"QUIT\r\n"] {
            let mut wire = twin.proxy.wire();
            wire.send(&[request(&format!("CLIENT REPLY {mode}")), last.to_vec()].concat());
            assert_eq!(text(&wire.until_closed()), "", "{mode} {}", last.escape_ascii());
        }
    }
}

#[test]
fn what_redis_takes_for_line_ends_reaches_the_server_as_line_ends() {
    let server = FakeServer::start(|words| Act::Say(format!("+{}\r\n", words.join("-")).into_bytes()));
    let proxy = Setup::before(server.port()).top("workers = 1").start();
    let (mut wire, mut other) = (proxy.wire(), proxy.wire());
    assert_eq!(other.ask("GET other"), "+GET-other\r\n");
    let odd: &[(&[u8], &[&str])] = &[
        (b"*2\r\n$4\r\nECHO\r\n$1\r\naxx", &["ECHO-a"]),
        (b"*2\rX$4\r\rECHO\0\0$1\r\nb\n\r", &["ECHO-b"]),
        (b"*1\r\n$3\r\nGET\r\n*0\rXGET c\r\n*-1\rX*2\r\n$3\r\nGET\r\n$1\r\nd\r\r", &["GET", "GET-c", "GET-d"]),
    ];
    for (bytes, said) in odd {
        for cut in 0..bytes.len() {
            wire.send(&bytes[..cut]);
            std::thread::sleep(Duration::from_millis(2));
            wire.send(&bytes[cut..]);
            for said in *said {
                assert_eq!(text(&wire.reply()), format!("+{said}\r\n"), "{} cut at {cut}", bytes.escape_ascii());
            }
        }
    }
    assert_eq!(other.ask("SET other 1"), "+SET-other-1\r\n");
    assert!(!proxy.log().contains("upstream connection lost"), "{}", proxy.log());
}

#[test]
fn an_inline_request_of_more_than_64_kib_is_refused_however_it_is_read() {
    let twin = Twin::start("");
    let line = |bytes: usize| [b"ECHO ".as_slice(), &vec![b'x'; bytes], b"\r\n"].concat();
    twin.pair().same(&line(60_000), 1);
    let mut wire = twin.proxy.wire();
    wire.send(&line(200_000));
    assert_eq!(text(&wire.until_closed()), "-ERR Protocol error: too big inline request\r\n");
}
