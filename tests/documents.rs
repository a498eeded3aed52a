//! Does what README.md and docs/ say: every command line is run, every output compared, every configuration checked.

#[path = "documents/declared.rs"]
mod declared;
#[path = "it/harness/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the integration tests use all of it, these only a part")]
mod harness;
#[path = "documents/markdown.rs"]
mod markdown;
#[path = "documents/session.rs"]
mod session;
#[path = "documents/snippets.rs"]
mod snippets;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use declared::NOT_RUN;
use harness::within;
use markdown::{Code, code, dialogue, is_command_line};
use session::{Outcome, Session};

/// How long an output may take to become what is shown.
const OUTPUT_PATIENCE: Duration = Duration::from_secs(20);

/// Every document of the repository, with its text.
fn documents() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names = std::fs::read_dir(root.join("docs")).expect("docs/").map(|entry| entry.expect("an entry").file_name());
    let names = names.filter_map(|name| name.into_string().ok()).filter(|name| name.ends_with(".md"));
    let mut names: Vec<_> = names.map(|name| format!("docs/{name}")).chain(["README.md".to_owned()]).collect();
    names.sort();
    let read = |name: String| (name.clone(), std::fs::read_to_string(root.join(name)).expect("a document"));
    names.into_iter().map(read).collect()
}

fn is_not_run(document: &str, line: &str) -> bool {
    NOT_RUN.iter().any(|(of, listed, _)| *of == document && *listed == line)
}

/// Whether the line starts a proxy that goes on running.
fn is_run(line: &str) -> bool {
    line.split([' ', '\n']).take(2).eq(["respguard", "run"])
}

#[test]
fn every_command_line_of_the_documents_does_what_is_said() {
    let all = documents();
    std::thread::scope(|threads| {
        let start = |(name, text)| (name, threads.spawn(move || read(name, &code(text).expect(name))));
        let readers: Vec<_> = all.iter().map(|(name, text)| start((name.as_str(), text.as_str()))).collect();
        let failed: Vec<_> = readers.into_iter().filter_map(|(name, reader)| reader.join().err().map(|_| name)).collect();
        assert!(failed.is_empty(), "{failed:?}");
    });
}

/// Does what one document says.
fn read(document: &str, code: &[Code]) {
    if code.iter().all(|code| code.language == "text") {
        return;
    }
    let mut session = Session::new();
    if !code.iter().any(|code| code.language == "sh" && code.text.lines().any(is_run)) {
        session.start("respguard run --config config.toml");
    }
    for Code { line, language, text } in code {
        let place = format!("{document}:{line}");
        match language.split_once(' ').unwrap_or((language, "")) {
            ("sh" | "inline", "") => shell(&mut session, document, &place, text),
            ("console", "") => converse(&session, document, &place, text),
            ("toml", "") => check(&session, &place, text),
            ("redis", "") => command(&session, &place, text),
            ("text", "log") => logged(&session, &place, text),
            ("text", file) => {
                assert!(!text.lines().next().is_some_and(is_command_line), "{place}: commands are no text, but `sh`");
                if let Some(file) = file.strip_prefix("file=") {
                    session.write(file, text);
                }
            }
            _ => panic!("{place}: {language:?} is no language that is known here"),
        }
    }
    session.stop();
}

/// Runs the lines of a block in one shell; the last of them may start a proxy.
fn shell(session: &mut Session, document: &str, place: &str, text: &str) {
    let lines: Vec<_> = text.lines().filter(|line| !is_not_run(document, line)).collect();
    let (script, run) = match lines.split_last() {
        Some((last, before)) if is_run(last) => (before, Some(*last)),
        _ => (&lines[..], None),
    };
    assert!(!script.iter().any(|line| is_run(line)), "{place}: what stands behind `respguard run` is never reached");
    if !script.is_empty() {
        let Outcome { code, output } = session.run(&script.join("\n"));
        assert_eq!(code, Some(0), "{place}: {text}{output}");
    }
    if let Some(run) = run {
        session.start(run);
    }
}

/// Runs each command and compares its output with what is shown.
fn converse(session: &Session, document: &str, place: &str, text: &str) {
    for (command, shown) in dialogue(text) {
        if is_not_run(document, &command) {
            continue;
        }
        let wanted = plain(&session.with_ports(&shown));
        let mut last = None;
        // What is only looked at may take a moment to come.
        let patience = if command.starts_with("curl -s ") { OUTPUT_PATIENCE } else { Duration::ZERO };
        let fits = within(patience, || {
            let outcome = session.run(&command);
            let fits = is_shown(&wanted, &plain(&outcome.output));
            last = Some(outcome);
            fits
        });
        assert!(fits, "{place}: {command}\nshown:\n{wanted}\ncame: {last:#?}");
    }
}

/// Whether the output has the lines that are shown, where `...` stands for any lines.
fn is_shown(shown: &str, output: &str) -> bool {
    let mut rest: Vec<_> = output.lines().collect();
    let mut may_skip = false;
    for line in shown.lines() {
        if line == "..." {
            may_skip = true;
            continue;
        }
        let found = rest.iter().position(|came| *came == line).filter(|place| may_skip || *place == 0);
        let Some(place) = found else { return false };
        rest.drain(..=place);
        may_skip = false;
    }
    may_skip || rest.is_empty()
}

/// A text without what differs each time: the ports of clients, spaces at the ends of lines.
fn plain(text: &str) -> String {
    let lines = text.trim_end().lines().map(|line| match line.split_once("client=\"") {
        Some((before, behind)) => {
            let (_, behind) = behind.split_once('"').unwrap_or_default();
            format!("{before}client=\"...\"{behind}\n")
        }
        None => format!("{}\n", line.trim_end()),
    });
    lines.collect()
}

/// The text is a good configuration.
fn check(session: &Session, place: &str, text: &str) {
    session.write("shown.toml", text);
    let Outcome { code, output } = session.run("respguard check --config shown.toml");
    assert_eq!(code, Some(0), "{place}: {output}");
}

/// Redis takes each line.
fn command(session: &Session, place: &str, text: &str) {
    for line in text.lines() {
        let answer = session.ask(line);
        assert!(!answer.starts_with('-'), "{place}: {line}: {answer}");
    }
}

/// The proxy has logged each line, behind the time.
fn logged(session: &Session, place: &str, text: &str) {
    for line in plain(text).lines() {
        let is_there = || plain(&session.log()).lines().any(|logged| logged.ends_with(line));
        assert!(within(OUTPUT_PATIENCE, is_there), "{place}: {line}\nlog:\n{}", session.log());
    }
}

#[test]
fn what_is_not_run_is_still_there_and_has_a_reason() {
    let shown: BTreeSet<(String, String)> = documents()
        .into_iter()
        .flat_map(|(name, text)| code(&text).expect("code").into_iter().map(move |code| (name.clone(), code)))
        .filter(|(_, code)| ["sh", "inline", "console"].contains(&code.language.as_str()))
        .flat_map(|(name, code)| {
            let lines: Vec<_> = code.text.lines().map(|line| line.trim_start_matches("$ ").to_owned()).collect();
            lines.into_iter().map(move |line| (name.clone(), line))
        })
        .collect();
    for (document, line, reason) in NOT_RUN {
        assert!(shown.contains(&(document.to_owned(), line.to_owned())), "{document} no longer has: {line}");
        assert!(reason.len() > 10, "{document}: {line}");
    }
}

#[test]
fn outputs_are_compared_line_by_line() {
    assert!(is_shown("a\nb\n", "a\nb\n"));
    assert!(!is_shown("a\n", "a\nb\n"));
    assert!(!is_shown("b\n", "a\nb\n"));
    assert!(is_shown("...\nb\n", "a\na\nb\n"));
    assert!(!is_shown("...\nb\n", "a\nb\nc\n"));
    assert!(is_shown("a\n...\n", "a\nb\nc\n"));
}

/// A busy machine may pause a client for longer than a group is held, or show a reader nothing torn in time: one of three
/// runs must come out.
#[test]
fn the_stories_of_the_demo_come_out_as_they_are_told() {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/demo.py");
    let mut said = String::new();
    let told = (0..3).any(|_| {
        let mut command = std::process::Command::new("python3");
        let output = command.arg("-B").arg(&demo).env("RESPGUARD", env!("CARGO_BIN_EXE_respguard")).env_remove("STAY").output();
        let output = output.expect("python3 is there");
        said += &(String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr));
        output.status.success()
    });
    assert!(told, "{said}");
}

/// The anchor that a heading has.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.collect::<String>().trim().to_lowercase().replace(' ', "-")
}

fn anchors(text: &str) -> Vec<String> {
    text.lines().filter(|line| line.starts_with('#')).map(|line| anchor(line.trim_start_matches('#'))).collect()
}

#[test]
fn every_link_leads_somewhere_and_every_document_is_linked() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut linked = BTreeSet::new();
    for (name, text) in documents() {
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if path.is_empty() { root.join(&name) } else { root.join(&name).with_file_name(path) };
            assert!(path.starts_with("https://") || file.exists(), "{name}: {target}");
            let wanted = || anchors(&std::fs::read_to_string(&file).expect("a document"));
            assert!(anchor.is_empty() || wanted().iter().any(|known| known == anchor), "{name}: {target}");
            match name.as_str() {
                "README.md" => drop(linked.insert(path.to_owned())),
                // The index by reader.
                "docs/README.md" => drop(linked.insert(format!("docs/{path}"))),
                _ => {}
            }
        }
    }
    for (name, _) in documents() {
        assert!(name == "README.md" || linked.contains(&name), "neither README.md nor the index names {name}");
    }
}

/// The text of all tests.
fn tests() -> String {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")];
    let mut text = String::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() && !entry.ends_with("node_modules") {
                folders.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                text += &std::fs::read_to_string(entry).expect("a test");
            }
        }
    }
    text
}

#[test]
fn the_tests_that_documents_refer_to_exist() {
    let tests = tests();
    let named = include_str!("../docs/transparency.md").lines().filter(|row| row.starts_with("| `") || row.starts_with("| a "));
    let cells =
        named.filter_map(|row| row.trim_matches('|').split(" | ").nth(2)).flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let cells: Vec<_> = cells.filter(|name| name.matches('_').count() > 3).collect();
    assert!(cells.len() > 15, "{cells:?}");
    for name in cells {
        assert!(tests.contains(&format!("fn {name}()")), "{name}");
    }
}

#[test]
fn every_page_is_in_the_index_and_begins_with_whom_it_is_for() {
    let all = documents();
    let index = &all.iter().find(|(name, _)| name == "docs/README.md").expect("an index").1;
    for (name, text) in all.iter().filter(|(name, _)| name.starts_with("docs/") && name != "docs/README.md") {
        let page = name.trim_start_matches("docs/");
        assert!(index.contains(&format!("[{page}]({page})")), "{name} is not in docs/README.md");
        let first = text.lines().skip(1).find(|line| !line.is_empty()).unwrap_or_default();
        let readers = ["For developers", "For operators", "For contributors", "For those who"];
        assert!(readers.iter().any(|reader| first.starts_with(reader)), "{name} begins with {first:?}");
    }
}
