//! One connection of a client, and what has come on it.

use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{Change, Closed, parts};
use crate::time::stir;
use crate::wire::{self, Reply};

/// Nothing takes so long, whatever happens: who waits longer hangs.
const HANGS: Duration = Duration::from_secs(40);

/// One connection of a client.
pub struct Session {
    /// One for each connection of the simulation.
    pub number: u64,
    pub(super) socket: UnixStream,
    pub(super) input: Vec<u8>,
    pub db: u32,
    pub resp3: bool,
    /// The proxy may close it: it has held state that only a reconnect rebuilds.
    pub(super) may_close: bool,
    /// It has been left in the middle of a request.
    pub(super) left: bool,
    /// It has never had an upstream connection of its own.
    pub(super) shared: bool,
    /// There are guarded groups too.
    pub has_guarded: bool,
    /// There is a cluster behind the proxy.
    pub is_cluster: bool,
    /// A SELECT or HELLO that the proxy could not carry out: until one is, nothing of the session runs.
    pub(super) missed: Option<Change>,
    /// It has a connection to the server, as far as it has seen: otherwise what it sends may wait for one before it is read.
    pub(super) opened: bool,
}

impl Session {
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Closed> {
        let mut rest = bytes;
        while !rest.is_empty() {
            self.socket.writable().await.map_err(|_| Closed)?;
            match self.socket.try_write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(Closed),
            }
            stir();
        }
        Ok(())
    }

    /// The next frame.
    pub async fn frame(&mut self) -> Result<Reply, Closed> {
        loop {
            if let Some((reply, length)) = wire::reply(&self.input) {
                self.input.drain(..length);
                return Ok(reply);
            }
            if timeout(HANGS, self.socket.readable()).await.is_err() {
                panic!("session {} hangs", self.number);
            }
            match self.socket.try_read_buf(&mut self.input) {
                Ok(0) => return Err(Closed),
                Ok(_) => stir(),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(Closed),
            }
        }
    }

    /// The next frame that is about channels.
    pub(super) async fn message(&mut self) -> Result<Reply, Closed> {
        loop {
            let frame = self.frame().await?;
            if parts(&frame).first() != Some(&Reply::bulk("invalidate")) {
                return Ok(frame);
            }
        }
    }

    /// The next reply; messages that come in between are left out.
    pub async fn reply(&mut self) -> Result<Reply, Closed> {
        loop {
            match self.frame().await? {
                Reply::Push(_) => {}
                reply => return Ok(reply),
            }
        }
    }
}
