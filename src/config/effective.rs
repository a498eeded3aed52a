//! The effective configuration, including defaults, as one JSON object for display and comparison.

use serde_json::{Map, Value};

/// The configuration with every key: its settings are the defaults.
const DOCUMENTED: &str = include_str!("../../config.toml");
/// Where the example rules begin in it.
const RULES_BEGIN: &str = "[[group]]";
/// Lists of rules, told apart by their names.
const RULES: [&str; 7] = ["group", "ttl", "degrade", "expect", "guard", "relation", "compress"];

const MODE: &str = "mode";
/// What rules name in violations.
const VIOLATIONS_LIVE: [&str; 1] = ["keys"];
const PIPELINE: &str = "pipeline";
const VIOLATIONS: &str = "violations";
/// Keys of `[pipeline]` that belong to the rules.
const PIPELINE_LIVE: [&str; 3] = ["report", "hold_ms", "hold_max_ms"];

/// The settings with their defaults, and the rules as they are written. Credentials are not in it: a configuration
/// holds only where they are.
pub fn effective(text: &str) -> Map<String, Value> {
    let settings = DOCUMENTED.split(RULES_BEGIN).next().unwrap_or_default();
    let (mut all, written) = (object(settings), object(text));
    if written.get("upstream").is_some_and(|upstream| upstream.get("sentinels").or(upstream.get("cluster")).is_some())
        && let Some(Value::Object(upstream)) = all.get_mut("upstream")
    {
        upstream.remove("address");
    }
    overlay(&mut all, written);
    all
}

/// Something that one configuration has otherwise than another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// `listen.address`, or `group.` and the name of a rule.
    pub key: String,
    pub before: Option<Value>,
    pub after: Option<Value>,
}

impl Difference {
    /// Whether a running proxy follows the change without being started anew.
    pub fn is_live(&self) -> bool {
        match self.key.split_once('.') {
            Some((table, key)) => {
                let is_of_rules = |section, live: &[&str]| table == section && live.contains(&key);
                RULES.contains(&table) || is_of_rules(PIPELINE, &PIPELINE_LIVE) || is_of_rules(VIOLATIONS, &VIOLATIONS_LIVE)
            }
            None => self.key == MODE,
        }
    }
}

/// Takes over what a running proxy follows without being started anew.
pub fn follow(all: &mut Map<String, Value>, new: &Map<String, Value>) {
    for key in RULES.into_iter().chain([MODE]) {
        match new.get(key) {
            Some(value) => all.insert(key.to_owned(), value.clone()),
            None => all.remove(key),
        };
    }
    for (section, keys) in [(PIPELINE, &PIPELINE_LIVE[..]), (VIOLATIONS, &VIOLATIONS_LIVE)] {
        if let (Some(Value::Object(all)), Some(Value::Object(new))) = (all.get_mut(section), new.get(section)) {
            for key in keys {
                all.extend(new.get(*key).map(|value| ((*key).to_owned(), value.clone())));
            }
        }
    }
}

/// Everything in which two configurations differ, by key.
pub fn differences(before: &Map<String, Value>, after: &Map<String, Value>) -> Vec<Difference> {
    let (before, after) = (flat(before), flat(after));
    let mut keys: Vec<_> = before.keys().chain(after.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let differing = keys.into_iter().filter(|key| before.get(*key) != after.get(*key));
    differing
        .map(|key| Difference { key: key.clone(), before: before.get(key).cloned(), after: after.get(key).cloned() })
        .collect()
}

fn object(text: &str) -> Map<String, Value> {
    let table = toml::from_str::<toml::Table>(text).unwrap_or_default();
    match serde_json::to_value(table) {
        Ok(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

fn overlay(all: &mut Map<String, Value>, written: Map<String, Value>) {
    for (key, value) in written {
        match (all.get_mut(&key), value) {
            (Some(Value::Object(table)), Value::Object(written)) => overlay(table, written),
            (_, value) => {
                all.insert(key, value);
            }
        }
    }
}

/// Tables' keys with their table before them, rules with their names, and their order.
fn flat(object: &Map<String, Value>) -> Map<String, Value> {
    let mut flat = Map::new();
    for (key, value) in object {
        match value {
            Value::Object(table) => {
                flat.extend(table.iter().map(|(name, value)| (format!("{key}.{name}"), value.clone())));
            }
            Value::Array(rules) if RULES.contains(&key.as_str()) => {
                let named = rules.iter().map(|rule| (rule["name"].as_str().unwrap_or_default().to_owned(), rule.clone()));
                let names = rules.iter().map(|rule| rule["name"].clone()).collect();
                flat.extend(named.map(|(name, rule)| (format!("{key}.{name}"), rule)));
                flat.insert(format!("{key}.order"), Value::Array(names));
            }
            value => {
                flat.insert(key.clone(), value.clone());
            }
        }
    }
    flat
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(before: &str, after: &str) -> Vec<(String, bool)> {
        let differences = differences(&effective(before), &effective(after));
        differences.into_iter().map(|difference| (difference.is_live(), difference.key)).map(|(live, key)| (key, live)).collect()
    }

    #[test]
    fn what_is_not_written_has_its_default() {
        let all = effective("[listen]\nclients_max = 7\n");
        assert_eq!((&all["listen"]["clients_max"], &all["listen"]["address"]), (&Value::from(7), &"127.0.0.1:6380".into()));
        assert_eq!(all.get("group"), None, "the example's rules are nobody's");
        assert!(keys("", "mode = \"enforce\"\n[listen]\nclients_max = 10000\n").is_empty(), "written out, but no different");
    }

    #[test]
    fn where_sentinels_are_named_no_address_applies() {
        let all = effective("[upstream]\nsentinels = [\"127.0.0.1:1\"]\nservice = \"m\"\n");
        assert_eq!((all["upstream"].get("address"), &all["upstream"]["service"]), (None, &Value::from("m")));
    }

    #[test]
    fn settings_differ_by_key_and_say_whether_they_are_followed() {
        let after = "mode = \"observe\"\nworkers = 3\n[pipeline]\nhold_ms = 9\n[admin]\ntoken_env = \"T\"\n";
        let wanted = [("admin.token_env", false), ("mode", true), ("pipeline.hold_ms", true), ("workers", false)];
        assert_eq!(keys("", after), wanted.map(|(key, live)| (key.to_owned(), live)));
    }

    #[test]
    fn what_is_followed_differs_no_longer() {
        let after = "mode = \"observe\"\nworkers = 3\n[pipeline]\nhold_ms = 9\n[[ttl]]\nname = \"a\"\nkeys = [\"x\"]\n";
        let mut all = effective("[[group]]\nname = \"g\"\nkeys = [\"y\"]\n");
        follow(&mut all, &effective(after));
        let left: Vec<_> = differences(&all, &effective(after)).into_iter().map(|difference| difference.key).collect();
        assert_eq!(left, ["workers"]);
    }

    #[test]
    fn rules_differ_by_name_and_order() {
        let rule = |name: &str, keys: &str| format!("[[ttl]]\nname = \"{name}\"\nkeys = [\"{keys}\"]\n");
        let before = rule("a", "x") + &rule("b", "y");
        assert_eq!(keys(&before, &(rule("a", "x") + &rule("b", "z"))), [("ttl.b".to_owned(), true)]);
        assert_eq!(keys(&before, &(rule("b", "y") + &rule("a", "x"))), [("ttl.order".to_owned(), true)]);
        assert_eq!(keys(&before, &rule("a", "x")), [("ttl.b".to_owned(), true), ("ttl.order".to_owned(), true)]);
    }
}
