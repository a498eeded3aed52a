//! Explains a recording: each client's reads in their order, with the time that lay between them.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::client::{Client, Foresight};
use super::input::{InputError, line};
use super::page::Page;
use crate::config::Config;
use crate::engine::command::Table;
use crate::engine::policy::Hold;
use crate::engine::session::patience::Patience;
use crate::net::recording::format::{self, End, Event, Recording};

/// One client of the recording.
struct Recorded<'a> {
    client: Client<'a>,
    /// Read, and held for what comes next.
    input: Vec<u8>,
    patience: Patience,
}

/// The text about a recording.
pub(super) fn explain(config: &Config, table: &Table, input: &[u8]) -> Result<String, InputError> {
    let mut recording = format::read(input).map_err(|error| InputError {
        line: line(input, error.offset),
        message: error.message.to_owned(),
        expected: format!("a recording that begins with `{}`, as `respguard record` writes it", format::FIRST_LINE),
    })?;
    // Workers write beside each other; the entries of one client are in order, and stay so.
    recording.entries.sort_by_key(|entry| entry.at);
    let mut coming = reads_by_client(&recording);
    let mut page = Page::default();
    let mut clients = HashMap::new();
    let start = Instant::now();
    for entry in &recording.entries {
        page.part();
        page.line(0, format_args!("client {}, at {}:", entry.client, milliseconds(entry.at)));
        let Recorded { client, input, patience } = clients.entry(entry.client).or_insert_with(|| Recorded {
            client: Client::new(config, table, &mut page),
            input: Vec::new(),
            patience: Patience::default(),
        });
        match &entry.event {
            Event::Client { before: true } => {
                page.line(1, "connected before the recording began: what it has set up before is not known");
            }
            Event::Client { before: false } => page.line(1, "connects"),
            Event::Read(bytes) => {
                input.extend_from_slice(bytes);
                let reads = coming.entry(entry.client).or_default();
                reads.pop_front();
                let next_in = reads.front().map(|next| next.saturating_sub(entry.at));
                let mut timed = Timed { hold: config.policy.hold, now: start + entry.at, next_in, patience };
                let told = client.tell(input, &mut timed, &mut page);
                input.drain(..told);
                if input.is_empty() {
                    patience.end_hold();
                }
            }
            Event::Lost(bytes) => {
                page.line(1, format_args!("{bytes} bytes are not in the recording; it goes on with a new request"));
                input.clear();
            }
            Event::Left => {
                page.line(1, "has gone");
                clients.remove(&entry.client);
            }
        }
    }
    page.part();
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

/// Knows when the client's next read comes.
struct Timed<'a> {
    hold: Hold,
    now: Instant,
    next_in: Option<Duration>,
    patience: &'a mut Patience,
}

impl Foresight for Timed<'_> {
    fn rest_of_group(&mut self, group: usize, members: usize) -> Option<Duration> {
        let longest = self.patience.hold(self.now, group, members, self.hold.gap, self.hold.max);
        let in_time = self.next_in.filter(|next_in| *next_in <= longest);
        if in_time.is_none() {
            self.patience.end_hold();
        }
        in_time
    }

    fn rest_of_request(&mut self) -> Option<Duration> {
        self.next_in.filter(|next_in| *next_in <= self.hold.max)
    }
}
