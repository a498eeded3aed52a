//! Reads that were sent and not answered when their connection is lost: they go out once more.

use crate::harness::wire::requests;
use crate::harness::{Chaos, Proxy, RedisServer, Setup, Way, Wire};

const TIMES: &str = "request_timeout_ms = 4000\nqueue_timeout_ms = 3000\nstall_timeout_ms = 30000";
const LOST: &str = "unknown: the connection to the server was lost before the reply\r\n";

struct Bench {
    redis: RedisServer,
    chaos: Chaos,
    proxy: Proxy,
}

fn bench(upstream: &str) -> Bench {
    let redis = RedisServer::start(&[]);
    let chaos = Chaos::before(redis.port());
    let upstream = format!("{TIMES}\n{upstream}");
    let setup = Setup::new(&redis).through(chaos.port()).top("workers = 1").upstream(&upstream);
    Bench { proxy: setup.rules("[breaker]\nenabled = false\n").start(), redis, chaos }
}

fn connected(proxy: &Proxy) -> Wire {
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("PING"), "+PONG\r\n");
    wire
}

fn retried(proxy: &Proxy) -> f64 {
    proxy.metric("respguard_retries_total", &[("kind", "read")])
}

#[test]
fn reads_are_answered_wherever_their_replies_are_cut() {
    let Bench { redis, chaos, proxy } = bench("retries_per_second = 1000");
    let values = ["$5\r\nalpha\r\n", "$-1\r\n", "$7\r\ncharlie\r\n"];
    assert_eq!(redis.ask("MSET a alpha c charlie"), "+OK\r\n");
    let mut wires: Vec<Wire> = (0..3).map(|_| connected(&proxy)).collect();
    for bytes in (0..90).step_by(3) {
        assert_eq!(wires[0].ask("PING"), "+PONG\r\n");
        chaos.down(Way::Reset(bytes));
        wires.iter_mut().for_each(|wire| wire.send(&requests(&["GET a", "GET b", "GET c"])));
        for wire in &mut wires {
            assert_eq!(wire.replies(3).concat(), values.concat().as_bytes(), "cut behind {bytes} bytes");
        }
    }
    assert!(retried(&proxy) >= 60.0, "{}", retried(&proxy));
    assert_eq!(proxy.metric("respguard_timeouts_total", &[]), 0.0);
    assert_eq!(proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
}

#[test]
fn a_read_is_not_moved_behind_a_write_of_its_client_that_may_have_run() {
    let Bench { redis: _redis, chaos, proxy } = bench("");
    let mut wire = connected(&proxy);
    chaos.down(Way::Reset(0));
    let replies = wire.pipeline(&["GET k", "INCR k", "GET k"]);
    assert_eq!(replies[0], format!("-TIMEOUT respguard: outcome of GET {LOST}"));
    assert_eq!(replies[1], format!("-TIMEOUT respguard: outcome of INCR {LOST}"));
    assert_eq!(replies[2], "$1\r\n1\r\n", "what stands behind the write is read again");
    assert_eq!(retried(&proxy), 1.0);
}

#[test]
fn what_was_not_sent_comes_behind_the_reads_that_go_out_once_more() {
    let Bench { redis: _redis, chaos, proxy } = bench("");
    let mut wire = connected(&proxy);
    chaos.refuse(true);
    chaos.down(Way::Reset(0));
    wire.send(&requests(&["GET k"]));
    crate::harness::eventually("it is lost", || retried(&proxy) >= 1.0);
    wire.send(&requests(&["INCR k", "GET k"]));
    chaos.refuse(false);
    assert_eq!(wire.replies(3).concat(), b"$-1\r\n:1\r\n$1\r\n1\r\n");
}

#[test]
fn the_budget_and_the_configuration_bound_what_goes_out_once_more() {
    for (upstream, refused) in [("retry_share = 0.001\nretries_per_second = 0", 2.0), ("retry_reads = false", 0.0)] {
        let Bench { redis: _redis, chaos, proxy } = bench(upstream);
        let mut wire = connected(&proxy);
        chaos.down(Way::Reset(0));
        let lost = format!("-TIMEOUT respguard: outcome of GET {LOST}");
        assert_eq!(wire.pipeline(&["GET k", "GET k"]), [lost.clone(), lost], "{upstream}");
        assert_eq!(retried(&proxy), 0.0);
        assert_eq!(proxy.metric("respguard_retries_refused_total", &[("kind", "read")]), refused);
    }
}

#[test]
fn what_is_refused_leaves_the_budget_to_others() {
    let Bench { redis: _redis, chaos, proxy } = bench("retry_share = 0.001\nretries_per_second = 1");
    let (mut one, mut many) = (connected(&proxy), connected(&proxy));
    chaos.up(Way::Hold);
    one.send(&requests(&["GET k"]));
    crate::harness::eventually("it is on its way", || proxy.metric("respguard_commands_total", &[("command", "get")]) >= 1.0);
    // Once in ten times a second, and thirty at once are more than that.
    many.send(&requests(&["GET k"; 30]));
    crate::harness::eventually("they are on their way", || {
        proxy.metric("respguard_commands_total", &[("command", "get")]) >= 31.0
    });
    chaos.reset();
    assert_eq!(one.replies(1).concat(), b"$-1\r\n");
    assert!(many.replies(30).iter().all(|reply| reply.starts_with(b"-TIMEOUT ")));
    assert_eq!(retried(&proxy), 1.0);
}
