//! Checks that config.toml names every key and shows the defaults that the program has.

use std::collections::BTreeSet;
use std::path::Path;

use respguard::config::{Config, Form, known_keys, read};
use respguard_engine::command::Table;

const TEXT: &str = include_str!("../config.toml");

fn config(text: &str) -> Config {
    let environment = |_: &str| Some("from-the-environment".to_owned());
    match read(text, Path::new("config.toml"), &Table::builtin(), &environment) {
        Ok(config) => config,
        Err(errors) => panic!("{errors}"),
    }
}

/// A primary that sentinels watch.
const SENTINELS: &str = "\
# sentinels = [\"127.0.0.1:26379\"]
# service = \"mymaster\"
# sentinel_username = \"watcher\"
# sentinel_password_env = \"SENTINEL_PASSWORD\"";

/// What is about a cluster.
const CLUSTER: [&str; 4] = ["# cluster = ", "# announce = ", "# split_writes = ", "# databases = "];

/// The settings before a cluster, in the place of an address, with this line. Some of the example rules are not for one.
fn before_a_cluster(line: &str) -> String {
    let shown = TEXT.lines().find(|line| line.starts_with(CLUSTER[0])).expect("it is shown");
    let set = |text: &str, line: &str| text.replace(line, line.trim_start_matches("# "));
    set(&set(settings(), shown), line).replace("\naddress = \"127.0.0.1:6379\"", "")
}

/// A group that is applied once.
const ONCE: &str = "# once = \"10m\"\n# once_key = \"{user}:{token}\"";

fn meaning(text: &str) -> String {
    format!("{:?}", config(text))
}

/// The settings, without the example rules behind them.
fn settings() -> &'static str {
    TEXT.split("[[group]]").next().unwrap_or_default()
}

/// The key that a line sets or shows behind `#`, as `name = `.
fn key_of(line: &str) -> Option<&str> {
    let line = line.strip_prefix("# ").unwrap_or(line);
    let (key, _) = line.split_once(" = ")?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    (!key.is_empty() && key.bytes().all(plain)).then_some(key)
}

/// Every table and key that the file sets or shows, with its table.
fn shown_keys() -> BTreeSet<String> {
    let mut table = String::new();
    let mut keys = BTreeSet::new();
    for line in TEXT.lines() {
        let header = line.strip_prefix("# ").unwrap_or(line).trim_start_matches('[');
        if let Some(name) =
            header.strip_suffix("]]").or(header.strip_suffix(']')).filter(|name| !name.is_empty() && !name.contains(' '))
        {
            keys.insert(name.to_owned());
            table = format!("{name}.");
        } else if let Some(key) = key_of(line) {
            keys.insert(format!("{table}{key}"));
        } else if line.contains("{ match = ") {
            let shown = ["match", "optional", "expect", "require"].into_iter().filter(|key| line.contains(&format!(" {key} = ")));
            keys.extend(shown.map(|key| format!("{table}commands.{key}")));
        }
    }
    keys
}

/// The text without the line that sets the key of this path, in each table of its name.
fn without(path: &str) -> String {
    let (wanted, key) = path.rsplit_once('.').unwrap_or_default();
    let mut table = "";
    let kept = TEXT.lines().filter(|line| {
        if line.starts_with('[') {
            table = line.trim_matches(['[', ']']);
        }
        line.starts_with('#') || table != wanted || key_of(line) != Some(key)
    });
    kept.map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_file_passes_its_own_check() {
    let config = config(TEXT);
    assert_eq!(config.policy.groups().len(), 2);
    assert_eq!(config.policy.ttl_rules().len(), 1);
}

#[test]
fn an_empty_file_means_the_default() {
    assert_eq!(meaning(""), format!("{:?}", Config::default()));
}

#[test]
fn each_setting_shown_is_the_default() {
    assert_eq!(meaning(settings()), format!("{:?}", Config::default()));
}

#[test]
fn what_is_shown_for_a_key_that_has_a_default_is_its_default() {
    let has_default = |form: &Form| !matches!(form, Form::Text | Form::List | Form::Table);
    let paths = known_keys().into_iter().filter(|(_, form)| has_default(form)).map(|(path, _)| path);
    // `reads` is not: an example of a rule that does nothing would be refused.
    let shown: Vec<_> = paths.filter(|path| path != "degrade.reads" && without(path) != TEXT).collect();
    assert!(shown.len() > 30, "{shown:?}");
    for path in shown {
        assert_eq!(meaning(&without(&path)), meaning(TEXT), "{path}");
    }
}

/// The keys of the tables that a line shows in braces: `tls.cert`, or `users.password_env` below names of one's own.
fn inline_keys(line: &str) -> BTreeSet<String> {
    let Some((key, value)) = line.trim_start_matches("# ").split_once(" = {") else { return BTreeSet::new() };
    let words = value.split(|c: char| !c.is_ascii_lowercase() && c != '_' && c != '=').collect::<Vec<_>>();
    let is_key = |pair: &[&str]| pair[1] == "=" && !["app", "batch", "reader"].contains(&pair[0]);
    words.windows(2).filter(|pair| is_key(pair)).map(|pair| format!("{key}.{}", pair[0])).collect()
}

#[test]
fn the_file_names_every_key_and_no_other() {
    let mut shown = shown_keys();
    for (section, text) in [("listen", "[listen]"), ("upstream", "[upstream]"), ("rest", "# [rest]")] {
        let lines = TEXT.split(text).nth(1).unwrap_or_default().split("\n[").next().unwrap_or_default().lines();
        shown.extend(lines.flat_map(inline_keys).map(|key| format!("{section}.{key}")));
    }
    assert_eq!(shown, known_keys().into_keys().collect());
}

#[test]
fn each_key_behind_a_comment_sign_can_be_set_as_shown() {
    // Origins want tokens.
    let with_files = ["password_file", "users", "tls", "tokens", "cors"];
    let mut table = "";
    for line in TEXT.lines() {
        if line.trim_start_matches("# ").starts_with('[') {
            table = line;
        }
        if !line.starts_with("# ") || key_of(line).is_none() {
            continue;
        }
        if key_of(line).is_some_and(|key| with_files.contains(&key)) || line.contains("password_file = ") {
            continue;
        }
        if CLUSTER.iter().any(|key| line.starts_with(key)) {
            config(&before_a_cluster(line));
            continue;
        }
        let shown = if line.starts_with("# username") { "# password_env = \"X\"\n# username = \"app\"" } else { line };
        // What the sentinels are told is of no use without them, and they stand in the place of an address.
        let is_of_sentinels = line.starts_with("# sentinel") || line.starts_with("# service");
        let shown = if is_of_sentinels { SENTINELS } else { shown };
        let is_of_once = line.starts_with("# once");
        let shown = if is_of_once { ONCE } else { shown };
        // A table that is off as a whole is set with its key.
        let set = TEXT.replace(line, &shown.replace("# ", "")).replace(table, table.trim_start_matches("# "));
        assert_ne!(set, TEXT);
        let is_of_a_unix_socket = line.starts_with("# unix_mode");
        let set = if is_of_a_unix_socket { set.replace("\"127.0.0.1:6380\"", "\"unix:/run/proxy\"") } else { set };
        let set = if is_of_sentinels { set.replace("\naddress = \"127.0.0.1:6379\"", "") } else { set };
        let atomic = match line {
            _ if is_of_once => "atomic = \"guarded\"",
            _ if line.starts_with("# rollback_bytes_max") => "atomic = \"rollback\"",
            _ => "atomic = \"transaction\"",
        };
        config(&set.replacen("\natomic = \"transaction\"", &format!("\n{atomic}"), 1));
    }
}
