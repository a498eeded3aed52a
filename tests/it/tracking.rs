//! CLIENT TRACKING in all its modes: invalidations arrive, and only where Redis sends them.

use crate::harness::{Twin, Wire, text};

/// What the lines are answered with, and what `another` client's lines make come to the first; every second line belongs
/// to the other.
fn told(mut wire: Wire, mut another: Wire, lines: &[&str], theirs: &[&str]) -> Vec<String> {
    let mut told = Vec::new();
    for line in lines {
        // Nothing but the reply and the pushes before it.
        wire.send_line(line);
        wire.send_line("ECHO marker");
        read_to_marker(&mut wire, &mut told);
    }
    for line in theirs {
        another.ask(line);
        // BCAST is told when the server has nothing else to do.
        let _ = another.ask("PING");
        wire.send_line("ECHO marker");
        read_to_marker(&mut wire, &mut told);
    }
    told
}

fn read_to_marker(wire: &mut Wire, told: &mut Vec<String>) {
    loop {
        let frame = text(&wire.reply());
        let over = frame.contains("marker");
        if over {
            return;
        }
        told.push(frame);
    }
}

#[test]
fn invalidations_arrive_in_every_mode() {
    let twin = Twin::start("");
    let modes: &[&[&str]] = &[
        &["CLIENT TRACKING ON", "GET k", "MGET k other"],
        &["CLIENT TRACKING ON BCAST"],
        &["CLIENT TRACKING ON BCAST PREFIX k PREFIX x"],
        &["CLIENT TRACKING ON BCAST PREFIX nothing"],
        &["CLIENT TRACKING ON OPTIN", "GET other", "CLIENT CACHING YES", "GET k"],
        &["CLIENT TRACKING ON OPTOUT", "CLIENT CACHING NO", "GET other", "GET k"],
        &["CLIENT TRACKING ON NOLOOP", "GET k", "SET k mine", "GET k"],
        &["CLIENT TRACKING ON", "GET k", "SET k mine"],
        &["CLIENT TRACKING ON", "GET k", "CLIENT TRACKING OFF", "CLIENT TRACKINGINFO"],
        &["CLIENT TRACKING ON", "EVAL return(redis.call('GET',KEYS[1])) 1 k"],
    ];
    for mode in modes {
        let lines: Vec<&str> = std::iter::once("HELLO 3").chain(mode.iter().copied()).collect();
        let theirs = ["SET k theirs", "SET other theirs", "DEL k", "FLUSHALL"];
        let strip = |mut told: Vec<String>| told.split_off(1);
        let direct = strip(told(twin.direct.wire(), twin.direct.wire(), &lines, &theirs));
        let proxied = strip(told(twin.proxy.wire(), twin.proxy.wire(), &lines, &theirs));
        assert_eq!(direct, proxied, "{mode:?}");
    }
}

/// What a client is told about two keys that it has read together behind a CLIENT CACHING, sent in these writes.
fn told_behind_caching(mut wire: Wire, mut another: Wire, mode: &str, writes: &[&[&str]]) -> Vec<String> {
    wire.ask("HELLO 3");
    assert_eq!(wire.ask(&format!("CLIENT TRACKING ON {mode}")), "+OK\r\n");
    for lines in writes {
        wire.pipeline(lines);
    }
    another.pipeline(&["SET k:a theirs", "SET k:b theirs"]);
    let mut told = Vec::new();
    wire.send_line("ECHO marker");
    read_to_marker(&mut wire, &mut told);
    told
}

#[test]
fn client_caching_is_about_the_next_command_also_where_that_begins_a_group() {
    let reads: &[&str] = &["GET k:a", "GET k:b"];
    for (atomic, mode, caching) in [
        ("transaction", "OPTIN", "CLIENT CACHING YES"),
        ("transaction", "OPTOUT", "CLIENT CACHING NO"),
        ("guarded", "OPTIN", "CLIENT CACHING YES"),
        ("guarded", "OPTOUT", "CLIENT CACHING NO"),
    ] {
        let group = format!("[[group]]\nname = \"k\"\nkeys = [\"k:*\"]\natomic = \"{atomic}\"\n");
        // A rule that asks questions of its own around commands.
        let twin = Twin::start(&format!("{group}[[ttl]]\nname = \"x\"\nkeys = [\"x\"]\n"));
        let together = [&[caching], reads].concat();
        let sent: [&[&[&str]]; 6] = [
            &[&together],
            &[&[caching], reads],
            &[&["SET x v", caching], reads],
            &[&[caching, "CLIENT GETNAME"], reads],
            &[&[caching, "GET other"], reads],
            &[&[caching, "SET other v"], reads],
        ];
        for writes in sent {
            let direct = told_behind_caching(twin.direct.wire(), twin.direct.wire(), mode, writes);
            let proxied = told_behind_caching(twin.proxy.wire(), twin.proxy.wire(), mode, writes);
            assert_eq!(direct, proxied, "{atomic}, {mode}, {writes:?}");
        }
        let told = twin.proxy.metric("respguard_violations_total", &[("kind", "unwrapped")]);
        assert!(told > 0.0, "a group that is not wrapped is told");
    }
}

#[test]
fn invalidations_cannot_be_redirected_to_a_client_of_the_proxy() {
    let twin = Twin::start("");
    let (mut listener, mut reader) = (twin.proxy.wire(), twin.proxy.wire());
    // Taken far from the numbers of the server's own connections.
    let id = 1_000_000 + listener.ask("CLIENT ID").trim_start_matches(':').trim().parse::<u64>().expect("a number");
    let refused = "-ERR The client ID you want redirect to does not exist\r\n";
    assert_eq!(reader.ask(&format!("CLIENT TRACKING ON REDIRECT {id}")), refused);
    assert_eq!(reader.ask("CLIENT GETREDIR"), ":-1\r\n");
}
