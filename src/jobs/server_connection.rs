//! A connection with the proxy's own credentials for its own questions: one pipeline after the other.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::net::stream::Stream;
use crate::net::upstream::Settings;
use crate::net::upstream::connect::{OpenError, open};
use respguard_engine::link::breaker::is_state_error;
use respguard_engine::link::handshake::ConnectParams;
use respguard_resp::scan::{ReplyScanner, ScanError, ScanLimits};
use respguard_resp::{encode, value};

/// How long one pipeline may take.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum QueryError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the connection was lost: {0}")]
    Lost(#[from] io::Error),
    #[error("the server answers no Redis protocol: {0}")]
    Protocol(#[from] ScanError),
    #[error("the server did not answer within {} s", TIMEOUT.as_secs())]
    Timeout,
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    #[error("the server does not serve: {0}")]
    NotServing(String),
    /// Nothing of what was asked has been applied.
    #[error("slot {0} is on its way to another node")]
    Moving(u16),
}

/// Opened when it is needed, and again after a loss.
pub(super) struct ServerConnection {
    settings: Settings,
    /// With the term of the primary that it leads to.
    stream: Option<(Stream, u64)>,
    run_id: Option<Box<[u8]>>,
    /// Grows when another server may answer than before.
    pub(super) generation: u64,
}

impl ServerConnection {
    pub(super) fn new(settings: Settings) -> ServerConnection {
        ServerConnection { settings, stream: None, run_id: None, generation: 0 }
    }

    /// The replies to the requests, of which there are so many. After an error the connection is a new one.
    pub(super) async fn ask(&mut self, requests: &[u8], replies: usize, bytes_max: usize) -> Result<Vec<Bytes>, QueryError> {
        // Nothing more is sent to a server that is no primary any more.
        let kept = self.stream.take().filter(|(_, term)| self.settings.primary.is_in_term(*term));
        let (mut stream, term) = match kept {
            Some(kept) => kept,
            None => self.open().await?,
        };
        let answered = tokio::time::timeout(TIMEOUT, exchange(&mut stream, requests, replies, bytes_max)).await;
        let answered = answered.map_err(|_| QueryError::Timeout)??;
        if let Some(reply) = answered.iter().find(|reply| is_state_error(reply)) {
            return Err(QueryError::NotServing(String::from_utf8_lossy(value::error_text(reply)).into_owned()));
        }
        // Dropped half way, the connection would be out of step: it is kept only now.
        self.stream = Some((stream, term));
        Ok(answered)
    }

    /// The next question goes over a new connection.
    pub(super) fn close(&mut self) {
        self.stream = None;
    }

    async fn open(&mut self) -> Result<(Stream, u64), QueryError> {
        let params = ConnectParams { login: self.settings.own_login().cloned(), ..ConnectParams::default() };
        let view = self.settings.primary.view();
        let (mut stream, _) = open(&self.settings, &view, &params, &[]).await?;
        let request = encode::requests(&[&[b"INFO", b"server"]]);
        let asked = exchange(&mut stream, &request, 1, 1024 * 1024);
        let answer = tokio::time::timeout(TIMEOUT, asked).await.map_err(|_| QueryError::Timeout)??;
        let run_id = answer.first().and_then(|answer| run_id(answer));
        // A cursor means something only to the server that gave it.
        if run_id.is_none() || run_id != self.run_id {
            self.generation += 1;
        }
        self.run_id = run_id;
        Ok((stream, view.term))
    }
}

fn run_id(info: &[u8]) -> Option<Box<[u8]>> {
    let text = value::bulk(info)?;
    let line = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"run_id:"))?;
    Some(line.trim_ascii().into())
}

async fn exchange(stream: &mut Stream, requests: &[u8], replies: usize, bytes_max: usize) -> Result<Vec<Bytes>, QueryError> {
    stream.write_all(requests).await?;
    stream.flush().await?;
    let mut scanner = ReplyScanner::new(ScanLimits::default());
    let mut buffer = BytesMut::with_capacity(16 * 1024);
    let (mut scanned, mut taken) = (0, 0);
    let mut answered = Vec::with_capacity(replies);
    while answered.len() < replies {
        if Pin::new(&mut *stream).read_buf(&mut buffer).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        while scanned < buffer.len() {
            let piece = scanner.scan(&buffer[scanned..])?;
            scanned += piece.bytes;
            if !piece.end {
                break;
            }
            taken += scanned;
            answered.push(buffer.split_to(std::mem::take(&mut scanned)).freeze());
        }
        if taken + buffer.len() > bytes_max {
            return Err(QueryError::TooLong(bytes_max));
        }
    }
    Ok(answered)
}
