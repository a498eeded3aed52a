//! A strict reader of Prometheus' text format: whatever does not parse fails the test.

use std::collections::{BTreeMap, BTreeSet};

/// What one scrape exposed.
#[derive(Default)]
pub struct Exposed {
    helps: BTreeMap<String, String>,
    shapes: BTreeMap<String, String>,
    /// Values by name and labels, the labels sorted.
    series: BTreeMap<String, f64>,
    /// Series in the order of the text, with their upper bound if they are buckets.
    buckets: Vec<(String, f64, f64)>,
}

impl Exposed {
    pub fn read(text: &str) -> Exposed {
        let mut exposed = Exposed::default();
        assert!(text.ends_with('\n'), "the last line ends too");
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').expect("a help text");
                assert!(exposed.helps.insert(name.into(), help.into()).is_none(), "two helps: {name}");
            } else if let Some(shape) = line.strip_prefix("# TYPE ") {
                let (name, shape) = shape.split_once(' ').expect("a type");
                assert!(exposed.shapes.insert(name.into(), shape.into()).is_none(), "two types: {name}");
            } else if !line.is_empty() {
                exposed.sample(line);
            }
        }
        exposed
    }

    /// The value of a series, its labels in alphabetical order.
    pub fn value(&self, series: &str) -> Option<f64> {
        self.series.get(series).copied()
    }

    pub fn shape(&self, family: &str) -> Option<&str> {
        self.shapes.get(family).map(String::as_str)
    }

    pub fn help(&self, family: &str) -> Option<&str> {
        self.helps.get(family).map(String::as_str)
    }

    /// Every metric with a sample.
    pub fn families(&self) -> BTreeSet<&str> {
        self.series.keys().map(|series| self.family(series.split('{').next().unwrap_or(series))).collect()
    }

    /// The buckets of a histogram as bound and count, in the order of the text.
    pub fn buckets(&self, family: &str) -> Vec<(f64, f64)> {
        let own = self.buckets.iter().filter(|(name, ..)| name == family);
        own.map(|(_, bound, count)| (*bound, *count)).collect()
    }

    fn sample(&mut self, line: &str) {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        let (name, mut labels) = match series.split_once('{') {
            Some((name, rest)) => (name, labels(rest)),
            None => (series, Vec::new()),
        };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
        assert!(!name.is_empty() && name.bytes().all(is_name), "no metric name: {line}");
        let family = self.family(name).to_owned();
        assert!(self.shapes.contains_key(&family), "a sample before its type: {line}");
        if let (Some(family), Some((_, bound))) = (name.strip_suffix("_bucket"), labels.iter().find(|(label, _)| label == "le")) {
            self.buckets.push((family.into(), bound.parse().expect("a bound"), value));
        }
        labels.sort();
        let labels: Vec<String> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let key = if labels.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", labels.join(",")) };
        assert!(self.series.insert(key, value).is_none(), "twice: {line}");
    }

    fn family<'n>(&self, name: &'n str) -> &'n str {
        let of_histogram = ["_bucket", "_sum", "_count"].into_iter().filter_map(|suffix| name.strip_suffix(suffix));
        of_histogram.into_iter().find(|base| self.shape(base) == Some("histogram")).unwrap_or(name)
    }
}

/// Reads `label="value",...}`; values keep their escapes.
fn labels(mut rest: &str) -> Vec<(String, String)> {
    let mut labels = Vec::new();
    loop {
        let (label, behind) = rest.split_once("=\"").unwrap_or_else(|| panic!("no label: {rest}"));
        let end = closing_quote(behind).unwrap_or_else(|| panic!("no closing quote: {behind}"));
        labels.push((label.to_owned(), behind[..end].to_owned()));
        rest = &behind[end + 1..];
        if rest == "}" {
            return labels;
        }
        rest = rest.strip_prefix(',').unwrap_or_else(|| panic!("neither , nor }}: {rest}"));
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().position(|byte| {
        let closes = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        closes
    })
}
