//! What a service manager is told: ready, alive, stopping.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::harness::{PATIENCE, RedisServer, Setup};

fn heard(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 1024];
    let length = socket.recv(&mut bytes).expect("it is told in time");
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

#[test]
fn a_service_manager_hears_that_it_is_ready_and_alive_until_it_stops() {
    let redis = RedisServer::start(&[]);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let path = path.to_str().expect("a path in UTF-8");
    let setup = Setup::new(&redis).environment("NOTIFY_SOCKET", path).environment("WATCHDOG_USEC", "2000000");
    let proxy = setup.start();
    assert!(heard(&socket).starts_with("READY=1\nSTATUS="));
    assert_eq!(proxy.wire().ask("PING"), "+PONG\r\n");
    for _ in 0..3 {
        assert_eq!(heard(&socket), "WATCHDOG=1");
    }
    // A server that is stuck is no reason to start the proxy anew.
    redis.pause();
    let mut wire = proxy.wire();
    wire.send_line("GET k");
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(heard(&socket), "WATCHDOG=1");
    proxy.terminate();
    let mut last = heard(&socket);
    while last == "WATCHDOG=1" {
        last = heard(&socket);
    }
    assert!(last.starts_with("STOPPING=1\nSTATUS="), "{last}");
    redis.resume();
    assert_eq!(proxy.ended().status.code(), Some(0));
}

#[test]
fn a_watchdog_that_is_for_another_process_is_not_fed() {
    let redis = RedisServer::start(&[]);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let path = path.to_str().expect("a path in UTF-8");
    let setup = Setup::new(&redis).environment("NOTIFY_SOCKET", path).environment("WATCHDOG_USEC", "100000");
    let proxy = setup.environment("WATCHDOG_PID", "1").start();
    assert!(heard(&socket).starts_with("READY=1\n"));
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(proxy.stop().status.code(), Some(0));
    assert!(heard(&socket).starts_with("STOPPING=1\n"));
}
