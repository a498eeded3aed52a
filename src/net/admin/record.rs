//! POST /record: what clients send, as a stream of limited time.

use std::io;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::AdminState;
use super::recorder::ActiveRecording;
use crate::net::http::{piped, problem};
use crate::net::recording::Intake;
use crate::net::recording::format::{self, End, FIRST_LINE, Reason};

/// The longest recording.
pub const SECONDS_MAX: u64 = 600;
/// The largest recording: as much as `explain` reads.
pub const BYTES_MAX: usize = 16 * 1024 * 1024;
/// The media type of a recording.
const RECORDING_TYPE: &str = "application/vnd.respguard.recording";
/// How often a recording without traffic shows a sign of life; connections without one are closed.
const TICK: Duration = Duration::from_secs(5);
/// What the last line takes at most.
const END_BYTES_MAX: usize = 200;

#[derive(Deserialize)]
pub(super) struct Params {
    seconds: u64,
}

pub(super) fn busy() -> Response {
    problem(StatusCode::CONFLICT, "somebody records or learns already; one recording is made at a time", &[])
}

pub(super) async fn record(State(state): State<AdminState>, wanted: Result<Query<Params>, QueryRejection>) -> Response {
    let seconds = match wanted {
        Ok(Query(Params { seconds })) if (1..=SECONDS_MAX).contains(&seconds) => seconds,
        _ => return problem(StatusCode::BAD_REQUEST, "?seconds= must be a whole number from 1 to 600", &[]),
    };
    let Some(ActiveRecording { intake, turn }) = state.recorder.begin().await else { return busy() };
    tracing::info!(seconds, "recording what clients send");
    let (pipe, answer) = piped(RECORDING_TYPE);
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let writer = Writer {
        intake,
        pipe,
        left: BYTES_MAX,
        unwritten: 0,
        started: Instant::now(),
        shutdown: state.recorder.shutdown.clone(),
    };
    tokio::spawn(writer.run(deadline, turn));
    answer
}

/// Writes one recording to whoever asked for it.
struct Writer {
    intake: Intake,
    pipe: DuplexStream,
    /// Bytes that may still be written.
    left: usize,
    /// Bytes of clients that found no room in the recording.
    unwritten: u64,
    started: Instant,
    shutdown: CancellationToken,
}

impl Writer {
    /// Ends early when nobody reads any more. The recording is over when this has been dropped.
    async fn run(mut self, deadline: Instant, _turn: OwnedSemaphorePermit) {
        match self.write_all(deadline).await {
            Ok(reason) => tracing::info!(reason = reason.as_str(), lost = self.intake.bytes_lost(), "a recording has ended"),
            Err(_) => tracing::info!("a recording was cancelled: its client disconnected"),
        }
    }

    async fn write_all(&mut self, deadline: Instant) -> io::Result<Reason> {
        self.write(format!("{FIRST_LINE}\n").as_bytes()).await?;
        let reason = self.write_entries(deadline).await?;
        self.intake.close();
        let mut text = Vec::new();
        while let Some(entry) = self.intake.next().await {
            self.put(&entry, &mut text);
            self.write(&std::mem::take(&mut text)).await?;
        }
        let lost = self.intake.bytes_lost() + self.unwritten;
        format::write_end(&End { at: self.started.elapsed(), reason, lost }, &mut text);
        self.pipe.write_all(&text).await?;
        self.pipe.shutdown().await?;
        Ok(reason)
    }

    async fn write_entries(&mut self, deadline: Instant) -> io::Result<Reason> {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let shutdown = self.shutdown.clone();
        let mut text = Vec::new();
        loop {
            tokio::select! {
                Some(entry) = self.intake.next() => {
                    if !self.put(&entry, &mut text) {
                        return Ok(Reason::Size);
                    }
                }
                _ = ticks.tick() => format::write_tick(self.started.elapsed(), &mut text),
                () = sleep_until(deadline) => return Ok(Reason::Time),
                () = shutdown.cancelled() => return Ok(Reason::Shutdown),
            }
            self.write(&std::mem::take(&mut text)).await?;
        }
    }

    /// False when there is no room for the entry.
    fn put(&mut self, entry: &format::Entry, text: &mut Vec<u8>) -> bool {
        let has_room = format::bytes_max(entry) + END_BYTES_MAX <= self.left;
        if has_room {
            format::write(entry, text);
        } else {
            self.unwritten += entry.event.bytes() as u64;
        }
        has_room
    }

    async fn write(&mut self, text: &[u8]) -> io::Result<()> {
        self.left = self.left.saturating_sub(text.len());
        self.pipe.write_all(text).await
    }
}
