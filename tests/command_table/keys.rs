//! Keys are found where COMMAND GETKEYS finds them.

use std::collections::BTreeSet;

use redis::Value;
use respguard_engine::command::{Access, KeyList, Keys, Table};

use crate::invocations::INVOCATIONS;
use crate::program::Program;
use crate::server::{Request, Server};

#[test]
fn keys_are_those_that_getkeys_answers() {
    let server = Server::start();
    let mut connection = server.connect();
    let mut table = Table::builtin();
    table.merge(&server.raw("HELLO 2", "COMMAND")).expect("COMMAND is answered");
    for text in INVOCATIONS {
        let request = Request::parse(text);
        let spec = table.spec(table.lookup(request.args()));
        if !spec.present {
            continue;
        }
        let mut found = Vec::new();
        let list = spec.for_each_key(request.args(), &mut |place, _| {
            let key = request.args().get(place).expect("a visited key is an argument");
            found.push(String::from_utf8_lossy(key).into_owned());
        });
        // Redis before 7.0 answers no keys of a request that it does not take, and only it has STRALGO, of which the table
        // says as the server does: there may be others.
        let old = Program::under_test().version < (7, 0);
        let unlike = !spec.takes_arguments(request.args().len()) || list == KeyList::Unknown;
        if old && unlike {
            continue;
        }
        let question = ["COMMAND", "GETKEYS"].map(str::as_bytes);
        let question = Request::new(question.into_iter().chain(request.args().iter()));
        let answered = question.run(&mut connection).map_or(Vec::new(), |keys| texts(&keys));
        // The module says of all its keys only the first.
        if spec.name() == "json.mget" {
            found.truncate(1);
        }
        assert_eq!(sorted(found), sorted(answered), "{text}");
    }
    println!("{} invocations", INVOCATIONS.len());
}

/// GETKEYS has an order of its own where a command has several key specs.
fn sorted(mut keys: Vec<String>) -> Vec<String> {
    keys.sort();
    keys
}

fn texts(value: &Value) -> Vec<String> {
    redis::from_redis_value_ref(value).expect("GETKEYS answers a list of keys")
}

#[test]
fn every_keyed_command_of_the_server_is_invoked() {
    let server = Server::start();
    let mut table = Table::builtin();
    table.merge(&server.raw("HELLO 2", "COMMAND")).expect("COMMAND is answered");
    let invoked: BTreeSet<&str> =
        INVOCATIONS.iter().map(|text| table.spec(table.lookup(Request::parse(text).args())).name()).collect();
    let missing: Vec<&str> = table
        .iter()
        .filter(|(_, spec)| spec.present && spec.keys != Keys::Specs(Box::default()))
        .map(|(_, spec)| spec.name())
        .filter(|name| !invoked.contains(name))
        .collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn only_destinations_are_written() {
    let table = Table::builtin();
    for (text, expected) in [
        ("SINTERSTORE d a b", "Write Read Read"),
        ("BITOP AND d a b", "Overwrite Read Read"),
        ("SORT k STORE d", "Read Overwrite"),
        ("RENAME a b", "Write Overwrite"),
        ("DEL a b", "Remove Remove"),
        ("XREAD STREAMS s t 0 0", "Read Read"),
        ("GEORADIUS g 1 1 10 km STORE d", "Read Overwrite"),
    ] {
        let request = Request::parse(text);
        let mut found = Vec::new();
        let spec = table.spec(table.lookup(request.args()));
        spec.for_each_key(request.args(), &mut |_, access: Access| found.push(format!("{access:?}")));
        assert_eq!(found.join(" "), expected, "{text}");
    }
}
