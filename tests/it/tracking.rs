//! CLIENT TRACKING in all its modes: invalidations arrive, and only where Redis sends them.

use std::time::Duration;

use crate::harness::{Twin, Wire, eventually, text};

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

/// What a reader hears whose invalidations go to another client, who is told by `ID`.
fn redirected(connect: &dyn Fn() -> Wire, listens: &[&str], reads: &[&str]) -> Vec<String> {
    let (mut listener, mut reader, mut writer) = (connect(), connect(), connect());
    let id = listener.ask("CLIENT ID").trim_start_matches(':').trim().to_owned();
    let mut told = Vec::new();
    listens.iter().for_each(|line| told.push(listener.ask(line)));
    for line in reads {
        told.push(reader.ask(&line.replace("ID", &id)));
    }
    assert_eq!(reader.ask("GET k"), writer.ask("GET k"));
    writer.ask("INCR k");
    told.push(text(&listener.reply()));
    told.push(listener.ask("PING"));
    told.push(reader.ask("CLIENT GETREDIR"));
    told.push(reader.ask("CLIENT TRACKINGINFO"));
    drop(listener);
    let gone = format!("CLIENT LIST ID {id}");
    eventually("the listener has left", || !writer.ask(&gone).contains("addr="));
    // The server may learn of it a little later.
    eventually("the server says so", || {
        reader.ask("GET k");
        writer.ask("INCR k");
        std::thread::sleep(Duration::from_millis(5));
        let heard = reader.ask("CLIENT TRACKINGINFO");
        let broken = heard.starts_with(">2") || heard.contains("broken_redirect");
        if broken {
            told.push(heard);
        }
        broken
    });
    told.push(reader.ask("CLIENT GETREDIR"));
    told.push(reader.ask("CLIENT TRACKING OFF"));
    told.into_iter().map(|text| text.replace(&format!(":{id}\r\n"), ":ID\r\n")).collect()
}

#[test]
fn invalidations_are_redirected_to_another_client() {
    let twin = Twin::start("");
    // No number is that of a client by chance, and the server's are far from those of the proxy.
    (0..10).for_each(|_| drop((twin.direct.wire().ask("PING"), twin.proxy.wire().ask("PING"))));
    (0..100).for_each(|_| drop(twin.behind.wire().ask("PING")));
    for listens in [&["SUBSCRIBE __redis__:invalidate"][..], &["HELLO 3 SETNAME x"][..], &["PING", "HELLO 3"][..]] {
        for reads in [
            &["CLIENT TRACKING ON REDIRECT ID"][..],
            &["HELLO 3", "CLIENT TRACKING ON redirect ID NOLOOP", "CLIENT TRACKINGINFO"],
            &["CLIENT TRACKING ON BCAST PREFIX k REDIRECT ID", "MULTI", "CLIENT GETREDIR", "CLIENT TRACKINGINFO", "EXEC"],
            &["MULTI", "CLIENT TRACKING ON REDIRECT ID", "CLIENT GETREDIR", "EXEC", "CLIENT GETREDIR"],
        ] {
            let strip =
                |told: Vec<String>| -> Vec<String> { told.into_iter().filter(|told| !told.contains("server\r\n")).collect() };
            let direct = strip(redirected(&|| twin.direct.wire(), listens, reads));
            let proxied = strip(redirected(&|| twin.proxy.wire(), listens, reads));
            assert_eq!(direct, proxied, "{listens:?} {reads:?}");
        }
    }
    assert_eq!(twin.proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
}

#[test]
fn redirections_that_cannot_be_are_refused_as_redis_does() {
    let twin = Twin::with(&["--user", "poor on >p ~* &* +@all -client|tracking"], |setup| setup);
    let mut pair = twin.pair();
    for line in [
        "CLIENT TRACKING ON REDIRECT 987654321",
        "CLIENT TRACKING ON REDIRECT 0",
        "CLIENT TRACKING ON REDIRECT -1",
        "CLIENT TRACKING ON REDIRECT x",
        "CLIENT TRACKING ON REDIRECT",
        "CLIENT TRACKING MAYBE REDIRECT 987654321",
        "CLIENT TRACKING ON PREFIX a REDIRECT 987654321",
        "CLIENT GETREDIR",
        "CLIENT TRACKINGINFO",
        "MULTI",
        "CLIENT TRACKING ON REDIRECT 987654321",
        "EXEC",
        "CLIENT GETREDIR",
    ] {
        pair.same_line(line);
    }
    let (mut other, mut poor) = (twin.proxy.wire(), twin.proxy.wire());
    let id = other.ask("CLIENT ID").trim_start_matches(':').trim().to_owned();
    assert_eq!(poor.ask("AUTH poor p"), "+OK\r\n");
    assert!(poor.ask(&format!("CLIENT TRACKING ON REDIRECT {id}")).starts_with("-NOPERM"));
    assert_eq!(other.ask("PING"), "+PONG\r\n");
}

#[test]
fn clients_may_name_each_other_and_themselves() {
    let twin = Twin::start("");
    let (mut one, mut two) = (twin.proxy.wire(), twin.proxy.wire());
    let id = |wire: &mut Wire| wire.ask("CLIENT ID").trim_start_matches(':').trim().to_owned();
    let (first, second) = (id(&mut one), id(&mut two));
    one.send_line(&format!("CLIENT TRACKING ON REDIRECT {second}"));
    two.send_line(&format!("CLIENT TRACKING ON REDIRECT {first}"));
    assert_eq!([text(&one.reply()), text(&two.reply())], ["+OK\r\n", "+OK\r\n"]);
    let mut own = twin.proxy.wire();
    let number = id(&mut own);
    assert_eq!(own.ask(&format!("CLIENT TRACKING ON REDIRECT {number}")), "+OK\r\n");
    assert_eq!(own.ask("CLIENT GETREDIR"), format!(":{number}\r\n"));
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
fn what_a_client_kept_at_the_server_is_gone_when_it_is_told_so() {
    let twin = Twin::start("");
    for connect in [&|| twin.direct.wire(), &|| twin.proxy.wire()] as [&dyn Fn() -> Wire; 2] {
        let mut asker = connect();
        for _ in 0..30 {
            let (mut target, mut reader) = (connect(), connect());
            let id = target.ask("CLIENT ID");
            target.send_line("SUBSCRIBE __redis__:invalidate news");
            target.reply();
            target.reply();
            reader.ask("HELLO 3");
            assert_eq!(reader.ask(&format!("CLIENT TRACKING ON REDIRECT {}", id.trim_start_matches(':').trim())), "+OK\r\n");
            reader.ask("GET k");
            assert_eq!(target.ask("QUIT"), "+OK\r\n");
            assert_eq!(asker.ask("PUBSUB NUMSUB news"), "*2\r\n$4\r\nnews\r\n:0\r\n");
            asker.ask("SET k v");
            let mut told = Vec::new();
            reader.send_line("ECHO marker");
            read_to_marker(&mut reader, &mut told);
            assert!(told.concat().contains("tracking-redir-broken"), "{told:?}");
        }
    }
}
