//! Explains in plain words what the proxy would do with the commands of one client, and why.
//!
//! It prints the plans that [`respguard_engine::pipeline::plan`] makes, and decides nothing itself. What only a server
//! can tell is taken to go well: it does what it is asked, its commands are those of the built-in table, and its user
//! may run MULTI and PTTL. Between two batches everything is answered.

mod brief;
mod client;
mod clustered;
mod input;
mod library;
mod page;
mod planned;
mod recorded;
mod steps;
mod subscribing;
mod summary;
mod text;

use std::time::Instant;

pub use input::InputError;
pub use page::Form;

use crate::config::Config;
use crate::net::recording::format;
use client::{Client, Sent};
use page::Page;
use respguard_engine::command::Table;
use respguard_engine::route::assignment::Assignment;

/// Most bytes that are read to be explained.
pub const INPUT_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How `input` is explained unless something else is asked for: of a recording there would be too much to read.
pub fn usual_form(input: &[u8]) -> Form {
    if format::is_recording(input) { Form::Lines } else { Form::Whole }
}

/// The text about `input`: a recording, or requests as a client may send them, inline or not, where a blank line ends
/// what was sent in one go.
pub fn explain(config: &Config, table: &Table, input: Vec<u8>, form: Form) -> Result<String, InputError> {
    explain_before(config, table, input, form, None)
}

/// The same, with what a cluster's nodes have said of who serves which slots.
pub fn explain_before(
    config: &Config,
    table: &Table,
    mut input: Vec<u8>,
    form: Form,
    nodes: Option<Assignment>,
) -> Result<String, InputError> {
    if format::is_recording(&input) {
        return recorded::explain(config, table, &input, form);
    }
    input::end_last_line(&mut input);
    let mut page = Page::before(form, nodes);
    let mut client = Client::new(config, table, &mut page);
    let start = Instant::now();
    for (place, piece) in input::pieces(&input)?.iter().enumerate() {
        page.part();
        page.heading(format_args!("batch {}, line {}", place + 1, piece.line));
        client.begin_anew();
        client.explain(piece.bytes, Sent { at: start, next_in: None }, &mut page);
    }
    Ok(page.into_text())
}

#[cfg(test)]
mod tests;
