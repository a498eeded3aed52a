//! A connection to one node of a cluster, to ask which node serves what.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;

use crate::net::address::Address;
use crate::net::frames::Frames;
use crate::net::stream::Stream;
use crate::net::topology::View;
use crate::net::upstream::Settings;
use crate::net::upstream::connect::{OpenError, open};
use respguard_engine::link::handshake::ConnectParams;
use respguard_engine::route::assignment::{Assignment, NoAssignment, QUESTION};
use respguard_resp::scan::ScanError;

/// No answer is longer.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Why a node does not say who serves what.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the connection was lost: {0}")]
    Lost(#[from] io::Error),
    #[error("it does not speak the Redis protocol: {0}")]
    Protocol(#[from] ScanError),
    #[error("it does not answer within {0:?}")]
    Timeout(Duration),
    #[error(transparent)]
    NoAssignment(#[from] NoAssignment),
}

/// A node that is asked.
pub struct Session {
    stream: Stream,
    longest: Duration,
}

impl Session {
    /// Connects with the credentials for the proxy's own questions.
    ///
    /// # Errors
    /// It is not there, or does not take them.
    pub async fn open(settings: &Settings, address: &Address, longest: Duration) -> Result<Session, SessionError> {
        let params = ConnectParams { login: settings.own_login().cloned(), ..ConnectParams::default() };
        let view = View::of(address.clone());
        let opening = open(settings, &view, &params, &[]);
        let (stream, _) = tokio::time::timeout(longest, opening).await.map_err(|_| SessionError::Timeout(longest))??;
        Ok(Session { stream, longest })
    }

    /// Who serves what, as this node knows it.
    ///
    /// # Errors
    /// It does not say.
    pub async fn ask(&mut self) -> Result<Assignment, SessionError> {
        let longest = self.longest;
        tokio::time::timeout(longest, self.talk()).await.map_err(|_| SessionError::Timeout(longest))?
    }

    async fn talk(&mut self) -> Result<Assignment, SessionError> {
        self.stream.write_all(QUESTION).await?;
        self.stream.flush().await?;
        let mut frames = Frames::behind(BytesMut::new(), ANSWER_BYTES_MAX);
        let slots = frames.next::<SessionError>(&mut self.stream).await?;
        let info = frames.next::<SessionError>(&mut self.stream).await?;
        Ok(Assignment::read(&slots, &info)?)
    }
}
