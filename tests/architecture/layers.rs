//! The list of layers, with what it forbids.

use crate::source::{Source, Written};

/// Layers from the lowest to the highest; those of one level may not know each other.
pub struct List {
    levels: Vec<Vec<String>>,
}

impl List {
    /// Reads the list from the first fenced `text` block of the doc comment that contains ` < `:
    /// `resp < command < {session, policy} | telemetry`, where `|` counts as `<`.
    pub fn stated_in(library: &str) -> Option<List> {
        let mut blocks = library.split("//! ```");
        let block = blocks.find(|block| block.starts_with("text") && block.contains(" < "))?;
        let text = block.strip_prefix("text")?.replace("//!", " ");
        let levels = text.split(['<', '|']).map(names).collect::<Vec<_>>();
        levels.iter().all(|level| !level.is_empty()).then_some(List { levels })
    }

    fn level(&self, layer: &str) -> Option<usize> {
        self.levels.iter().position(|level| level.iter().any(|name| name == layer))
    }
}

fn names(level: &str) -> Vec<String> {
    let words = level.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Imports of `source` that do not go strictly downward.
pub fn breaches(source: &Source, list: &List) -> Vec<String> {
    let Some(own) = layer(&source.module()).map(str::to_owned) else {
        return Vec::new();
    };
    let Some(own_level) = list.level(&own) else {
        return Vec::new();
    };
    let written = source.paths(&["crate", "super", "respguard"]);
    let mut found = Vec::new();
    for path in written {
        let Some(target) = target(source, &path) else {
            continue;
        };
        let place = format!("{}:{}", source.path, path.line);
        let whole = path.segments.join("::");
        match layer(&target).map(|name| (name, list.level(name))) {
            Some((name, _)) if name == own => {}
            Some((_, Some(level))) if level < own_level => {}
            Some((name, Some(_))) => found.push(format!("{place}: {own} may not import {name} ({whole})")),
            Some((name, None)) => found.push(format!("{place}: {name} is no layer of the list ({whole})")),
            None => found.push(format!("{place}: names a folder of layers instead of a layer ({whole})")),
        }
    }
    found
}

/// The complaint about a file that no layer of the list holds.
pub fn homeless(source: &Source, list: &List) -> Option<String> {
    let module = source.module();
    let container = matches!(module.iter().map(String::as_str).collect::<Vec<_>>()[..], [] | ["net"]);
    let known = layer(&module).is_some_and(|name| list.level(name).is_some());
    (!container && !known).then(|| format!("{}: in no layer of the list in its lib.rs", source.path))
}

/// The layer that a module belongs to: the second word below `net`, else the first.
fn layer(module: &[String]) -> Option<&str> {
    match module.first().map(String::as_str) {
        Some("net") => module.get(1).map(String::as_str),
        first => first,
    }
}

/// The module path that a written path means, from the root of the crate; `None` for a bare
/// `crate` (visibility) and for what stays below the module it is written in.
fn target(source: &Source, path: &Written) -> Option<Vec<String>> {
    let mut rest = path.segments.as_slice();
    let mut module = match rest.split_first() {
        Some((first, tail)) if first == "super" => {
            rest = tail;
            let mut module = source.module();
            module.extend(path.modules.iter().cloned());
            module.pop();
            module
        }
        Some((_, tail)) => {
            rest = tail;
            Vec::new()
        }
        None => return None,
    };
    let absolute = path.segments.first().is_some_and(|first| first != "super");
    while rest.first().is_some_and(|segment| segment == "super") {
        module.pop();
        rest = &rest[1..];
    }
    if absolute && rest.is_empty() {
        return None;
    }
    module.extend(rest.iter().cloned());
    Some(module)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIBRARY: &str =
        "//! A proxy.\n//!\n//! ```text\n//! resp < command < {session, policy}\n//!   | telemetry < main\n//! ```\n";

    fn found(path: &str, text: &str) -> Vec<String> {
        breaches(&Source::new(path, text), &List::stated_in(LIBRARY).expect("a list"))
    }

    #[test]
    fn the_list_is_read_across_lines_and_braces() {
        let list = List::stated_in(LIBRARY).expect("a list");
        assert_eq!(list.level("resp"), Some(0));
        assert_eq!(list.level("session"), list.level("policy"));
        assert_eq!(list.level("telemetry"), Some(3));
        assert_eq!(list.level("main"), Some(4));
        assert!(List::stated_in("//! No list here.").is_none());
    }

    #[test]
    fn downward_is_allowed_and_so_is_the_own_layer() {
        let text = "use crate::{resp::scan, command}; use super::rule; use super::super::resp;";
        assert!(found("crates/engine/src/policy/compile.rs", text).is_empty());
    }

    #[test]
    fn upward_is_refused() {
        assert_eq!(found("crates/engine/src/resp/scan.rs", "use crate::command::Table;").len(), 1);
        assert_eq!(found("crates/engine/src/resp/scan.rs", "use super::super::command::Table;").len(), 1);
        assert_eq!(found("crates/engine/src/resp/scan.rs", "fn f() { crate::telemetry::count() }").len(), 1);
    }

    #[test]
    fn sideways_is_refused() {
        let text = "use crate::{resp, policy::{Group}};";
        let found = found("crates/engine/src/session/mod.rs", text);
        assert_eq!(found, ["crates/engine/src/session/mod.rs:1: session may not import policy (crate::policy::Group)"]);
    }

    #[test]
    fn super_out_of_an_inline_module_stays_in_the_file() {
        assert!(found("crates/engine/src/resp/mod.rs", "mod tests { use super::*; use super::scan; }").is_empty());
        assert_eq!(found("crates/engine/src/resp/mod.rs", "mod tests { use super::super::command; }").len(), 1);
    }

    #[test]
    fn a_folder_of_layers_and_an_unlisted_name_are_refused() {
        assert_eq!(found("src/telemetry/mod.rs", "use crate::net;").len(), 1);
        assert_eq!(found("crates/engine/src/policy/mod.rs", "use crate::extras::x;").len(), 1);
    }

    #[test]
    fn a_file_outside_the_list_is_named() {
        let list = List::stated_in(LIBRARY).expect("a list");
        let homeless = |path: &str| homeless(&Source::new(path, ""), &list).is_some();
        assert!(homeless("src/extras.rs") && homeless("src/net/extras/x.rs"));
        assert!(!homeless("src/lib.rs") && !homeless("src/net/mod.rs") && !homeless("src/main.rs"));
    }
}
