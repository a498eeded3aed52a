//! Circles of files that import from each other, inside one room of the house.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Kind, Source};

/// The files of one crate, and from which others each takes something.
struct Imports<'a> {
    /// By the module that they are.
    files: BTreeMap<Vec<String>, &'a Source>,
    /// By the module: what it has imported, by the name that this has there.
    names: BTreeMap<Vec<String>, BTreeMap<String, Vec<String>>>,
}

/// The modules of each circle, the largest circle first.
pub fn circles(sources: &[Source]) -> Vec<Vec<String>> {
    let imports = Imports::of(sources);
    let edges: BTreeMap<_, _> = imports.files.keys().map(|module| (module.clone(), imports.targets(module))).collect();
    let reached: BTreeMap<_, _> = edges.keys().map(|module| (module, reach(module, &edges))).collect();
    let mut circles: Vec<Vec<String>> = Vec::new();
    let mut seen = BTreeSet::new();
    for module in edges.keys().filter(|module| reached[module].contains(*module)) {
        if seen.contains(module) {
            continue;
        }
        let circle: Vec<_> = reached[module].iter().filter(|other| reached[*other].contains(module)).cloned().collect();
        circles.push(circle.iter().map(|module| module.join("::")).collect());
        seen.extend(circle);
    }
    circles.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
    circles
}

/// All that can be come to from `from`.
fn reach(from: &[String], edges: &BTreeMap<Vec<String>, BTreeSet<Vec<String>>>) -> BTreeSet<Vec<String>> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![from.to_vec()]);
    while let Some(module) = open.pop() {
        for next in edges.get(&module).into_iter().flatten() {
            if reached.insert(next.clone()) {
                open.push(next.clone());
            }
        }
    }
    reached
}

impl<'a> Imports<'a> {
    fn of(sources: &'a [Source]) -> Imports<'a> {
        let files: BTreeMap<_, _> =
            sources.iter().filter(|source| !is_test(source)).map(|source| (source.module(), source)).collect();
        let mut imports = Imports { files, names: BTreeMap::new() };
        let names = imports.files.iter().map(|(module, source)| {
            let used = source.uses().into_iter().filter_map(|used| {
                let path = imports.absolute(module, &used.segments)?;
                Some((path.last()?.clone(), path))
            });
            (module.clone(), used.collect())
        });
        imports.names = names.collect();
        imports
    }

    /// The path from the root of the crate; `None` for one that leads out of it.
    fn absolute(&self, module: &[String], path: &[String]) -> Option<Vec<String>> {
        let (first, mut rest) = path.split_first()?;
        let mut base = match first.as_str() {
            "crate" => Vec::new(),
            "self" => module.to_vec(),
            "super" => module.split_last().map(|(_, parent)| parent.to_vec())?,
            child => {
                let mut base = module.to_vec();
                base.push(child.to_owned());
                return self.files.contains_key(&base).then(|| [base, rest.to_vec()].concat());
            }
        };
        while rest.first().is_some_and(|segment| segment == "super") {
            base.pop()?;
            rest = &rest[1..];
        }
        base.extend_from_slice(rest);
        Some(base)
    }

    /// The file in which what the path names is written, behind all that passes it on.
    fn origin(&self, path: &[String], passes: usize) -> Option<Vec<String>> {
        let file = (0..=path.len()).rev().map(|length| &path[..length]).find(|module| self.files.contains_key(*module))?;
        let passed_on = path.get(file.len()).and_then(|name| self.names.get(file)?.get(name));
        match passed_on.filter(|_| passes > 0) {
            Some(next) if next[..] != *path => self.origin(&[next, &path[file.len() + 1..]].concat(), passes - 1),
            _ => Some(file.to_vec()),
        }
    }

    /// The files that one takes something from, which is more than to pass on what is theirs.
    fn targets(&self, module: &[String]) -> BTreeSet<Vec<String>> {
        let source = self.files[module];
        let children = self.files.keys().filter_map(|file| {
            let (name, parent) = file.split_last()?;
            (parent == module).then_some(name.as_str())
        });
        let children: Vec<&str> = children.collect();
        let starts = [&["crate", "super", "self"][..], &children].concat();
        let uses = source.uses();
        let passed_on: BTreeSet<_> = uses.iter().filter(|used| used.is_public).map(|used| &used.segments).collect();
        let written = source.paths(&starts).into_iter().filter(|path| !path.test && path.modules.is_empty());
        let takes = written.filter(|path| {
            let is_passed_on = || passed_on.contains(&path.segments);
            let is_used = || path.segments.last().is_some_and(|name| source.words(name) > 1);
            path.segments.len() > 1 && (!is_passed_on() || is_used())
        });
        let origins = takes.filter_map(|path| self.origin(&self.absolute(module, &path.segments)?, PASSES_MAX));
        origins.filter(|origin| origin != module).collect()
    }
}

/// A name is passed on by no more files than this.
const PASSES_MAX: usize = 6;

fn is_test(source: &Source) -> bool {
    source.tokens.iter().all(|token| token.test)
}

impl Source {
    /// How often a word stands outside of tests.
    fn words(&self, word: &str) -> usize {
        self.tokens.iter().filter(|token| !token.test && matches!(&token.kind, Kind::Word(known) if known == word)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let sources: Vec<_> = files.iter().map(|(path, text)| Source::new(path, text)).collect();
        circles(&sources)
    }

    #[test]
    fn two_files_that_take_from_each_other_are_a_circle() {
        let files = [
            ("src/a.rs", "use crate::b::B; struct A;"),
            ("src/b.rs", "struct B(super::a::A);"),
            ("src/c.rs", "use crate::a::A;"),
        ];
        assert_eq!(found(&files), [["a", "b"]]);
    }

    #[test]
    fn what_is_passed_on_belongs_to_the_file_that_wrote_it() {
        let parent = "mod one; mod two; pub use one::One; pub use two::Two;";
        let files = [("src/p.rs", parent), ("src/p/one.rs", "struct One;"), ("src/p/two.rs", "use super::One; struct Two;")];
        assert!(found(&files).is_empty(), "{:?}", found(&files));
    }

    #[test]
    fn a_folder_that_uses_what_its_files_take_from_it_is_one() {
        let parent = "mod one; use one::One; struct P(One);";
        let files = [("src/p.rs", parent), ("src/p/one.rs", "use super::P; struct One;")];
        assert_eq!(found(&files), [["p", "p::one"]]);
    }

    #[test]
    fn tests_do_not_count() {
        let files = [("src/a.rs", "use crate::b::B;"), ("src/b.rs", "#[cfg(test)] mod tests { use crate::a::A; }")];
        assert!(found(&files).is_empty());
    }
}
