//! GET /clients and POST /clients/kill: lists the connected clients, and closes one.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use strum::{IntoStaticStr, VariantArray};

use super::AdminState;
use crate::net::http::problem;
use crate::net::registry::{Activity, Client, Message};

/// Clients in one answer, unless more or fewer are asked for.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1000;

/// Which clients, and in which order. Texts are meant as parts: `redis-py` is all its versions.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ListParams {
    id: Option<u64>,
    address: Option<String>,
    name: Option<String>,
    library: Option<String>,
    user: Option<String>,
    command: Option<String>,
    sort: Option<Sort>,
    limit: Option<usize>,
}

/// By what clients are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, IntoStaticStr, VariantArray)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Sort {
    Id,
    Requests,
    Violations,
    Timeouts,
    Age,
    Idle,
    Output,
}

impl Sort {
    /// Every one, as a reader goes through them.
    pub const ALL: &[Sort] = Sort::VARIANTS;

    /// Its word in `sort=`.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The next one, behind the last the first.
    pub fn next(self) -> Sort {
        let at = Sort::ALL.iter().position(|sort| *sort == self).unwrap_or_default();
        Sort::ALL[(at + 1) % Sort::ALL.len()]
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KillParams {
    id: u64,
}

pub(super) async fn list(State(state): State<AdminState>, asked: Result<Query<ListParams>, QueryRejection>) -> Response {
    let Ok(Query(asked)) = asked else {
        let expected = "expected id=, address=, name=, library=, user=, command= (parts of them), \
                        sort=id|requests|violations|timeouts|age|idle|output, limit=";
        return problem(StatusCode::BAD_REQUEST, expected, &[]);
    };
    let registry = &state.status.registry;
    let mut activities = registry.activities().await;
    let clients = registry.clients();
    let total = clients.len();
    let mut matching: Vec<ListedClient> = clients.into_iter().map(|client| ListedClient::of(client, &mut activities)).collect();
    matching.retain(|told| asked.is_met_by(told));
    // The newest or largest first, but those by number in their order.
    match asked.sort.unwrap_or(Sort::Id) {
        Sort::Id => {}
        Sort::Requests => matching.sort_by_key(|told| Reverse(told.doing.requests)),
        Sort::Violations => matching.sort_by_key(|told| Reverse(told.doing.violations)),
        Sort::Timeouts => matching.sort_by_key(|told| Reverse(told.doing.timeouts)),
        Sort::Age => matching.sort_by_key(|told| told.client.connected_at),
        Sort::Idle => matching.sort_by_key(|told| Reverse(told.doing.idle)),
        Sort::Output => matching.sort_by_key(|told| Reverse(told.doing.output)),
    }
    let limit = asked.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
    let shown: Vec<_> = matching.iter().take(limit).map(ListedClient::shown).collect();
    Json(json!({ "total": total, "matching": matching.len(), "clients": shown })).into_response()
}

/// As CLIENT KILL ID does.
pub(super) async fn kill(State(state): State<AdminState>, wanted: Result<Query<KillParams>, QueryRejection>) -> Response {
    let Ok(Query(KillParams { id })) = wanted else {
        return problem(StatusCode::BAD_REQUEST, "expected id=, the number that /clients shows", &[]);
    };
    let Some(client) = state.status.registry.client(id).filter(|client| client.kill()) else {
        return problem(StatusCode::NOT_FOUND, "no such client; it may have left", &[]);
    };
    // Without its worker it is gone already.
    let _ = client.worker.send(Message::Kill(id)).await;
    tracing::info!(id, client = %client.peer, "an operator has closed a client's connection");
    Json(json!({ "killed": id, "address": &*client.peer })).into_response()
}

struct ListedClient {
    client: Arc<Client>,
    doing: Activity,
    name: String,
    library: String,
    user: String,
    db: u32,
    protocol: u8,
}

impl ListedClient {
    fn of(client: Arc<Client>, activities: &mut HashMap<u64, Activity>) -> ListedClient {
        let details = client.details();
        let word = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        ListedClient {
            doing: activities.remove(&client.id).unwrap_or_default(),
            name: word(&details.name),
            library: details.library(),
            user: word(&details.user),
            db: details.db,
            protocol: details.protocol.number(),
            client,
        }
    }

    fn shown(&self) -> Value {
        let ListedClient { client, doing, name, library, user, db, protocol } = self;
        json!({
            "id": client.id,
            "address": &*client.peer,
            "local": &*client.local,
            "name": name,
            "library": library,
            "user": user,
            "db": db,
            "protocol": protocol,
            "age_seconds": client.connected_at.elapsed().as_secs(),
            "idle_seconds": doing.idle.as_secs(),
            "requests": doing.requests,
            "violations": doing.violations,
            "timeouts": doing.timeouts,
            "command": &*doing.command,
            "blocked": doing.is_blocked,
            "queued": doing.queued,
            "subscriptions": doing.channels + doing.patterns + doing.shard_channels,
            "input_bytes": doing.input.0,
            "output_bytes": doing.output,
        })
    }
}

impl ListParams {
    fn is_met_by(&self, told: &ListedClient) -> bool {
        let has = |wanted: &Option<String>, text: &str| {
            wanted.as_ref().is_none_or(|wanted| text.to_lowercase().contains(&wanted.to_lowercase()))
        };
        self.id.is_none_or(|id| id == told.client.id)
            && has(&self.address, &told.client.peer)
            && has(&self.name, &told.name)
            && has(&self.library, &told.library)
            && has(&self.user, &told.user)
            && has(&self.command, &told.doing.command)
    }
}
