//! Makes a new upstream connection fit for a lane: connects and shakes hands.

use std::io;
use std::pin::Pin;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Settings;
use crate::engine::link::handshake::{Facts, Ghost, Handshake, Opening, Progress, Refusal};
use crate::engine::resp::scan::{ReplyScanner, ScanError, ScanLimits};
use crate::net::stream::Stream;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nobody answers there.
    #[error("cannot connect to {address}")]
    Connect { address: String, source: io::Error },
    /// The connection and its handshake took longer than `connect_timeout_ms`.
    #[error("{address} did not answer within {milliseconds} ms")]
    Timeout { address: String, milliseconds: u128 },
    /// The server's answers are no Redis protocol.
    #[error("{address} does not speak the Redis protocol")]
    Protocol { address: String, source: ScanError },
    /// The server is there and says that it serves nobody now.
    #[error("{address} does not serve: {text}", text = String::from_utf8_lossy(.reply.trim_ascii()))]
    NotServing { address: String, reply: Box<[u8]> },
    /// The server refuses the user, protocol or db.
    #[error("{address} refused {step:?}: {text}", step = .refusal.step, text = String::from_utf8_lossy(.refusal.reply.trim_ascii()))]
    Refused { address: String, refusal: Refusal },
}

/// Connects, ends the ghosts and shakes hands, within `connect_timeout`.
pub async fn open(settings: &Settings, opening: &Opening, ghosts: &[Ghost]) -> Result<(Stream, Facts), OpenError> {
    let address = settings.address.to_string();
    match tokio::time::timeout(settings.connect_timeout, connect(settings, opening, ghosts)).await {
        Ok(result) => result,
        Err(_) => Err(OpenError::Timeout { address, milliseconds: settings.connect_timeout.as_millis() }),
    }
}

async fn connect(settings: &Settings, opening: &Opening, ghosts: &[Ghost]) -> Result<(Stream, Facts), OpenError> {
    let failed = |source| OpenError::Connect { address: settings.address.to_string(), source };
    let mut stream = Stream::connect(&settings.address).await.map_err(failed)?;
    let mut requests = Vec::new();
    let mut handshake = Handshake::begin(opening, ghosts, &mut requests);
    stream.write_all(&requests).await.map_err(failed)?;
    let mut scanner = ReplyScanner::new(ScanLimits::default());
    let mut buffer = BytesMut::with_capacity(1024);
    let mut scanned = 0;
    loop {
        if Pin::new(&mut stream).read_buf(&mut buffer).await.map_err(failed)? == 0 {
            return Err(failed(io::ErrorKind::UnexpectedEof.into()));
        }
        while scanned < buffer.len() {
            let piece = scanner
                .scan(&buffer[scanned..])
                .map_err(|source| OpenError::Protocol { address: settings.address.to_string(), source })?;
            scanned += piece.bytes;
            if !piece.end {
                break;
            }
            let frame = buffer.split_to(std::mem::take(&mut scanned));
            match handshake.admit(&frame) {
                Progress::Pending => {}
                Progress::Done(facts) => return Ok((stream, facts)),
                Progress::Refused(refusal) => return Err(OpenError::Refused { address: settings.address.to_string(), refusal }),
            }
        }
    }
}
