//! The lock that lets one proxy audit a server at a time: a key that expires.

use std::time::{Duration, Instant};

use super::server_connection::QueryError;
use super::servers::{At, Servers};
use respguard_resp::{encode, value};

/// How long the lock outlives a proxy that is gone.
const LIFETIME: Duration = Duration::from_secs(30);
/// How often it is renewed.
const RENEWAL: Duration = Duration::from_secs(8);
const REPLY_BYTES_MAX: usize = 64 * 1024;

/// What came of asking for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LockResult {
    Locked,
    /// Another proxy has it.
    Held,
    /// All has been audited of late, by whichever proxy.
    Done,
    /// The server's error.
    Refused(String),
}

#[derive(Debug)]
pub(super) struct Lock {
    key: String,
    done_key: String,
    token: String,
    renewed: Option<Instant>,
}

impl Lock {
    /// Not locked yet. The keys begin as those of guards do, to which the users of a server with ACLs have the right.
    pub(super) fn new(prefix: &str, token: &str) -> Lock {
        let (key, done_key) = (format!("{prefix}audit"), format!("{prefix}audited"));
        Lock { key, done_key, token: token.to_owned(), renewed: None }
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) async fn lock(&mut self, servers: &mut Servers, unless_done: bool) -> Result<LockResult, QueryError> {
        if unless_done {
            let done_key = self.done_key.as_bytes();
            let replies =
                servers.ask(At::Key(done_key), &encode::requests(&[&[b"EXISTS", done_key]]), 1, REPLY_BYTES_MAX).await?;
            if value::integer(&replies[0]) == Some(1) {
                return Ok(LockResult::Done);
            }
        }
        let (key, lifetime) = (self.key.as_bytes(), milliseconds(LIFETIME));
        let set: &[&[u8]] = &[b"SET", key, self.token.as_bytes(), b"NX", b"PX", lifetime.as_bytes()];
        let requests = encode::requests(&[set, &[b"GET", key]]);
        let replies = servers.ask(At::Key(key), &requests, 2, REPLY_BYTES_MAX).await?;
        if let Some(error) = replies.iter().find(|reply| value::is_error(reply)) {
            return Ok(LockResult::Refused(String::from_utf8_lossy(value::error_text(error)).into_owned()));
        }
        if value::bulk(&replies[1]) != Some(self.token.as_bytes()) {
            return Ok(LockResult::Held);
        }
        self.renewed = Some(Instant::now());
        Ok(LockResult::Locked)
    }

    /// Whether it is time to renew it.
    pub(super) fn is_due(&self) -> bool {
        self.renewed.is_some_and(|renewed| renewed.elapsed() >= RENEWAL)
    }

    /// False when another has it, or it was lost.
    pub(super) async fn renew(&mut self, servers: &mut Servers) -> Result<bool, QueryError> {
        let key = self.key.as_bytes();
        let watched = encode::requests(&[&[b"WATCH", key], &[b"GET", key]]);
        let replies = servers.ask(At::Key(key), &watched, 2, REPLY_BYTES_MAX).await?;
        let lifetime = milliseconds(LIFETIME);
        let renewal: &[&[u8]] = match value::bulk(&replies[1]) {
            Some(holder) if holder == self.token.as_bytes() => &[b"PEXPIRE", key, lifetime.as_bytes()],
            // It ended while the server, or the way to it, was gone; nobody else has begun.
            None => &[b"SET", key, self.token.as_bytes(), b"PX", lifetime.as_bytes()],
            Some(_) => {
                servers.ask(At::Key(key), &encode::requests(&[&[b"UNWATCH"]]), 1, REPLY_BYTES_MAX).await?;
                return Ok(false);
            }
        };
        let requests = encode::requests(&[&[b"MULTI"], renewal, &[b"EXEC"]]);
        let replies = servers.ask(At::Key(key), &requests, 3, REPLY_BYTES_MAX).await?;
        self.renewed = Some(Instant::now());
        Ok(!value::is_null(&replies[2]) && !value::is_error(&replies[2]))
    }

    /// Gives it back, and says for how long no scheduled run is needed.
    pub(super) async fn unlock(&mut self, servers: &mut Servers, done_for: Option<Duration>) -> Result<(), QueryError> {
        if self.renewed.is_none() || !self.renew(servers).await? {
            return Ok(());
        }
        let key = self.key.as_bytes();
        servers.ask(At::Key(key), &encode::requests(&[&[b"DEL", key]]), 1, REPLY_BYTES_MAX).await?;
        if let Some(lifetime) = done_for.filter(|lifetime| lifetime.as_millis() > 0) {
            let (key, lifetime) = (self.done_key.as_bytes(), milliseconds(lifetime));
            let done = encode::requests(&[&[b"SET", key, b"1", b"PX", lifetime.as_bytes()]]);
            servers.ask(At::Key(key), &done, 1, REPLY_BYTES_MAX).await?;
        }
        self.renewed = None;
        Ok(())
    }
}

fn milliseconds(duration: Duration) -> String {
    duration.as_millis().to_string()
}
