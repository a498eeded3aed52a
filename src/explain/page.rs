//! The text of an explanation, line by line.

use std::fmt;

use super::summary::{Action, Noted, Summary};
use respguard_engine::route::assignment::{Assignment, Shard};

/// Bytes of one argument that are shown.
const ARGUMENT_BYTES_MAX: usize = 40;
/// Arguments of one request that are shown.
const ARGUMENTS_MAX: usize = 16;

/// How an explanation is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// Every batch.
    #[default]
    Whole,
    /// One line for each command.
    Lines,
    /// Only batches in which something is not simply passed on.
    Quiet,
    /// How often what is done.
    Summary,
    /// The same as JSON.
    Json,
}

/// Lines of text, indented by level, and what they add up to.
#[derive(Default)]
pub(super) struct Page {
    text: String,
    form: Form,
    /// What each line of the part begins with, where there is one line for each command.
    heading: String,
    /// Where the part begins that is being written.
    part: usize,
    /// Something in it is not simply passed on.
    is_remarkable: bool,
    summary: Summary,
    /// Which node of a cluster serves which slots, as far as one has said so.
    nodes: Option<Assignment>,
}

impl Page {
    pub(super) fn line(&mut self, level: usize, line: impl fmt::Display) {
        if self.is_brief() {
            return self.brief_line(level, &line.to_string());
        }
        self.text.push_str(&format!("{:width$}{line}\n", "", width = 2 * level));
    }

    pub(super) fn new(form: Form) -> Page {
        Page { form, ..Page::default() }
    }

    /// One line for each command is wanted.
    pub(super) fn is_brief(&self) -> bool {
        self.form == Form::Lines
    }

    /// Details, and what introduces them, are left out.
    fn brief_line(&mut self, level: usize, line: &str) {
        if level <= 1 && !line.ends_with(':') {
            self.text.push_str(&format!("{}{line}\n", self.heading));
        }
    }

    /// Says what the part is about.
    pub(super) fn heading(&mut self, heading: impl fmt::Display) {
        if self.is_brief() {
            self.heading = format!("{heading}: ");
        } else {
            self.line(0, format_args!("{heading}:"));
        }
    }

    /// The same, with what a cluster's nodes have said.
    pub(super) fn before(form: Form, nodes: Option<Assignment>) -> Page {
        Page { form, nodes, ..Page::default() }
    }

    /// The slot, and who serves it.
    pub(super) fn slot(&self, slot: u16) -> String {
        let serves = |shard: &&Shard| shard.ranges.iter().any(|(first, last)| (*first..=*last).contains(&slot));
        let node = self.nodes.as_ref().and_then(|nodes| nodes.shards.iter().find(serves));
        node.map_or(format!("slot {slot}"), |node| format!("slot {slot}, node {}:{}", node.host, node.port))
    }

    /// Counts what is done.
    pub(super) fn note(&mut self, noted: &Noted<'_>) {
        self.is_remarkable |= noted.what != Action::Sent;
        self.summary.count(noted);
    }

    /// Something is said that is more than what is passed on.
    pub(super) fn remark(&mut self) {
        self.is_remarkable = true;
    }

    fn end_part(&mut self) {
        if self.form == Form::Quiet && !std::mem::take(&mut self.is_remarkable) {
            self.text.truncate(self.part);
        }
        self.part = self.text.len();
    }

    /// A blank line, unless nothing stands before it.
    pub(super) fn part(&mut self) {
        self.end_part();
        self.heading.clear();
        if !self.text.is_empty() && !self.is_brief() {
            self.text.push('\n');
        }
    }

    pub(super) fn into_text(mut self) -> String {
        self.end_part();
        match self.form {
            Form::Whole | Form::Lines | Form::Quiet => self.text,
            Form::Summary => self.summary.to_string(),
            Form::Json => format!("{}\n", self.summary.to_json()),
        }
    }
}

/// The words of a request as they would be typed, long ones shortened.
pub(super) fn request<'a>(words: impl ExactSizeIterator<Item = &'a [u8]>) -> String {
    let hidden = words.len().saturating_sub(ARGUMENTS_MAX);
    let mut shown: Vec<String> = words.take(ARGUMENTS_MAX).map(word).collect();
    if hidden > 0 {
        shown.push(format!("...({hidden} more)"));
    }
    shown.join(" ")
}

/// One word as it would be typed, shortened when it is long.
pub(super) fn word(bytes: &[u8]) -> String {
    if bytes.len() <= ARGUMENT_BYTES_MAX {
        return quoted(bytes);
    }
    format!("{}...({} bytes)", quoted(&bytes[..ARGUMENT_BYTES_MAX]), bytes.len())
}

fn quoted(bytes: &[u8]) -> String {
    let needs_quotes = |letter: char| letter.is_whitespace() || letter.is_control() || matches!(letter, '"' | '\'' | '\\');
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && !text.contains(needs_quotes) => text.to_owned(),
        _ => format!("\"{}\"", bytes.escape_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_typing_them_would_need_it() {
        let shown = [&b"a:{b}"[..], "ü".as_bytes(), b"", b"a b", b"say \"x\"", b"\x00\xff\n"].map(word);
        assert_eq!(shown, ["a:{b}", "ü", "\"\"", "\"a b\"", "\"say \\\"x\\\"\"", "\"\\x00\\xff\\n\""]);
    }

    #[test]
    fn forty_bytes_are_shown_and_longer_words_are_cut() {
        assert_eq!(word(&[b'x'; 40]), "x".repeat(40));
        assert_eq!(word(&[b'x'; 41]), format!("{}...(41 bytes)", "x".repeat(40)));
    }

    #[test]
    fn sixteen_words_are_shown_and_the_others_counted() {
        let words = [&b"a"[..]; 17];
        assert_eq!(request(words[..16].iter().copied()), ["a"; 16].join(" "));
        assert_eq!(request(words.iter().copied()), format!("{} ...(1 more)", ["a"; 16].join(" ")));
    }
}
