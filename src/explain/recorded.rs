//! Explains a recording: each client's reads in order, with the time between them.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::client::{Client, Sent};
use super::input::{InputError, line};
use super::page::{Form, Page};
use crate::config::Config;
use crate::net::recording::format::{self, End, Event, Recording};
use respguard_engine::command::Table;

/// The text about a recording.
pub(super) fn explain(config: &Config, table: &Table, input: &[u8], form: Form) -> Result<String, InputError> {
    let mut recording = format::read(input).map_err(|error| InputError {
        line: line(input, error.offset),
        message: error.message.to_owned(),
        expected: format!("a recording that begins with `{}`, as `respguard record` writes it", format::FIRST_LINE),
    })?;
    // Workers write beside each other; the entries of one client are in order, and stay so.
    recording.entries.sort_by_key(|entry| entry.at);
    let mut coming = reads_by_client(&recording);
    let mut page = Page::new(form);
    let mut clients = HashMap::new();
    let start = Instant::now();
    for entry in &recording.entries {
        page.part();
        page.heading(format_args!("client {}, at {}", entry.client, milliseconds(entry.at)));
        let client = clients.entry(entry.client).or_insert_with(|| Client::new(config, table, &mut page));
        match &entry.event {
            Event::Client { before: true } => {
                page.line(1, "connected before the recording began: what it has set up before is not known");
            }
            Event::Client { before: false } => page.line(1, "connects"),
            Event::Read(bytes) => {
                let reads = coming.entry(entry.client).or_default();
                reads.pop_front();
                let next_in = reads.front().map(|next| next.saturating_sub(entry.at));
                client.explain(bytes, Sent { at: start + entry.at, next_in }, &mut page);
            }
            Event::Lost(bytes) => {
                page.remark();
                page.line(1, format_args!("{bytes} bytes are not in the recording; it goes on with a new request"));
                client.begin_anew();
            }
            Event::Left => {
                page.line(1, "has gone");
                clients.remove(&entry.client);
            }
        }
    }
    page.part();
    page.remark();
    page.line(0, ending(recording.end));
    Ok(page.into_text())
}

fn reads_by_client(recording: &Recording) -> HashMap<u64, VecDeque<Duration>> {
    let mut reads: HashMap<u64, VecDeque<Duration>> = HashMap::new();
    for entry in recording.entries.iter().filter(|entry| matches!(entry.event, Event::Read(_))) {
        reads.entry(entry.client).or_default().push_back(entry.at);
    }
    reads
}

fn ending(end: Option<End>) -> String {
    match end {
        Some(End { at, reason, lost }) => {
            format!("the recording ends at {} ({}); bytes lost: {lost}", milliseconds(at), reason.as_str())
        }
        None => "the recording is cut off: its last line is missing".to_owned(),
    }
}

fn milliseconds(time: Duration) -> String {
    let micros = time.as_micros();
    format!("{}.{:03} ms", micros / 1000, micros % 1000)
}
