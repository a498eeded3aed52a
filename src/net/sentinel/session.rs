//! Two connections to one sentinel: one for questions, one for subscriptions.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;

use super::Sentinels;
use crate::net::address::Address;
use crate::net::frames::Frames;
use crate::net::stream::Stream;
use crate::net::tls;
use respguard_engine::route::sentinel::{NoReport, Report, SWITCH_CHANNEL, is_switch_of, question};
use respguard_resp::scan::ScanError;
use respguard_resp::{encode, value};

/// How often a sentinel is asked that tells of nothing by itself.
const POLL: Duration = Duration::from_secs(1);
/// No answer of a sentinel is longer.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Why a sentinel says nothing about the service.
#[derive(Debug, thiserror::Error)]
pub enum SentinelError {
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("no TLS: {}", tls::advice(.0))]
    Tls(io::Error),
    #[error("it does not answer within {0:?}")]
    Timeout(Duration),
    #[error("the connection was lost: {0}")]
    Lost(io::Error),
    #[error("it does not speak the Redis protocol: {0}")]
    Protocol(#[from] ScanError),
    #[error("it refuses the credentials ({0}): see sentinel_password_env and sentinel_password_file")]
    Refused(Box<str>),
    #[error("it is no sentinel ({0}): `sentinels` names sentinels, not servers")]
    NoSentinel(Box<str>),
}

impl From<io::Error> for SentinelError {
    fn from(error: io::Error) -> SentinelError {
        SentinelError::Lost(error)
    }
}

impl From<NoReport> for SentinelError {
    fn from(no_report: NoReport) -> SentinelError {
        match no_report {
            NoReport::Refused(text) => SentinelError::Refused(text),
            NoReport::NoSentinel(text) => SentinelError::NoSentinel(text),
        }
    }
}

/// A sentinel that is listened to.
pub struct Session<'a> {
    sentinels: &'a Sentinels,
    asking: SentinelConnection,
    listening: SentinelConnection,
}

impl<'a> Session<'a> {
    /// Connects, and subscribes to what it tells by itself.
    ///
    /// # Errors
    /// It is not there, or does not take the credentials.
    pub async fn open(sentinels: &'a Sentinels, address: &Address) -> Result<Session<'a>, SentinelError> {
        let asking = SentinelConnection::open(sentinels, address).await?;
        let mut listening = SentinelConnection::open(sentinels, address).await?;
        let subscribe = encode::request_frame(&[b"SUBSCRIBE", SWITCH_CHANNEL]);
        let reply = within(sentinels.timeout, listening.ask(&subscribe)).await?;
        if value::is_error(&reply) {
            return Err(SentinelError::Refused(String::from_utf8_lossy(value::error_text(&reply)).into()));
        }
        Ok(Session { sentinels, asking, listening })
    }

    /// Which server it names now.
    ///
    /// # Errors
    /// It does not answer, or is no sentinel.
    pub async fn ask(&mut self) -> Result<Report, SentinelError> {
        let asked = async {
            self.asking.send(&question(&self.sentinels.service)).await?;
            Ok((self.asking.next().await?, self.asking.next().await?))
        };
        let (address, service) = within(self.sentinels.timeout, asked).await?;
        Ok(Report::read(&address, &service)?)
    }

    /// Returns when it is to be asked again: it tells of another primary, or enough time has passed.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn listen(&mut self) -> Result<(), SentinelError> {
        let switched = async {
            while !is_switch_of(&self.sentinels.service, &self.listening.next().await?) {}
            Ok(())
        };
        tokio::time::timeout(POLL, switched).await.unwrap_or(Ok(()))
    }
}

async fn within<T>(longest: Duration, asked: impl Future<Output = Result<T, SentinelError>>) -> Result<T, SentinelError> {
    tokio::time::timeout(longest, asked).await.unwrap_or(Err(SentinelError::Timeout(longest)))
}

/// One connection to a sentinel.
struct SentinelConnection {
    stream: Stream,
    frames: Frames,
}

impl SentinelConnection {
    async fn open(sentinels: &Sentinels, address: &Address) -> Result<SentinelConnection, SentinelError> {
        within(sentinels.timeout, SentinelConnection::connect(sentinels, address)).await
    }

    async fn connect(sentinels: &Sentinels, address: &Address) -> Result<SentinelConnection, SentinelError> {
        let mut stream = Stream::connect(address).await.map_err(SentinelError::Connect)?;
        if let Some(connector) = &sentinels.tls {
            stream = stream.connect_tls(connector, address).await.map_err(SentinelError::Tls)?;
        }
        let mut talk = SentinelConnection { stream, frames: Frames::behind(BytesMut::new(), ANSWER_BYTES_MAX) };
        if let Some(login) = &sentinels.login {
            let reports: Vec<&[u8]> = std::iter::once(&b"AUTH"[..]).chain(login.arguments()).collect();
            let reply = talk.ask(&encode::request_frame(&reports)).await?;
            if value::is_error(&reply) {
                return Err(SentinelError::Refused(String::from_utf8_lossy(value::error_text(&reply)).into()));
            }
        }
        Ok(talk)
    }

    async fn ask(&mut self, request: &[u8]) -> Result<BytesMut, SentinelError> {
        self.send(request).await?;
        self.next().await
    }

    async fn send(&mut self, request: &[u8]) -> Result<(), SentinelError> {
        self.stream.write_all(request).await?;
        Ok(self.stream.flush().await?)
    }

    /// The next frame; where the future is dropped, what has come of it is kept.
    async fn next(&mut self) -> Result<BytesMut, SentinelError> {
        self.frames.next(&mut self.stream).await
    }
}
