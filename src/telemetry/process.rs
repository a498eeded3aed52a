//! Metrics of the process itself, under the names that all Prometheus clients use
//! (<https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>).

use std::fmt::Write;

use super::names;

/// In which the system counts processor time, and when processes began.
const TICKS_PER_SECOND: f64 = 100.0;

/// Appends what can be known, in Prometheus' text format; nothing where there is no `/proc`.
pub fn render(out: &mut String) {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let (stat, status, limits) = (read("/proc/self/stat"), read("/proc/self/status"), read("/proc/self/limits"));
    let boot = field(&read("/proc/stat"), "btime ");
    let descriptors = std::fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as f64);
    for (name, value) in [
        (names::PROCESS_CPU_SECONDS_TOTAL, cpu_seconds(&stat)),
        (names::PROCESS_MAX_FDS, field(&limits, "Max open files")),
        (names::PROCESS_OPEN_FDS, descriptors),
        (names::PROCESS_RESIDENT_MEMORY_BYTES, field(&status, "VmRSS:").map(|kib| kib * 1024.0)),
        (names::PROCESS_START_TIME_SECONDS, boot.zip(ticks(&stat, 22)).map(|(boot, ticks)| boot + ticks / TICKS_PER_SECOND)),
        (names::PROCESS_THREADS, field(&status, "Threads:")),
        (names::PROCESS_VIRTUAL_MEMORY_BYTES, field(&status, "VmSize:").map(|kib| kib * 1024.0)),
    ] {
        let metric = names::ALL.iter().find(|metric| metric.name == name);
        if let (Some(metric), Some(value)) = (metric, value) {
            let shape = format!("{:?}", metric.shape).to_lowercase();
            // Writing to a String cannot fail.
            let _ = writeln!(out, "# HELP {name} {}\n# TYPE {name} {shape}\n{name} {value}", metric.help);
        }
    }
}

/// In user mode and in the kernel.
fn cpu_seconds(stat: &str) -> Option<f64> {
    Some((ticks(stat, 14)? + ticks(stat, 15)?) / TICKS_PER_SECOND)
}

/// A field of `/proc/self/stat` by its number in proc(5). The second, in parentheses, may have spaces in it.
fn ticks(stat: &str, number: usize) -> Option<f64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(number - 3)?.parse().ok()
}

/// The first number of the line that begins so.
fn field(text: &str, beginning: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(beginning))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_shifts_no_field() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 3 0 1234 1 1";
        assert_eq!((cpu_seconds(stat), ticks(stat, 22)), (Some(3.0), Some(1234.0)));
        assert_eq!((cpu_seconds(""), ticks("7 (a) S", 22)), (None, None));
    }

    #[test]
    fn this_process_is_described() {
        let mut text = String::new();
        render(&mut text);
        for name in names::ALL.iter().map(|metric| metric.name).filter(|name| name.starts_with("process_")) {
            let value = field(&text, &format!("{name} "));
            assert!(value.is_some_and(|value| value >= 0.0), "{name} in {text}");
        }
        assert!(field(&text, "process_start_time_seconds ").is_some_and(|start| start > 1e9), "{text}");
    }
}
