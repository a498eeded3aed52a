//! The server's limits on one client: what one exceeds costs no other anything.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::harness::wire::words;
use crate::harness::{Chaos, PATIENT, Proxy, RedisServer, Setup, Way, request};

const KNOWN: &str = "[[group]]\nname = \"known\"\nresolve = true\ncommands = [\"SET {k}:a *\", \"SET {k}:b *\"]\n";

/// Counts on while `act` runs; how many counts got an error.
fn lost_by_others(proxy: &Proxy, act: impl FnOnce()) -> u64 {
    let (done, lost) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for (of, mut wire) in (0..4).map(|of| (of, proxy.wire())) {
            let (done, lost) = (&done, &lost);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    if wire.ask(&format!("INCR n:{of}")).starts_with('-') {
                        lost.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        // Whatever comes of it, the others end.
        let acted = catch_unwind(AssertUnwindSafe(act));
        done.store(true, Ordering::Relaxed);
        if let Err(panic) = acted {
            resume_unwind(panic);
        }
    });
    lost.into_inner()
}

/// A reply of 3 MB, where 1 MiB is the limit.
const LONG_EVAL: &[&[u8]] = &[b"EVAL", b"return string.rep('x', 3000000)", b"0"];

/// One worker, so that one connection carries all clients.
fn patient(redis: &RedisServer) -> Setup {
    Setup::new(redis).top("workers = 1").upstream(PATIENT)
}

fn with_output_limit() -> (RedisServer, Proxy) {
    let redis = RedisServer::start(&["--client-output-buffer-limit normal 1mb 0 0"]);
    let proxy = patient(&redis).start();
    redis.ask("SETRANGE k 3000000 x");
    (redis, proxy)
}

fn reconnects(proxy: &Proxy) -> f64 {
    proxy.metric("respguard_upstream_reconnects_total", &[])
}

#[test]
fn who_exceeds_the_limit_on_replies_costs_others_one_connection() {
    let (_redis, proxy) = with_output_limit();
    let mut greedy = proxy.wire();
    let lost = lost_by_others(&proxy, || {
        for _ in 0..20 {
            greedy.send(&words(LONG_EVAL));
            let reply = greedy.reply();
            assert!(reply.starts_with(b"-TIMEOUT respguard"), "{}", String::from_utf8_lossy(&reply[..reply.len().min(80)]));
        }
    });
    // The second one is under way alone; the third may be sent before that is known.
    assert!(reconnects(&proxy) <= 3.0, "{}", reconnects(&proxy));
    assert!(lost <= 4, "{lost}");
    assert_eq!(greedy.ask("PING"), "+PONG\r\n");
}

#[test]
fn reads_that_exceed_it_cost_others_no_more() {
    let (_redis, proxy) = with_output_limit();
    let mut greedy = proxy.wire();
    let lost = lost_by_others(&proxy, || {
        for _ in 0..20 {
            assert!(greedy.ask("GET k").starts_with("-TIMEOUT respguard"));
        }
    });
    assert!(reconnects(&proxy) <= 3.0, "{}", reconnects(&proxy));
    assert!(lost <= 4, "{lost}");
}

#[test]
fn who_connects_anew_for_each_request_costs_others_no_more() {
    let (_redis, proxy) = with_output_limit();
    let lost = lost_by_others(&proxy, || {
        for _ in 0..20 {
            assert!(proxy.wire().ask("GET k").starts_with("-TIMEOUT respguard"));
            let mut greedy = proxy.wire();
            greedy.send(&words(LONG_EVAL));
            assert!(greedy.reply().starts_with(b"-TIMEOUT respguard"));
        }
    });
    // What was lost goes over leases, and each of the two commands becomes known once it was under way alone.
    assert!(reconnects(&proxy) <= 8.0, "{}", reconnects(&proxy));
    assert!(lost <= 16, "{lost}");
}

#[test]
fn many_clients_that_exceed_it_at_once_are_all_found_and_small_reads_are_answered() {
    let (redis, proxy) = with_output_limit();
    redis.ask("SET small v");
    thread::scope(|scope| {
        for of in 0..24 {
            let mut wire = proxy.wire();
            scope.spawn(move || {
                for _ in 0..20 {
                    match of % 4 {
                        0 => assert!(wire.ask("GET k").starts_with("-TIMEOUT respguard")),
                        _ => assert_eq!(wire.ask("GET small"), "$1\r\nv\r\n"),
                    }
                }
            });
        }
    });
    assert!(reconnects(&proxy) <= 12.0, "{}", reconnects(&proxy));
}

#[test]
fn a_member_longer_than_the_server_takes_costs_only_its_own_client() {
    let redis = RedisServer::start(&["--proto-max-bulk-len 1mb"]);
    let rules = "[[group]]\nname = \"pair\"\ncommands = [\"SET {k}:a *\", \"SET {k}:b *\"]\n";
    let proxy = patient(&redis).rules(rules).pipeline("hold_ms = 5000\nhold_max_ms = 10000").start();
    let value = vec![b'x'; 2_000_000];
    let lost = lost_by_others(&proxy, || {
        for _ in 0..5 {
            let mut wire = proxy.wire();
            wire.send(&[request("SET x:a 1"), words(&[b"SET", b"x:b", &value])].concat());
            assert!(wire.reply().starts_with(b"-"));
        }
    });
    assert_eq!((reconnects(&proxy), lost), (0.0, 0));
    assert_eq!(redis.ask("EXISTS x:a x:b"), ":0\r\n");
}

#[test]
fn a_long_member_that_the_server_takes_is_applied_with_its_group() {
    let redis = RedisServer::start(&[]);
    let rules = "[[group]]\nname = \"pair\"\ncommands = [\"SET {k}:a *\", \"SET {k}:b *\"]\n\
                 [[group]]\nname = \"known\"\nresolve = true\ncommands = [\"SET {k}:c *\", \"SET {k}:d *\"]\n";
    let proxy = patient(&redis).rules(rules).pipeline("hold_ms = 5000\nhold_max_ms = 10000").start();
    redis.ask("ACL SETUSER default -config");
    let value = vec![b'x'; 2_000_000];
    let mut wire = proxy.wire();
    for names in [[&b"x:a"[..], b"x:b"], [b"x:c", b"x:d"]] {
        wire.send(&[words(&[b"SET", names[0], b"1"]), words(&[b"SET", names[1], &value])].concat());
        assert_eq!([wire.reply(), wire.reply()].concat(), b"+OK\r\n+OK\r\n");
    }
    assert_eq!(proxy.metric("respguard_groups_total", &[("group", "pair"), ("outcome", "applied")]), 1.0);
}

#[test]
fn a_group_in_doubt_that_is_longer_than_the_server_takes_costs_only_its_own_client() {
    let redis = RedisServer::start(&["--proto-max-bulk-len 1mb"]);
    let proxy = patient(&redis).rules(KNOWN).pipeline("hold_ms = 5000\nhold_max_ms = 10000").start();
    let value = vec![b'x'; 2_000_000];
    let lost = lost_by_others(&proxy, || {
        for _ in 0..5 {
            let mut wire = proxy.wire();
            wire.send(&[request("SET x:a 1"), words(&[b"SET", b"x:b", &value]), request("ECHO behind")].concat());
            // Its marker proves that nothing was applied.
            assert!([wire.reply(), wire.reply()].iter().all(|reply| reply.starts_with(b"-EXECABORT")));
            assert_eq!(wire.reply(), b"$6\r\nbehind\r\n");
        }
    });
    assert_eq!((reconnects(&proxy), lost), (0.0, 0));
    assert_eq!(proxy.metric("respguard_resolutions_total", &[("outcome", "aborted")]), 5.0);
    assert_eq!(redis.ask("EXISTS x:a x:b"), ":0\r\n");
}

#[test]
fn what_became_of_a_long_group_is_found_out_when_its_own_connection_is_lost() {
    let redis = RedisServer::start(&["--client-query-buffer-limit 1mb"]);
    let chaos = Chaos::before(redis.port());
    // A busy machine may take longer to send the second member than a hold lasts: the two would be no group.
    let patient = patient(&redis).pipeline("hold_ms = 10000\nhold_max_ms = 10000");
    let proxy = patient.through(chaos.port()).rules(KNOWN).start();
    let value = vec![b'x'; 700_000];
    let mut committed = 0;
    for round in 0..24 {
        let mut wire = proxy.wire();
        assert_eq!(wire.ask("PING"), "+PONG\r\n");
        // A kept lease is there to be cut.
        chaos.down(Way::Close(round * 4));
        let (a, b) = (format!("{round}:a"), format!("{round}:b"));
        wire.send(
            &[words(&[b"SET", a.as_bytes(), b"1"]), words(&[b"SET", b.as_bytes(), &value]), request("ECHO behind")].concat(),
        );
        let replies = [wire.reply(), wire.reply()].map(|reply| String::from_utf8_lossy(&reply).into_owned());
        assert_eq!(wire.reply(), b"$6\r\nbehind\r\n");
        let applied = redis.ask(&format!("EXISTS {a} {b}")) == ":2\r\n";
        match &replies[0][..3] {
            "-CO" => committed += 1,
            "+OK" => {}
            "-EX" => assert!(!applied, "{replies:?}"),
            _ => panic!("{replies:?}"),
        }
        assert_eq!(applied, !replies[0].starts_with("-EX"), "{replies:?}");
        chaos.down(Way::Pass);
    }
    assert!(committed > 0, "some are cut behind EXEC");
    assert_eq!(proxy.metric("respguard_holds_total", &[("outcome", "expired")]), 0.0);
}

#[test]
fn replies_that_are_just_not_large_do_not_exceed_the_limit_together() {
    let (redis, proxy) = with_output_limit();
    redis.ask("SETRANGE medium 59999 x");
    let medium = |reply: &[u8]| reply.starts_with(b"$60000\r\n") && reply.len() == 60010;
    let lost = lost_by_others(&proxy, || {
        thread::scope(|scope| {
            for of in 0..6 {
                let mut wire = proxy.wire();
                scope.spawn(move || {
                    for _ in 0..4 {
                        let commands = [
                            "GET medium",
                            "SET own v",
                            "MGET medium",
                            "MULTI",
                            "INCR own:n",
                            "GET medium",
                            "EXEC",
                            "STRLEN medium",
                        ];
                        let count = if of == 0 { 200 } else { 16 };
                        let batch: Vec<_> = commands.iter().cycle().take(count).map(|command| request(command)).collect();
                        wire.send(&batch.concat());
                        let mut queued = 0;
                        for command in commands.iter().cycle().take(count) {
                            let reply = wire.reply();
                            match *command {
                                _ if reply == b"+QUEUED\r\n" => queued += 1,
                                "GET medium" => {
                                    assert!(medium(&reply), "{}", String::from_utf8_lossy(&reply[..reply.len().min(80)]))
                                }
                                "MGET medium" => assert_eq!(reply.len(), 60014),
                                "STRLEN medium" => assert_eq!(reply, b":60000\r\n"),
                                "EXEC" => assert!(reply.starts_with(b"*2\r\n:") && reply.len() > 60010),
                                _ => assert_eq!(reply, b"+OK\r\n"),
                            }
                        }
                        assert_eq!(queued, 2 * count / commands.len());
                    }
                });
            }
        });
    });
    assert_eq!((reconnects(&proxy), lost), (0.0, 0));
}

#[test]
fn a_client_that_uses_up_the_servers_memory_for_clients_costs_only_itself() {
    let redis = RedisServer::start(&["--maxmemory-clients 6mb"]);
    let proxy = patient(&redis).start();
    redis.ask("SETRANGE k 2000000 x");
    let value = vec![b'x'; 5_000_000];
    let (mut greedy, mut reader) = (proxy.wire(), proxy.wire());
    let lost = lost_by_others(&proxy, || {
        for _ in 0..10 {
            greedy.send(&words(&[b"SET", b"big", &value]));
            greedy.reply();
            reader.send(&request("GET k").repeat(8));
            for _ in 0..8 {
                reader.reply();
            }
        }
    });
    assert!(reconnects(&proxy) <= 3.0, "{}", reconnects(&proxy));
    assert!(lost <= 4, "{lost}");
}
