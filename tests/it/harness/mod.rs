//! What the tests stand on: a real redis-server, the proxy as a process, a raw client, and waiting with deadlines.

pub mod certificates;
pub mod chaos;
pub mod fake;
pub mod http;
pub mod network;
pub mod nodes;
pub mod program;
pub mod proxy;
pub mod redis;
pub mod sentinels;
pub mod sides;
mod socket;
pub mod twin;
pub mod wire;

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub use certificates::{Authority, Issued};
pub use chaos::{Chaos, Way};
pub use fake::{Act, FakeServer};
pub use http::{Answer, Http};
pub use network::Network;
pub use nodes::Nodes;
pub use program::Program;
pub use proxy::{Proxy, Setup};
pub use redis::{RedisServer, free_port};
pub use sentinels::Watched;
pub use sides::Sides;
pub use twin::{Pair, Twin};
pub use wire::{Wire, request, text};

/// How long anything that must come may take on a machine that does other things too.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Keys of `[upstream]` with which nothing is given up because the machine is busy with other tests.
pub const PATIENT: &str =
    "request_timeout_ms = 60000\nstall_timeout_ms = 60000\nqueue_timeout_ms = 60000\nconnect_timeout_ms = 10000";

const POLL_PAUSE: Duration = Duration::from_millis(5);

/// How long anything may take that several servers have to agree upon, on such a machine.
const LONG_PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `holds`, at most [`LONG_PATIENCE`]; `what` says what was waited for.
#[track_caller]
pub fn eventually(what: &str, holds: impl FnMut() -> bool) {
    assert!(within(LONG_PATIENCE, holds), "not within {LONG_PATIENCE:?}: {what}");
}

/// Whether `holds` becomes true within `longest`.
pub fn within(longest: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + longest;
    loop {
        if holds() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(POLL_PAUSE);
    }
}

/// Says that it is over as soon as it is dropped, also because a test has failed: others may be waiting for it.
pub struct Ends<'a>(pub &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Sends `signal` (`TERM`, `STOP`, ..) to the process.
pub fn signal(pid: u32, signal: &str) {
    let status = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status();
    assert!(status.expect("kill is there").success(), "kill -{signal} {pid}");
}
