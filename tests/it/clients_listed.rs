//! CLIENT LIST, INFO and KILL tell of the proxy's clients what Redis tells of its own.

use crate::harness::{Twin, Wire, eventually};

/// Fields that say the same on both sides.
const FIELDS: [&str; 10] = ["name", "flags", "db", "sub", "psub", "ssub", "multi", "redir", "cmd", "user"];

fn id(wire: &mut Wire) -> String {
    wire.ask("CLIENT ID").trim_start_matches(':').trim().to_owned()
}

/// What the list says about the client with this id.
fn listed(asker: &mut Wire, id: &str) -> Option<String> {
    let list = asker.ask("CLIENT LIST");
    let line = list.lines().find(|line| line.starts_with(&format!("id={id} ")))?;
    let has = |field: &&str| FIELDS.contains(&field.split('=').next().unwrap_or_default());
    Some(line.split(' ').filter(has).collect::<Vec<_>>().join(" "))
}

#[test]
fn what_a_client_is_doing_is_listed_as_redis_does() {
    let twin = Twin::start("");
    let ways: &[&[&str]] = &[
        &["GET k"],
        &["SET k v", "GET k", "SELECT 3"],
        &["CLIENT SETNAME me"],
        &["MULTI", "GET k", "SET k v"],
        &["MULTI", "GET k", "CLIENT GETNAME"],
        &["MULTI", "GET k", "EXEC"],
        &["WATCH k"],
        &["SUBSCRIBE a b", "PSUBSCRIBE p*"],
        &["SUBSCRIBE a", "UNSUBSCRIBE"],
        &["XADD s 1-1 f v", "XREAD COUNT 1 STREAMS s 0"],
        &["CLIENT TRACKING ON"],
        &["CLIENT TRACKING ON BCAST"],
        &["CLIENT NO-EVICT ON"],
        &["CLIENT NO-EVICT ON", "CLIENT NO-EVICT maybe"],
        &["CLIENT NO-EVICT ON", "CLIENT TRACKING ON", "CLIENT NO-EVICT OFF"],
        &["ECHO x", "BLPOP nothing 0"],
        &["BLPOP nothing 0", "PING"],
        &["WAIT 7 0"],
        &["MONITOR"],
    ];
    for lines in ways {
        let [direct, proxied] =
            [(twin.direct.wire(), twin.direct.wire()), (twin.proxy.wire(), twin.proxy.wire())].map(|(mut of, asker)| {
                let id = id(&mut of);
                lines.iter().for_each(|line| of.send_line(line));
                (of, asker, id)
            });
        let (_of, mut asker, number) = direct;
        let (_behind, mut other, behind) = proxied;
        let (mut last, mut was) = (None, None);
        let same = crate::harness::within(crate::harness::PATIENCE, || {
            last = listed(&mut other, &behind);
            was = listed(&mut asker, &number);
            last == was
        });
        assert!(same, "{lines:?}\n  Redis: {was:?}\n  proxy: {last:?}");
    }
}

#[test]
fn whoever_polls_the_list_for_a_blocked_client_finds_it() {
    let twin = Twin::start("");
    let (mut blocked, mut asker) = (twin.proxy.wire(), twin.proxy.wire());
    let number = id(&mut blocked);
    for _ in 0..100 {
        blocked.send_line("BLPOP nothing 0");
        eventually("it is listed so", || {
            asker
                .ask("CLIENT LIST")
                .lines()
                .any(|line| line.starts_with(&format!("id={number} ")) && line.contains(" cmd=blpop "))
        });
        assert_eq!(asker.ask(&format!("CLIENT UNBLOCK {number}")), ":1\r\n");
        assert_eq!(blocked.reply(), b"*-1\r\n");
        assert_eq!(blocked.ask("PING"), "+PONG\r\n");
    }
}

#[test]
fn the_own_line_and_idle_times_are_told() {
    let twin = Twin::start("");
    let mut idle = twin.proxy.wire();
    let number = id(&mut idle);
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let mut asker = twin.proxy.wire();
    let info = asker.ask("CLIENT INFO");
    assert!(info.contains(" cmd=client|info ") && info.contains(" idle=0 ") && info.contains(" age=0 "), "{info}");
    let list = asker.ask("CLIENT LIST");
    let line = list.lines().find(|line| line.starts_with(&format!("id={number} "))).expect("it is listed");
    assert!(line.contains(" idle=2 ") || line.contains(" idle=3 "), "{line}");
    assert!(line.contains(" cmd=client|id "), "{line}");
}

#[test]
fn client_kill_counts_as_redis_does() {
    let twin = Twin::start("");
    let kills = [
        "CLIENT KILL TYPE pubsub",
        "CLIENT KILL TYPE normal",
        "CLIENT KILL TYPE normal SKIPME no",
        "CLIENT KILL SKIPME yes",
        "CLIENT KILL SKIPME no",
        "CLIENT KILL ID X",
        "CLIENT KILL ID X SKIPME yes USER default",
        "CLIENT KILL USER default TYPE pubsub",
        "CLIENT KILL ID X TYPE pubsub",
        "CLIENT KILL ADDR A",
        "CLIENT KILL ADDR A TYPE normal",
        "CLIENT KILL LADDR 127.0.0.1:1",
        "CLIENT KILL A",
    ];
    for kill in kills {
        let mut counts = Vec::new();
        for connect in [&(|| twin.direct.wire()) as &dyn Fn() -> Wire, &|| twin.proxy.wire()] {
            let (mut asker, mut victim, mut subscriber) = (connect(), connect(), connect());
            let number = id(&mut victim);
            id(&mut asker);
            subscriber.ask("SUBSCRIBE a");
            let line = kill.replace('X', &number).replace(" A", &format!(" {}", victim.local()));
            // Each side has the same clients: those of earlier rounds have gone.
            eventually("three clients are there", || asker.ask("CLIENT LIST").matches(" addr=").count() == 3);
            asker.send_line(&line);
            let first = asker.reply();
            let again = asker.try_send(&crate::harness::request(&line)).ok().and_then(|()| asker.try_reply());
            counts.push((first, again));
        }
        assert_eq!(counts[0], counts[1], "{kill}");
    }
}

#[test]
fn the_own_command_stands_in_the_own_buffer() {
    let twin = Twin::start("");
    for lines in [&["CLIENT LIST"][..], &["CLIENT INFO"], &["CLIENT INFO", "PING"]] {
        let [direct, proxied] = [twin.direct.wire(), twin.proxy.wire()].map(|mut wire| {
            let told = wire.pipeline(lines).remove(0);
            told.split(' ').find(|field| field.starts_with("qbuf=")).map(str::to_owned)
        });
        assert_eq!(direct, proxied, "{lines:?}");
    }
}

#[test]
fn a_client_whose_invalidations_go_to_nobody_any_more_is_listed_so() {
    let twin = Twin::start("");
    let told = [(twin.direct.wire(), twin.direct.wire()), (twin.proxy.wire(), twin.proxy.wire())].map(|(mut wire, target)| {
        let mut target = target;
        let to = id(&mut target);
        assert_eq!(wire.ask(&format!("CLIENT TRACKING ON REDIRECT {to}")), "+OK\r\n");
        drop(target);
        assert!(wire.ask("GET k").starts_with('$'));
        eventually("it has left", || {
            wire.ask("SET k v");
            wire.ask("GET k");
            wire.ask("CLIENT INFO").contains(" flags=tR ")
        });
    });
    assert_eq!(told, [(), ()]);
}
