//! The program's exit codes, and what it says with them.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

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
fn what_is_misspelt_is_shown_with_a_caret_and_what_was_probably_meant() {
    let cases = [
        ("[listen]\nadress = \"127.0.0.1:1\"\n", "perhaps `address`", " 2 | adress = \"127.0.0.1:1\"\n   | ^\n"),
        ("[upstraem]\nsharing = \"auto\"\n", "perhaps `upstream`", " 1 | [upstraem]\n   |  ^\n"),
        ("mode = \"obsrve\"\n", "perhaps \"observe\"", " 1 | mode = \"obsrve\"\n   |        ^\n"),
        (
            "[[group]]\nname = \"a\"\ncommands = [\"GET a\", \"SETXE a 1 b\"]\n",
            "perhaps SETEX",
            " 3 | commands = [\"GET a\", \"SETXE a 1 b\"]\n   |                      ^\n",
        ),
        ("[[guard]]\nname = \"a\"\ncommands = [\"SETX * *\"]\n", "SETEX", " 3 | commands = [\"SETX * *\"]\n   |             ^\n"),
        (
            "[[guard]]\nname = \"a\"\ncommands = [\"KEYS\"]\n",
            "as in \"KEYS *\"",
            " 3 | commands = [\"KEYS\"]\n   |             ^\n",
        ),
        ("[group]\nname = \"a\"\n", "(expected [[group]])", " 1 | [group]\n   | ^\n"),
    ];
    for (text, meant, picture) in cases {
        let file = File::with(text);
        for action in ["check", "run"] {
            let output = respguard(&[action, "--config", file.path()]);
            assert_eq!(code(&output), 1, "{text}");
            assert!(err(&output).contains(meant) && err(&output).contains(picture), "{meant}\n{picture}in\n{}", err(&output));
        }
    }
}

#[test]
fn what_is_odd_about_good_rules_is_a_warning_with_its_place() {
    let rules = "[[group]]\nname = \"a\"\ncommands = [\"SET a:{id} *\", \"SET b:{ID} *\"]\n\n\
                 [[ttl]]\nname = \"all\"\nkeys = [\"*\"]\n\n[[ttl]]\nname = \"never\"\nkeys = [\"s:*\"]\n";
    let file = File::with(rules);
    let output = respguard(&["check", "--config", file.path()]);
    assert_eq!(code(&output), 0);
    for part in [
        "warning: ",
        "{ID} and {id} are two captures",
        " 3 | commands = [\"SET a:{id} *\", \"SET b:{ID} *\"]",
        "\"s:*\" is never reached: \"all\"",
    ] {
        assert!(err(&output).contains(part), "{part} in {}", err(&output));
    }
    let fine = File::with("[[group]]\nname = \"a\"\ncommands = [\"SET a:{id} *\", \"SET b:{id} *\"]\n");
    assert_eq!(err(&respguard(&["check", "--config", fine.path()])), "");
}

#[test]
fn a_certificate_that_is_no_good_is_named_with_what_was_expected() {
    let file = File::with("");
    let missing = file.path.with_file_name("proxy.crt");
    for (table, key) in [("listen", "cert"), ("upstream", "ca")] {
        let also = if table == "listen" { ", key = \"proxy.key\"" } else { "" };
        std::fs::write(&file.path, format!("[{table}]\ntls = {{ {key} = \"proxy.crt\"{also} }}\n")).expect("written");
        for (content, wanted) in [(None, "cannot be read"), (Some("no PEM"), "holds no certificate")] {
            // The other table has left one.
            let _ = std::fs::remove_file(&missing);
            if let Some(content) = content {
                std::fs::write(&missing, content).expect("written");
            }
            let output = respguard(&["run", "--config", file.path()]);
            assert_eq!(code(&output), 1, "{}", err(&output));
            let (key, missing) = (format!("{table}.tls.{key}: "), missing.display().to_string());
            for part in [key.as_str(), &missing, wanted, "(expected certificates in PEM", "\n 2 | tls = {", "^"] {
                assert!(err(&output).contains(part), "{part} in {}", err(&output));
            }
        }
    }
}

#[test]
fn without_a_configuration_the_defaults_apply_and_are_named() {
    let said = said_by(&["run"], "no --config: the defaults apply");
    assert!(said.contains("listen=127.0.0.1:6380") && said.contains("upstream=127.0.0.1:6379"), "{said}");
}

#[test]
fn an_absent_server_is_named_with_where_to_look() {
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let file = File::with(&format!(
        "[listen]\naddress = \"127.0.0.1:0\"\n[upstream]\naddress = \"{nobody}\"\n[admin]\naddress = \"127.0.0.1:0\"\n"
    ));
    let said = said_by(&["run", "--config", file.path()], "respguard is ready for clients");
    assert!(said.contains("is it running, and is [upstream] address right?"), "{said}");
    assert!(said.contains(&format!("cannot connect to {nobody}")), "{said}");
}

/// What the program has said, as text, once it has said so; then it is ended. It may have ended by itself.
fn said_by(arguments: &[&str], awaited: &str) -> String {
    let log = tempfile::NamedTempFile::new().expect("a file");
    let mut program = Command::new(env!("CARGO_BIN_EXE_respguard"));
    program.args(arguments).args(["--log-format", "text"]).env_remove("RESPGUARD_LOG").stdout(Stdio::null());
    let mut running = program.stderr(log.reopen().expect("a file")).spawn().expect("the program starts");
    let deadline = Instant::now() + Duration::from_secs(20);
    let said = loop {
        let said = std::fs::read_to_string(log.path()).expect("a file");
        if said.contains(awaited) || Instant::now() > deadline {
            break said;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    running.kill().expect("a child of ours");
    running.wait().expect("a child of ours");
    assert!(said.contains(awaited), "{said}");
    said
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
fn a_level_that_is_none_ends_with_2_and_the_good_ones_are_listed() {
    for level in ["loud", "info,loud", "respguard=loud"] {
        let output = respguard(&["run", "--log-level", level]);
        assert_eq!(code(&output), 2, "{level}: {}", err(&output));
        assert!(err(&output).contains("expected one of error, warn, info, debug, trace, off"), "{}", err(&output));
    }
}

#[test]
fn whoever_reads_may_go_and_every_exit_code_stays() {
    let good = File::with("");
    let wrong = File::with("workers = \"many\"\n");
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").to_string();
    let cases: [(&[&str], i32); 12] = [
        (&["--help"], 0),
        (&["--version"], 0),
        (&["serve"], 2),
        (&["man"], 0),
        (&["completions", "bash"], 0),
        (&["check", "--config", good.path()], 0),
        (&["check", "--config", wrong.path()], 1),
        (&["check", "--config", good.path(), "--running", "--admin", &nobody], 1),
        (&["explain", "--config", good.path(), wrong.path()], 0),
        (&["record", "--seconds", "1", "--admin", &nobody], 1),
        (&["learn", good.path()], 1),
        (&["run", "--config", wrong.path()], 1),
    ];
    for (arguments, wanted) in cases {
        let closed = || std::io::pipe().expect("a pipe").1;
        let mut program = Command::new(env!("CARGO_BIN_EXE_respguard"));
        let status = program.args(arguments).stdin(Stdio::null()).stdout(closed()).stderr(closed()).status();
        assert_eq!(status.expect("it starts").code(), Some(wanted), "{arguments:?}");
    }
}

#[test]
fn a_result_that_is_lost_on_a_full_disk_is_a_failure() {
    let file = File::with("");
    for arguments in [&["man"][..], &["completions", "bash"], &["check", "--config", file.path()]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("there is one");
        let mut program = Command::new(env!("CARGO_BIN_EXE_respguard"));
        let output = program.args(arguments).stdout(full).stderr(Stdio::piped()).output().expect("it starts");
        assert_eq!(code(&output), 4, "{arguments:?}");
        assert!(err(&output).contains("standard output cannot be written"), "{}", err(&output));
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
