//! Asks the server which commands it has: modules and newer versions know more than the built-in table.

use std::pin::Pin;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Settings;
use super::opening::{OpenError, open};
use respguard_engine::command::{Merge, MergeError, Table};
use respguard_engine::link::handshake::Opening;
use respguard_resp::scan::{ReplyScanner, ScanError, ScanLimits};
use respguard_resp::{Protocol, encode, value};

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

/// Merges the answer of COMMAND (<https://redis.io/docs/latest/commands/command/>) into `table`.
pub async fn survey(settings: &Settings, table: &mut Table) -> Result<Merge, SurveyError> {
    match tokio::time::timeout(settings.connect_timeout, ask(settings)).await {
        Ok(answer) => {
            let answer = answer?;
            if value::is_error(&answer) {
                return Err(SurveyError::Refused(String::from_utf8_lossy(value::error_text(&answer)).into_owned()));
            }
            Ok(table.merge(&answer)?)
        }
        Err(_) => Err(SurveyError::Timeout),
    }
}

async fn ask(settings: &Settings) -> Result<BytesMut, SurveyError> {
    let opening = Opening { login: settings.login.clone(), protocol: Protocol::Resp2, db: 0 };
    let (mut stream, _) = open(settings, &opening, &[]).await?;
    let mut request = Vec::new();
    encode::request(&mut request, &[b"COMMAND"]);
    stream.write_all(&request).await?;
    stream.flush().await?;
    let mut scanner = ReplyScanner::new(ScanLimits::default());
    let mut answer = BytesMut::with_capacity(64 * 1024);
    let mut scanned = 0;
    loop {
        if Pin::new(&mut stream).read_buf(&mut answer).await? == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        let piece = scanner.scan(&answer[scanned..])?;
        scanned += piece.bytes;
        if piece.end {
            answer.truncate(scanned);
            return Ok(answer);
        }
    }
}
