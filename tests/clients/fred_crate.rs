//! The checks for the `fred` crate, which sends inline HELLO and cuts its pipelines into several writes.

use std::time::{Duration, Instant};

use fred::clients::{Client, SubscriberClient};
use fred::error::{Error, ErrorKind};
use fred::interfaces::{
    ClientLike, EventInterface, KeysInterface, ListInterface, LuaInterface, PubsubInterface, SetsInterface, TransactionInterface,
};
use fred::prelude::{Builder, ServerConfig};
use fred::types::config::Config;
use fred::types::{Expiration, RespVersion, Value};

const GROUPS: u32 = 25;
const BIG: usize = 1 << 20;

/// Every check; the number of groups sent.
pub async fn all(port: u16, version: RespVersion) -> u32 {
    let client = connect(port, version.clone(), None).await;
    let _: () = client.flushall(false).await.expect("FLUSHALL");
    plain_commands(&client).await;
    transaction(&client).await;
    blocking_pop(&client, &connect(port, version.clone(), None).await).await;
    publish(&client, port, version.clone()).await;
    errors(&client).await;
    select(&client, &connect(port, version, Some(1)).await).await;
    let added: i64 = client.eval("return redis.call('INCRBY', KEYS[1], ARGV[1])", "script:n", 4).await.expect("EVAL");
    assert_eq!(added, 4);
    groups(&client).await
}

fn builder(port: u16, version: RespVersion, database: Option<u8>) -> Builder {
    let server = ServerConfig::new_centralized("127.0.0.1", port);
    let mut builder = Builder::from_config(Config { server, version, database, ..Config::default() });
    builder.with_performance_config(|performance| performance.default_command_timeout = Duration::from_secs(10));
    builder
}

async fn connect(port: u16, version: RespVersion, database: Option<u8>) -> Client {
    let client = builder(port, version, database).build().expect("a client");
    client.init().await.expect("a connection");
    client
}

async fn plain_commands(client: &Client) {
    let value = "x".repeat(BIG);
    let _: () = client.set("big", &value, None, None, false).await.expect("SET of 1 MB");
    assert!(client.get::<String, _>("big").await.expect("GET of 1 MB") == value);
    assert_eq!(client.get::<Option<String>, _>("none").await.expect("GET"), None);
    let all = client.pipeline();
    for _ in 0..500 {
        let _: () = all.incr("pipe:n").await.expect("it is only noted");
    }
    assert_eq!(all.all::<Vec<u32>>().await.expect("500 INCR"), (1..=500).collect::<Vec<_>>());
}

async fn transaction(client: &Client) {
    let own = client.multi();
    let _: () = own.set("tx", 1, None, None, false).await.expect("it is only noted");
    let _: () = own.incr("tx").await.expect("it is only noted");
    assert_eq!(own.exec::<(String, i64)>(true).await.expect("EXEC"), ("OK".to_owned(), 2));
}

async fn blocking_pop(client: &Client, popping: &Client) {
    let popped = popping.blpop::<Option<(String, String)>, _>("queue", 5.0);
    let pushed = client.rpush::<i64, _, _>("queue", "job");
    let (popped, pushed) = tokio::join!(popped, pushed);
    assert_eq!(pushed.expect("RPUSH"), 1);
    assert_eq!(popped.expect("BLPOP"), Some(("queue".to_owned(), "job".to_owned())));
}

async fn publish(client: &Client, port: u16, version: RespVersion) {
    let subscriber: SubscriberClient = builder(port, version, None).build_subscriber_client().expect("a client");
    subscriber.init().await.expect("a connection");
    let mut messages = subscriber.message_rx();
    subscriber.subscribe("news").await.expect("SUBSCRIBE");
    // In RESP3 fred does not wait for the confirmation: its PUBLISH may come before its SUBSCRIBE.
    let deadline = Instant::now() + Duration::from_secs(10);
    while client.publish::<i64, _, _>("news", "hello").await.expect("PUBLISH") == 0 {
        assert!(Instant::now() < deadline, "nobody is subscribed");
    }
    let message = tokio::time::timeout(Duration::from_secs(10), messages.recv()).await.expect("in time").expect("a message");
    assert_eq!(message.value, Value::from("hello"));
    subscriber.quit().await.expect("QUIT");
}

async fn errors(client: &Client) {
    let _: () = client.set("text", "x", None, None, false).await.expect("SET");
    let all = client.pipeline();
    let _: () = all.set("before", 1, None, None, false).await.expect("it is only noted");
    let _: () = all.sadd("text", "m").await.expect("it is only noted");
    let _: () = all.get("before").await.expect("it is only noted");
    let replies: Vec<Result<Value, Error>> = all.try_all().await;
    assert_eq!(replies.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    let error = replies[1].as_ref().expect_err("SADD to a string");
    assert_eq!(error.kind(), &ErrorKind::InvalidArgument, "{error}");
    assert!(error.details().starts_with("WRONGTYPE"), "{error}");
}

async fn select(client: &Client, other: &Client) {
    let _: () = client.set("where", "zero", None, None, false).await.expect("SET");
    let _: () = other.set("where", "one", None, None, false).await.expect("SET");
    let seen: (String, String) = (client.get("where").await.expect("GET"), other.get("where").await.expect("GET"));
    assert_eq!(seen, ("zero".to_owned(), "one".to_owned()));
}

async fn groups(client: &Client) -> u32 {
    for n in 0..GROUPS {
        let (token, sessions) = (format!("rt:f{n}:t"), format!("sess:f{n}"));
        let group = client.pipeline();
        let _: () = group.set(token, "v", Some(Expiration::EX(60)), None, false).await.expect("it is only noted");
        let _: () = group.sadd(&sessions, "t").await.expect("it is only noted");
        let _: () = group.expire(&sessions, 60, None).await.expect("it is only noted");
        let _: () = group.smembers(&sessions).await.expect("it is only noted");
        let replies: (String, u8, u8, Vec<String>) = group.all().await.expect("a group");
        assert_eq!(replies, ("OK".to_owned(), 1, 1, vec!["t".to_owned()]));
    }
    GROUPS
}
