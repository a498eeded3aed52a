//! The `redis` crate: a blocking connection, and tasks that share a multiplexed one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, AsyncConnectionConfig, Client, Pipeline, Value, cmd, pipe};
use tokio::runtime::Runtime;

use crate::job::{Group, Job, KILLED, Replies, SECONDS, check};

pub const STYLES: &[&str] = &["pipeline", "pipelines", "loose", "loose-many", "sequential-many"];

pub fn play(runtime: &Runtime, job: &Job) -> Vec<u64> {
    if job.style == "pipeline" {
        return blocking(job);
    }
    runtime.block_on(async {
        let connection = connect(job.port).await;
        match job.style.as_str() {
            "pipelines" => job.play(move |group| piped(connection.clone(), group)).await,
            "sequential-many" => job.play(move |group| sequential(connection.clone(), group)).await,
            _ => job.play(move |group| loose(connection.clone(), group)).await,
        }
    })
}

fn client(port: u16) -> Client {
    Client::open(format!("redis://127.0.0.1:{port}/")).expect("a valid address")
}

async fn connect(port: u16) -> MultiplexedConnection {
    let patient = AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(60)));
    client(port).get_multiplexed_async_connection_with_config(&patient).await.expect("a connection")
}

fn blocking(job: &Job) -> Vec<u64> {
    let mut connection = client(job.port).get_connection().expect("a connection");
    let play = |group: Group| {
        let start = Instant::now();
        let replies = note(&group).query(&mut connection).expect("a group");
        let took = start.elapsed().as_micros() as u64;
        check(&group.token, &replies);
        took
    };
    job.groups(0).map(play).collect()
}

fn note(group: &Group) -> Pipeline {
    let mut all = pipe();
    all.set_ex(&group.key, &group.value, SECONDS.into()).sadd(&group.sessions, &group.token);
    all.expire(&group.sessions, SECONDS.into()).smembers(&group.sessions);
    all
}

async fn piped(mut connection: MultiplexedConnection, group: Group) -> Replies {
    note(&group).query_async(&mut connection).await.expect("a group")
}

async fn loose(connection: MultiplexedConnection, group: Group) -> Replies {
    let (mut first, mut second, mut third, mut fourth) = (connection.clone(), connection.clone(), connection.clone(), connection);
    let all = tokio::join!(
        first.set_ex(&group.key, &group.value, SECONDS.into()),
        second.sadd(&group.sessions, &group.token),
        third.expire(&group.sessions, SECONDS.into()),
        fourth.smembers(&group.sessions),
    );
    (all.0.expect("SETEX"), all.1.expect("SADD"), all.2.expect("EXPIRE"), all.3.expect("SMEMBERS"))
}

async fn sequential(mut connection: MultiplexedConnection, group: Group) -> Replies {
    let ok = connection.set_ex(&group.key, &group.value, SECONDS.into()).await.expect("SETEX");
    let added = connection.sadd(&group.sessions, &group.token).await.expect("SADD");
    let expires = connection.expire(&group.sessions, SECONDS.into()).await.expect("EXPIRE");
    (ok, added, expires, connection.smembers(&group.sessions).await.expect("SMEMBERS"))
}

/// What the client shows its user, as text.
pub async fn checks(port: u16) -> BTreeMap<&'static str, Vec<String>> {
    let (mut own, mut other) = (connect(port).await, connect(port).await);
    let named: Value = cmd("CLIENT").arg("SETNAME").arg("named").query_async(&mut own).await.expect("CLIENT SETNAME");
    let name: Value = cmd("CLIENT").arg("GETNAME").query_async(&mut own).await.expect("CLIENT GETNAME");
    let group = Group::new("bad", "t", 1);
    let _: () = own.set(&group.sessions, "text").await.expect("SET");
    let error = note(&group).query_async::<Replies>(&mut own).await.map_err(|error| error.to_string());
    let id: u64 = cmd("CLIENT").arg("ID").query_async(&mut own).await.expect("CLIENT ID");
    let _: () = other.del("killed").await.expect("DEL");
    let _: Value = cmd("CLIENT").arg("KILL").arg("ID").arg(id).query_async(&mut other).await.expect("CLIENT KILL");
    tokio::time::sleep(KILLED).await;
    let lost = own.incr::<_, _, i64>("killed", 1).await;
    let left: Value = other.get("killed").await.expect("GET");
    BTreeMap::from([
        ("handshake", vec![format!("{named:?} {name:?}")]),
        ("error in a group", vec![format!("{error:?}")]),
        ("killed connection", vec![format!("{}", lost.is_err()), format!("{left:?}")]),
    ])
}
