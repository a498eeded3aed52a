//! The line of an application that changes, for each language of docs/getting-started.md: run where its library is at hand.

use std::path::Path;
use std::process::Command;

use fred::prelude::{ClientLike, Server, ServerConfig};

use crate::session::Session;

const DOCUMENT: &str = include_str!("../../docs/getting-started.md");

/// Libraries whose line is not run, and why.
const NOT_RUN: [(&str, &str); 4] = [
    ("go-redis", "later versions come from the network; version 5 is run by `make clients`"),
    ("Jedis", "no Java is taken for granted"),
    ("Lettuce", "no Java is taken for granted"),
    ("StackExchange.Redis", "no .NET is taken for granted"),
];

/// One row of the table.
struct Row {
    library: &'static str,
    before: &'static str,
    after: &'static str,
    run: &'static str,
}

fn rows() -> Vec<Row> {
    let table = DOCUMENT.split("| language | library |").nth(1).expect("the table").split("\n\n").next().unwrap_or_default();
    let rows = table.lines().skip(2).map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect::<Vec<_>>());
    let code = |cell: &'static str| cell.trim_matches('`');
    rows.map(|cells| Row { library: cells[1], before: code(cells[2]), after: code(cells[3]), run: cells[4] }).collect()
}

#[test]
fn only_the_address_changes() {
    assert!(rows().len() >= 10);
    for Row { library, before, after, .. } in rows() {
        let here = before.replace("redis:6379", "127.0.0.1:6380").replace("6379", "6380").replace("\"redis\"", "\"127.0.0.1\"");
        assert_eq!(here, after, "{library}");
    }
}

#[test]
fn the_line_of_each_library_at_hand_reaches_redis() {
    let mut session = Session::new();
    session.start("respguard run");
    for Row { library, after, run, .. } in rows() {
        if NOT_RUN.iter().any(|(listed, _)| *listed == library) {
            assert!(!run.starts_with("by the tests"), "{library}");
            continue;
        }
        assert_eq!(run, "by the tests", "{library}");
        let line = session.with_ports(after);
        match library {
            "redis-py" => python(&format!("import redis\nprint({line}.ping())")),
            "redis-py asyncio" => python(&format!(
                "import asyncio, redis.asyncio\nasync def ask():\n    return await {line}.ping()\nprint(asyncio.run(ask()))"
            )),
            "ioredis" => node(&format!(
                "import Redis from \"ioredis\";\nconst client = {line};\nconsole.log(await client.ping() === \"PONG\");\nclient.disconnect();"
            )),
            "node-redis" => node(&format!(
                "import {{ createClient }} from \"redis\";\nconst client = {line};\nawait client.connect();\n\
                 console.log(await client.ping() === \"PONG\");\nclient.destroy();"
            )),
            "redis" => {
                assert_eq!(after, "Client::open(\"redis://127.0.0.1:6380/\")", "the document's line is the one below");
                let client = redis::Client::open(format!("redis://127.0.0.1:{}/", session.port())).expect("an address");
                let mut connection = client.get_connection().expect("a connection");
                assert_eq!(redis::cmd("PING").query::<String>(&mut connection).expect("a reply"), "PONG");
            }
            "fred" => {
                assert_eq!(after, "ServerConfig::new_centralized(\"127.0.0.1\", 6380)", "the document's line is the one below");
                fred(session.port());
            }
            _ => panic!("{library} is neither run nor listed"),
        }
    }
    assert!(NOT_RUN.iter().all(|(listed, _)| rows().iter().any(|row| row.library == *listed)));
    session.stop();
}

fn fred(port: u16) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let config = fred::prelude::Config { server: ServerConfig::new_centralized("127.0.0.1", port), ..Default::default() };
    assert!(matches!(config.server, ServerConfig::Centralized { server: Server { .. } }));
    runtime.block_on(async {
        let client = fred::prelude::Builder::from_config(config).build().expect("a client");
        client.init().await.expect("a connection");
        assert_eq!(client.ping::<String>(None).await.expect("a reply"), "PONG");
        client.quit().await.expect("an end");
    });
}

fn python(script: &str) {
    succeeds(Command::new(root().join(".venv/bin/python")).args(["-B", "-c", script]), "True");
}

fn node(script: &str) {
    succeeds(Command::new("node").args(["--input-type=module", "-e", script]).current_dir(root().join("tests/clients")), "true");
}

/// The command ends with 0 and prints the word.
fn succeeds(command: &mut Command, word: &str) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} cannot start ({error}): run `make setup`"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim() == word, "{command:?}: {said}");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
