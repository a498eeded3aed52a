//! Who may connect: logins of the proxy's own, those of the server, and that neither is ever told to anybody.

use std::time::{Duration, Instant};

use crate::harness::wire::{requests, words};
use crate::harness::{Proxy, RedisServer, Setup, Twin, Wire, eventually, request, text};

const APP: &str = "apple-x4711x";
const UPSTREAM: &str = "pear-x0815x";

/// A proxy whose clients are `default` and `app`, both with the password [`APP`], before a server with [`UPSTREAM`].
fn guarded(setup: Setup) -> Setup {
    let users = "users = { app = { password_env = \"APP\" }, default = { password_env = \"APP\" } }";
    setup.listen(users).upstream("password_env = \"UPSTREAM\"").environment("APP", APP).environment("UPSTREAM", UPSTREAM)
}

fn guarded_redis() -> RedisServer {
    RedisServer::start(&[&format!("--requirepass {UPSTREAM}")])
}

fn start() -> (RedisServer, Proxy) {
    let redis = guarded_redis();
    let proxy = guarded(Setup::new(&redis)).start();
    (redis, proxy)
}

#[test]
fn before_a_login_a_client_hears_what_redis_would_say() {
    let direct = RedisServer::start(&[&format!("--requirepass {APP}")]);
    let (_redis, proxy) = start();
    let mut pair = [direct.wire(), proxy.wire()];
    let mut same = |line: &str| {
        let replies = pair.each_mut().map(|wire| wire.ask(line));
        assert_eq!(replies[0], replies[1], "{line}");
        replies[0].clone()
    };
    let lines = [
        "GET k",
        "SET k v",
        "SELECT 1",
        "MULTI",
        "EXEC",
        "SUBSCRIBE c",
        "BLPOP l 0",
        "MONITOR",
        "INFO",
        "CLIENT ID",
        "WATCH k",
        "HELLO",
        "HELLO 2",
        "HELLO 3",
        "HELLO 4",
        "HELLO x",
        "AUTH",
        "AUTH a b c",
        "AUTH wrong",
        "AUTH default wrong",
        "AUTH nobody x",
        "HELLO 3 AUTH default wrong",
        "RESET",
    ];
    for line in lines {
        same(line);
    }
    assert_eq!(same(&format!("AUTH {APP}")), "+OK\r\n");
    assert_eq!(same("SET k v"), "+OK\r\n");
    assert!(same("AUTH wrong").starts_with("-WRONGPASS"));
    assert_eq!(same("GET k"), "$1\r\nv\r\n", "who was let in stays in");
    assert_eq!(same("RESET"), "+RESET\r\n");
    assert!(same("GET k").starts_with("-NOAUTH"), "after RESET nobody is logged in");
    assert_eq!(same(&format!("AUTH default {APP}")), "+OK\r\n");
    assert_eq!(same("GET k"), "$1\r\nv\r\n");
    assert_eq!(same("QUIT"), "+OK\r\n");
}

#[test]
fn before_a_login_a_client_may_not_say_much() {
    let direct = RedisServer::start(&[&format!("--requirepass {APP}")]);
    let (_redis, proxy) = start();
    let many: Vec<&[u8]> = vec![b"DEL"; 11];
    let large = vec![b'x'; 17_000];
    let fits = vec![b'x'; 16_000];
    for bytes in [words(&many), words(&[b"SET", b"k", &large])] {
        let said = [direct.wire(), proxy.wire()].map(|mut wire| {
            wire.send(&bytes);
            text(&wire.until_closed())
        });
        assert_eq!(said[0], said[1]);
        assert!(said[0].starts_with("-ERR Protocol error: unauthenticated"), "{}", said[0]);
    }
    // What a browser can be made to send is not even answered.
    for line in ["POST / HTTP/1.1\r\n", "Host: x\r\n"] {
        let mut wire = proxy.wire();
        wire.send(line.as_bytes());
        assert_eq!(wire.until_closed(), b"");
    }
    let mut wire = proxy.wire();
    wire.send(&words(&[&fits, &fits, &fits, &fits, &fits, &fits, &fits, &fits, &fits, &fits]));
    assert!(wire.reply().starts_with(b"-NOAUTH"), "what is no larger than that is answered");
    // What comes behind a login is bound by the login's limits.
    wire.send(&request(&format!("AUTH app {APP}")));
    wire.send(&words(&[b"SET", b"k", &large]));
    wire.send(&words(&many));
    assert_eq!(wire.replies(3), [b"+OK\r\n".to_vec(), b"+OK\r\n".to_vec(), b":0\r\n".to_vec()]);
}

#[test]
fn a_login_may_come_with_hello_and_with_commands_behind_it() {
    let (redis, proxy) = start();
    let mut wire = proxy.wire();
    wire.send(&requests(&[
        "GET k",
        &format!("HELLO 3 AUTH app {APP} SETNAME auth"),
        "HSET h f v",
        "HGETALL h",
        "CLIENT GETNAME",
    ]));
    let replies: Vec<String> = wire.replies(5).iter().map(|reply| text(reply)).collect();
    assert!(replies[0].starts_with("-NOAUTH") && replies[1].starts_with("%7\r\n"), "{replies:?}");
    assert_eq!(replies[2..], [":1\r\n", "%1\r\n$1\r\nf\r\n$1\r\nv\r\n", "$4\r\nauth\r\n"]);
    // Whom the proxy knows is one thing, whom the server's ACL checks is another.
    assert!(wire.ask("CLIENT INFO").contains(" user=app "));
    assert_eq!(wire.ask("ACL WHOAMI"), "$7\r\ndefault\r\n");
    assert_eq!(wire.ask("SELECT 2"), "+OK\r\n");
    let info = wire.ask("CLIENT INFO");
    assert!(info.contains(" db=2 ") && info.contains(" user=app "), "{info}");
    // On a connection of its own the login stays the proxy's business too.
    assert_eq!(wire.ask("WATCH k"), "+OK\r\n");
    assert!(wire.ask(&format!("HELLO 2 AUTH app {APP}")).starts_with("*14\r\n"));
    assert_eq!(wire.ask("MULTI"), "+OK\r\n");
    assert!(wire.ask(&format!("AUTH app {APP}")).starts_with("-ERR respguard: logging in"));
    assert_eq!(wire.ask("INCR n"), "+QUEUED\r\n");
    assert_eq!(wire.ask("EXEC"), "*1\r\n:1\r\n");
    let log = redis.wire().pipeline(&[&format!("AUTH {UPSTREAM}"), "ACL LOG"]);
    assert_eq!(log[1], "*0\r\n", "the server has seen no login but the proxy's");
}

#[test]
fn guesses_are_slow_and_few() {
    let (_redis, proxy) = start();
    let mut wire = proxy.wire();
    let started = Instant::now();
    let guesses = requests(&["AUTH app wrong"; 20]);
    wire.send(&guesses);
    let said = text(&wire.until_closed());
    assert_eq!(said, "-WRONGPASS invalid username-password pair or user is disabled.\r\n".repeat(8));
    assert!(started.elapsed() > Duration::from_secs(2), "{:?}", started.elapsed());
    eventually("refused logins are counted", || proxy.metric("respguard_logins_refused_total", &[]) == 8.0);
    let mut wire = proxy.wire();
    assert_eq!(wire.ask(&format!("AUTH app {APP}")), "+OK\r\n", "others are not held responsible");
}

#[test]
fn with_connections_of_ones_own_there_is_none_before_a_login() {
    let redis = guarded_redis();
    let proxy = guarded(Setup::new(&redis)).upstream("sharing = \"never\"\npassword_env = \"UPSTREAM\"").start();
    let clients = || {
        let info = redis.wire().pipeline(&[&format!("AUTH {UPSTREAM}"), "INFO clients"]);
        info[1]
            .split("connected_clients:")
            .nth(1)
            .and_then(|rest| rest.lines().next()?.trim().parse::<u32>().ok())
            .expect("a number")
    };
    eventually("the workers are connected", || clients() == 3);
    let mut unauthenticated: Vec<Wire> = (0..10).map(|_| proxy.wire()).collect();
    for wire in &mut unauthenticated {
        assert!(wire.ask("GET k").starts_with("-NOAUTH"));
    }
    // The server may not have seen yet that an earlier question's connection has ended.
    eventually("there are no others", || clients() == 3);
    for wire in &mut unauthenticated {
        assert_eq!(wire.pipeline(&[&format!("AUTH app {APP}"), "SET k v", "GET k"])[2], "$1\r\nv\r\n");
    }
    eventually("each has one of its own now", || clients() == 13);
}

#[test]
fn users_alone_guard_a_server_that_asks_for_nothing() {
    let redis = RedisServer::start(&[]);
    let listen = "users = { app = { password_env = \"APP\" } }";
    let proxy = Setup::new(&redis).listen_on("0.0.0.0:0").listen(listen).environment("APP", APP).start();
    let mut wire = proxy.wire();
    assert!(wire.ask("GET k").starts_with("-NOAUTH"));
    assert!(wire.ask(&format!("AUTH {APP}")).starts_with("-WRONGPASS"), "there is no user `default`");
    assert_eq!(wire.ask(&format!("AUTH app {APP}")), "+OK\r\n");
    assert_eq!(wire.ask("SET k v"), "+OK\r\n");
    assert!(wire.ask("ACL LOG").starts_with("*0"));
    assert!(!proxy.log().contains("reaches the server"));
    let open = Setup::new(&redis).listen_on("0.0.0.0:0").start();
    open.logs("whoever reaches this address reaches the server");
    assert!(!Setup::new(&redis).start().log().contains("reaches the server"));
}

#[test]
fn what_one_user_may_do_another_may_not() {
    let twin = Twin::start("");
    let redis = &twin.behind;
    for (user, pattern) in [("ann", "a:*"), ("bob", "b:*")] {
        redis.ask(&format!("ACL SETUSER {user} on >{user}-secret ~{pattern} resetchannels &{pattern} +@all -acl"));
    }
    redis.ask("ACL SETUSER default -@all +auth +hello +ping");
    let mut clients: Vec<(usize, Wire)> = (0..12).map(|n| (n % 3, twin.proxy.wire())).collect();
    for round in 0..20 {
        for (who, wire) in &mut clients {
            let user = ["ann", "bob", "nobody"][*who];
            if round == 0 && *who < 2 {
                assert_eq!(wire.ask(&format!("AUTH {user} {user}-secret")), "+OK\r\n");
            }
            wire.send(&requests(&["SET a:k 1", "SET b:k 1", "PUBLISH a:c 1", "PUBLISH b:c 1", "ACL WHOAMI", "PING"]));
        }
        for (who, wire) in &mut clients {
            let replies = wire.replies(6);
            let allowed: Vec<bool> = replies.iter().map(|reply| !reply.starts_with(b"-NOPERM")).collect();
            let wanted = match *who {
                0 => [true, false, true, false, false, true],
                1 => [false, true, false, true, false, true],
                _ => [false, false, false, false, false, true],
            };
            assert_eq!(allowed, wanted, "{who} in round {round}: {replies:?}");
        }
    }
    // A name is not enough, on whichever connections the user may be.
    let mut eve = twin.proxy.wire();
    for line in ["AUTH ann wrong", "HELLO 3 AUTH ann bob-secret"] {
        assert!(eve.ask(line).starts_with("-WRONGPASS"), "{line}");
    }
    assert!(eve.ask("SET a:k 1").starts_with("-NOPERM"));
    let mut ann = clients.remove(0).1;
    assert!(ann.pipeline(&["WATCH a:k", "MULTI", "GET a:k", "GET b:k", "EXEC"])[3].starts_with("-NOPERM "));
    assert!(ann.ask("RESET").starts_with("+RESET"));
    assert!(ann.ask("SET a:k 1").starts_with("-NOPERM"), "after RESET it is the default user");
}

#[test]
fn no_credential_is_told_to_anybody() {
    let redis = guarded_redis();
    let rules =
        "[[group]]\nname = \"pair\"\ncommands = [\"SET a:{id} *\", \"SADD all {id}\"]\n[[ttl]]\nname = \"t\"\nkeys = [\"a:*\"]\n";
    let proxy = guarded(Setup::new(&redis)).rules(rules).log_level("trace").start();
    let mut heard = String::new();
    let mut wire = proxy.wire();
    let lines = [
        &format!("AUTH app {APP}x"),
        &format!("AUTH {APP}x"),
        &format!("AUTH nobody {APP}"),
        &format!("HELLO 3 AUTH app {APP}x"),
        &format!("HELLO 3 AUTH app {APP} SETNAME me"),
        &format!("AUTH app {APP}"),
        "SET a:1 v",
        "SADD all 1",
        "SADD a:1 x",
        "CLIENT LIST",
        "ACL LOG",
        "CLIENT INFO",
        "SELECT 3",
        "WATCH k",
        "MULTI",
        &format!("AUTH app {APP}"),
        "EXEC",
        "ACL WHOAMI",
        "INFO",
    ];
    for line in lines {
        heard.push_str(&wire.ask(line));
    }
    wire.send(&requests(&["SET a:2 v", "SADD all 2", "SET a:3 v", "INCR all"]));
    heard.extend(wire.replies(4).iter().map(|reply| text(reply)));
    // The server takes the proxy's password back: connections fail, and say why.
    let mut direct = redis.wire();
    direct.pipeline(&[&format!("AUTH {UPSTREAM}"), "CONFIG SET requirepass other", "CLIENT KILL TYPE normal"]);
    eventually("the credentials are refused", || proxy.get("/readyz").1.contains("upstream refuses the credentials"));
    heard.push_str(&text(&wire.until_silent_for(Duration::from_millis(300))));
    for path in ["/metrics", "/readyz", "/healthz", "/config", "/status", "/groups", "/violations", "/"] {
        heard.push_str(&proxy.get(path).1);
    }
    heard.push_str(&proxy.log());
    for secret in [APP, UPSTREAM, "x4711x", "x0815x"] {
        assert!(!heard.contains(secret), "{secret} is told: {}", excerpt(&heard, secret));
    }
    assert!(proxy.logs("WRONGPASS").contains("WRONGPASS"), "the log tells that the server refuses the credentials");
}

fn excerpt<'a>(all: &'a str, secret: &str) -> &'a str {
    all.lines().find(|line| line.contains(secret)).unwrap_or_default()
}
