//! The `fred` crate: tasks that share one connection.

use std::collections::BTreeMap;
use std::time::Duration;

use fred::clients::Client;
use fred::interfaces::{ClientLike, KeysInterface, SetsInterface};
use fred::prelude::{Builder, ServerConfig};
use fred::types::config::Config;
use fred::types::{CustomCommand, Expiration, RespVersion, Value};

use crate::job::{Group, Job, KILLED, Replies, SECONDS};

pub const STYLES: &[&str] = &["pipeline", "pipelines", "loose", "loose-many"];

pub async fn play(job: &Job) -> Vec<u64> {
    let client = connect(job.port).await;
    let own = client.clone();
    let took_us = match job.style.as_str() {
        "pipeline" | "pipelines" => job.play(move |group| piped(own.clone(), group)).await,
        _ => job.play(move |group| loose(own.clone(), group)).await,
    };
    client.quit().await.expect("QUIT");
    took_us
}

async fn connect(port: u16) -> Client {
    let server = ServerConfig::new_centralized("127.0.0.1", port);
    let mut builder = Builder::from_config(Config { server, version: RespVersion::RESP3, ..Config::default() });
    builder.with_performance_config(|performance| performance.default_command_timeout = Duration::from_secs(10));
    let client = builder.build().expect("a client");
    client.init().await.expect("a connection");
    client
}

async fn piped(client: Client, group: Group) -> Replies {
    let all = note(&client, &group).await;
    all.all().await.expect("a group")
}

async fn note(client: &Client, group: &Group) -> fred::clients::Pipeline<Client> {
    let all = client.pipeline();
    let _: () = all.set(&group.key, &group.value, expiry(), None, false).await.expect("it is only noted");
    let _: () = all.sadd(&group.sessions, &group.token).await.expect("it is only noted");
    let _: () = all.expire(&group.sessions, SECONDS.into(), None).await.expect("it is only noted");
    let _: () = all.smembers(&group.sessions).await.expect("it is only noted");
    all
}

fn expiry() -> Option<Expiration> {
    Some(Expiration::EX(SECONDS.into()))
}

async fn loose(client: Client, group: Group) -> Replies {
    let all = tokio::join!(
        client.set(&group.key, &group.value, expiry(), None, false),
        client.sadd(&group.sessions, &group.token),
        client.expire(&group.sessions, SECONDS.into(), None),
        client.smembers(&group.sessions),
    );
    (all.0.expect("SET"), all.1.expect("SADD"), all.2.expect("EXPIRE"), all.3.expect("SMEMBERS"))
}

/// What the client shows its user, as text.
pub async fn checks(port: u16) -> BTreeMap<&'static str, Vec<String>> {
    let (own, other) = (connect(port).await, connect(port).await);
    let group = Group::new("bad", "t", 1);
    let pong: Value = own.ping(None).await.expect("PING");
    let _: () = own.set(&group.sessions, "text", None, None, false).await.expect("SET");
    let first = note(&own, &group).await.all::<Replies>().await.map_err(|error| error.to_string());
    let each: Vec<Result<Value, _>> = note(&own, &group).await.try_all().await;
    let _: () = other.del("killed").await.expect("DEL");
    let command = || CustomCommand::new_static("CLIENT", None::<u16>, false);
    let id: String = own.custom(command(), vec!["ID"]).await.expect("CLIENT ID");
    let _: Value = other.custom(command(), vec!["KILL", "ID", id.as_str()]).await.expect("CLIENT KILL");
    tokio::time::sleep(KILLED).await;
    let incremented: Result<i64, _> = own.incr("killed").await;
    BTreeMap::from([
        ("handshake", vec![format!("{pong:?}")]),
        ("error in a group", vec![format!("{first:?}"), format!("{each:?}")]),
        ("killed connection", vec![format!("{:?}", incremented.map_err(|error| error.to_string()))]),
    ])
}
