//! The server that the tests run on: redis-server in PATH, or the one that the variable SERVER names.
//!
//! What was asked for and cannot be had is a failure: no test is left out.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A server's program.
pub struct Program {
    pub path: PathBuf,
    /// Major and minor number.
    pub version: (u32, u32),
}

impl Program {
    /// The one that this run is about.
    pub fn under_test() -> &'static Program {
        static PROGRAM: OnceLock<Program> = OnceLock::new();
        PROGRAM.get_or_init(|| Program::named(std::env::var("SERVER").ok().filter(|name| !name.is_empty()).as_deref()))
    }

    /// One that scripts/install-servers fetches, or the one in PATH.
    pub fn named(name: Option<&str>) -> Program {
        let path = match name {
            None => PathBuf::from("redis-server"),
            Some(name) => {
                let package = Path::new(env!("CARGO_MANIFEST_DIR"));
                let root = package.ancestors().find(|folder| folder.join("scripts/install-servers").exists()).unwrap_or(package);
                let path = root.join("target/servers").join(name).join("redis-server");
                assert!(path.exists(), "{} is not there: scripts/install-servers {name}", path.display());
                path
            }
        };
        let output = Command::new(&path).arg("--version").output();
        let output = output.unwrap_or_else(|error| panic!("{} does not run: {error}", path.display()));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = version(&said).unwrap_or_else(|| panic!("{} says no version: {said:?}", path.display()));
        Program { path, version }
    }

    /// Arguments of every test's server: nothing is saved, DEBUG is there, and the module that was installed beside it.
    pub fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"].map(OsString::from).into();
        // Before 7.0 DEBUG was there for all.
        if self.version >= (7, 0) {
            arguments.extend(["--enable-debug-command", "yes"].map(OsString::from));
        }
        let module = self.path.with_file_name("rejson.so");
        if module.exists() {
            arguments.extend(["--loadmodule".into(), module.into()]);
        }
        arguments
    }
}

fn version(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.split(" v=").nth(1)?.split(['.', ' ']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}
