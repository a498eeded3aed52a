//! What a service manager is told: ready, alive, stopping.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::{PATIENCE, RedisServer, Setup};

/// A service manager that listens to its services.
struct Manager {
    socket: UnixDatagram,
    folder: TempDir,
}

impl Manager {
    fn start() -> Manager {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Manager { socket, folder }
    }

    /// A proxy that it starts, and wants to hear from that often.
    fn service(&self, redis: &RedisServer, watchdog_us: &str) -> Setup {
        let path = self.folder.path().join("notify");
        let path = path.to_str().expect("a path in UTF-8");
        Setup::new(redis).environment("NOTIFY_SOCKET", path).environment("WATCHDOG_USEC", watchdog_us)
    }

    fn heard(&self) -> String {
        let mut bytes = [0; 1024];
        let length = self.socket.recv(&mut bytes).expect("it is told in time");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }
}

#[test]
fn a_service_manager_hears_that_it_is_ready_and_alive_until_it_stops() {
    let redis = RedisServer::start(&[]);
    let manager = Manager::start();
    let proxy = manager.service(&redis, "2000000").start();
    assert!(manager.heard().starts_with("READY=1\nSTATUS="));
    assert_eq!(proxy.wire().ask("PING"), "+PONG\r\n");
    for _ in 0..3 {
        assert_eq!(manager.heard(), "WATCHDOG=1");
    }
    // A server that is stuck is no reason to start the proxy anew.
    redis.pause();
    let mut wire = proxy.wire();
    wire.send_line("GET k");
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(manager.heard(), "WATCHDOG=1");
    proxy.terminate();
    let mut last = manager.heard();
    while last == "WATCHDOG=1" {
        last = manager.heard();
    }
    assert!(last.starts_with("STOPPING=1\nSTATUS="), "{last}");
    redis.resume();
    assert_eq!(proxy.ended().status.code(), Some(0));
}

#[test]
fn a_watchdog_that_is_for_another_process_is_not_fed() {
    let redis = RedisServer::start(&[]);
    let manager = Manager::start();
    let proxy = manager.service(&redis, "100000").environment("WATCHDOG_PID", "1").start();
    assert!(manager.heard().starts_with("READY=1\n"));
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(proxy.stop().status.code(), Some(0));
    assert!(manager.heard().starts_with("STOPPING=1\n"));
}
