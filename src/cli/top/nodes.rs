//! The primaries of a cluster on the screen, a row for each.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Color, Style};
use ratatui::widgets::{Block, Borders, Row, Table};
use serde_json::Value;

use super::View;
use super::draw::{bold, rate};
use crate::cli::clients::plain;

const ROWS_MAX: u16 = 12;
const COLUMNS: [&str; 6] = ["node", "state", "slots", "replies", "took", "connections"];
const WIDTHS: [Constraint; 6] =
    [Constraint::Max(40), Constraint::Max(8), Constraint::Max(8), Constraint::Max(12), Constraint::Max(12), Constraint::Max(12)];

fn nodes(view: &View) -> Vec<&Value> {
    let nodes = view.now.status["upstream"]["cluster"]["nodes"].as_array();
    let mut nodes: Vec<&Value> = nodes.into_iter().flatten().collect();
    nodes.sort_by_key(|node| node["address"].as_str());
    nodes
}

/// Lines that the table takes: none before a single server.
pub(super) fn height(view: &View) -> u16 {
    match nodes(view).len() {
        0 => 0,
        rows => u16::try_from(rows).unwrap_or(u16::MAX).min(ROWS_MAX) + 2,
    }
}

/// Not filtered: what is said of the clients' rows does not hold for servers.
pub(super) fn draw_nodes(frame: &mut Frame<'_>, view: &View, area: Rect) {
    if area.is_empty() {
        return;
    }
    let rows = nodes(view).into_iter().map(|node| {
        let answers = node["available"] == true;
        let replies = view.before.as_ref().and_then(|before| view.now.node_rate(before, node));
        let took = node["answered_in_us"].as_f64().map_or("-".to_owned(), |us| format!("{:.1} ms", us / 1000.0));
        let cells = [
            plain(&node["address"]),
            if answers { "answers" } else { "SILENT" }.to_owned(),
            node["slots"].to_string(),
            replies.map_or("-".to_owned(), |replies| format!("{}/s", rate(replies))),
            took,
            node["connections"].to_string(),
        ];
        Row::new(cells).style(if answers { Style::default() } else { Style::default().fg(Color::Red) })
    });
    let block = Block::default().borders(Borders::TOP).title(" nodes ");
    frame.render_widget(Table::new(rows, WIDTHS).header(Row::new(COLUMNS).style(bold())).column_spacing(2).block(block), area);
}
