//! `respguard clients` and `respguard slow`: shows clients and slow requests, and closes a client.

use std::process::ExitCode;

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::running::{QueryArgs, parameter, show, word};
use super::table::Table;
use crate::net::admin::clients::Sort;

/// Which clients.
#[derive(Args, Debug)]
pub(super) struct ClientsArgs {
    /// Close the connection of the client with this number, as CLIENT KILL does.
    #[arg(long, value_name = "ID", conflicts_with_all = ["address", "name", "library", "user", "command", "sort", "limit"])]
    kill: Option<u64>,
    /// Only clients whose address contains this.
    #[arg(long)]
    address: Option<String>,
    /// Only clients whose name contains this.
    #[arg(long)]
    name: Option<String>,
    /// Only clients whose library contains this.
    #[arg(long)]
    library: Option<String>,
    /// Only clients whose user contains this.
    #[arg(long)]
    user: Option<String>,
    /// Only clients whose last command contains this.
    #[arg(long)]
    command: Option<String>,
    /// Sort by this, the largest first.
    #[arg(long, value_enum)]
    sort: Option<Sort>,
    /// The most clients to show.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    #[command(flatten)]
    asked: QueryArgs,
}

impl ValueEnum for Sort {
    fn value_variants<'a>() -> &'a [Sort] {
        Sort::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.as_str()))
    }
}

/// Which slow requests.
#[derive(Args, Debug)]
pub(super) struct SlowArgs {
    /// Only requests of the client with this number.
    #[arg(long, value_name = "ID")]
    client: Option<u64>,
    /// Only requests with this command.
    #[arg(long)]
    command: Option<String>,
    /// How many of the newest to show.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=256))]
    limit: u16,
    #[command(flatten)]
    asked: QueryArgs,
}

/// GET /clients, or POST /clients/kill.
pub(super) fn clients(wanted: &ClientsArgs) -> ExitCode {
    if let Some(id) = wanted.kill {
        return show(&wanted.asked, "POST", &format!("/clients/kill?id={id}"), |_, killed| {
            (format!("client {} at {} is closed\n", killed["killed"], word(&killed["address"])), ExitCode::SUCCESS)
        });
    }
    let filters = [
        ("address", wanted.address.as_deref()),
        ("name", wanted.name.as_deref()),
        ("library", wanted.library.as_deref()),
        ("user", wanted.user.as_deref()),
        ("command", wanted.command.as_deref()),
        ("sort", wanted.sort.map(Sort::as_str)),
    ];
    let filters: String = filters.into_iter().map(|(name, value)| parameter(name, value)).collect();
    let path = format!("/clients?limit={}{filters}", wanted.limit);
    show(&wanted.asked, "GET", &path, |_, answer| (client_table(answer), ExitCode::SUCCESS))
}

/// GET /slow.
pub(super) fn slow(wanted: &SlowArgs) -> ExitCode {
    let client = wanted.client.map(|id| format!("&client={id}")).unwrap_or_default();
    let path = format!("/slow?limit={}{client}{}", wanted.limit, parameter("command", wanted.command.as_deref()));
    show(&wanted.asked, "GET", &path, |_, answer| (slow_table(answer), ExitCode::SUCCESS))
}

fn client_table(answer: &Value) -> String {
    let columns = ["address", "name", "library", "user", "requests", "violations", "timeouts", "age", "idle", "command"];
    let mut table = Table::new(["id"].into_iter().chain(columns));
    let clients = answer["clients"].as_array().into_iter().flatten();
    let mut count = 0;
    for client in clients {
        count += 1;
        table.row([
            client["id"].to_string(),
            plain(&client["address"]),
            plain(&client["name"]),
            plain(&client["library"]),
            plain(&client["user"]),
            client["requests"].to_string(),
            client["violations"].to_string(),
            client["timeouts"].to_string(),
            format!("{} s", client["age_seconds"]),
            format!("{} s", client["idle_seconds"]),
            plain(&client["command"]),
        ]);
    }
    format!("{table}{count} of {} clients\n", answer["total"])
}

fn slow_table(answer: &Value) -> String {
    if answer["threshold_ms"].is_null() {
        return "nothing is kept: [admin] slow_ms is 0\n".to_owned();
    }
    let columns = ["client", "name", "library", "command", "keys", "total", "proxy", "behind", "server", "delayed"];
    let mut table = Table::new(["at"].into_iter().chain(columns));
    for slow in answer["slow"].as_array().into_iter().flatten().rev() {
        let timed_out = if slow["timed_out"] == true { " (timed out)" } else { "" };
        table.row([
            plain(&slow["at"]),
            plain(&slow["client"]["address"]),
            plain(&slow["client"]["name"]),
            plain(&slow["client"]["library"]),
            format!("{}{timed_out}", plain(&slow["command"])),
            plain(&slow["key_pattern"]),
            milliseconds(&slow["total_us"]),
            milliseconds(&slow["proxy_us"]),
            milliseconds(&slow["behind_us"]),
            milliseconds(&slow["server_us"]),
            slow["delayed"].to_string(),
        ]);
    }
    format!("{table}{} took {} ms and longer since the start\n", answer["total"], answer["threshold_ms"])
}

/// A text without control characters; `-` if it is empty.
pub(super) fn plain(value: &Value) -> String {
    let text: String = value.as_str().unwrap_or_default().chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.is_empty() { "-".to_owned() } else { text }
}

fn milliseconds(micros: &Value) -> String {
    format!("{:.1} ms", micros.as_f64().unwrap_or_default() / 1000.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_slow_request_is_one_line_with_where_its_time_went() {
        let slow = json!({ "threshold_ms": 100, "total": 1, "slow": [{
            "at": "T", "client": { "address": "a:1", "name": "", "library": "redis-py 7" }, "command": "keys", "key_pattern": null,
            "total_us": 250_000, "proxy_us": 100, "behind_us": 0, "server_us": 249_900, "timed_out": true, "delayed": 3
        }] });
        let told = slow_table(&slow);
        for part in ["a:1", "redis-py 7", "keys (timed out)", "250.0 ms", "0.1 ms", "249.9 ms", "1 took 100 ms and longer"] {
            assert!(told.contains(part), "{part} in {told}");
        }
        assert!(slow_table(&json!({ "threshold_ms": null })).contains("slow_ms is 0"));
    }

    #[test]
    fn what_a_client_calls_itself_cannot_steer_the_terminal() {
        assert_eq!(plain(&json!("a\u{1b}[31mb")), "a?[31mb");
        assert_eq!((plain(&json!("")), plain(&Value::Null)), ("-".to_owned(), "-".to_owned()));
    }
}
