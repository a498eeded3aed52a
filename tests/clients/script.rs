//! Runs one client's script against a port and reads the outcome of each check it prints.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::Deserialize;

use crate::harness::within;

/// A script that takes longer hangs.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(120);

/// One check of a script.
#[derive(Deserialize, Debug)]
struct Check {
    client: String,
    check: String,
    ok: bool,
    /// Whole groups that were sent in one pipeline each.
    groups: u32,
}

/// What a script that passed has done.
#[derive(Debug)]
pub struct Done {
    pub client: String,
    pub checks: usize,
    pub groups: u32,
}

/// Runs `tests/clients/{script}` with redis-py.
pub fn python(script: &str, port: u16) -> Done {
    python_with(script, port, &[])
}

/// The same, with more arguments.
pub fn python_with(script: &str, port: u16, more: &[&str]) -> Done {
    let python = root().join(".venv/bin/python");
    wanted(&python);
    // Bytecode of the shared module would be written into the source tree.
    run(Command::new(python).arg("-B").args([script, "127.0.0.1", &port.to_string()]).args(more))
}

/// Runs `tests/clients/{script}` with the packages in `node_modules`.
pub fn node(script: &str, port: u16, more: &[&str]) -> Done {
    wanted(&folder().join("node_modules"));
    run(Command::new("node").args([script, "127.0.0.1", &port.to_string()]).args(more))
}

/// Plays the styles of clients of the matrix: each of their groups must be wrapped, and what these clients show their
/// users must be what they show without the proxy.
pub fn measured(clients: &[&str], styles: &[&str]) {
    wanted(&root().join(".clients/.installed"));
    // A hold longer than any pause of a busy machine.
    let settings = ["--between", "pass", "--hold-ms", "1000", "--bytes", "1", "--rounds", "1", "--groups", "40", "--all-wrapped"];
    let mut command = Command::new(root().join("scripts/measure-clients"));
    command.env("RESPGUARD", env!("CARGO_BIN_EXE_respguard")).args(settings);
    tool(command.arg("--only").args(clients).arg("--style").args(styles), Stdio::null());
}

/// Runs a command that must succeed with `input`, and gives what it wrote to standard output.
pub fn tool(command: &mut Command, input: Stdio) -> String {
    let (ended_well, output, errors) = finish(command.stdin(input));
    assert!(ended_well, "{command:?} failed:\n{output}\n{errors}");
    output
}

fn run(command: &mut Command) -> Done {
    let (ended_well, output, errors) = finish(command.stdin(Stdio::null()));
    let checks = output.lines().map(serde_json::from_str).collect::<Result<Vec<Check>, _>>();
    let checks = checks.unwrap_or_else(|error| panic!("{command:?} printed something else ({error}):\n{output}\n{errors}"));
    let failed: Vec<&str> = checks.iter().filter(|check| !check.ok).map(|check| check.check.as_str()).collect();
    assert!(ended_well && failed.is_empty(), "{command:?} failed {failed:?}:\n{output}\n{errors}");
    let client = checks.first().map(|check| check.client.clone()).expect("at least one check");
    Done { client, checks: checks.len(), groups: checks.iter().map(|check| check.groups).sum() }
}

/// Whether it ended with 0, and what it wrote: to files, because a full pipe would stop it.
fn finish(command: &mut Command) -> (bool, String, String) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (output, errors) = (directory.path().join("output"), directory.path().join("errors"));
    let create = |path: &Path| File::create(path).expect("a temporary file");
    let started = command
        .current_dir(folder())
        .stdout(create(&output))
        .stderr(create(&errors))
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} cannot start ({error}): run `make setup`"));
    let mut running = Running(started);
    let mut status = None;
    let ended = within(SCRIPT_TIMEOUT, || {
        status = running.0.try_wait().expect("a child of ours");
        status.is_some()
    });
    let read = |path: &Path| String::from_utf8_lossy(&std::fs::read(path).expect("a temporary file")).into_owned();
    assert!(ended, "{command:?} does not end:\n{}\n{}", read(&output), read(&errors));
    (status.is_some_and(|status| status.success()), read(&output), read(&errors))
}

/// A process that ends when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has mostly ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[track_caller]
fn wanted(path: &Path) {
    assert!(path.exists(), "{} is missing: run `make setup`", path.display());
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn folder() -> PathBuf {
    root().join("tests/clients")
}
