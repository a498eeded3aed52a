//! Runs `respguard explain` as a user does.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const RULES: &str = "[[group]]\nname = \"login\"\ncommands = [\"SETEX rt:{user} * *\", \"SADD sess:{user} *\"]\n";

fn explain(folder: &Path, rules: &str, commands: Option<&Path>, input: &str) -> Output {
    let config = folder.join("rules.toml");
    std::fs::write(&config, rules).expect("the folder takes a file");
    let mut child = Command::new(env!("CARGO_BIN_EXE_respguard"))
        .args(["explain", "--config"])
        .arg(config)
        .args(commands)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("respguard starts");
    // A refused configuration ends the program before it reads.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    child.wait_with_output().expect("respguard ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn commands_come_from_a_file_or_from_standard_input() {
    let folder = tempfile::tempdir().expect("a folder");
    let commands = "SETEX rt:u 60 v\nSADD sess:u t\n";
    let file = folder.path().join("commands");
    std::fs::write(&file, commands).expect("the folder takes a file");
    let from_file = explain(folder.path(), RULES, Some(&file), "");
    let from_input = explain(folder.path(), RULES, None, commands);
    assert_eq!((from_file.status.code(), from_input.status.code()), (Some(0), Some(0)));
    assert_eq!(from_file.stdout, from_input.stdout);
    assert!(text(&from_file.stdout).contains("on the wire, in one write: MULTI, 1-2, EXEC"), "{}", text(&from_file.stdout));
    assert!(from_file.stderr.is_empty());
}

#[test]
fn what_is_refused_ends_with_1_and_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let cases = [
        (explain(folder.path(), RULES, None, "GET a\nGET \"b\n"), "standard input:2: Protocol error: unbalanced quotes"),
        (explain(folder.path(), "nonsense = 1\n", None, "GET a\n"), "rules.toml:1:1:"),
        (explain(folder.path(), RULES, Some(Path::new("/no/such/file")), ""), "/no/such/file: "),
    ];
    for (output, message) in cases {
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(text(&output.stderr).contains(message), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("(expected "), "{}", text(&output.stderr));
        assert!(output.stdout.is_empty());
    }
}
