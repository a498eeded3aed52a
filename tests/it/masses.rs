//! Masses of commands, clients and arguments: what Redis takes is taken, what it refuses is refused in its words.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::harness::wire::requests;
use crate::harness::{RedisServer, Setup, Twin, eventually, request, text};

#[test]
fn redis_cli_inserts_a_mass_through_its_pipe() {
    const COUNT: usize = 50_000;
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).start();
    let mut cli = Command::new("redis-cli")
        .args(["-p", &proxy.port().to_string(), "--pipe"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("redis-cli is installed");
    let mut input = cli.stdin.take().expect("piped");
    let bytes: Vec<u8> = (0..COUNT).flat_map(|at| request(&format!("SET key:{at} {at}"))).collect();
    input.write_all(&bytes).expect("it reads");
    drop(input);
    let output = cli.wait_with_output().expect("it ends");
    let told = text(&output.stdout);
    assert!(told.contains(&format!("errors: 0, replies: {COUNT}")), "{told} {}", text(&output.stderr));
    assert_eq!(redis.ask("DBSIZE"), format!(":{COUNT}\r\n"));
}

#[test]
fn one_client_too_many_hears_what_redis_says() {
    let redis = RedisServer::start(&["--maxclients 3"]);
    let mut direct: Vec<_> = (0..3).map(|_| redis.wire()).collect();
    direct.iter_mut().for_each(|wire| assert_eq!(wire.ask("PING"), "+PONG\r\n"));
    let said = redis.wire().until_closed();

    let behind = RedisServer::start(&[]);
    let proxy = Setup::new(&behind).listen("clients_max = 3").start();
    let mut proxied: Vec<_> = (0..3).map(|_| proxy.wire()).collect();
    proxied.iter_mut().for_each(|wire| assert_eq!(wire.ask("PING"), "+PONG\r\n"));
    assert_eq!(text(&proxy.wire().until_closed()), text(&said));
    drop(proxied.pop());
    eventually("there is room again", || {
        let mut wire = proxy.wire();
        wire.send_line("PING");
        wire.try_reply().is_some_and(|reply| reply == b"+PONG\r\n")
    });
}

#[test]
fn ten_thousand_commands_in_one_write_and_many_arguments_answer_as_redis_does() {
    let twin = Twin::start("");
    let deep: Vec<u8> = (0..10_000)
        .flat_map(|at| match at % 4 {
            0 => request(&format!("SET k:{at} v")),
            1 => request("INCR n"),
            2 => request("NOSUCH"),
            _ => requests(&["MULTI", "INCR n", "EXEC"]),
        })
        .collect();
    twin.pair().same(&deep, 15_000);
    let wide: Vec<String> = (0..100_000).map(|at| format!("k{at}")).collect();
    twin.pair().same_line(&format!("MGET {}", wide.join(" ")));
    twin.pair3().same_line(&format!("RPUSH l {}", wide.join(" ")));
    twin.pair3().same_line("LRANGE l 0 -1");
    let nested = "local t = 1; for i = 1, 100 do t = {t} end; return t";
    twin.pair().same(&crate::harness::wire::words(&[b"EVAL", nested.as_bytes(), b"0"]), 1);
}
