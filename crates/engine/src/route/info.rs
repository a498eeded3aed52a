//! INFO of several nodes as that of one server (<https://redis.io/docs/latest/commands/info/>).
//!
//! What counts things, or measures them, is added up; of what describes a server the first node's is shown. A cluster says that
//! it is none, for some clients ask for that.

use std::borrow::Cow;

use respguard_resp::{encode, value};

/// What becomes of the values that nodes give a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Sum,
    Max,
    /// As the first node says.
    First,
}

/// One node's answer, by its lines.
struct NodeInfo {
    lines: Vec<String>,
}

/// The reply, in the form of the first one. `first` is the number of the node that is shown where only one can be; `missing`
/// is how many nodes have not told anything, which is said at the end.
pub fn merge(replies: &[&[u8]], first: usize, missing: usize, out: &mut Vec<u8>) {
    let told = replies.iter().filter(|reply| !value::is_error(reply));
    let mut told: Vec<(&[u8], NodeInfo)> = told.filter_map(|reply| Some((*reply, NodeInfo::read(reply)?))).collect();
    if told.is_empty() {
        return out.extend_from_slice(replies.first().copied().unwrap_or_default());
    }
    let shown = first % told.len();
    told.swap(0, shown);
    let mut text = text(&told.iter().map(|(_, told)| told).collect::<Vec<_>>());
    if missing > 0 {
        text.push_str(&format!("\r\n# Respguard\r\nnodes_missing:{missing}\r\n"));
    }
    if told[0].0.first() == Some(&b'=') {
        out.extend_from_slice(format!("={}\r\ntxt:{text}\r\n", text.len() + 4).as_bytes());
    } else {
        encode::bulk(out, text.as_bytes());
    }
}

fn text(told: &[&NodeInfo]) -> String {
    let (mut text, mut section) = (String::new(), "");
    let mut lines = told[0].lines.iter().peekable();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("# ") {
            section = name;
            text.push_str(line);
            text.push_str("\r\n");
            if is_by_name(section) {
                // What one node has counted the others may not have.
                while lines.next_if(|line| line.contains(':')).is_some() {}
                by_name(section, told, &mut text);
            }
        } else {
            text.push_str(&field(section, line, told));
            text.push_str("\r\n");
        }
    }
    // Behind the last line break nothing stands.
    text.truncate(text.len() - 2);
    text
}

impl NodeInfo {
    fn read(reply: &[u8]) -> Option<NodeInfo> {
        let text = String::from_utf8_lossy(value::bulk(reply)?);
        Some(NodeInfo { lines: text.split("\r\n").map(str::to_owned).collect() })
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    }

    /// The fields of a section, with their values.
    fn section(&self, name: &str) -> impl Iterator<Item = (&str, &str)> {
        let mut lines = self.lines.iter().skip_while(move |line| line.strip_prefix("# ") != Some(name));
        lines.next();
        lines.map_while(|line| line.split_once(':'))
    }
}

/// Sections whose fields are names with several numbers each.
fn is_by_name(section: &str) -> bool {
    matches!(section, "Commandstats" | "Errorstats" | "Keyspace")
}

fn by_name(section: &str, told: &[&NodeInfo], text: &mut String) {
    let mut all: Vec<(&str, Vec<(&str, f64)>)> = Vec::new();
    for (name, numbers) in told.iter().flat_map(|told| told.section(section)) {
        let numbers = numbers.split(',').filter_map(|pair| pair.split_once('='));
        let numbers: Vec<(&str, f64)> = numbers.map(|(key, number)| (key, number.parse().unwrap_or(0.0))).collect();
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => add(known, &numbers),
            None => all.push((name, numbers)),
        }
    }
    for (name, numbers) in all {
        let of = |key: &str| numbers.iter().find(|(known, _)| *known == key).map_or(0.0, |(_, number)| *number);
        let shown = numbers.iter().map(|(key, number)| match *key {
            "usec_per_call" => format!("{key}={:.2}", if of("calls") > 0.0 { of("usec") / of("calls") } else { 0.0 }),
            _ => format!("{key}={number:.0}"),
        });
        text.push_str(&format!("{name}:{}\r\n", shown.collect::<Vec<_>>().join(",")));
    }
}

fn add(known: &mut Vec<(&str, f64)>, more: &[(&str, f64)]) {
    let of = |all: &[(&str, f64)], key: &str| all.iter().find(|(known, _)| *known == key).map_or(0.0, |(_, number)| *number);
    // The time to live is that of the keys that have one.
    let (here, there) = (of(known, "expires"), of(more, "expires"));
    for (key, number) in known.iter_mut() {
        *number = match *key {
            "avg_ttl" if here + there > 0.0 => (*number * here + of(more, key) * there) / (here + there),
            "avg_ttl" => 0.0,
            key => *number + of(more, key),
        };
    }
}

/// A line of the first node's, with the value of all.
fn field<'a>(section: &str, line: &'a str, told: &[&NodeInfo]) -> Cow<'a, str> {
    let Some((name, first)) = line.split_once(':') else { return Cow::Borrowed(line) };
    let shown = match name {
        "redis_mode" | "server_mode" if first == "cluster" => Some("standalone".to_owned()),
        "cluster_enabled" => Some("0".to_owned()),
        // One that has failed is one too many.
        _ if name.ends_with("_status") => {
            told.iter().filter_map(|told| told.value(name)).find(|told| *told != "ok").map(str::to_owned)
        }
        _ => match name.strip_suffix("_human") {
            Some(bytes) if kind(section, bytes) != Field::First => {
                total(section, bytes, first, told).and_then(|bytes| bytes.parse().ok()).map(human)
            }
            _ => total(section, name, first, told),
        },
    };
    shown.map_or(Cow::Borrowed(line), |shown| Cow::Owned(format!("{name}:{shown}")))
}

/// Of numbers, of which `first` is one: with as many decimal places as that.
fn total(section: &str, name: &str, first: &str, told: &[&NodeInfo]) -> Option<String> {
    let values = || told.iter().filter_map(|told| told.value(name));
    let kind = kind(section, name);
    if kind == Field::First {
        return None;
    }
    let whole: Option<Vec<i128>> = values().map(|value| value.parse().ok()).collect();
    if let Some(whole) = whole {
        let total = if kind == Field::Max { whole.into_iter().max()? } else { whole.into_iter().sum() };
        return Some(total.to_string());
    }
    let numbers: Option<Vec<f64>> = values().map(|value| value.parse().ok()).collect();
    let places = first.split_once('.').map_or(0, |(_, places)| places.len());
    let numbers = numbers?.into_iter();
    let total = if kind == Field::Max { numbers.fold(f64::MIN, f64::max) } else { numbers.sum() };
    Some(format!("{total:.places$}"))
}

fn kind(section: &str, name: &str) -> Field {
    match (section, name) {
        (_, name) if name.ends_with("_perc") || name.ends_with("_ratio") => Field::First,
        (_, "client_recent_max_input_buffer" | "client_recent_max_output_buffer" | "latest_fork_usec") => Field::Max,
        // These are the same everywhere.
        (_, "number_of_cached_scripts" | "number_of_functions" | "number_of_libraries" | "loading" | "async_loading") => {
            Field::Max
        }
        (_, "total_system_memory" | "maxmemory_policy" | "mem_allocator" | "active_defrag_running") => Field::First,
        ("Clients" | "Memory" | "Stats" | "CPU", _) | (_, "rdb_changes_since_last_save") => Field::Sum,
        _ => Field::First,
    }
}

/// As servers write it.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["K", "M", "G", "T", "P", "E"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let (mut number, mut unit) = (bytes as f64 / 1024.0, 0);
    while number >= 1024.0 && unit + 1 < UNITS.len() {
        (number, unit) = (number / 1024.0, unit + 1);
    }
    format!("{number:.2}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Vec<u8> {
        let (mut out, text) = (Vec::new(), text.replace('\n', "\r\n"));
        encode::bulk(&mut out, text.as_bytes());
        out
    }

    fn merged(texts: &[&str], first: usize, missing: usize) -> String {
        let replies: Vec<_> = texts.iter().map(|text| bulk(text)).collect();
        let mut out = Vec::new();
        merge(&replies.iter().map(Vec::as_slice).collect::<Vec<_>>(), first, missing, &mut out);
        String::from_utf8(value::bulk(&out).expect("a string").to_vec()).expect("text").replace("\r\n", "\n")
    }

    #[test]
    fn numbers_add_up_and_what_describes_a_server_is_that_of_one() {
        let one = "# Server\nredis_mode:cluster\nrun_id:a\n\n# Clients\nconnected_clients:3\nmaxclients:10\n\n# Memory\n\
                   used_memory:1048576\nused_memory_human:1.00M\nmem_fragmentation_ratio:1.5\nmaxmemory_policy:noeviction\n\n\
                   # Persistence\nrdb_last_bgsave_status:ok\n\n# Stats\ninstantaneous_input_kbps:1.25\n\n\
                   # CPU\nused_cpu_sys:0.500000\n\n# Cluster\ncluster_enabled:1\n";
        let two = one.replace("run_id:a", "run_id:b").replace(":3", ":4").replace("status:ok", "status:err");
        let shown = "# Server\nredis_mode:standalone\nrun_id:b\n\n# Clients\nconnected_clients:7\nmaxclients:20\n\n# Memory\n\
                     used_memory:2097152\nused_memory_human:2.00M\nmem_fragmentation_ratio:1.5\nmaxmemory_policy:noeviction\n\n\
                     # Persistence\nrdb_last_bgsave_status:err\n\n# Stats\ninstantaneous_input_kbps:2.50\n\n\
                     # CPU\nused_cpu_sys:1.000000\n\n# Cluster\ncluster_enabled:0\n";
        assert_eq!(merged(&[one, &two], 1, 0), shown);
    }

    #[test]
    fn what_only_some_nodes_have_counted_is_shown_too() {
        let one = "# Commandstats\ncmdstat_get:calls=1,usec=10,usec_per_call=10.00\n\n# Errorstats\n\n# Keyspace\n";
        let two = "# Commandstats\ncmdstat_set:calls=2,usec=3,usec_per_call=1.50\ncmdstat_get:calls=3,usec=2,usec_per_call=0.67\n\n\
                   # Errorstats\nerrorstat_ERR:count=2\n\n# Keyspace\ndb0:keys=5,expires=2,avg_ttl=100\ndb3:keys=1,expires=0,avg_ttl=0\n";
        let three = "# Keyspace\ndb0:keys=2,expires=1,avg_ttl=400\n";
        let shown = "# Commandstats\ncmdstat_get:calls=4,usec=12,usec_per_call=3.00\ncmdstat_set:calls=2,usec=3,usec_per_call=1.50\n\n\
                     # Errorstats\nerrorstat_ERR:count=2\n\n\
                     # Keyspace\ndb0:keys=7,expires=3,avg_ttl=200\ndb3:keys=1,expires=0,avg_ttl=0\n";
        assert_eq!(merged(&[one, two, three], 0, 0), shown);
    }

    #[test]
    fn one_answer_is_shown_as_it_is_and_nodes_that_are_missing_are_counted() {
        let one = "# Keyspace\ndb0:keys=5,expires=0,avg_ttl=0\n";
        assert_eq!(merged(&[one], 5, 0), one);
        assert_eq!(merged(&[one], 5, 2), format!("{one}\n# Respguard\nnodes_missing:2\n"));
        assert_eq!(merged(&[""], 0, 0), "");
        let mut out = Vec::new();
        merge(&[b"-LOADING x\r\n", b"=7\r\ntxt:a:1\r\n"], 0, 0, &mut out);
        assert_eq!(out, b"=7\r\ntxt:a:1\r\n");
        out.clear();
        merge(&[b"-LOADING x\r\n", b"-NOPERM y\r\n"], 0, 0, &mut out);
        assert_eq!(out, b"-LOADING x\r\n");
    }

    #[test]
    fn bytes_are_shown_as_servers_show_them() {
        assert_eq!(
            [0, 1023, 1024, 941_112, 6_721_536, 3 << 30].map(human),
            ["0B", "1023B", "1.00K", "919.05K", "6.41M", "3.00G"]
        );
    }
}
