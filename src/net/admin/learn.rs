//! POST /learn: rules proposed from what clients send for a while, as configuration text.

use std::io;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::runtime::Handle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};
use tokio_util::sync::CancellationToken;

use super::AdminState;
use super::record::{self, SECONDS_MAX};
use super::recorder::ActiveRecording;
use crate::jobs::{Jobs, SAMPLE_KEYS_MAX};
use crate::net::http::{piped, problem};
use crate::net::recording::learn::learn_from;
use respguard_engine::command::Table;
use respguard_engine::learn::{Counted, Learned, Learner, relation_text};
use respguard_engine::policy::rule::WrittenRelation;

/// The media type of configuration text.
const TOML_TYPE: &str = "application/toml; charset=utf-8";
/// How often a comment says how far it is; connections without a sign of life are closed.
const TICK: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
pub(super) struct Params {
    seconds: u64,
    /// Keys, members and so on of each pattern of each relation that follows, to see whether it holds.
    sample_keys: Option<u64>,
}

impl Params {
    fn can_be(&self) -> bool {
        (1..=SECONDS_MAX).contains(&self.seconds) && self.sample_keys.is_none_or(|keys| (1..=SAMPLE_KEYS_MAX).contains(&keys))
    }
}

pub(super) async fn learn(State(state): State<AdminState>, wanted: Result<Query<Params>, QueryRejection>) -> Response {
    const EXPECTED: &str = "?seconds= must be a whole number from 1 to 600, sample_keys= one from 1 to 1000000 or nothing";
    let Some(Query(Params { seconds, sample_keys })) = wanted.ok().filter(|Query(wanted)| wanted.can_be()) else {
        return problem(StatusCode::BAD_REQUEST, EXPECTED, &[]);
    };
    let Some(begun) = state.recorder.begin().await else { return record::busy() };
    tracing::info!(seconds, "learning rules from what clients send");
    let (pipe, answer) = piped(TOML_TYPE);
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let (learner, shutdown) = (Learner::new(Table::builtin()), state.shutdown.clone());
    let session = LearnSession { learner, begun, pipe, sample_keys, jobs: state.jobs.clone(), shutdown };
    let runtime = Handle::current();
    // Taking requests apart is work: it must not keep this thread from taking clients in.
    tokio::task::spawn_blocking(move || runtime.block_on(session.run(deadline)));
    answer
}

/// What is learnt for whoever asked for it.
struct LearnSession {
    learner: Learner,
    begun: ActiveRecording,
    pipe: DuplexStream,
    sample_keys: Option<u64>,
    jobs: Jobs,
    shutdown: CancellationToken,
}

impl LearnSession {
    /// Ends early when nobody reads any more.
    async fn run(mut self, deadline: Instant) {
        let commands = match self.watch(deadline).await {
            Ok(()) => self.learner.commands(),
            Err(_) => return tracing::info!("what was learnt was given up by whoever asked for it"),
        };
        let Learned { text, relations } = self.learner.conclude();
        // Others may record while keys are looked at.
        drop(self.begun);
        let mut pipe = self.pipe;
        let sent = async {
            let relations = match self.sample_keys.filter(|_| !relations.is_empty()) {
                Some(keys) => counted(&self.jobs, &relations, keys, &mut pipe).await?,
                None => relations.iter().map(|relation| relation_text(relation, Some(Counted::Not))).collect(),
            };
            pipe.write_all(text.as_bytes()).await?;
            pipe.write_all(relations.as_bytes()).await?;
            pipe.shutdown().await
        };
        match sent.await {
            Ok(()) => tracing::info!(commands, "rules were learnt"),
            Err(_) => tracing::info!("what was learnt was given up by whoever asked for it"),
        }
    }

    async fn watch(&mut self, deadline: Instant) -> io::Result<()> {
        let started = Instant::now();
        let mut ticks = interval_at(started + TICK, TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let watching = format!("# Watching for {} s.\n", deadline.saturating_duration_since(started).as_secs_f64().round());
        self.pipe.write_all(watching.as_bytes()).await?;
        let ActiveRecording { intake, .. } = &mut self.begun;
        loop {
            tokio::select! {
                Some(entry) = intake.next() => learn_from(&mut self.learner, &entry),
                _ = ticks.tick() => {
                    let line = format!("# {} s: {} commands so far.\n", started.elapsed().as_secs(), self.learner.commands());
                    self.pipe.write_all(line.as_bytes()).await?;
                }
                () = sleep_until(deadline) => break,
                () = self.shutdown.cancelled() => break,
            }
        }
        intake.close();
        while let Some(entry) = intake.next().await {
            learn_from(&mut self.learner, &entry);
        }
        Ok(())
    }
}

/// The relations with in how many cases they hold; comments say meanwhile that it goes on.
async fn counted(jobs: &Jobs, relations: &[WrittenRelation], keys: u64, pipe: &mut DuplexStream) -> io::Result<String> {
    let mut ticks = interval_at(Instant::now(), TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let sampling = jobs.sample(relations, keys);
    tokio::pin!(sampling);
    let sampled = loop {
        tokio::select! {
            sampled = &mut sampling => break sampled,
            _ = ticks.tick() => pipe.write_all(b"# Looking at keys, for the relations that follow.\n").await?,
        }
    };
    let text = |(relation, counted): (&WrittenRelation, Counted<'_>)| relation_text(relation, Some(counted));
    Ok(match sampled {
        Ok(sampled) => {
            let counts = sampled.iter().map(|sampled| match &sampled.failure {
                Some(why) => Counted::Unknown(why),
                None => Counted::Cases { all: sampled.all, broken: sampled.broken },
            });
            relations.iter().zip(counts).map(text).collect()
        }
        Err(refused) => {
            let why = refused.to_string();
            relations.iter().map(|relation| text((relation, Counted::Unknown(&why)))).collect()
        }
    })
}
