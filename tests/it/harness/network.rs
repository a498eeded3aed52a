//! A network of a test's own, in which links can be cut: packets between two addresses are dropped, and nobody is told.
//!
//! A test that wants one runs itself once more in a network namespace, where the loopback interface has all of 127.0.0.0/8 and
//! the rules of iptables are nobody else's. Where that is not allowed it says so, and is left out.

use std::io::Write;
use std::process::{Command, Output};

use super::Program;

/// Says that the test runs within a network of its own.
const WITHIN: &str = "RESPGUARD_TEST_NETWORK";
/// What must be possible there.
const ATTEMPT: &str = "ip link set lo up && iptables -w -A INPUT -s 127.0.1.1 -d 127.0.1.2 -j DROP && iptables -w -F INPUT";

/// The network that a test has for itself.
pub struct Network(());

impl Network {
    /// The network, for who is within it. Else the test of this name has run within one by now, or could not.
    ///
    /// # Panics
    /// It has failed there.
    pub fn of_ones_own(test: &str) -> Option<Network> {
        if std::env::var_os(WITHIN).is_some() {
            let network = Network(());
            shell("ip link set lo up");
            return Some(network);
        }
        let possible = match Program::under_test().version {
            (..7, _) => Err("servers have addresses of their own from 7.0 on (bind-source-addr)".to_owned()),
            _ => unshare().map_err(|why| format!("no network namespace can be had here: {why}")),
        };
        let unshare = match possible {
            Ok(unshare) => unshare,
            Err(why) => {
                // Past what keeps the output of tests that pass.
                let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
                return None;
            }
        };
        let own = std::env::current_exe().expect("this program");
        let status =
            Command::new("unshare").args(unshare).arg(own).args(["--exact", test, "--nocapture"]).env(WITHIN, "1").status();
        assert!(status.expect("it has run").success(), "{test} has failed in a network of its own");
        None
    }

    /// Nothing passes between these addresses any more, in either direction. One may be a range, as `127.0.2.0/24`.
    pub fn cut(&self, one: &str, other: &str) {
        for (from, to) in [(one, other), (other, one)] {
            shell(&format!("iptables -w -A INPUT -s {from} -d {to} -j DROP"));
        }
    }

    /// All links are as they were.
    pub fn heal(&self) {
        shell("iptables -w -F INPUT");
    }
}

/// How a network namespace is had.
fn unshare() -> Result<&'static [&'static str], String> {
    let ways: [&[&str]; 2] = [&["--net"], &["--user", "--map-root-user", "--net"]];
    let mut why = String::new();
    for way in ways {
        match Command::new("unshare").args(way).args(["sh", "-c", ATTEMPT]).output() {
            Ok(output) if output.status.success() => return Ok(way),
            Ok(output) => why = said(&output),
            Err(error) => why = format!("unshare: {error}"),
        }
    }
    Err(why)
}

fn shell(line: &str) {
    let output = Command::new("sh").args(["-c", line]).output().expect("a shell");
    assert!(output.status.success(), "{line}: {}", said(&output));
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ")
}
