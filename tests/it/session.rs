//! What a client has told about itself (db, protocol, user, name) is its own and nobody else's.

use crate::harness::wire::{requests, words};
use crate::harness::{Proxy, RedisServer, Setup, Twin, Wire, eventually, request, text};

const USERS: [&str; 6] = [
    "--user",
    "default on nopass ~* &* +@all",
    "--user",
    "reader on >reads ~public:* +@read +@connection +multi +exec +ping",
    "--user",
    "writer on >writes ~* &* +@all -@dangerous",
];

fn client_id(wire: &mut Wire) -> u64 {
    wire.ask("CLIENT ID").trim_start_matches(':').trim().parse().expect("a number")
}

#[test]
fn each_client_has_its_own_db() {
    let (_redis, proxy) = Proxy::with_redis("");
    let mut wires: Vec<Wire> = (0..8).map(|_| proxy.wire()).collect();
    for (db, wire) in wires.iter_mut().enumerate() {
        let replies = wire.pipeline(&[&format!("SELECT {db}"), &format!("SET k in-{db}"), "GET k"]);
        assert_eq!(replies, ["+OK\r\n", "+OK\r\n", &format!("$4\r\nin-{db}\r\n")]);
    }
    for (db, wire) in wires.iter_mut().enumerate() {
        assert_eq!(wire.ask("GET k"), format!("$4\r\nin-{db}\r\n"));
        assert!(wire.ask("CLIENT INFO").contains(&format!(" db={db} ")));
        assert!(wire.ask("SELECT 99").starts_with("-ERR DB index is out of range"));
        assert_eq!(wire.ask("GET k"), format!("$4\r\nin-{db}\r\n"), "a refused SELECT changes nothing");
    }
    assert_eq!(proxy.wire().ask("GET k"), "$4\r\nin-0\r\n");
    let mut across = proxy.wire();
    let replies =
        across.pipeline(&["GET k", "SELECT 1", "GET k", "SELECT 2", "GET k", "BLPOP q 0.01", "GET k", "SELECT 0", "GET k"]);
    assert_eq!(
        [&replies[0], &replies[2], &replies[4], &replies[6], &replies[8]].map(|reply| reply.trim().split("\r\n").last()),
        [Some("in-0"), Some("in-1"), Some("in-2"), Some("in-2"), Some("in-0")]
    );
    let replies = across.pipeline(&["MULTI", "SELECT 3", "SET only-here 1", "EXEC", "EXISTS only-here"]);
    assert_eq!(replies[4], ":1\r\n", "a SELECT inside MULTI lasts");
    assert_eq!(proxy.wire().ask("EXISTS only-here"), ":0\r\n");
}

#[test]
fn hello_switches_the_protocol_in_the_middle_of_a_pipeline() {
    let (_redis, proxy) = Proxy::with_redis("");
    let mut wire = proxy.wire();
    wire.send(&requests(&["HSET h f v", "HGETALL h", "HELLO 3", "HGETALL h", "GET none", "HELLO 2", "HGETALL h", "GET none"]));
    let replies: Vec<String> = wire.replies(8).iter().map(|reply| text(reply)).collect();
    assert_eq!(replies[1], "*2\r\n$1\r\nf\r\n$1\r\nv\r\n");
    assert!(replies[2].starts_with("%") && replies[2].contains("server\r\n"), "{}", replies[2]);
    assert_eq!(replies[3], "%1\r\n$1\r\nf\r\n$1\r\nv\r\n");
    assert_eq!(replies[4], "_\r\n");
    assert!(replies[5].starts_with("*14\r\n$6\r\nserver\r\n"), "{}", replies[5]);
    assert_eq!(replies[6..], ["*2\r\n$1\r\nf\r\n$1\r\nv\r\n", "$-1\r\n"]);
    let mut other = proxy.wire();
    assert_eq!(other.ask("HGETALL h"), "*2\r\n$1\r\nf\r\n$1\r\nv\r\n", "others are not switched");
}

#[test]
fn hello_tells_the_proxys_client_id_and_keeps_the_rest() {
    let (redis, proxy) = Proxy::with_redis("");
    for version in ["2", "3"] {
        let mut wire = proxy.wire();
        let hello = wire.ask(&format!("HELLO {version}"));
        let id = client_id(&mut wire);
        assert!(hello.contains(&format!("$2\r\nid\r\n:{id}\r\n")), "{hello}");
        let direct = redis.ask(&format!("HELLO {version}"));
        let without_id = |hello: &str| {
            let (head, tail) = hello.split_once("$2\r\nid\r\n:").expect("an id");
            format!("{head}{}", tail.split_once("\r\n").expect("a line").1)
        };
        assert_eq!(without_id(&hello), without_id(&direct));
        assert!(wire.ask("HELLO").contains(&format!("$5\r\nproto\r\n:{version}\r\n")), "HELLO alone only tells");
    }
}

#[test]
fn hello_that_cannot_be_is_refused_as_redis_does_and_changes_nothing() {
    let twin = Twin::start("");
    let mut pair = twin.pair();
    for line in
        ["HELLO 4", "HELLO x", "HELLO 1", "HELLO 3 BOGUS", "HELLO 3 AUTH nobody wrong", "HELLO 3 SETNAME", "HELLO 3 AUTH x"]
    {
        pair.same_line(line);
        pair.same_line("GET none");
    }
    pair.same(&words(&[b"HELLO", b"3", b"SETNAME", b"bad name"]), 1);
    pair.same_line("GET none");
}

#[test]
fn auth_answers_as_redis_does_with_requirepass() {
    let twin = Twin::with(&["--requirepass", "secret"], |setup| setup);
    let mut pair = twin.pair();
    for line in [
        "PING",
        "GET k",
        "AUTH wrong",
        "AUTH nobody secret",
        "GET k",
        "MULTI",
        "AUTH secret",
        "SET k v",
        "GET k",
        "AUTH wrong",
        "GET k",
    ] {
        pair.same_line(line);
    }
    twin.pair().same(&requests(&["GET k", "AUTH wrong", "GET k", "AUTH secret", "GET k", "AUTH default secret", "GET k"]), 7);
    twin.pair().same(&requests(&["AUTH secret", "MULTI", "GET k", "EXEC", "BLPOP q 0.01"]), 5);
    let mut refused = twin.pair();
    refused.same_line("HELLO 3");
    refused.same_line("HELLO 3 AUTH default wrong");
    refused.same_line("GET k");
    for wire in [&mut refused.direct, &mut refused.proxied] {
        assert!(wire.ask("HELLO 3 AUTH default secret").starts_with("%7\r\n"));
    }
    refused.same_line("GET none");
    assert!(twin.proxy.wire().ask("GET k").starts_with("-NOAUTH"), "nobody else is logged in by that");
    assert!(!twin.proxy.log().contains("secret"), "{}", twin.proxy.log());
}

#[test]
fn rights_of_one_user_never_reach_another() {
    let redis = RedisServer::start(&USERS);
    let proxy = Proxy::start("", &redis);
    let mut readers: Vec<Wire> = (0..6).map(|_| proxy.wire()).collect();
    let mut writers: Vec<Wire> = (0..6).map(|_| proxy.wire()).collect();
    for wire in &mut writers {
        assert_eq!(wire.pipeline(&["AUTH writer writes", "SET public:a 1", "SET private:a 1"]), ["+OK\r\n"; 3]);
    }
    for wire in &mut readers {
        assert_eq!(wire.ask("AUTH reader reads"), "+OK\r\n");
    }
    for (reader, writer) in readers.iter_mut().zip(&mut writers) {
        let replies = reader.pipeline(&["GET public:a", "GET private:a", "SET public:a 2", "ACL WHOAMI"]);
        assert_eq!(replies[0], "$1\r\n1\r\n");
        assert!(replies[1].starts_with("-NOPERM") && replies[2].starts_with("-NOPERM"), "{replies:?}");
        assert!(replies[3].starts_with("-NOPERM"), "{replies:?}");
        assert_eq!(writer.pipeline(&["GET private:a", "ACL WHOAMI"])[0], "$1\r\n1\r\n");
        assert!(writer.ask("BLPOP nothing 0.01").starts_with("*-1"));
        assert!(reader.ask("BLPOP public:q 0.01").starts_with("-NOPERM"), "leases are not mixed up either");
    }
    let mut wrong = proxy.wire();
    assert!(wrong.ask("AUTH writer wrong").starts_with("-WRONGPASS"), "a lane is never joined by name alone");
    assert!(wrong.ask("HELLO 3 AUTH writer reads").starts_with("-WRONGPASS"));
    assert!(wrong.ask("AUTH writer writesX").starts_with("-WRONGPASS"));
    assert!(wrong.ask("ACL WHOAMI").contains("default"));
    let mut moved = proxy.wire();
    let replies = moved.pipeline(&[
        "AUTH writer writes",
        "SET private:b 1",
        "AUTH reader reads",
        "GET private:b",
        "AUTH writer wrong",
        "GET private:b",
    ]);
    assert!(replies[3].starts_with("-NOPERM") && replies[5].starts_with("-NOPERM"), "{replies:?}");
}

#[test]
fn a_password_that_is_no_longer_valid_is_refused() {
    let redis = RedisServer::start(&USERS);
    let proxy = Proxy::start("", &redis);
    let mut first = proxy.wire();
    assert_eq!(first.ask("AUTH writer writes"), "+OK\r\n");
    assert_eq!(redis.ask("ACL SETUSER writer resetpass >changed"), "+OK\r\n");
    for _ in 0..4 {
        assert!(proxy.wire().ask("AUTH writer writes").starts_with("-WRONGPASS"));
    }
    assert_eq!(proxy.wire().ask("AUTH writer changed"), "+OK\r\n");
}

#[test]
fn names_and_ids_are_those_of_the_proxys_clients() {
    let (redis, proxy) = Proxy::with_redis("");
    let mut wires: Vec<Wire> = (0..6).map(|_| proxy.wire()).collect();
    let mut ids = Vec::new();
    for (place, wire) in wires.iter_mut().enumerate() {
        assert_eq!(wire.ask("CLIENT GETNAME"), "$-1\r\n");
        assert_eq!(wire.ask(&format!("CLIENT SETNAME worker-{place}")), "+OK\r\n");
        ids.push(client_id(wire));
    }
    let mut distinct = ids.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), ids.len(), "one id for each client, over all workers: {ids:?}");
    for (place, wire) in wires.iter_mut().enumerate() {
        assert_eq!(wire.ask("CLIENT GETNAME"), format!("$8\r\nworker-{place}\r\n"));
        assert_eq!(client_id(wire), ids[place]);
        let info = wire.ask("CLIENT INFO");
        assert!(info.contains(&format!("id={} ", ids[place])) && info.contains(&format!(" name=worker-{place} ")), "{info}");
        assert!(info.contains(&format!(" addr={} ", wire.local())), "{info}");
    }
    let list = wires[0].ask("CLIENT LIST");
    for (place, id) in ids.iter().enumerate() {
        let line = list.lines().find(|line| line.starts_with(&format!("id={id} "))).expect("each is listed");
        assert!(line.contains(&format!(" name=worker-{place} ")), "{line}");
    }
    assert_eq!(
        wires[0].ask(&format!("CLIENT LIST ID {}", ids[3])).matches("id=").count()
            - wires[0].ask("CLIENT LIST ID 99999999").matches("id=").count(),
        1
    );
    let mut three = proxy.wire();
    three.ask("HELLO 3 SETNAME third");
    assert_eq!(three.ask("CLIENT GETNAME"), "$5\r\nthird\r\n");
    assert!(three.ask("CLIENT INFO").starts_with('='), "text is a verbatim string in RESP3");
    assert!(redis.info("clients", "connected_clients") < 8, "none of this takes connections");
}

#[test]
fn client_info_has_every_field_of_redis_because_libraries_insist_on_them() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).start();
    let fields = |text: &str| -> Vec<String> {
        let line = text.lines().find(|line| line.starts_with("id=")).expect("a line about the client");
        line.split(' ').filter_map(|field| Some(field.split_once('=')?.0.to_owned())).collect()
    };
    let (own, through) = (fields(&redis.ask("CLIENT INFO")), fields(&proxy.wire().ask("CLIENT INFO")));
    assert!(own.len() > 20);
    for field in &own {
        assert!(through.contains(field), "{field} is not in {through:?}");
    }
}

#[test]
fn a_client_on_a_connection_of_its_own_is_known_by_what_hello_and_select_said() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).upstream("sharing = \"never\"").start();
    let mut wire = proxy.wire();
    assert_eq!(wire.pipeline(&["HELLO 3", "CLIENT GETNAME"])[1], "_\r\n");
    let replies = wire.pipeline(&["HELLO 3 SETNAME me", "SELECT 99", "SELECT 3", "CLIENT GETNAME", "CLIENT INFO"]);
    assert!(replies[1].starts_with("-ERR DB index"), "{replies:?}");
    assert_eq!(replies[3], "$2\r\nme\r\n");
    assert!(replies[4].starts_with('=') && replies[4].contains(" db=3 ") && replies[4].contains(" resp=3"), "{replies:?}");
}

#[test]
fn client_kill_ends_clients_of_the_proxy_on_any_worker() {
    let (redis, proxy) = Proxy::with_redis("");
    let mut killer = proxy.wire();
    for by_address in [false, false, true, true] {
        let mut victim = proxy.wire();
        let id = client_id(&mut victim);
        let line = if by_address { format!("CLIENT KILL ADDR {}", victim.local()) } else { format!("CLIENT KILL ID {id}") };
        assert_eq!(killer.ask(&line), ":1\r\n");
        assert_eq!(victim.until_closed(), b"");
        eventually("it is gone", || killer.ask(&line) == ":0\r\n");
    }
    let mut victim = proxy.wire();
    client_id(&mut victim);
    assert_eq!(killer.ask(&format!("CLIENT KILL {}", victim.local())), "+OK\r\n");
    assert_eq!(victim.until_closed(), b"");
    let mut blocked = proxy.wire();
    let id = client_id(&mut blocked);
    blocked.send_line("BLPOP q 0");
    eventually("it is blocked", || redis.info("clients", "blocked_clients") == 1);
    assert_eq!(killer.ask(&format!("CLIENT KILL ID {id}")), ":1\r\n");
    assert_eq!(blocked.until_closed(), b"");
    eventually("nobody is blocked", || redis.info("clients", "blocked_clients") == 0);
    let own = client_id(&mut killer);
    killer.send_line(&format!("CLIENT KILL ID {own} SKIPME no"));
    assert_eq!(text(&killer.until_closed()), ":1\r\n");
}

#[test]
fn reset_takes_everything_back() {
    let redis = RedisServer::start(&USERS);
    let proxy = Proxy::start("", &redis);
    let mut wire = proxy.wire();
    wire.pipeline(&["SELECT 2", "CLIENT SETNAME me", "SET k in-two", "MULTI"]);
    assert_eq!(wire.ask("RESET"), "+RESET\r\n");
    assert_eq!(wire.pipeline(&["GET k", "CLIENT GETNAME", "EXEC"]), ["$-1\r\n", "$-1\r\n", "-ERR EXEC without MULTI\r\n"]);
    wire.ask("HELLO 3 AUTH reader reads");
    assert_eq!(wire.pipeline(&["RESET", "GET private:k"]), ["+RESET\r\n", "$-1\r\n"]);
    wire.send(&requests(&["SUBSCRIBE a", "RESET", "GET none", "SET k v"]));
    assert_eq!(wire.replies(4)[1..], [b"+RESET\r\n".to_vec(), b"$-1\r\n".to_vec(), b"+OK\r\n".to_vec()]);
    assert_eq!(proxy.wire().ask("PUBLISH a x"), ":0\r\n");
}

#[test]
fn with_credentials_of_its_own_the_proxy_logs_in_for_its_clients() {
    let redis = RedisServer::start(&USERS);
    let upstream = "username = \"writer\"\npassword_env = \"TEST_PASSWORD\"";
    let proxy = Setup::new(&redis).upstream(upstream).environment("TEST_PASSWORD", "writes").start();
    let mut wire = proxy.wire();
    assert_eq!(wire.pipeline(&["SET k v", "GET k", "SELECT 1", "GET k"])[1..], ["$1\r\nv\r\n", "+OK\r\n", "$-1\r\n"]);
    assert!(wire.ask("ACL WHOAMI").contains("writer") || wire.ask("ACL WHOAMI").starts_with("-NOPERM"));
    assert!(wire.ask("HELLO 3").starts_with('%'));
    assert_eq!(wire.ask("GET none"), "_\r\n");
    assert_eq!(wire.ask("BLPOP q 0.01"), "_\r\n");
    assert!(wire.ask("FLUSHALL").starts_with("-NOPERM"), "with that user's rights");
    assert!(!proxy.log().contains("writes"), "{}", proxy.log());
}

#[test]
fn what_every_client_library_says_first_takes_no_connection_of_its_own() {
    let (redis, proxy) = Proxy::with_redis("");
    let lines =
        ["CLIENT SETNAME app", "CLIENT SETINFO LIB-NAME redis-py", "CLIENT SETINFO LIB-VER 8.0.0", "CLIENT GETNAME", "CLIENT ID"];
    // Redis 7.0 has no CLIENT SETINFO, and then the proxy has none.
    let own = redis.ask(lines[1]);
    let mut wires: Vec<Wire> = (0..20).map(|_| proxy.wire()).collect();
    for wire in &mut wires {
        wire.ask("HELLO 3");
        let replies = wire.pipeline(&lines);
        assert_eq!(replies[..3], ["+OK\r\n", &own, &own]);
        wire.ask("SET k v");
    }
    assert!(redis.info("clients", "connected_clients") <= 8, "{}", redis.ask("CLIENT LIST"));
}

#[test]
fn a_client_with_a_connection_of_its_own_is_answered_in_its_protocol() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).upstream("sharing = \"never\"").start();
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("CLIENT GETNAME"), "$-1\r\n");
    assert!(wire.ask("HELLO 3").starts_with('%'));
    assert_eq!(wire.ask("CLIENT GETNAME"), "_\r\n");
    assert!(wire.ask("CLIENT INFO").starts_with('='));
}

#[test]
fn commands_about_clients_need_the_servers_permission() {
    let redis = RedisServer::start(&["--requirepass x", "--user", "poor on >p ~* &* +@all -client"]);
    let proxy = Setup::new(&redis).start();
    let mut wire = proxy.wire();
    for line in ["CLIENT ID", "CLIENT LIST", "CLIENT SETNAME x", "CLIENT KILL ID 1 SKIPME no"] {
        let reply = wire.ask(line);
        assert!(reply.starts_with("-NOAUTH "), "{line}: {reply}");
    }
    assert_eq!(wire.ask("AUTH poor p"), "+OK\r\n");
    for line in ["CLIENT ID", "CLIENT INFO", "CLIENT LIST", "CLIENT GETNAME", "CLIENT SETNAME x", "CLIENT KILL ID 1 SKIPME no"] {
        assert!(wire.ask(line).starts_with("-NOPERM "), "{line}");
    }
    assert_eq!(wire.ask("AUTH x"), "+OK\r\n");
    assert_eq!(wire.ask("CLIENT GETNAME"), "$-1\r\n");
}

#[test]
fn within_a_transaction_too_commands_about_clients_speak_of_the_proxys_clients() {
    let twin = Twin::start("");
    let mut pair = twin.pair();
    let lines = ["MULTI", "CLIENT GETNAME", "SET k 1", "CLIENT SETNAME me", "INCR k", "CLIENT GETNAME", "EXEC", "CLIENT GETNAME"];
    pair.same(&lines.iter().flat_map(|line| request(line)).collect::<Vec<_>>(), lines.len());
    for line in ["MULTI", "CLIENT SETNAME other", "MULTI", "WATCH k", "CLIENT GETNAME", "INCR k", "EXEC"] {
        pair.same_line(line);
    }
    for line in ["MULTI", "CLIENT SETNAME never", "NOSUCH", "EXEC", "CLIENT GETNAME", "MULTI", "CLIENT SETNAME never", "DISCARD"]
    {
        pair.same_line(line);
    }
    pair.same_line("CLIENT GETNAME");
    let mut wire = twin.proxy.wire();
    let id = wire.ask("CLIENT ID");
    assert_eq!(wire.pipeline(&["MULTI", "CLIENT ID", "EXEC"])[2], format!("*1\r\n{id}"));
    let mut victim = twin.proxy.wire();
    let kill = format!("CLIENT KILL ID {}", victim.ask("CLIENT ID").trim_start_matches(':').trim());
    assert_eq!(wire.pipeline(&["MULTI", &kill, "PING", "EXEC"])[3], "*2\r\n:1\r\n+PONG\r\n");
    assert_eq!(victim.until_closed(), b"");
    let kill = format!("CLIENT KILL ID {} SKIPME no", id.trim_start_matches(':').trim());
    wire.send(&[request("MULTI"), request(&kill), request("EXEC"), request("PING")].concat());
    assert_eq!(text(&wire.until_closed()), "+OK\r\n+QUEUED\r\n*1\r\n:1\r\n");
}

#[test]
fn hello_within_a_transaction_tells_the_servers_id() {
    let redis = RedisServer::start(&[]);
    let before: Vec<_> = (0..20).map(|_| redis.wire().ask("CLIENT ID")).collect();
    assert_eq!(before.len(), 20, "the server's ids are beyond those of the proxy");
    let proxy = Proxy::start("", &redis);
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("CLIENT ID"), ":1\r\n");
    assert_eq!([wire.ask("MULTI"), wire.ask("HELLO 2")], ["+OK\r\n", "+QUEUED\r\n"]);
    let told = wire.ask("EXEC");
    let id: i64 =
        told.split("$2\r\nid\r\n:").nth(1).and_then(|id| id.split("\r\n").next()).and_then(|id| id.parse().ok()).expect("an id");
    assert!(id > 20, "{told}");
    assert_eq!(wire.ask("CLIENT ID"), ":1\r\n");
}
