//! The rules of a running proxy are swapped under traffic; what is wrong changes nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::harness::proxy::command;
use crate::harness::wire::requests;
use crate::harness::{Proxy, RedisServer, Setup, eventually, request, signal, text};

const PAIR: &str = "[[group]]\nname = \"pair\"\ncommands = [\"SET a:{id} *\", \"SET b:{id} *\"]\n";
const OTHER: &str = "[[group]]\nname = \"other\"\ncommands = [\"SET x:{id} *\", \"SET y:{id} *\"]\n";
const MEMBERS: [&str; 2] = ["SET a:1 v", "SET b:1 v"];

fn reloads(proxy: &Proxy, outcome: &str) -> f64 {
    proxy.metric("respguard_config_reload_total", &[("outcome", outcome)])
}

fn reload(proxy: &Proxy) -> (u16, serde_json::Value) {
    let (status, body) = proxy.http("POST", "/reload", &[]);
    (status, serde_json::from_str(&body).expect("JSON"))
}

#[test]
fn the_answer_to_a_reload_comes_when_every_worker_follows_the_new_rules() {
    let (redis, proxy) = Proxy::with_redis(PAIR);
    // Enough clients for both workers.
    let mut wires: Vec<_> = (0..6).map(|_| proxy.wire()).collect();
    for round in 1..=5 {
        proxy.rewrite(&Setup::new(&redis));
        let (status, answer) = reload(&proxy);
        assert_eq!((status, answer["outcome"].as_str(), answer["groups"].as_u64()), (200, Some("applied"), Some(0)));
        assert_eq!(answer["needs_restart"], serde_json::json!([]));
        for wire in &mut wires {
            assert_eq!(wire.pipeline(&MEMBERS), ["+OK\r\n"; 2]);
        }
        proxy.rewrite(&Setup::new(&redis).rules(&(OTHER.to_owned() + PAIR)));
        assert_eq!(reload(&proxy).1["groups"].as_u64(), Some(2));
        for wire in &mut wires {
            assert_eq!(wire.pipeline(&MEMBERS), ["+OK\r\n"; 2]);
        }
        eventually("counted", || proxy.groups("pair", "applied") == f64::from(6 * round));
    }
    assert_eq!(reloads(&proxy, "applied"), 10.0);
    assert_eq!(proxy.metric("respguard_config_rules", &[("kind", "group")]), 2.0);
    assert_eq!(proxy.groups("other", "applied"), 0.0);
}

#[test]
fn what_is_under_way_is_finished_and_counted_under_the_rules_that_planned_it() {
    let (redis, proxy) = Proxy::with_redis(PAIR);
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("SET b:1 v"), "+OK\r\n");
    redis.pause();
    wire.send(&requests(&MEMBERS));
    eventually("it is sent", || proxy.metric("respguard_commands_total", &[("command", "set")]) == 3.0);
    // Another group stands in the first one's place.
    proxy.rewrite(&Setup::new(&redis).rules(&OTHER.replace("other", "usurper")));
    assert_eq!(reload(&proxy).0, 200);
    redis.resume();
    assert_eq!(wire.replies(2).iter().map(|reply| text(reply)).collect::<Vec<_>>(), ["+OK\r\n"; 2]);
    eventually("it is counted", || proxy.groups("pair", "applied") == 1.0);
    assert_eq!(proxy.groups("usurper", "applied"), 0.0);
}

#[test]
fn a_beginning_that_was_held_under_other_rules_goes_on_under_the_new_ones() {
    let redis = RedisServer::start(&[]);
    let setup = |rules: &str| Setup::new(&redis).pipeline("hold_ms = 300\nhold_max_ms = 600").rules(rules);
    let proxy = setup(PAIR).start();
    let mut wire = proxy.wire();
    wire.send(&request(MEMBERS[0]));
    assert!(wire.is_silent_for(Duration::from_millis(50)), "held");
    proxy.rewrite(&setup(OTHER));
    assert_eq!(reload(&proxy).0, 200);
    assert_eq!(text(&wire.reply()), "+OK\r\n");
    assert_eq!(wire.ask(MEMBERS[1]), "+OK\r\n");
    assert_eq!(proxy.violated("split", "other"), 0.0, "the new rule has nothing to do with it");
    assert_eq!(wire.pipeline(&["SET x:1 v", "SET y:1 v"]), ["+OK\r\n"; 2]);
    eventually("the new rule applies", || proxy.groups("other", "applied") == 1.0);
}

#[test]
fn a_bad_file_changes_nothing_and_says_what_is_wrong() {
    let (redis, proxy) = Proxy::with_redis(PAIR);
    let mut wire = proxy.wire();
    proxy.rewrite(&Setup::new(&redis).rules("[[group]]\nname = \"pair\"\ncommands = [\"SETXE a\", \"SET b *\"]\n"));
    let (status, answer) = reload(&proxy);
    assert_eq!((status, answer["outcome"].as_str()), (422, Some("refused")));
    let error = &answer["errors"][0];
    assert_eq!(error["key"], "group[0].commands[0]");
    assert!(error["line"].is_u64() && error["message"].as_str().is_some_and(|message| message.contains("SETXE")), "{answer}");
    assert!(proxy.logs("the previous rules stay in force").contains("SETXE"));
    assert_eq!(wire.pipeline(&MEMBERS), ["+OK\r\n"; 2]);
    eventually("the old rules apply", || proxy.groups("pair", "applied") == 1.0);

    std::fs::remove_file(proxy.config()).expect("it was there");
    let (status, answer) = reload(&proxy);
    assert_eq!((status, answer["outcome"].as_str()), (409, Some("unreadable")), "{answer}");
    assert_eq!((reloads(&proxy, "refused"), reloads(&proxy, "unreadable"), reloads(&proxy, "applied")), (1.0, 1.0, 0.0));
}

#[test]
fn a_hangup_reads_the_rules_again_and_what_needs_a_restart_is_named() {
    let (redis, proxy) = Proxy::with_redis("");
    let mut wire = proxy.wire();
    proxy.rewrite(&Setup::new(&redis).top("workers = 3").listen("clients_max = 77").rules(PAIR));
    signal(proxy.pid(), "HUP");
    eventually("it is read", || reloads(&proxy, "applied") == 1.0);
    assert_eq!(wire.pipeline(&MEMBERS), ["+OK\r\n"; 2]);
    eventually("the rules apply", || proxy.groups("pair", "applied") == 1.0);
    let log = proxy.logs("the rules were read again");
    let told = log.lines().find(|line| line.contains("the rules were read again")).expect("it is logged");
    assert!(told.contains("\"restart\":\"listen.clients_max workers\""), "{told}");

    let (status, body) = proxy.get("/config");
    let config: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(status, 200);
    assert_eq!(config["needs_restart"], serde_json::json!(["listen.clients_max", "workers"]));
    assert_eq!(config["config"]["workers"], 2, "as it runs");
    assert_eq!(config["config"]["listen"]["clients_max"], 10_000, "as it runs");
    assert_eq!(config["config"]["group"][0]["name"], "pair", "in force");
}

#[test]
fn check_compares_a_file_with_what_runs() {
    let (redis, proxy) = Proxy::with_redis(PAIR);
    let check = || {
        let output = command().args(["check", "--running", "--config"]).arg(proxy.config()).output().expect("it starts");
        (output.status.code(), text(&output.stdout))
    };
    let (code, told) = check();
    assert!(code == Some(0) && told.contains("no differences"), "{told}");
    proxy.rewrite(&Setup::new(&redis).top("workers = 3").rules(&PAIR.replace("b:", "c:")));
    let (code, told) = check();
    assert_eq!(code, Some(1));
    assert!(told.contains("  group.pair: a reload applies it: "), "{told}");
    assert!(told.contains("  workers: needs a restart: running 2, in the file 3\n"), "{told}");
    assert_eq!(reload(&proxy).0, 200);
    let (_, told) = check();
    assert!(!told.contains("group.pair") && told.contains("workers"), "{told}");
}

#[test]
fn without_a_file_there_is_nothing_to_read_again_and_a_token_is_wanted_where_there_is_one() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).admin("token_env = \"TOKEN\"").environment("TOKEN", "open-sesame").start();
    for path in ["/reload", "/record?seconds=1"] {
        assert_eq!(proxy.http("POST", path, &[]).0, 401, "{path}");
        assert_eq!(proxy.http("POST", path, &[("Authorization", "Bearer open-sesam")]).0, 401, "{path}");
    }
    assert_eq!(proxy.get("/config").0, 401);
    assert_eq!(proxy.http("POST", "/reload", &[("Authorization", "Bearer open-sesame")]).0, 200);
    let (_, config) = proxy.http("GET", "/config", &[("Authorization", "Bearer open-sesame")]);
    assert!(!config.contains("open-sesame") && config.contains("TOKEN"), "{config}");
}

#[test]
fn replies_keep_their_order_while_rules_change_under_traffic() {
    let (redis, proxy) = Proxy::with_redis(PAIR);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let (proxy, over) = (&proxy, &over);
                scope.spawn(move || {
                    let mut wire = proxy.wire();
                    let mut round = 0;
                    while !over.load(Ordering::Relaxed) {
                        let (a, b) = (format!("SET a:{client} {round}"), format!("SET b:{client} {round}"));
                        let echo = format!("ECHO {client}-{round}");
                        let replies = wire.pipeline(&[&a, &b, &echo, &format!("GET b:{client}")]);
                        let (said, got) = (format!("{client}-{round}"), round.to_string());
                        let bulk = |value: &str| format!("${}\r\n{value}\r\n", value.len());
                        assert_eq!(replies, ["+OK\r\n".to_owned(), "+OK\r\n".to_owned(), bulk(&said), bulk(&got)]);
                        round += 1;
                    }
                    round
                })
            })
            .collect();
        for round in 0..30 {
            let rules = ["".to_owned(), PAIR.to_owned(), OTHER.to_owned() + PAIR, PAIR.to_owned() + OTHER][round % 4].clone();
            proxy.rewrite(&Setup::new(&redis).rules(&rules));
            assert_eq!(reload(&proxy).0, 200);
        }
        over.store(true, Ordering::Relaxed);
        let rounds: u32 = clients.into_iter().map(|client| client.join().expect("every reply was right")).sum();
        assert!(rounds > 0);
    });
    assert!(proxy.groups("pair", "applied") > 0.0);
}
