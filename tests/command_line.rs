//! The program's exit codes, and what it says with them.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output};

#[test]
fn version_and_help_end_with_0_and_help_names_every_exit_code() {
    let version = respguard(&["--version"]);
    assert_eq!(code(&version), 0);
    assert!(out(&version).starts_with(&format!("respguard {}", env!("CARGO_PKG_VERSION"))), "{}", out(&version));

    let help = respguard(&["--help"]);
    assert_eq!(code(&help), 0);
    for exit_code in 0..=4 {
        assert!(out(&help).contains(&format!("\n  {exit_code}  ")), "{exit_code} in {}", out(&help));
    }
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    for wrong in [&[][..], &["serve"], &["check"], &["run", "--log-format", "xml"], &["run", "--colour"]] {
        let output = respguard(wrong);
        assert_eq!(code(&output), 2, "{wrong:?}");
        assert!(err(&output).contains("--help"), "{}", err(&output));
    }
}

#[test]
fn check_ends_with_0_for_a_good_configuration() {
    let file = File::with("[[ttl]]\nname = \"sessions\"\nkeys = [\"sess:*\"]\naction = \"flag\"\n");
    let output = respguard(&["check", "--config", file.path()]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(out(&output).contains("good"), "{}", out(&output));
}

#[test]
fn check_ends_with_1_and_names_file_line_key_and_what_was_expected() {
    let file = File::with("[listen]\nclients_max = \"many\"\n");
    let output = respguard(&["check", "--config", file.path()]);
    assert_eq!(code(&output), 1);
    let at = format!("{}:2:", file.path());
    for wanted in [at.as_str(), "listen.clients_max", "expected", " 2 | clients_max = \"many\"\n   |               ^"] {
        assert!(err(&output).contains(wanted), "{wanted} in {}", err(&output));
    }
}

#[test]
fn a_file_that_is_not_there_ends_with_1_for_check_and_for_run() {
    for action in ["check", "run"] {
        let output = respguard(&[action, "--config", "/nowhere/config.toml"]);
        assert_eq!(code(&output), 1, "{action}");
        assert!(err(&output).contains("/nowhere/config.toml"), "{}", err(&output));
    }
}

#[test]
fn a_taken_port_ends_with_3_and_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().map(|address| (address, taken)).expect("an address");
    for (clients, admin) in [(taken.0.to_string(), "127.0.0.1:0".into()), ("127.0.0.1:0".into(), taken.0.to_string())] {
        let file = File::with(&format!("[listen]\naddress = \"{clients}\"\n[admin]\naddress = \"{admin}\"\n"));
        let output = respguard(&["run", "--config", file.path()]);
        assert_eq!(code(&output), 3, "{}", err(&output));
        assert!(err(&output).contains(&taken.0.to_string()), "{}", err(&output));
        assert!(err(&output).contains("stop whoever listens there"), "{}", err(&output));
    }
}

#[test]
fn completions_and_the_manual_name_every_subcommand() {
    let subcommands = ["run", "check", "explain", "record", "learn", "completions", "man", "healthcheck"];
    let manual = respguard(&["man"]);
    assert_eq!(code(&manual), 0);
    assert!(out(&manual).contains(".TH respguard 1") && out(&manual).contains(".TH \"respguard run\" 1"), "{}", out(&manual));
    for shell in ["bash", "zsh", "fish"] {
        let completions = respguard(&["completions", shell]);
        assert_eq!(code(&completions), 0, "{shell}");
        for subcommand in subcommands {
            assert!(out(&completions).contains(subcommand), "{subcommand} in {shell}");
            assert!(out(&manual).contains(subcommand), "{subcommand}");
        }
    }
    let bash = std::process::Command::new("bash").args(["-n"]).stdin(std::process::Stdio::piped()).spawn();
    if let Ok(mut bash) = bash {
        use std::io::Write;
        let script = respguard(&["completions", "bash"]).stdout;
        bash.stdin.take().expect("a pipe").write_all(&script).expect("bash reads");
        assert!(bash.wait().expect("bash ends").success(), "bash understands it");
    }
    assert_eq!(code(&respguard(&["completions", "cmd.exe"])), 2);
}

fn respguard(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_respguard");
    Command::new(program).args(arguments).env_remove("RESPGUARD_LOG").output().expect("the program starts")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("ended by itself")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A configuration file that goes away with the test.
struct File {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl File {
    fn with(text: &str) -> File {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.toml");
        std::fs::write(&path, text).expect("written");
        File { path, _folder: folder }
    }

    fn path(&self) -> &str {
        self.path.to_str().expect("a path in UTF-8")
    }
}
