//! Writes docs/configuration.md from what the program asks for and from config.toml, and checks that it is up to date.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use respguard::config::effective::Difference;
use respguard::config::{Form, known_keys};

const DOCUMENTED: &str = include_str!("../config.toml");

const INTRODUCTION: &str = "\
# Configuration

For operators: every key of the configuration file, with its default and meaning. [config.toml](../config.toml) has the same as a file
to start from, and [rules.md](rules.md) explains the language of the rules with examples. `respguard check --config FILE` reports every
mistake in a file, by line. Unknown keys are refused; a key that is left out has its default.

The column \"change\" says \"reload\" if a running respguard applies a new value when the file is read again
([live-rules.md](live-rules.md)), and \"restart\" if it does not. Sizes are in bytes and times in milliseconds where the key's name says
so. Passwords and tokens are never written in the file: it names the environment variable or the file that contains them.

<!-- make docs writes this file from config.toml and the program -->
";

/// One key as config.toml shows it.
#[derive(Debug, Default, Clone)]
struct Shown {
    /// What is written behind `=`, on its first line.
    value: String,
    /// Whether it stands behind a comment sign: then it has no default.
    is_off: bool,
    meaning: String,
}

/// One table of config.toml.
#[derive(Debug, Default)]
struct Section {
    /// `listen`, `group`; empty for the keys at the top.
    name: String,
    is_list: bool,
    meaning: String,
    keys: Vec<(String, Shown)>,
}

/// The name in a line such as `[listen]`, `# [rest]` or `[[group]]`, and whether there may be many.
fn header(line: &str) -> Option<(&str, bool)> {
    let line = line.strip_prefix("# ").unwrap_or(line);
    let double = line.strip_prefix("[[").and_then(|line| line.strip_suffix("]]"));
    let single = || line.strip_prefix('[').and_then(|line| line.strip_suffix(']'));
    double.map(|name| (name, true)).or_else(|| single().map(|name| (name, false)))
}

/// The key that a line sets, or shows behind `#`, and its value.
fn setting(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.strip_prefix("# ").unwrap_or(line).split_once(" = ")?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    (!key.is_empty() && key.bytes().all(plain)).then_some((key, value))
}

/// The tables in their order; the second example of a rule adds what the first has not.
fn sections() -> Vec<Section> {
    let mut sections = vec![Section::default()];
    let mut meaning = String::new();
    let mut last = String::new();
    for line in DOCUMENTED.lines() {
        if let Some((name, is_list)) = header(line) {
            let known = sections.iter().position(|section| section.name == name);
            let section = known.map_or_else(Section::default, |place| sections.remove(place));
            let said = if section.meaning.is_empty() { std::mem::take(&mut meaning) } else { section.meaning.clone() };
            sections.push(Section { name: name.to_owned(), is_list, meaning: said, ..section });
            // The comment before a further example is about the keys in it.
            last.clear();
        } else if let Some((key, value)) = setting(line) {
            let section = sections.last_mut().expect("one at least");
            let said = std::mem::take(&mut meaning);
            let said = if said.is_empty() && !last.is_empty() { format!("As `{last}`.") } else { said };
            if !said.starts_with("As `") {
                key.clone_into(&mut last);
            }
            if section.keys.iter().all(|(known, _)| known != key) {
                let shown = Shown { value: value.to_owned(), is_off: line.starts_with('#'), meaning: said };
                section.keys.push((key.to_owned(), shown));
            }
        } else if let Some(comment) = line.strip_prefix("# ") {
            let space = if meaning.is_empty() { "" } else { " " };
            meaning = meaning + space + comment;
        } else if line.is_empty() {
            meaning.clear();
            last.clear();
        }
    }
    sections
}

fn unit(key: &str) -> &'static str {
    if key.ends_with("_ms") {
        "ms"
    } else if key.contains("bytes") {
        "bytes"
    } else {
        ""
    }
}

/// What a key has where it is not written.
fn default(shown: &Shown, form: &Form, is_rule: bool) -> String {
    let is_example = is_rule && matches!(form, Form::Text | Form::List);
    // Where an example must show something else, its comment says so.
    let said = shown.meaning.split_once("(default ").and_then(|(_, said)| said.split([';', ')']).next());
    match said {
        Some(said) => format!("`{said}`"),
        None if shown.is_off || is_example => String::new(),
        None => format!("`{}`", shown.value),
    }
}

/// The keys of the table that a key's value is, each with its form: `cert` of `tls`.
fn parts<'k>(known: &'k BTreeMap<String, Form>, path: &str) -> Vec<(&'k str, &'k Form)> {
    let inside = |(key, form): (&'k String, &'k Form)| Some((key.strip_prefix(path)?.strip_prefix('.')?, form));
    known.iter().filter_map(inside).collect()
}

fn rows(section: &Section, known: &BTreeMap<String, Form>) -> String {
    let mut text = String::from("| key | value | default | unit | change | meaning |\n|---|---|---|---|---|---|\n");
    for (key, shown) in &section.keys {
        let path = if section.name.is_empty() { key.clone() } else { format!("{}.{key}", section.name) };
        let form = known.get(&path).unwrap_or_else(|| panic!("config.toml shows {path}, which no one asks for"));
        let of = if section.is_list { format!("{}.a-name", section.name) } else { path.clone() };
        let change = if (Difference { key: of, before: None, after: None }).is_live() { "reload" } else { "restart" };
        assert!(!shown.meaning.is_empty(), "config.toml does not say what {path} means");
        let inside = parts(known, &path);
        let inside: Vec<_> = inside.iter().map(|(part, form)| format!("`{part}` ({form})")).collect();
        let value = if inside.is_empty() { form.to_string() } else { format!("{form} of {}", inside.join(", ")) };
        let meaning = shown.meaning.replace('|', "\\|");
        let default = default(shown, form, section.is_list);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| `{key}` | {value} | {default} | {} | {change} | {meaning} |", unit(key));
    }
    text
}

fn reference() -> String {
    let known = known_keys();
    let mut text = INTRODUCTION.to_owned();
    for section in sections() {
        let title = match (section.name.as_str(), section.is_list) {
            ("", _) => "At the top".to_owned(),
            (name, true) => format!("`[[{name}]]`"),
            (name, false) => format!("`[{name}]`"),
        };
        let meaning = if section.meaning.is_empty() { String::new() } else { format!("{}\n\n", section.meaning) };
        let _ = write!(text, "\n## {title}\n\n{meaning}{}", rows(&section, &known));
    }
    text
}

#[test]
fn every_key_that_is_asked_for_is_in_the_reference() {
    let text = reference();
    for (key, form) in known_keys() {
        let name = key.rsplit('.').next().unwrap_or_default();
        let is_table = form == Form::Table && text.contains(&format!("## `[{key}]`"));
        let is_list = form == Form::List && text.contains(&format!("## `[[{key}]]`"));
        assert!(is_table || is_list || text.contains(&format!("`{name}`")), "{key}");
    }
}

#[test]
fn the_reference_of_the_configuration_is_that_of_the_program() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, reference()).expect("writable");
    }
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(text == reference(), "docs/configuration.md is out of date: `make docs` writes it");
}
