//! A server's COMMAND answer is understood, in both protocols.

use std::process::Command;

use respguard_engine::command::{
    CommandId, ConnectionEffect, Flags, Keys, MergeError, PinReason, RetryClass, Table, TtlColumn, TtlEffect, listed,
};

use crate::program::Program;
use crate::server::{Request, Server, server_name};

#[test]
fn the_table_knows_all_that_the_server_has_in_both_protocols() {
    let server = Server::start();
    for hello in ["HELLO 2", "HELLO 3"] {
        let mut table = Table::builtin();
        let merge = table.merge(&server.raw(hello, "COMMAND")).expect("COMMAND is answered");
        assert_eq!(merge.added, [], "{hello}");
        assert_eq!(merge.skipped, 0, "{hello}");
        let absent: Vec<&str> = table.iter().filter(|(_, spec)| !spec.present).map(|(_, spec)| spec.name()).collect();
        assert_eq!(absent.len(), merge.absent);
        println!("{hello}: the server lacks {absent:?}");
        for name in ["set", "client|setname", "xgroup|create"] {
            assert!(table.spec(table.by_name(name).expect(name)).present, "{name}");
        }
    }
}

/// A row from documentation is to be witnessed as soon as a server is there that has the command.
#[test]
fn what_the_server_lists_is_witnessed() {
    let server = Server::start();
    let mut table = Table::builtin();
    table.merge(&server.raw("HELLO 2", "COMMAND")).expect("COMMAND is answered");
    let lists_subcommands = Program::under_test().version >= (7, 0);
    for (name, servers) in listed().filter(|(name, _)| lists_subcommands || !name.contains('|')) {
        let is_present = table.spec(table.by_name(name).expect(name)).present;
        assert!(!servers.is_empty() || !is_present, "{name} can be witnessed here: scripts/generate-command-table");
        assert_eq!(servers.contains(&&*server_name()), is_present, "{name}");
    }
}

/// Every letter of every name is turned, so that all commands are new to the table and all of it is learned. Where this
/// server describes a command otherwise than the one whose words the table has, the server's list of differences says so.
#[test]
fn what_is_learned_about_a_command_is_what_was_generated() {
    let server = Server::start();
    let mut said = Vec::new();
    for hello in ["HELLO 2", "HELLO 3"] {
        let builtin = Table::builtin();
        let mut table = Table::builtin();
        let merge = table.merge(&turned(&server.raw(hello, "COMMAND"))).expect("well-formed");
        assert_eq!(merge.skipped, 0, "{hello}");
        assert!(merge.added.len() > 200, "{hello}: {}", merge.added.len());
        let mut differences = Vec::new();
        for id in &merge.added {
            let learned = table.spec(*id);
            let name = turn(learned.name());
            // What browsers say is listed before 7.0, and learned of nobody.
            if matches!(&*name, "post" | "host:") {
                continue;
            }
            let known = builtin.by_name(&name).expect("a name of the server");
            let known = builtin.spec(known);
            if learned.arity != known.arity {
                differences.push(format!("{}: arity {}, not {}\n", known.name(), learned.arity, known.arity));
            }
            if learned.flags != known.flags {
                differences.push(format!("{}: flags {:?}, not {:?}\n", known.name(), learned.flags, known.flags));
            }
            if matches!(known.keys, Keys::Specs(_)) && learned.keys != known.keys {
                differences.push(format!("{}: keys {:?}\n", known.name(), learned.keys));
            }
            let harmless = learned.connection == ConnectionEffect::None;
            // A server before 7.0 does not say which commands wait, and describes a container as if it were a command.
            let is_told = Program::under_test().version >= (7, 0);
            let stateless = !is_told || known.connection == ConnectionEffect::None;
            assert!(!harmless || stateless, "{} is taken for harmless", known.name());
        }
        differences.sort();
        said.push(differences.concat());
    }
    assert_eq!(said[0], said[1]);
    let path = format!("{}/tests/servers/{}.commands.txt", env!("CARGO_MANIFEST_DIR"), server_name());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &said[0]).expect("a file");
    }
    let listed = std::fs::read_to_string(&path).expect("the server's list of differences");
    assert!(listed == said[0], "{path} with UPDATE_DOCS=1 would be\n{}", said[0]);
}

/// The names of the entries, which follow the headers of arrays of ten elements, or of seven before 7.0, with their letters turned by 13.
fn turned(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let old = !frame.windows(6).any(|bytes| bytes == b"*10\r\n$");
    let header: &[u8] = if old { b"*7\r\n$" } else { b"*10\r\n$" };
    for at in 0..frame.len() - header.len() {
        if &frame[at..at + header.len()] == header {
            let at = at + header.len() - 6;
            let line = frame[at + 5..].iter().position(|byte| *byte == b'\n').expect("a line");
            let name = &mut frame[at + 5 + line + 1..];
            let end = name.iter().position(|byte| *byte == b'\r').expect("a line");
            let text = turn(std::str::from_utf8(&name[..end]).expect("names are ASCII"));
            name[..end].copy_from_slice(text.as_bytes());
        }
    }
    frame
}

fn turn(name: &str) -> String {
    let turn = |letter: char| match letter {
        'a'..='z' => char::from((letter as u8 - b'a' + 13) % 26 + b'a'),
        other => other,
    };
    name.chars().map(turn).collect()
}

#[test]
fn the_committed_table_is_what_the_script_writes() {
    let status = Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/generate-command-table"))
        .args(["--check", &server_name(), "--program"])
        .arg(&Program::under_test().path)
        .status()
        .expect("python3 is installed");
    assert!(status.success());
}

#[test]
fn what_is_long_by_nature_is_nothing_that_the_server_flags_as_fast_and_all_that_runs_programs() {
    let server = Server::start();
    let mut table = Table::builtin();
    table.merge(&server.raw("HELLO 3", "COMMAND")).expect("COMMAND is answered");
    let present = || table.iter().map(|(_, spec)| spec).filter(|spec| spec.present);
    for spec in present().filter(|spec| spec.slow) {
        assert!(!spec.flags.has(Flags::FAST) && !spec.flags.has(Flags::BLOCKING), "{}", spec.name());
    }
    for spec in present().filter(|spec| spec.flags.has(Flags::SCRIPTING) && spec.flags.has(Flags::MOVABLEKEYS)) {
        assert!(spec.slow, "{}", spec.name());
    }
    for name in ["flushall", "keys", "save", "sort", "debug", "migrate", "restore", "bgrewriteaof", "cluster|slots"] {
        assert!(present().any(|spec| spec.slow && spec.name() == name), "{name}");
    }
}

#[test]
fn module_commands_are_learned_with_caution() {
    let entry = |name: &str, flags: &[&str]| {
        let flags: String = flags.iter().map(|flag| format!("+{flag}\r\n")).collect();
        let count = flags.lines().count();
        let size = name.len();
        format!("*6\r\n${size}\r\n{name}\r\n:-2\r\n*{count}\r\n{flags}:1\r\n:-1\r\n:1\r\n")
    };
    let entries = [
        entry("Mod.Set", &["write", "denyoom", "module"]),
        entry("mod.get", &["readonly", "module"]),
        entry("mod.wait", &["write", "blocking", "module"]),
        entry("mod.listen", &["readonly", "pubsub", "module"]),
        entry("mod.steer", &["readonly", "admin", "noscript", "module"]),
        entry("mod.odd", &["module"]),
        entry("mod.moved", &["readonly", "movablekeys", "module"]),
        "*1\r\n$3\r\nbad\r\n".to_owned(),
    ];
    let mut table = Table::builtin();
    let before = table.len();
    let frame = format!("*{}\r\n{}", entries.len(), entries.concat());
    let merge = table.merge(frame.as_bytes()).expect("well-formed");
    assert_eq!((merge.added.len(), merge.skipped), (7, 1));
    assert_eq!(table.len(), before + 7);
    let spec = |name: &str| table.spec(table.by_name(name).expect("added"));
    let unknown = ConnectionEffect::Pin(PinReason::Unknown);
    assert_eq!(spec("mod.set").connection, ConnectionEffect::None);
    assert_eq!(spec("mod.set").ttl, TtlColumn::Written(TtlEffect::Unknown));
    assert_eq!(spec("mod.set").retry, RetryClass::NotIdempotent);
    assert!(spec("mod.set").flags.has(Flags::MODULE));
    assert_eq!(spec("mod.get").retry, RetryClass::Read);
    assert_eq!(spec("mod.get").ttl, TtlColumn::None);
    assert_eq!(spec("mod.wait").connection, ConnectionEffect::Blocking);
    for name in ["mod.listen", "mod.steer", "mod.odd"] {
        assert_eq!(spec(name).connection, unknown, "{name}");
        assert!(spec(name).groupable().is_err(), "{name}");
    }
    let plain = |text: &str| {
        let request = Request::parse(text);
        table.spec(table.lookup(request.args())).is_plain_keyed(request.args())
    };
    assert!(plain("MOD.SET k x") && plain("mod.get k"));
    assert!(!plain("mod.wait k") && !plain("mod.odd k"));
    assert!(!spec("set").present && spec("mod.set").present);
}

#[test]
fn a_second_answer_decides_what_is_present_and_ids_stay() {
    let server = Server::start();
    let whole = server.raw("HELLO 2", "COMMAND");
    let mut table = Table::builtin();
    let set = table.by_name("set");
    let one = b"*1\r\n*6\r\n$5\r\nextra\r\n:2\r\n*1\r\n+readonly\r\n:1\r\n:1\r\n:1\r\n";
    let added = table.merge(one).expect("well-formed").added;
    assert!(table.spec(added[0]).present);
    assert_eq!(table.merge(one).expect("well-formed").added, []);
    assert_eq!(table.merge(&whole).expect("well-formed").added, []);
    assert!(!table.spec(added[0]).present);
    assert_eq!(table.by_name("set"), set);
    assert!(table.spec(CommandId::UNKNOWN).present);
}

#[test]
fn subcommands_of_servers_that_do_not_list_them_are_taken_as_present() {
    let mut table = Table::builtin();
    let old = b"*1\r\n*6\r\n$6\r\nclient\r\n:-2\r\n*1\r\n+admin\r\n:0\r\n:0\r\n:0\r\n";
    table.merge(old).expect("well-formed");
    let present = |name: &str| table.spec(table.by_name(name).expect(name)).present;
    assert!(present("client") && present("client|setname"));
    assert!(!present("config|get"));
}

#[test]
fn other_answers_leave_the_table_alone() {
    let mut table = Table::builtin();
    let refused = table.merge(b"-NOPERM this user has no permissions\r\n");
    assert!(matches!(refused, Err(MergeError::Refused(text)) if text.starts_with("NOPERM")));
    for frame in [b"+OK\r\n".as_slice(), b"", b"*1\r\n", b"nonsense\r\n", b"$-1\r\n"] {
        assert_eq!(table.merge(frame), Err(MergeError::Malformed));
    }
    assert!(table.iter().all(|(_, spec)| spec.present));
}
