//! Draws the screen of `respguard top`.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Borders, Paragraph, Row, Table};
use serde_json::Value;

use super::sample::{Rows, Sample};
use super::view::View;
use crate::cli::clients::plain;
use crate::cli::running::{OUTCOMES, server, time, word};
use crate::telemetry::names;

const GROUPS_ROWS_MAX: u16 = 8;
const WORKERS_ROWS_MAX: u16 = 8;
const NODES_ROWS_MAX: u16 = 8;

/// The whole screen.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View) {
    let height = |rows: usize, most: u16| u16::try_from(rows).unwrap_or(u16::MAX).clamp(1, most) + 2;
    let nodes = view.now.nodes();
    let areas: [Rect; 8] = Layout::vertical([
        Constraint::Length(if view.now.status["audit"].is_object() { 4 } else { 3 }),
        Constraint::Length(height(view.now.workers.len(), WORKERS_ROWS_MAX)),
        Constraint::Length(nodes.map_or(0, |nodes| height(nodes.len(), NODES_ROWS_MAX))),
        Constraint::Length(height(view.now.groups.as_ref().map_or(1, Vec::len), GROUPS_ROWS_MAX)),
        Constraint::Fill(3),
        Constraint::Fill(2),
        Constraint::Fill(2),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(head(view), areas[0]);
    draw_workers(frame, view, areas[1]);
    if let Some(nodes) = nodes {
        draw_nodes(frame, view, areas[2], nodes);
    }
    draw_groups(frame, view, areas[3]);
    draw_clients(frame, view, areas[4]);
    draw_slow(frame, view, areas[5]);
    draw_violations(frame, view, areas[6]);
    frame.render_widget(footer(view), areas[7]);
}

fn head(view: &View) -> Paragraph<'static> {
    let status = &view.now.status;
    let reasons: Vec<_> = status["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let ready = if reasons.is_empty() { "ready".to_owned() } else { format!("NOT READY: {}", reasons.join(", ")) };
    let switched = if status["mode_is_switched"] == true { " (switched by an operator)" } else { "" };
    let connections = status["upstream"]["connections"].as_object().into_iter().flatten();
    let connections: Vec<_> =
        connections.filter(|(_, count)| **count != 0).map(|(kind, count)| format!("{count} {kind}")).collect();
    let available = if status["upstream"]["available"] == true { "available" } else { "NOT AVAILABLE" };
    let up = time(status["uptime_seconds"].as_u64().unwrap_or_default());
    let mut lines = vec![
        format!(
            "respguard {} at {}  {ready}  {}{switched}  up {up}",
            word(&status["version"]),
            view.address,
            word(&status["mode"])
        ),
        rates(view),
        format!(
            "{} clients on {} workers  server {} {available}  connections {}  breaker {}",
            status["clients"],
            status["workers"],
            server(status),
            if connections.is_empty() { "none".to_owned() } else { connections.join(", ") },
            status["breaker"].as_str().unwrap_or("off"),
        ),
    ];
    lines.extend(audited(&status["audit"]));
    let is_good = reasons.is_empty() && status["upstream"]["available"] == true;
    let style = if is_good { Style::default() } else { Style::default().fg(Color::Red) };
    Paragraph::new(lines.into_iter().map(Line::from).collect::<Vec<_>>()).style(style)
}

/// How far the audit under way is, or what the last ones came to; `None` where audits are off.
fn audited(audit: &Value) -> Option<String> {
    audit.as_object()?;
    let running = &audit["running"];
    if running.is_object() {
        return Some(format!(
            "{} {} {} %: {} walked, {} found",
            word(&running["kind"]),
            word(&running["relation"]),
            running["percent"].as_u64().unwrap_or_default(),
            running["walked"],
            running["found"],
        ));
    }
    let last = audit["relations"].as_array().into_iter().flatten().map(|relation| {
        let broken = ["orphans", "relation_ttl"].iter().filter_map(|count| relation[*count].as_u64()).sum::<u64>();
        let found = if broken > 0 { format!(" ({broken} found)") } else { String::new() };
        format!("{} {}{found}", word(&relation["relation"]), word(&relation["outcome"]))
    });
    let last: Vec<_> = last.collect();
    Some(if last.is_empty() { "audits: none yet".to_owned() } else { format!("audits: {}", last.join("  ")) })
}

fn rates(view: &View) -> String {
    let Some(before) = &view.before else { return "rates come with the next look".to_owned() };
    let quantile = |part| match view.now.quantile(before, part) {
        Some(seconds) if seconds.is_infinite() => "over 10 s".to_owned(),
        Some(seconds) => format!("{} ms", seconds * 1000.0),
        None => "-".to_owned(),
    };
    format!(
        "{} requests/s  p50 {}  p99 {}  {} timeouts/s  {} violations/s",
        rate(view.now.requests_per_second(before)),
        quantile(0.5),
        quantile(0.99),
        rate(view.now.per_second(before, names::TIMEOUTS_TOTAL)),
        rate(view.now.per_second(before, names::VIOLATIONS_TOTAL)),
    )
}

fn rate(rate: f64) -> String {
    if rate > 0.0 && rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}

fn footer(view: &View) -> Paragraph<'static> {
    let text = match &view.failure {
        Some(failure) => failure.clone(),
        None if view.is_typing => format!("filter: {}_", view.filter),
        None => {
            let paused = if view.is_paused { "paused  " } else { "" };
            let filter = if view.filter.is_empty() { String::new() } else { format!("  filter {:?}", view.filter) };
            format!("{paused}q quit  p pause  s sort ({})  / filter  Esc all{filter}", view.sort.as_str())
        }
    };
    let style =
        if view.failure.is_some() { Style::default().fg(Color::Red) } else { Style::default().add_modifier(Modifier::DIM) };
    Paragraph::new(text).style(style)
}

/// Not filtered: they are few, and have no names.
fn draw_workers(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let busy = |worker: u32| view.before.as_ref().and_then(|before| view.now.busy_percent(before, worker));
    let rows = view.now.workers.iter().map(|(worker, load)| {
        let busy = busy(*worker).map_or("-".to_owned(), |percent| format!("{percent:.0} %"));
        Row::new([worker.to_string(), busy, load.clients.to_string()])
    });
    let head = Row::new(["worker", "busy", "clients"]).style(Style::default().add_modifier(Modifier::BOLD));
    let block = Block::default().borders(Borders::TOP).title(" workers ");
    frame.render_widget(Table::new(rows, [8, 8, 8].map(Constraint::Max)).header(head).column_spacing(2).block(block), area);
}

/// The primaries of a cluster; those that do not answer first, for only some find room.
fn draw_nodes(frame: &mut Frame<'_>, view: &View, area: Rect, nodes: &[Value]) {
    let columns = ["node", "state", "slots", "replies", "took", "connections"];
    let widths = [30, 8, 8, 10, 10, 12].map(Constraint::Max);
    let cells = |node: &Value| {
        let replies = view.before.as_ref().and_then(|before| view.now.node_rate(before, node));
        let took = node["answered_in_us"].as_f64().map_or("-".to_owned(), |took| format!("{:.1} ms", took / 1000.0));
        vec![
            plain(&node["address"]),
            if node["available"] == true { "answers" } else { "SILENT" }.to_owned(),
            node["slots"].to_string(),
            replies.map_or("-".to_owned(), |found| format!("{}/s", rate(found))),
            took,
            node["connections"].to_string(),
        ]
    };
    let mut rows = nodes.to_vec();
    rows.sort_by_key(|node| node["available"] == true);
    table(frame, view, area, "nodes", &columns, &widths, &Ok(rows), cells);
}

fn draw_groups(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let is_seen = |outcome: &&str| {
        let groups = view.now.groups.as_ref().ok().into_iter().flatten();
        groups.into_iter().any(|group| group[*outcome].as_u64().unwrap_or_default() > 0)
    };
    let outcomes: Vec<_> = OUTCOMES.into_iter().filter(is_seen).collect();
    let columns: Vec<_> = ["group", "matched"].into_iter().chain(outcomes.iter().copied()).chain(["held", "split"]).collect();
    let numbers: Vec<&str> = columns[1..].to_vec();
    let cells = |group: &Value| {
        let counts = numbers.iter().map(|column| group[*column].as_u64().unwrap_or_default().to_string());
        std::iter::once(plain(&group["name"])).chain(counts).collect()
    };
    let width = |at: usize| Constraint::Max(if at == 0 { 40 } else { 11 });
    let widths: Vec<_> = (0..columns.len()).map(width).collect();
    table(frame, view, area, "groups", &columns, &widths, &view.now.groups, cells);
}

fn draw_clients(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let columns = ["id", "address", "name", "library", "rate", "requests", "violations", "timeouts", "age", "idle", "command"];
    let widths = [7, 22, 16, 20, 9, 10, 10, 8, 12, 12, 14].map(Constraint::Max);
    let rate_of = |client: &Value, before: &Option<Sample>| {
        let rate_of = before.as_ref().and_then(|before| view.now.client_rate(before, client));
        rate_of.map_or("-".to_owned(), |found| format!("{}/s", rate(found)))
    };
    let cells = |client: &Value| {
        let since = |field: &str| time(client[field].as_u64().unwrap_or_default());
        vec![
            client["id"].to_string(),
            plain(&client["address"]),
            plain(&client["name"]),
            plain(&client["library"]),
            rate_of(client, &view.before),
            client["requests"].to_string(),
            client["violations"].to_string(),
            client["timeouts"].to_string(),
            since("age_seconds"),
            since("idle_seconds"),
            plain(&client["command"]),
        ]
    };
    table(frame, view, area, "clients", &columns, &widths, &view.now.clients, cells);
}

fn draw_slow(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let columns = ["at", "client", "name", "library", "command", "keys", "total", "proxy", "behind", "server", "delayed"];
    let widths = [12, 22, 16, 20, 16, 14, 10, 10, 10, 10, 8].map(Constraint::Max);
    let cells = |slow: &Value| {
        let ms = |field: &str| format!("{:.1} ms", slow[field].as_f64().unwrap_or_default() / 1000.0);
        vec![
            clock(&slow["at"]),
            plain(&slow["client"]["address"]),
            plain(&slow["client"]["name"]),
            plain(&slow["client"]["library"]),
            plain(&slow["command"]),
            plain(&slow["key_pattern"]),
            ms("total_us"),
            ms("proxy_us"),
            ms("behind_us"),
            ms("server_us"),
            slow["delayed"].to_string(),
        ]
    };
    table(frame, view, area, "slow requests", &columns, &widths, &view.now.slow, cells);
}

fn draw_violations(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let columns = ["at", "kind", "rule", "commands", "keys", "client", "error"];
    let widths = [
        Constraint::Max(12),
        Constraint::Max(16),
        Constraint::Max(20),
        Constraint::Max(26),
        Constraint::Max(16),
        Constraint::Max(22),
        Constraint::Fill(1),
    ];
    let cells = |violation: &Value| {
        let commands: Vec<_> = violation["commands"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        vec![
            clock(&violation["at"]),
            plain(&violation["kind"]),
            plain(&violation["rule"]),
            commands.join(" "),
            plain(&violation["key_pattern"]),
            plain(&violation["client"]),
            plain(&violation["error"]),
        ]
    };
    table(frame, view, area, "violations", &columns, &widths, &view.now.violations, cells);
}

/// The time of day of `2026-03-01T12:00:00.250Z`.
fn clock(at: &Value) -> String {
    plain(at).split('T').nth(1).map_or("-".to_owned(), |time| time.trim_end_matches('Z').to_owned())
}

#[expect(clippy::too_many_arguments, reason = "one drawing of five lists, each with columns of its own")]
fn table(
    frame: &mut Frame<'_>,
    view: &View,
    area: Rect,
    title: &str,
    columns: &[&'static str],
    widths: &[Constraint],
    rows: &Rows,
    cells: impl Fn(&Value) -> Vec<String>,
) {
    let block = Block::default().borders(Borders::TOP).title(format!(" {title} "));
    let rows = match rows {
        Ok(rows) => rows,
        Err(reason) => return frame.render_widget(Paragraph::new(reason.clone()).block(block), area),
    };
    let shown: Vec<_> = rows.iter().map(cells).filter(|cells| view.takes(cells)).collect();
    // No column takes more room than what it shows, so that no other is cut for it.
    let fitted = widths.iter().zip(columns).enumerate().map(|(at, (width, column))| match width {
        Constraint::Max(most) => {
            let longest = shown.iter().filter_map(|cells| cells.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0);
            Constraint::Max(u16::try_from(longest.max(column.len())).unwrap_or(u16::MAX).min(*most))
        }
        other => *other,
    });
    let fitted: Vec<_> = fitted.collect();
    let head = Row::new(columns.to_vec()).style(Style::default().add_modifier(Modifier::BOLD));
    let shown = shown.into_iter().map(Row::new);
    frame.render_widget(Table::new(shown, fitted).header(head).column_spacing(2).block(block), area);
}
