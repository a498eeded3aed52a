//! The checks for redis-cli and redis-benchmark.

use std::fmt::Write as _;
use std::fs::File;
use std::process::{Command, Stdio};

use crate::script::tool;

/// Plain commands, one after the other, in both protocols.
pub fn redis_cli(port: u16) {
    let cli = |arguments: &[&str]| tool(Command::new("redis-cli").args(["-p", &port.to_string()]).args(arguments), Stdio::null());
    assert_eq!(cli(&["SET", "cli", "a b"]), "OK\n");
    assert_eq!(cli(&["GET", "cli"]), "a b\n");
    assert_eq!(cli(&["-3", "HSET", "cli:h", "f", "1"]), "1\n");
    assert_eq!(cli(&["-3", "--json", "HGETALL", "cli:h"]), "{\"f\":\"1\"}\n");
    assert_eq!(cli(&["-n", "1", "GET", "cli"]), "\n");
    assert_eq!(cli(&["-r", "3", "INCR", "cli:n"]), "1\n2\n3\n");
    assert!(cli(&["LPUSH", "cli", "x"]).starts_with("WRONGTYPE "));
    assert_eq!(cli(&["EVAL", "return ARGV[1]", "0", "x"]), "x\n");
    assert!(cli(&["--scan", "--pattern", "cli*"]).lines().count() == 3);
}

/// Mass insertion of 10,000 commands, with its closing ECHO.
pub fn redis_cli_pipe(port: u16) {
    let mut commands = String::new();
    for n in 0..10_000 {
        let (key, value) = (format!("mass:{n}"), n.to_string());
        // Writing to a string cannot fail.
        let _ = write!(commands, "*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n{value}\r\n", key.len(), value.len());
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("commands");
    std::fs::write(&file, commands).expect("a temporary file");
    let input = Stdio::from(File::open(&file).expect("a temporary file"));
    let said = tool(Command::new("redis-cli").args(["-p", &port.to_string(), "--pipe"]), input);
    assert!(said.contains("errors: 0, replies: 10000"), "{said}");
}

/// 20,000 SET and GET, 16 in each pipeline, of 50 clients.
pub fn redis_benchmark(port: u16) {
    let arguments = ["-t", "set,get", "-n", "20000", "-P", "16", "--csv"];
    let said = tool(Command::new("redis-benchmark").args(["-p", &port.to_string()]).args(arguments), Stdio::null());
    for command in ["\"SET\"", "\"GET\""] {
        assert!(said.lines().any(|line| line.starts_with(command)), "{said}");
    }
    assert!(!said.to_lowercase().contains("error"), "{said}");
}
