//! The checks for the `redis` crate: blocking connections, and the multiplexed asynchronous one.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, Client, Commands, Connection, ErrorKind, Pipeline, RedisResult, ServerErrorKind, Value, cmd, pipe};

const GROUPS: u32 = 25;
const BIG: usize = 1 << 20;

/// Every check over blocking connections; the number of groups sent.
pub fn blocking(port: u16, protocol: &str) -> u32 {
    let connect = || client(port, 0, protocol).get_connection().expect("a connection");
    let mut connection = connect();
    plain_commands(&mut connection);
    let groups = groups(&mut connection);
    transactions(&mut connection, &mut connect());
    publish(&mut connection, &mut connect());
    blocking_pop(&mut connection, connect());
    errors(&mut connection);
    select(&mut connection, &client(port, 1, protocol));
    scripts(&mut connection);
    groups
}

/// Every check over one multiplexed connection; the number of groups sent.
pub async fn multiplexed(port: u16, protocol: &str) -> u32 {
    let connection = client(port, 0, protocol).get_multiplexed_async_connection().await.expect("a connection");
    let mut own = connection.clone();
    let () = own.set("plain:a", "1").await.expect("SET");
    assert_eq!(own.get::<_, String>("plain:a").await.expect("GET"), "1");
    let value = "x".repeat(BIG);
    let () = own.set("big", &value).await.expect("SET of 1 MB");
    assert!(own.get::<_, String>("big").await.expect("GET of 1 MB") == value);
    many_tasks(&connection).await;
    for n in 0..GROUPS {
        let replies: (String, u8, u8, Vec<String>) = session(&format!("m{n}")).query_async(&mut own).await.expect("a group");
        assert_eq!(replies, ("OK".to_owned(), 1, 1, vec!["t".to_owned()]));
    }
    let mut transaction = pipe();
    transaction.atomic().set("tx:m", 1).ignore().incr("tx:m", 1);
    assert_eq!(transaction.query_async::<(i64,)>(&mut own).await.expect("EXEC"), (2,));
    GROUPS + groups_of_many_tasks(&connection).await
}

fn client(port: u16, db: u8, protocol: &str) -> Client {
    Client::open(format!("redis://127.0.0.1:{port}/{db}?protocol={protocol}")).expect("a valid address")
}

fn plain_commands(connection: &mut Connection) {
    let () = cmd("FLUSHALL").query(connection).expect("FLUSHALL");
    let bytes = b"\x00\r\n$-1\r\n\xff".to_vec();
    let () = connection.set("plain:b", &bytes).expect("SET");
    assert_eq!(connection.get::<_, Vec<u8>>("plain:b").expect("GET"), bytes);
    assert_eq!(connection.get::<_, Option<String>>("plain:none").expect("GET"), None);
    let value = "x".repeat(BIG);
    let () = connection.set("big", &value).expect("SET of 1 MB");
    assert!(connection.get::<_, String>("big").expect("GET of 1 MB") == value);
    let mut all = pipe();
    for _ in 0..500 {
        all.incr("pipe:n", 1);
    }
    assert_eq!(all.query::<Vec<u32>>(connection).expect("500 INCR"), (1..=500).collect::<Vec<_>>());
    let () = cmd("CLIENT").arg("SETNAME").arg("named").query(connection).expect("CLIENT SETNAME");
    assert_eq!(cmd("CLIENT").arg("GETNAME").query::<String>(connection).expect("CLIENT GETNAME"), "named");
}

fn session(user: &str) -> Pipeline {
    let (token, sessions) = (format!("rt:{user}:t"), format!("sess:{user}"));
    let mut group = pipe();
    group.set_ex(token, "v", 60).sadd(&sessions, "t").expire(&sessions, 60).smembers(&sessions);
    group
}

fn groups(connection: &mut Connection) -> u32 {
    for n in 0..GROUPS {
        let replies: (String, u8, u8, Vec<String>) = session(&format!("s{n}")).query(connection).expect("a group");
        assert_eq!(replies, ("OK".to_owned(), 1, 1, vec!["t".to_owned()]));
        assert_eq!(connection.ttl::<_, i64>(format!("sess:s{n}")).expect("TTL"), 60);
    }
    GROUPS
}

fn transactions(connection: &mut Connection, other: &mut Connection) {
    let own: (i64,) = pipe().atomic().set("tx", 1).ignore().incr("tx", 1).query(connection).expect("EXEC");
    assert_eq!(own, (2,));
    let () = cmd("WATCH").arg("watched").query(connection).expect("WATCH");
    let () = other.set("watched", "other").expect("SET by another client");
    let stopped: Option<(String,)> = pipe().atomic().set("watched", "mine").query(connection).expect("EXEC");
    assert_eq!(stopped, None, "EXEC after a change");
    assert_eq!(connection.get::<_, String>("watched").expect("GET"), "other");
}

fn publish(connection: &mut Connection, subscriber: &mut Connection) {
    subscriber.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let mut messages = subscriber.as_pubsub();
    messages.subscribe("news").expect("SUBSCRIBE");
    assert_eq!(connection.publish::<_, _, u8>("news", "hello").expect("PUBLISH"), 1);
    let message = messages.get_message().expect("a message");
    assert_eq!(message.get_payload::<String>().expect("text"), "hello");
    messages.unsubscribe("news").expect("UNSUBSCRIBE");
}

fn blocking_pop(connection: &mut Connection, mut popping: Connection) {
    let waiting = std::thread::spawn(move || popping.blpop::<_, Option<(String, String)>>("queue", 10.0));
    let () = connection.rpush("queue", "job").expect("RPUSH");
    let popped = waiting.join().expect("no panic").expect("BLPOP");
    assert_eq!(popped, Some(("queue".to_owned(), "job".to_owned())));
    assert_eq!(connection.blpop::<_, Option<(String, String)>>("queue", 0.1).expect("BLPOP"), None);
}

fn errors(connection: &mut Connection) {
    let () = connection.set("text", "x").expect("SET");
    let mut all = pipe();
    all.set("before", 1).sadd("text", "m").get("before").ignore_errors();
    let replies: Vec<RedisResult<Value>> = all.query(connection).expect("a pipeline with an error");
    assert_eq!(replies.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    let error = replies[1].as_ref().expect_err("SADD to a string");
    assert_eq!(error.code(), Some("WRONGTYPE"), "{error}");
}

fn select(connection: &mut Connection, first: &Client) {
    let mut other = first.get_connection().expect("a connection");
    let () = connection.set("where", "zero").expect("SET");
    let () = other.set("where", "one").expect("SET");
    let seen = (connection.get::<_, String>("where"), other.get::<_, String>("where"));
    assert_eq!((seen.0.expect("GET"), seen.1.expect("GET")), ("zero".to_owned(), "one".to_owned()));
}

fn scripts(connection: &mut Connection) {
    let missing = cmd("EVALSHA").arg("f".repeat(40)).arg(0).query::<Value>(connection).expect_err("no such script");
    assert_eq!(missing.kind(), ErrorKind::Server(ServerErrorKind::NoScript));
    let add = "return redis.call('INCRBY', KEYS[1], ARGV[1])";
    assert_eq!(cmd("EVAL").arg(add).arg(1).arg("script:n").arg(4).query::<i64>(connection).expect("EVAL"), 4);
}

async fn many_tasks(connection: &MultiplexedConnection) {
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let mut own = connection.clone();
            tokio::spawn(async move { own.incr::<_, _, u32>("many", 1).await.expect("INCR") })
        })
        .collect();
    let mut seen = Vec::new();
    for task in tasks {
        seen.push(task.await.expect("no panic"));
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=50).collect::<Vec<_>>());
}

async fn groups_of_many_tasks(connection: &MultiplexedConnection) -> u32 {
    let one = |n: u32| {
        let mut own = connection.clone();
        async move { session(&format!("t{n}")).query_async::<(String, u8, u8, Vec<String>)>(&mut own).await }
    };
    let tasks: Vec<_> = (0..GROUPS).map(|n| tokio::spawn(one(n))).collect();
    for task in tasks {
        let replies = task.await.expect("no panic").expect("a group");
        assert_eq!(replies, ("OK".to_owned(), 1, 1, vec!["t".to_owned()]));
    }
    GROUPS
}
