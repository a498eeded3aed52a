//! Tells the program which commit it is built from, where that is known.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=RESPGUARD_COMMIT");
    let version = env!("CARGO_PKG_VERSION");
    let version = match commit() {
        Some(commit) => format!("{version} ({commit})"),
        None => version.to_owned(),
    };
    println!("cargo:rustc-env=RESPGUARD_VERSION={version}");
}

/// What the builder says, or for a release what git says; a tree without git has none. Other builds do not ask, so
/// that a commit does not make them start anew.
fn commit() -> Option<String> {
    let said = std::env::var("RESPGUARD_COMMIT").ok().filter(|commit| !commit.is_empty());
    said.or_else(|| (std::env::var("PROFILE").as_deref() == Ok("release")).then(|| git(&["rev-parse", "--short=12", "HEAD"]))?)
}

fn git(arguments: &[&str]) -> Option<String> {
    for path in ["HEAD", "logs/HEAD"] {
        if let Some(file) = run(&["rev-parse", "--git-path", path]) {
            println!("cargo:rerun-if-changed={file}");
        }
    }
    run(arguments)
}

fn run(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}
