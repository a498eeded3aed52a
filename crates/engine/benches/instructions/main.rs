//! Instructions per command under valgrind, compared with those that are written down.
//!
//! Each case runs twice in a process of its own, once with more passes than the other time: the difference is what the
//! passes cost, whatever starting costs. Instructions are the same on a loaded machine, so a small tolerance does.
//!
//! `cargo bench --package respguard-engine --bench instructions` fails where a case costs more than is written down in `baseline.csv` beside this
//! file; `-- --write` writes down what it costs now.

#[path = "../../../../benches/passes/mod.rs"]
mod passes;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use passes::{Parsing, Planning, Resolving, plain, plain_replies, rules_beside, rules_elsewhere};
use respguard_engine::command::Table;
use respguard_engine::link::owed::Owed;
use respguard_engine::pipeline::sequencer::Sequencer;
use respguard_engine::policy::Policy;

const CASES: [(&str, usize); 15] = [
    ("parse", 16),
    ("resolve", 1),
    ("resolve", 16),
    ("plan without rules", 1),
    ("plan without rules", 16),
    ("plan without rules", 64),
    ("plan with 20 about other commands", 1),
    ("plan with 20 about other commands", 16),
    ("plan with 20 about other commands", 64),
    ("plan with 20 about other keys", 1),
    ("plan with 20 about other keys", 16),
    ("plan with 20 about other keys", 64),
    ("plan with 1000 about other keys", 1),
    ("plan with 1000 about other keys", 16),
    ("plan with 1000 about other keys", 64),
];
const FEW_PASSES: usize = 100;
const MANY_PASSES: usize = 1100;
/// Above what is written down. Another compiler makes other code: what it costs is then written down anew.
const TOLERANCE: f64 = 1.03;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--pass", case, depth, passes] => pass(case, number(depth), number(passes)),
        ["--write"] => write(&measured()),
        _ => std::process::exit(i32::from(!compare(&measured()))),
    }
}

fn number(text: &str) -> usize {
    text.parse().expect("a number")
}

/// What valgrind looks at.
fn pass(case: &str, depth: usize, passes: usize) {
    let rules = match case.strip_prefix("plan with ").and_then(|rest| rest.split_once(" about other ")) {
        Some((count, "keys")) => rules_beside(number(count)),
        Some((count, _)) => rules_elsewhere(number(count)),
        None => Policy::passive(),
    };
    let replies = plain_replies(depth);
    let mut parsing = Parsing::of(plain(depth));
    let mut planning = Planning::of(plain(depth), &rules);
    let mut resolving = Resolving::of(&replies, |table: &Table, slots: &mut Sequencer, owed: &mut Vec<Owed>| {
        let get = table.by_name("get").expect("a command");
        let first = slots.push_plain((0..depth).map(|_| get), None);
        owed.push(Owed::each(first, depth as u32));
    });
    let mut units = 0;
    for _ in 0..passes {
        units += match case {
            "parse" => parsing.pass(),
            "resolve" => resolving.pass(),
            _ => planning.pass(),
        };
    }
    assert!(units >= passes * depth, "each pass does all that it should");
    assert!(!case.starts_with("plan") || planning.wrapped() == (0, true), "no rule matches");
}

/// Instructions per command of each case.
fn measured() -> BTreeMap<String, f64> {
    let per_command = |(case, depth): (&str, usize)| {
        let passes = instructions(case, depth, MANY_PASSES) - instructions(case, depth, FEW_PASSES);
        (format!("{case}, {depth}"), passes as f64 / ((MANY_PASSES - FEW_PASSES) * depth) as f64)
    };
    CASES.into_iter().map(per_command).collect()
}

/// Instructions of one process.
fn instructions(case: &str, depth: usize, passes: usize) -> u64 {
    let this = std::env::current_exe().expect("this program has a path");
    let valgrind = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(this)
        .args(["--pass", case, &depth.to_string(), &passes.to_string()])
        .output();
    let output = valgrind.unwrap_or_else(|error| panic!("valgrind cannot be run (Debian: apt-get install valgrind): {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    let counted = said.lines().find_map(|line| line.split_once("Collected :"));
    let counted = counted.and_then(|(_, number)| number.trim().parse().ok());
    counted.unwrap_or_else(|| panic!("valgrind has counted nothing: {said}"))
}

fn baseline_file() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions/baseline.csv")
}

fn write(measured: &BTreeMap<String, f64>) {
    let lines = measured.iter().map(|(case, count)| format!("{};{count:.1}\n", case.replace(';', ",")));
    let text = format!("case;instructions per command\n{}", lines.collect::<String>());
    std::fs::write(baseline_file(), text).expect("the baseline can be written");
}

/// Prints a table; false when a case costs more than it may.
fn compare(measured: &BTreeMap<String, f64>) -> bool {
    let written = std::fs::read_to_string(baseline_file()).expect("there is a baseline");
    let known: BTreeMap<&str, f64> = written
        .lines()
        .filter_map(|line| line.split_once(';'))
        .filter_map(|(case, count)| Some((case, count.parse().ok()?)))
        .collect();
    let mut good = true;
    println!("{:<44}{:>14}{:>14}{:>8}", "instructions per command", "now", "written down", "ratio");
    for (case, now) in measured {
        let before = known.get(case.as_str()).copied().unwrap_or(f64::NAN);
        let fits = *now <= before * TOLERANCE;
        good &= fits;
        println!("{case:<44}{now:>14.1}{before:>14.1}{:>8.2}{}", now / before, if fits { "" } else { "  too many" });
    }
    good
}
