//! POST /learn: the rules that follow from what clients send for a while, as configuration text.

use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::runtime::Handle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;

use super::AdminState;
use super::record::{self, Begun, Wanted};
use crate::net::recording::lesson::teach;
use respguard_engine::command::Table;
use respguard_engine::learn::Learner;

/// The media type of configuration text.
const TOML_TYPE: &str = "application/toml; charset=utf-8";
/// Bytes between the writer and the connection.
const PIPE_BYTES: usize = 64 * 1024;
/// How often a comment says how far it is; connections without a sign of life are closed.
const TICK: Duration = Duration::from_secs(5);

pub(super) async fn learn(State(state): State<AdminState>, wanted: Result<Query<Wanted>, QueryRejection>) -> Response {
    let Some(seconds) = record::seconds(wanted) else { return record::wrong_time() };
    let Some(begun) = state.recorder.begin().await else { return record::busy() };
    tracing::info!(seconds, "rules are learnt from what clients send");
    let (pipe, reading) = duplex(PIPE_BYTES);
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let lesson = Lesson { learner: Learner::new(Table::builtin()), begun, pipe, shutdown: state.shutdown.clone() };
    let runtime = Handle::current();
    // Taking requests apart is work: it must not keep this thread from taking clients in.
    tokio::task::spawn_blocking(move || runtime.block_on(lesson.run(deadline)));
    ([(header::CONTENT_TYPE, TOML_TYPE)], Body::from_stream(ReaderStream::new(reading))).into_response()
}

/// What is learnt for whoever asked for it.
struct Lesson {
    learner: Learner,
    begun: Begun,
    pipe: DuplexStream,
    shutdown: CancellationToken,
}

impl Lesson {
    /// Ends early when nobody reads any more.
    async fn run(mut self, deadline: Instant) {
        let commands = match self.watch(deadline).await {
            Ok(()) => self.learner.commands(),
            Err(_) => return tracing::info!("what was learnt was given up by whoever asked for it"),
        };
        let text = self.learner.propose();
        let sent = async {
            self.pipe.write_all(text.as_bytes()).await?;
            self.pipe.shutdown().await
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
        let Begun { intake, .. } = &mut self.begun;
        loop {
            tokio::select! {
                Some(entry) = intake.next() => teach(&mut self.learner, &entry),
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
            teach(&mut self.learner, &entry);
        }
        Ok(())
    }
}
