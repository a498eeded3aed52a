//! GET /history: the last hour by the minute.

use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use super::AdminState;
use crate::telemetry::history::{MINUTES, Minute, SecondSample, ViolationCount, begin_ms};
use crate::telemetry::label::BreakerState;
use crate::telemetry::record::unix_ms;

const SECOND: Duration = Duration::from_secs(1);
/// A process that has just started is given so long to reach its server.
const START: Duration = Duration::from_secs(3);

pub(super) async fn history(State(state): State<AdminState>) -> Json<Value> {
    let now = SystemTime::now();
    let hour = state.reporter.history().hour(now);
    Json(json!({
        "now_ms": unix_ms(now),
        "minutes_max": MINUTES,
        "minutes": hour.minutes.iter().map(minute).collect::<Vec<_>>(),
        "violations": hour.told.iter().map(told).collect::<Vec<_>>(),
    }))
}

fn minute(minute: &Minute) -> Value {
    let us = |part| minute.requests.quantile_ns(part).map(|ns| ns / 1000);
    json!({
        "at_ms": begin_ms(minute.number),
        "seconds": minute.seconds,
        "requests": minute.requests.count(),
        "p50_us": us(0.5),
        "p99_us": us(0.99),
        "seconds_down": minute.seconds_down,
        "seconds_breaker_open": minute.seconds_open,
    })
}

fn told(told: &ViolationCount) -> Value {
    let minutes: Vec<_> = told.minutes.iter().map(|(number, count)| json!([begin_ms(*number), count])).collect();
    json!({
        "kind": told.kind.as_str(),
        "rule": told.rule.as_deref(),
        "count": told.minutes.iter().map(|(_, count)| count).sum::<u64>(),
        "last_ms": unix_ms(told.last),
        "minutes": minutes,
    })
}

/// Looks once a second at what the hour is made of.
pub(super) async fn keep(state: AdminState) {
    let mut ticks = interval(SECOND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let is_down = !state.readiness.has_upstream();
        if is_down && state.status.started.elapsed() < START {
            continue;
        }
        let requests = state.status.totals.all_latencies();
        let breaker = state.status.breaker.state();
        state.reporter.history().look(SecondSample {
            at: SystemTime::now(),
            requests: &requests,
            is_down,
            is_open: breaker.is_some_and(|breaker| breaker != BreakerState::Closed.as_str()),
        });
    }
}
