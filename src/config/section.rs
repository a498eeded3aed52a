//! Reads the tables of a configuration file key by key, and records the position of each key.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};

use toml::de::{DeTable, DeValue};

use respguard_engine::policy::near::nearest;
use respguard_engine::policy::rule::Word;

use super::form::Form;

/// What was found out while reading: errors, where keys are, and which keys can be written at all.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) errors: Vec<Finding>,
    /// What is good, and yet hardly meant.
    pub(super) warnings: Vec<Finding>,
    /// Where the value at each path lies in the file.
    places: BTreeMap<String, Range<usize>>,
    /// Every key that was asked for, without the places in lists (`group.name`), and what it may be.
    pub(super) known: BTreeMap<String, Form>,
}

/// One error, and where it is in the file.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) span: Range<usize>,
    pub(super) path: String,
    pub(super) message: String,
    pub(super) expected: String,
}

impl Findings {
    /// An error about the value at a path or, where nothing is written there, about what it would be part of.
    pub(super) fn add(&mut self, path: &str, message: impl Into<String>, expected: impl Into<String>) {
        let span = self.place_of(path);
        self.add_at(span, path, message, expected);
    }

    pub(super) fn add_at(&mut self, span: Range<usize>, path: &str, message: impl Into<String>, expected: impl Into<String>) {
        self.errors.push(Finding { span, path: path.into(), message: message.into(), expected: expected.into() });
    }

    /// Something odd about the value at a path that is good otherwise.
    pub(super) fn warn(&mut self, path: &str, message: String, expected: String) {
        let span = self.place_of(path);
        self.warnings.push(Finding { span, path: path.into(), message, expected });
    }

    /// Whether something at, in or around the path has been reported already.
    pub(super) fn covers(&self, path: &str) -> bool {
        self.errors.iter().any(|error| is_within(path, &error.path) || is_within(&error.path, path))
    }

    /// Whether something is written at the path.
    pub(super) fn has_place(&self, path: &str) -> bool {
        self.places.contains_key(path)
    }

    fn place_of(&self, path: &str) -> Range<usize> {
        let mut path = path;
        loop {
            if let Some(place) = self.places.get(path) {
                return place.clone();
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return 0..0,
            }
        }
    }
}

fn is_within(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// One table of the file, or one that is not written and so has only defaults.
pub(super) struct Section<'t> {
    path: String,
    table: Option<&'t DeTable<'t>>,
    known: Vec<&'static str>,
}

/// One value, with its path.
#[derive(Clone)]
pub(super) struct Value<'t> {
    pub(super) path: String,
    value: &'t DeValue<'t>,
}

impl<'t> Section<'t> {
    pub(super) fn root(table: &'t DeTable<'t>) -> Self {
        Self { path: String::new(), table: Some(table), known: Vec::new() }
    }

    /// Where the table is.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Where a key of the table is or would be.
    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// What is written for a key that may have this form.
    fn value(&mut self, key: &'static str, form: Form, findings: &mut Findings) -> Option<Value<'t>> {
        self.known.push(key);
        let path = self.path_of(key);
        findings.known.insert(without_places(&path), form);
        let spanned = self.table?.get(key)?;
        findings.places.insert(path.clone(), spanned.span());
        Some(Value { path, value: spanned.get_ref() })
    }

    pub(super) fn text(&mut self, key: &'static str, findings: &mut Findings) -> Option<String> {
        self.value(key, Form::Text, findings)?.text(findings)
    }

    /// Whether anything is written for a key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// A text that must be there.
    pub(super) fn needed_text(&mut self, key: &'static str, findings: &mut Findings) -> String {
        match self.value(key, Form::Text, findings) {
            Some(value) => value.text(findings).unwrap_or_default(),
            None => {
                findings.add(&self.path_of(key), "the key is missing", "a string");
                String::new()
            }
        }
    }

    /// A whole number within a range.
    pub(super) fn number<N: TryFrom<u64>>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        default: N,
        findings: &mut Findings,
    ) -> N {
        let number = self.number_if_any(key, range, findings);
        number.and_then(|number| N::try_from(number).ok()).unwrap_or(default)
    }

    /// A whole number within a range, where one is written.
    pub(super) fn number_if_any(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        findings: &mut Findings,
    ) -> Option<u64> {
        self.value(key, Form::Number(range.clone()), findings)?.number(&range, findings)
    }

    /// A part of a whole: above 0, at most 1.
    pub(super) fn ratio(&mut self, key: &'static str, default: f64, findings: &mut Findings) -> f64 {
        let expected = &Form::Ratio.to_string();
        let Some(value) = self.value(key, Form::Ratio, findings) else { return default };
        let (DeValue::Float(_) | DeValue::Integer(_)) = value.value else {
            return value.wrong_type(expected, findings).unwrap_or(default);
        };
        let written = match value.value {
            DeValue::Float(written) => written.as_str().parse().ok(),
            DeValue::Integer(written) => written.as_str().parse().ok(),
            _ => None,
        };
        let ratio = written.filter(|ratio: &f64| *ratio > 0.0 && *ratio <= 1.0);
        if ratio.is_none() {
            findings.add(&value.path, "this is no part of a whole", expected.as_str());
        }
        ratio.unwrap_or(default)
    }

    pub(super) fn truth(&mut self, key: &'static str, default: bool, findings: &mut Findings) -> bool {
        let Some(value) = self.value(key, Form::Truth, findings) else {
            return default;
        };
        match value.value {
            DeValue::Boolean(truth) => *truth,
            _ => value.wrong_type("true or false", findings).unwrap_or(default),
        }
    }

    /// One of a closed set of words.
    pub(super) fn word<T: Word>(&mut self, key: &'static str, findings: &mut Findings) -> Option<T> {
        let form = Form::Words(T::ALL.iter().map(|word| word.as_str()).collect());
        let expected = form.to_string();
        let value = self.value(key, form, findings)?;
        let DeValue::String(text) = value.value else {
            return value.wrong_type(&expected, findings);
        };
        let word = T::from_word(text);
        if word.is_none() {
            let near = nearest(text, T::ALL.iter().map(|word| word.as_str()));
            let expected = near.map_or_else(|| expected.clone(), |near| format!("perhaps {near:?}: {expected}"));
            findings.add(&value.path, format!("{text:?} is not known here"), expected);
        }
        word
    }

    /// The values of a list; an empty one where the value is no list.
    pub(super) fn list(&mut self, key: &'static str, findings: &mut Findings) -> Option<Vec<Value<'t>>> {
        let value = self.value(key, Form::List, findings)?;
        let DeValue::Array(values) = value.value else {
            return Some(value.wrong_type("a list", findings).unwrap_or_default());
        };
        let list = values.iter().enumerate().map(|(place, spanned)| {
            let path = format!("{}[{place}]", value.path);
            findings.places.insert(path.clone(), spanned.span());
            Value { path, value: spanned.get_ref() }
        });
        Some(list.collect())
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, key: &'static str, findings: &mut Findings) -> Option<Vec<String>> {
        let list = self.list(key, findings)?;
        Some(list.into_iter().map(|value| value.text(findings).unwrap_or_default()).collect())
    }

    /// A table such as `[listen]`.
    pub(super) fn section(&mut self, key: &'static str, findings: &mut Findings) -> Section<'t> {
        let empty = Section { path: self.path_of(key), table: None, known: Vec::new() };
        let value = self.value(key, Form::Table, findings);
        value.and_then(|value| value.section("a table", findings)).unwrap_or(empty)
    }

    /// A table that means something by being there, such as `tls = { .. }`, and whether it is.
    pub(super) fn optional_section(&mut self, key: &'static str, findings: &mut Findings) -> (Section<'t>, bool) {
        let section = self.section(key, findings);
        let is_there = section.table.is_some();
        (section, is_there)
    }

    /// The tables in a table whose keys are names that the user chooses, such as `users`.
    pub(super) fn named_sections(&mut self, key: &'static str, findings: &mut Findings) -> Vec<(String, Section<'t>)> {
        let Some(table) = self.section(key, findings).table else { return Vec::new() };
        let path = self.path_of(key);
        let named = table.iter().filter_map(|(name, spanned)| {
            let name: &str = name.get_ref();
            // In brackets as the places in lists are: the name is no key.
            let path = format!("{path}[{name}]");
            findings.places.insert(path.clone(), spanned.span());
            let value = Value { path, value: spanned.get_ref() };
            Some((name.to_owned(), value.section("a table", findings)?))
        });
        named.collect()
    }

    /// Tables such as `[[group]]`.
    pub(super) fn sections(&mut self, key: &'static str, findings: &mut Findings) -> Vec<Section<'t>> {
        if self.table.and_then(|table| table.get(key)).is_some_and(|value| value.get_ref().is_table()) {
            let value = self.value(key, Form::List, findings);
            let path = value.map_or_else(|| self.path_of(key), |value| value.path);
            findings.add(&path, format!("[{key}] is one table, and there may be many rules"), format!("[[{key}]]"));
            return Vec::new();
        }
        let list = self.list(key, findings).unwrap_or_default();
        list.into_iter().filter_map(|value| value.section("a table", findings)).collect()
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn end(self, findings: &mut Findings) {
        for key in self.table.into_iter().flat_map(DeTable::keys) {
            let name: &str = key.get_ref();
            if self.known.contains(&name) {
                continue;
            }
            let expected = match nearest(name, self.known.iter().copied()) {
                Some(near) => format!("perhaps `{near}`"),
                None => format!("one of {}", self.known.join(", ")),
            };
            findings.add_at(key.span(), &self.path_of(name), "the key is unknown", expected);
        }
    }
}

impl<'t> Value<'t> {
    pub(super) fn is_text(&self) -> bool {
        self.value.is_str()
    }

    pub(super) fn text(&self, findings: &mut Findings) -> Option<String> {
        match self.value {
            DeValue::String(text) => Some(text.clone().into_owned()),
            _ => self.wrong_type("a string", findings),
        }
    }

    /// The value as a table; `expected` is what else it could have been.
    pub(super) fn section(&self, expected: &str, findings: &mut Findings) -> Option<Section<'t>> {
        match self.value {
            DeValue::Table(table) => Some(Section { path: self.path.clone(), table: Some(table), known: Vec::new() }),
            _ => self.wrong_type(expected, findings),
        }
    }

    fn number(&self, range: &RangeInclusive<u64>, findings: &mut Findings) -> Option<u64> {
        let expected = Form::Number(range.clone()).to_string();
        let DeValue::Integer(written) = self.value else {
            return self.wrong_type(&expected, findings);
        };
        let number = u64::from_str_radix(written.as_str(), written.radix()).ok();
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            findings.add(&self.path, format!("{written} is out of range"), expected);
        }
        number
    }

    fn wrong_type<T>(&self, expected: &str, findings: &mut Findings) -> Option<T> {
        let article = if matches!(self.value, DeValue::Integer(_) | DeValue::Array(_)) { "an" } else { "a" };
        findings.add(&self.path, format!("this is {article} {}", self.value.type_str()), expected);
        None
    }
}

/// A path without the places in lists.
fn without_places(path: &str) -> String {
    let mut inside = false;
    path.chars()
        .filter(|c| {
            let dropped = inside || *c == '[';
            inside = dropped && *c != ']';
            !dropped
        })
        .collect()
}
