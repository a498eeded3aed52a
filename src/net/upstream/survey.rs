//! Asks the server for its identity and its commands: modules and newer versions know more than the built-in table.

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tracing::warn;

use super::Settings;
use super::connect::{OpenError, open};
use crate::net::frames::Frames;
use crate::net::server_limits;
use crate::net::stream::Stream;
use crate::net::topology::View;
use respguard_engine::command::{Merge, MergeError, Table};
use respguard_engine::link::handshake::ConnectParams;
use respguard_resp::scan::ScanError;
use respguard_resp::{encode, value};

/// Why the built-in table has to do.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the connection was lost while the server described its commands: {0}")]
    Io(#[from] std::io::Error),
    #[error("the server's description of its commands is no Redis protocol: {0}")]
    Protocol(#[from] ScanError),
    #[error("the server's description of its commands cannot be read: {0}")]
    Answer(#[from] MergeError),
    /// COMMAND itself is refused: a password is wanted, or the user may not run it.
    #[error("the server does not describe its commands: {0}")]
    Refused(String),
    #[error("the server did not describe its commands in time")]
    Timeout,
}

/// The server's identity: a restarted server has another run id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerId {
    /// Drawn at random by each process (<https://redis.io/docs/latest/commands/info/>).
    run_id: Box<[u8]>,
    pub version: Box<str>,
}

impl ServerId {
    /// Reads `INFO server`; `None` when the server does not tell.
    fn read(reply: &[u8]) -> Option<ServerId> {
        let text = value::bulk(reply)?;
        let field = |name: &[u8]| {
            let mut lines = text.split(|byte| *byte == b'\n');
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(b":")).map(<[u8]>::trim_ascii)
        };
        // A Valkey says beside its own version that of the Redis whose commands it has.
        let version = field(b"valkey_version").or_else(|| field(b"redis_version")).unwrap_or_default();
        Some(ServerId { run_id: field(b"run_id")?.into(), version: String::from_utf8_lossy(version).into() })
    }
}

/// What the server reported about itself.
#[derive(Debug)]
pub struct Survey {
    /// `None` when this user may not ask.
    pub server: Option<ServerId>,
    /// What its commands changed in the table; `None` when it is the server that has described them before.
    pub merge: Option<Merge>,
}

/// Merges the answer of COMMAND (<https://redis.io/docs/latest/commands/command/>) into `table`, unless the server is
/// the `known` one.
pub async fn survey(
    settings: &Settings,
    server: &View,
    known: Option<&ServerId>,
    table: &mut Table,
) -> Result<Survey, SurveyError> {
    match tokio::time::timeout(settings.connect_timeout, ask_all(settings, server, known, table)).await {
        Ok(survey) => survey,
        Err(_) => Err(SurveyError::Timeout),
    }
}

async fn ask_all(settings: &Settings, server: &View, known: Option<&ServerId>, table: &mut Table) -> Result<Survey, SurveyError> {
    let params = ConnectParams { login: settings.own_login().cloned(), ..ConnectParams::default() };
    let (mut stream, _) = open(settings, server, &params, &[]).await?;
    let server = ServerId::read(&ask(&mut stream, &[b"INFO", b"server"]).await?);
    learn_limits(settings, &mut stream).await?;
    if server.is_some() && server.as_ref() == known {
        return Ok(Survey { server, merge: None });
    }
    let answer = ask(&mut stream, &[b"COMMAND"]).await?;
    if value::is_error(&answer) {
        return Err(SurveyError::Refused(String::from_utf8_lossy(value::error_text(&answer)).into_owned()));
    }
    let merge = table.merge(&answer)?;
    Ok(Survey { server, merge: Some(merge) })
}

/// Asks for the limits each time: they can be changed while the server runs, and exceeding one ends a connection.
async fn learn_limits(settings: &Settings, stream: &mut Stream) -> Result<(), SurveyError> {
    let mut answers = Vec::new();
    for parameter in server_limits::PARAMETERS {
        answers.push(ask(stream, &[b"CONFIG", b"GET", parameter]).await?);
    }
    let before = settings.limits.output_bytes();
    settings.limits.learn(&answers);
    match settings.limits.output_bytes() {
        Some(bytes) if before != Some(bytes) => {
            warn!(
                bytes,
                "the server's client-output-buffer-limit for normal clients applies to all clients that share a connection"
            );
        }
        _ => {}
    }
    Ok(())
}

async fn ask(stream: &mut Stream, words: &[&[u8]]) -> Result<BytesMut, SurveyError> {
    stream.write_all(&encode::request_frame(words)).await?;
    stream.flush().await?;
    Frames::behind(BytesMut::with_capacity(64 * 1024), usize::MAX).next(stream).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(info: &str) -> Option<ServerId> {
        ServerId::read(format!("${}\r\n{info}\r\n", info.len()).as_bytes())
    }

    #[test]
    fn a_server_is_known_by_its_run_id_and_its_own_version() {
        let redis = id("# Server\r\nredis_version:6.2.14\r\nrun_id:ab\r\n").expect("it tells");
        assert_eq!((&*redis.run_id, &*redis.version), (&b"ab"[..], "6.2.14"));
        let valkey = id("# Server\r\nredis_version:7.2.4\r\nvalkey_version:9.1.2\r\nrun_id:ab\r\n").expect("it tells");
        assert_eq!(&*valkey.version, "9.1.2");
        assert_ne!(redis, valkey);
    }

    #[test]
    fn a_server_that_does_not_tell_is_nobody_in_particular() {
        assert_eq!(ServerId::read(b"-NOPERM this user has no permissions\r\n"), None);
        assert_eq!(id("# Server\r\nredis_version:7.0.15\r\n"), None);
    }
}
