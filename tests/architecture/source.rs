//! Cuts a Rust source file into the tokens and paths that the rules look at.

use std::path::Path;

/// One source file: its path from the root of the repository, its text, its tokens.
pub struct Source {
    pub path: String,
    pub text: String,
    pub tokens: Vec<Token>,
}

#[derive(Debug, Clone)]
pub struct Token {
    pub kind: Kind,
    pub line: usize,
    /// Inside an item under `#[cfg(test)]`, or in a file of tests.
    pub test: bool,
    /// The inline modules around this token.
    pub modules: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Word(String),
    Mark(char),
    Text(String),
}

/// One path as written (`crate::a::b`), with braces of a `use` multiplied out.
#[derive(Debug, PartialEq)]
pub struct Written {
    pub segments: Vec<String>,
    pub line: usize,
    pub test: bool,
    pub modules: Vec<String>,
}

/// One path of a `use`.
pub struct Used {
    pub segments: Vec<String>,
    /// Others may import it from here.
    pub is_public: bool,
}

/// Every `.rs` file below a folder of the repository.
pub fn below(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    collect(&root.join(folder), root, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect(folder: &Path, root: &Path, found: &mut Vec<Source>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "node_modules" {
            collect(&path, root, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("source is UTF-8");
            let path = path.strip_prefix(root).expect("below the root");
            found.push(Source::new(&path.to_string_lossy(), &text));
        }
    }
}

impl Source {
    pub fn new(path: &str, text: &str) -> Source {
        let mut tokens = Scanner::new(text).tokens();
        mark_modules(&mut tokens);
        mark_tests(&mut tokens, path.ends_with("/tests.rs") || path.contains("/tests/"));
        Source { path: path.to_owned(), text: text.to_owned(), tokens }
    }

    /// The module of its crate that this file is: `src/net/tls/pem.rs` is `net::tls::pem`, and
    /// `crates/engine/src/policy/mod.rs` is `policy`.
    pub fn module(&self) -> Vec<String> {
        let path = self.path.split_once("src/").map_or(&*self.path, |(_, path)| path);
        let path = path.strip_suffix(".rs").unwrap_or(path);
        let mut module: Vec<String> = path.split('/').map(str::to_owned).collect();
        if module.last().is_some_and(|last| last == "mod") || path == "lib" {
            module.pop();
        }
        module
    }

    /// What is brought in by `use` outside of tests and of inline modules.
    pub fn uses(&self) -> Vec<Used> {
        let mut found = Vec::new();
        for (index, token) in self.tokens.iter().enumerate() {
            if matches!(&token.kind, Kind::Word(word) if word == "use") && !token.test && token.modules.is_empty() {
                let before = index.checked_sub(1).map(|before| &self.tokens[before].kind);
                let is_public = matches!(before, Some(Kind::Mark(')'))) || before == Some(&Kind::Word("pub".to_owned()));
                let mut branches = Vec::new();
                self.tree(index + 1, &[], &mut branches);
                found.extend(branches.into_iter().map(|segments| Used { segments, is_public }));
            }
        }
        found
    }

    /// Every path whose first word is one of `starts`.
    pub fn paths(&self, starts: &[&str]) -> Vec<Written> {
        let mut found = Vec::new();
        for (index, token) in self.tokens.iter().enumerate() {
            let Kind::Word(word) = &token.kind else {
                continue;
            };
            if starts.contains(&word.as_str()) && self.opens_a_path(index) {
                let mut branches = Vec::new();
                self.tree(index, &[], &mut branches);
                found.extend(branches.into_iter().map(|segments| Written {
                    segments,
                    line: token.line,
                    test: token.test,
                    modules: token.modules.clone(),
                }));
            }
        }
        found
    }

    /// Not the middle of a longer path, and not the scope in `pub(in path)`.
    fn opens_a_path(&self, index: usize) -> bool {
        let before = |back: usize| index.checked_sub(back).map(|at| &self.tokens[at].kind);
        let middle = before(1) == Some(&Kind::Mark(':')) && before(2) == Some(&Kind::Mark(':'));
        let scope = before(1) == Some(&Kind::Word("in".to_owned())) && before(2) == Some(&Kind::Mark('('));
        !middle && !scope
    }

    fn is(&self, index: usize, mark: char) -> bool {
        self.tokens.get(index).is_some_and(|token| token.kind == Kind::Mark(mark))
    }

    fn doubled(&self, index: usize) -> bool {
        self.is(index, ':') && self.is(index + 1, ':')
    }

    /// Reads the path or brace tree at `index` and returns where it ended.
    fn tree(&self, index: usize, prefix: &[String], found: &mut Vec<Vec<String>>) -> usize {
        if self.is(index, '{') {
            let mut at = index + 1;
            while at < self.tokens.len() && !self.is(at, '}') {
                at = self.tree(at, prefix, found).max(at + 1);
                while at < self.tokens.len() && !self.is(at, ',') && !self.is(at, '}') {
                    at += 1;
                }
                at += usize::from(self.is(at, ','));
            }
            return at + 1;
        }
        let mut path = prefix.to_vec();
        match self.tokens.get(index).map(|token| &token.kind) {
            Some(Kind::Word(word)) => path.push(word.clone()),
            Some(Kind::Mark('*')) => path.push("*".to_owned()),
            _ => {
                found.push(path);
                return index;
            }
        }
        if self.doubled(index + 1) {
            return self.tree(index + 3, &path, found);
        }
        found.push(path);
        index + 1
    }
}

fn mark_modules(tokens: &mut [Token]) {
    let mut braces: Vec<bool> = Vec::new();
    let mut modules: Vec<String> = Vec::new();
    for index in 0..tokens.len() {
        match tokens[index].kind.clone() {
            Kind::Mark('{') => {
                let named = (index >= 2).then(|| (&tokens[index - 2].kind, &tokens[index - 1].kind));
                match named {
                    Some((Kind::Word(word), Kind::Word(name))) if word == "mod" => {
                        modules.push(name.clone());
                        braces.push(true);
                    }
                    _ => braces.push(false),
                }
            }
            Kind::Mark('}') if braces.pop() == Some(true) => {
                modules.pop();
            }
            _ => {}
        }
        tokens[index].modules = modules.clone();
    }
}

fn mark_tests(tokens: &mut [Token], all: bool) {
    let mut index = 0;
    while index < tokens.len() {
        if all {
            tokens[index].test = true;
        } else if let Some(after) = test_attribute(tokens, index) {
            let end = end_of_item(tokens, after);
            tokens[index..end].iter_mut().for_each(|token| token.test = true);
            index = end;
            continue;
        }
        index += 1;
    }
}

/// Where a `#[cfg(test)]` or `#[test]` that opens at `index` is over.
fn test_attribute(tokens: &[Token], index: usize) -> Option<usize> {
    let mark = |at: usize, wanted| tokens.get(at).is_some_and(|t| t.kind == Kind::Mark(wanted));
    if !mark(index, '#') || !mark(index + 1, '[') {
        return None;
    }
    let close = index + tokens[index..].iter().position(|t| t.kind == Kind::Mark(']'))?;
    let says = |word: &str| tokens[index + 2..close].iter().any(|t| matches!(&t.kind, Kind::Word(w) if w == word));
    let first = tokens.get(index + 2).map(|t| &t.kind);
    let gate = matches!(first, Some(Kind::Word(word)) if word == "cfg" || word == "test");
    (gate && says("test") && !says("not")).then_some(close + 1)
}

/// The end of the item at `index`: behind its `;` or its closing brace.
fn end_of_item(tokens: &[Token], index: usize) -> usize {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().skip(index) {
        match token.kind {
            Kind::Mark('{' | '(' | '[') => depth += 1,
            Kind::Mark('}') if depth == 1 => return at + 1,
            Kind::Mark('}' | ')' | ']') => depth = depth.saturating_sub(1),
            Kind::Mark(';') if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

struct Scanner<'a> {
    rest: &'a str,
    line: usize,
    tokens: Vec<Token>,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str) -> Scanner<'a> {
        Scanner { rest: text, line: 1, tokens: Vec::new() }
    }

    fn tokens(mut self) -> Vec<Token> {
        while let Some(first) = self.rest.chars().next() {
            if first.is_whitespace() {
                self.take(first.len_utf8());
            } else if self.rest.starts_with("//") {
                self.take(self.rest.find('\n').unwrap_or(self.rest.len()));
            } else if self.rest.starts_with("/*") {
                self.take(block_comment(self.rest));
            } else if let Some((bytes, text)) = literal(self.rest) {
                self.push(Kind::Text(text), bytes);
            } else if first == '\'' {
                self.take(quoted_char(self.rest));
            } else if first.is_alphanumeric() || first == '_' {
                let bytes = word_bytes(self.rest);
                self.push(Kind::Word(self.rest[..bytes].to_owned()), bytes);
            } else {
                self.push(Kind::Mark(first), first.len_utf8());
            }
        }
        self.tokens
    }

    fn push(&mut self, kind: Kind, bytes: usize) {
        self.tokens.push(Token { kind, line: self.line, test: false, modules: Vec::new() });
        self.take(bytes);
    }

    fn take(&mut self, bytes: usize) {
        self.line += self.rest[..bytes].matches('\n').count();
        self.rest = &self.rest[bytes..];
    }
}

fn word_bytes(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// A string literal of any kind at the start of `text`: its length with quotes, and its content.
fn literal(text: &str) -> Option<(usize, String)> {
    let prefix = text.bytes().take(3).position(|byte| matches!(byte, b'"' | b'#'))?;
    if !["", "b", "c", "r", "br", "cr"].contains(&&text[..prefix]) {
        return None;
    }
    let raw = text[..prefix].contains('r');
    let hashes = if raw { text[prefix..].bytes().take_while(|&b| b == b'#').count() } else { 0 };
    let open = prefix + hashes;
    if !text[open..].starts_with('"') {
        return None;
    }
    let body = &text[open + 1..];
    let close = if raw { body.find(&format!("\"{}", "#".repeat(hashes)))? } else { closing_quote(body)? };
    Some((open + 1 + close + 1 + hashes, body[..close].to_owned()))
}

fn closing_quote(body: &str) -> Option<usize> {
    let mut escaped = false;
    body.char_indices().find_map(|(at, c)| {
        let closes = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        closes.then_some(at)
    })
}

/// Bytes of a character literal, or of the quote alone where a lifetime begins.
fn quoted_char(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((at, escaped))) => {
            let from = at + escaped.len_utf8();
            text[from..].find('\'').map_or(text.len(), |end| from + end + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        let source = Source::new("crates/resp/src/scan.rs", text);
        let found = source.paths(&["crate", "super", "std"]);
        found.into_iter().map(|path| path.segments.join("::")).collect()
    }

    #[test]
    fn braces_of_a_use_are_multiplied_out() {
        let found = paths("use crate::{a::{b, c as d}, e::*, self};");
        assert_eq!(found, ["crate::a::b", "crate::a::c", "crate::e::*", "crate::self"]);
    }

    #[test]
    fn paths_in_expressions_count_and_end_where_the_path_ends() {
        assert_eq!(paths("let x = crate::a::b(std::io::sink());"), ["crate::a::b", "std::io::sink"]);
    }

    #[test]
    fn comments_strings_and_visibility_are_no_paths() {
        let text = "// crate::a\n/* crate::b /* crate::c */ */ pub(crate) fn f() { \"crate::d\"; r#\"crate::e\"#; }";
        assert_eq!(paths(text), ["crate"]);
        assert!(paths("pub(in crate::policy) fn f() {}").is_empty());
        assert_eq!(paths("for (a, b) in crate::a::b() {}"), ["crate::a::b"]);
    }

    #[test]
    fn quotes_of_chars_and_lifetimes_do_not_open_strings() {
        assert_eq!(paths("fn f<'a>(x: &'a u8) { let q = ['\"', '\\'', 'x']; crate::a::b }"), ["crate::a::b"]);
    }

    #[test]
    fn items_under_cfg_test_are_marked_and_only_they() {
        let source = Source::new("src/a.rs", "fn a() {} #[cfg(test)] mod tests { fn b() {} } fn c() {}");
        let test = |word: &str| source.tokens.iter().find(|t| t.kind == Kind::Word(word.into())).map(|t| t.test);
        assert_eq!((test("a"), test("b"), test("c")), (Some(false), Some(true), Some(false)));
        let shipped = Source::new("src/a.rs", "#[cfg(not(test))] fn a() {}");
        assert!(shipped.tokens.iter().all(|token| !token.test));
    }

    #[test]
    fn lines_are_counted_through_comments_and_strings() {
        let source = Source::new("src/a.rs", "/*\n\n*/ \"\n\" crate::a");
        assert_eq!(source.paths(&["crate"])[0].line, 4);
    }
}
