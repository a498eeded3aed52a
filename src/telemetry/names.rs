//! Every metric's name, with its kind, unit and help text.

use metrics::Unit;

pub const AUDIT_KEYS_TOTAL: &str = "respguard_audit_keys_total";
pub const AUDIT_RUNS_TOTAL: &str = "respguard_audit_runs_total";
pub const BREAKER_REFUSED_TOTAL: &str = "respguard_breaker_refused_total";
pub const BREAKER_STATE: &str = "respguard_breaker_state";
pub const BREAKER_TRANSITIONS_TOTAL: &str = "respguard_breaker_transitions_total";
pub const BUILD_INFO: &str = "respguard_build_info";
pub const BYTES_TOTAL: &str = "respguard_bytes_total";
pub const CLIENT_CONNECTIONS_TOTAL: &str = "respguard_client_connections_total";
pub const CLIENTS: &str = "respguard_clients";
pub const COMMANDS_TOTAL: &str = "respguard_commands_total";
pub const COMPRESS_BYTES_TOTAL: &str = "respguard_compress_bytes_total";
pub const COMPRESS_FAILED_TOTAL: &str = "respguard_compress_failed_total";
pub const COMPRESS_REFUSED_TOTAL: &str = "respguard_compress_refused_total";
pub const COMPRESS_SECONDS: &str = "respguard_compress_seconds";
pub const CONFIG_RELOAD_TOTAL: &str = "respguard_config_reload_total";
pub const CONFIG_RULES: &str = "respguard_config_rules";
pub const CLASS_SECONDS: &str = "respguard_class_seconds";
pub const GROUP_SECONDS: &str = "respguard_group_seconds";
pub const GROUPS_TOTAL: &str = "respguard_groups_total";
pub const HOLD_GAP_SECONDS: &str = "respguard_hold_gap_seconds";
pub const HOLD_PREFIX_MEMBERS: &str = "respguard_hold_prefix_members";
pub const HOLDS_TOTAL: &str = "respguard_holds_total";
pub const KEPT_BYTES: &str = "respguard_kept_bytes";
pub const LOG_LOST_TOTAL: &str = "respguard_log_lost_total";
pub const LOGINS_REFUSED_TOTAL: &str = "respguard_logins_refused_total";
pub const MODE: &str = "respguard_mode";
pub const NODE_UP: &str = "respguard_node_up";
pub const OUT_OF_SYNC_TOTAL: &str = "respguard_out_of_sync_total";
pub const PANICS_TOTAL: &str = "respguard_panics_total";
pub const PARTIAL_FAILURES_TOTAL: &str = "respguard_partial_failures_total";
pub const REDIRECTS_TOTAL: &str = "respguard_redirects_total";
pub const RELATION_ORPHANS: &str = "respguard_relation_orphans";
pub const REPAIRED_TOTAL: &str = "respguard_repaired_total";
pub const PROCESS_CPU_SECONDS_TOTAL: &str = "process_cpu_seconds_total";
pub const PROCESS_MAX_FDS: &str = "process_max_fds";
pub const PROCESS_OPEN_FDS: &str = "process_open_fds";
pub const PROCESS_RESIDENT_MEMORY_BYTES: &str = "process_resident_memory_bytes";
pub const PROCESS_START_TIME_SECONDS: &str = "process_start_time_seconds";
pub const PROCESS_THREADS: &str = "process_threads";
pub const PROCESS_VIRTUAL_MEMORY_BYTES: &str = "process_virtual_memory_bytes";
pub const REQUEST_SECONDS: &str = "respguard_request_seconds";
pub const RESOLUTIONS_TOTAL: &str = "respguard_resolutions_total";
pub const CLIENTS_CLOSED_TOTAL: &str = "respguard_clients_closed_total";
pub const REST_REQUEST_SECONDS: &str = "respguard_rest_request_seconds";
pub const REST_REQUESTS_TOTAL: &str = "respguard_rest_requests_total";
pub const REST_RESENT_TOTAL: &str = "respguard_rest_resent_total";
pub const RETRIES_REFUSED_TOTAL: &str = "respguard_retries_refused_total";
pub const RETRIES_TOTAL: &str = "respguard_retries_total";
pub const SLOTS_UNSERVED: &str = "respguard_slots_unserved";
pub const SPLIT_MEMBERS: &str = "respguard_split_members";
pub const TIMEOUTS_TOTAL: &str = "respguard_timeouts_total";
pub const TLS_HANDSHAKES_FAILED_TOTAL: &str = "respguard_tls_handshakes_failed_total";
pub const TOPOLOGY_CHANGES_TOTAL: &str = "respguard_topology_changes_total";
pub const TTL_CHECKS_TOTAL: &str = "respguard_ttl_checks_total";
pub const UPSTREAM_CONNECTIONS: &str = "respguard_upstream_connections";
pub const UPSTREAM_KILLS_TOTAL: &str = "respguard_upstream_kills_total";
pub const UPSTREAM_RECONNECTS_TOTAL: &str = "respguard_upstream_reconnects_total";
pub const UPSTREAM_UP: &str = "respguard_upstream_up";
pub const VIOLATIONS_FILE_LOST_TOTAL: &str = "respguard_violations_file_lost_total";
pub const VIOLATIONS_LOG_SUPPRESSED_TOTAL: &str = "respguard_violations_log_suppressed_total";
pub const VIOLATIONS_TOTAL: &str = "respguard_violations_total";
pub const WORKER_BUSY_SECONDS_TOTAL: &str = "respguard_worker_busy_seconds_total";
pub const WORKER_CLIENTS: &str = "respguard_worker_clients";

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Counter,
    Gauge,
    Histogram,
}

/// One metric as the reference and the `# HELP` lines describe it.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    pub name: &'static str,
    pub shape: Shape,
    pub unit: Unit,
    pub help: &'static str,
}

/// Every metric, by name.
pub const ALL: &[Metric] = &[
    measured(PROCESS_CPU_SECONDS_TOTAL, Shape::Counter, Unit::Seconds, "CPU time used by the process"),
    gauge(PROCESS_MAX_FDS, "Maximum number of open file descriptors"),
    gauge(PROCESS_OPEN_FDS, "Number of open file descriptors"),
    measured(PROCESS_RESIDENT_MEMORY_BYTES, Shape::Gauge, Unit::Bytes, "Resident memory of the process"),
    measured(PROCESS_START_TIME_SECONDS, Shape::Gauge, Unit::Seconds, "Start time of the process, in seconds since 1970"),
    gauge(PROCESS_THREADS, "Number of threads of the process"),
    measured(PROCESS_VIRTUAL_MEMORY_BYTES, Shape::Gauge, Unit::Bytes, "Virtual memory of the process"),
    counter(AUDIT_KEYS_TOTAL, "Keys, and members, fields and items in them, that audits of relations have checked"),
    counter(AUDIT_RUNS_TOTAL, "Audits of relations, by outcome"),
    counter(BREAKER_REFUSED_TOTAL, "Requests refused at once because the breaker was not closed"),
    gauge(BREAKER_STATE, "1 for the current state of the breaker, 0 for the others"),
    counter(BREAKER_TRANSITIONS_TOTAL, "State changes of the breaker, by new state"),
    gauge(BUILD_INFO, "Always 1; the label is the running version"),
    Metric {
        name: BYTES_TOTAL,
        shape: Shape::Counter,
        unit: Unit::Bytes,
        help: "Bytes read (in) and written (out) by the proxy, on the clients' side and on the upstream's",
    },
    histogram(
        CLASS_SECONDS,
        Unit::Seconds,
        "Time from the reading of a request to its reply, for reads that may be retried, groups, and all others",
    ),
    counter(CLIENT_CONNECTIONS_TOTAL, "Client connections, accepted and refused"),
    gauge(CLIENTS, "Clients connected now"),
    counter(CLIENTS_CLOSED_TOTAL, "Clients closed because the proxy would have had to buffer too much for them, by reason"),
    counter(COMMANDS_TOTAL, "Commands read from clients; commands that are not in the command table count as \"other\""),
    Metric {
        name: COMPRESS_BYTES_TOTAL,
        shape: Shape::Counter,
        unit: Unit::Bytes,
        help: "Bytes of values that a compress rule applies to, as clients see them and as they are stored; read: only compressed values",
    },
    counter(COMPRESS_FAILED_TOTAL, "Stored values with a header that could not be decompressed, by compress rule"),
    counter(COMPRESS_REFUSED_TOTAL, "Commands refused by a compress rule"),
    histogram(COMPRESS_SECONDS, Unit::Seconds, "Time to compress or decompress long values, off the workers' threads"),
    counter(CONFIG_RELOAD_TOTAL, "Reloads of the configuration, by outcome"),
    gauge(CONFIG_RULES, "Rules in force, by kind"),
    histogram(GROUP_SECONDS, Unit::Seconds, "Time from the reading of a group to its reply, by group"),
    counter(GROUPS_TOTAL, "Groups recognised, by outcome"),
    histogram(
        HOLD_GAP_SECONDS,
        Unit::Seconds,
        "Time without a byte from a client while the beginning of a group was held, until more came",
    ),
    histogram(HOLD_PREFIX_MEMBERS, Unit::Count, "Members of a group that had arrived when it began to be held"),
    counter(HOLDS_TOTAL, "Incomplete groups that were held for their remaining members, by outcome"),
    Metric {
        name: KEPT_BYTES,
        shape: Shape::Gauge,
        unit: Unit::Bytes,
        help: "Bytes buffered for all clients together: requests that wait and replies that have not been read",
    },
    counter(LOG_LOST_TOTAL, "Log lines dropped because the queue to standard error was full or the write failed"),
    counter(LOGINS_REFUSED_TOTAL, "AUTH and HELLO AUTH refused by the proxy itself"),
    gauge(MODE, "1 for the current mode of the rules, 0 for the other: enforce or observe"),
    gauge(NODE_UP, "1 while the node, a primary of the cluster, answers, else 0"),
    counter(OUT_OF_SYNC_TOTAL, "Upstream replies that no request was waiting for; each closed its connection"),
    counter(PANICS_TOTAL, "Tasks of clients and of upstream connections that panicked: bugs in the proxy itself"),
    counter(
        PARTIAL_FAILURES_TOTAL,
        "Pipelines, groups and clients' own transactions in which some commands failed and others did not",
    ),
    counter(REDIRECTS_TOTAL, "Requests that a node of the cluster did not serve and that were sent again, by reason"),
    gauge(RELATION_ORPHANS, "Orphans of a relation that the last finished audit found and no repair removed"),
    counter(REPAIRED_TOTAL, "Keys and references that repairs removed or put back"),
    histogram(REQUEST_SECONDS, Unit::Seconds, "Time from the reading of a request to its reply"),
    counter(RESOLUTIONS_TOTAL, "Groups with a marker whose connection was lost, by what was found out about them"),
    histogram(REST_REQUEST_SECONDS, Unit::Seconds, "Time from the head of a REST request to the head of its answer, by endpoint"),
    counter(REST_REQUESTS_TOTAL, "REST requests, by endpoint and by HTTP status of the answer"),
    counter(REST_RESENT_TOTAL, "REST requests that the client marked as sent again"),
    counter(RETRIES_REFUSED_TOTAL, "Requests that were not retried because the retry budget was used up, by kind"),
    counter(
        RETRIES_TOTAL,
        "Requests sent again after their connection was lost, or moved from behind a reply that held them up, by kind",
    ),
    gauge(SLOTS_UNSERVED, "Slots of the cluster that no reachable node serves"),
    histogram(SPLIT_MEMBERS, Unit::Count, "Members of a group that had arrived when it was split"),
    counter(TIMEOUTS_TOTAL, "Requests answered -TIMEOUT"),
    counter(TLS_HANDSHAKES_FAILED_TOTAL, "TLS handshakes with clients that failed"),
    counter(TOPOLOGY_CHANGES_TOTAL, "Changes in what is known of the servers behind the proxy, by kind"),
    counter(TTL_CHECKS_TOTAL, "Checks of the TTL of keys that must expire, by outcome"),
    gauge(UPSTREAM_CONNECTIONS, "Current connections to the upstream, by state"),
    counter(UPSTREAM_KILLS_TOTAL, "Lost upstream connections that were killed at the server by id, by outcome"),
    counter(UPSTREAM_RECONNECTS_TOTAL, "Attempts to replace a lost upstream connection"),
    gauge(UPSTREAM_UP, "1 while at least one worker reaches the upstream, else 0"),
    counter(VIOLATIONS_FILE_LOST_TOTAL, "Violations that could not be written to the file"),
    counter(
        VIOLATIONS_LOG_SUPPRESSED_TOTAL,
        "Violations counted but not logged, because there were too many of their kind in one second",
    ),
    counter(VIOLATIONS_TOTAL, "Violations, by kind and by the rule that was broken (empty: none)"),
    measured(
        WORKER_BUSY_SECONDS_TOTAL,
        Shape::Counter,
        Unit::Seconds,
        "Time that a worker was not idle; the rate is the share of a core that it uses",
    ),
    gauge(WORKER_CLIENTS, "Clients connected to a worker"),
];

/// Gives the installed recorder every metric's unit and meaning.
///
/// The histogram of requests is described too, although [`super::exposition`] writes its lines itself.
pub fn describe() {
    for metric in ALL {
        match metric.shape {
            Shape::Counter => metrics::describe_counter!(metric.name, metric.unit, metric.help),
            Shape::Gauge => metrics::describe_gauge!(metric.name, metric.unit, metric.help),
            Shape::Histogram => {
                metrics::describe_histogram!(metric.name, metric.unit, metric.help);
            }
        }
    }
}

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric { name, shape: Shape::Counter, unit: Unit::Count, help }
}

const fn histogram(name: &'static str, unit: Unit, help: &'static str) -> Metric {
    Metric { name, shape: Shape::Histogram, unit, help }
}

const fn measured(name: &'static str, shape: Shape, unit: Unit, help: &'static str) -> Metric {
    Metric { name, shape, unit, help }
}

const fn gauge(name: &'static str, help: &'static str) -> Metric {
    Metric { name, shape: Shape::Gauge, unit: Unit::Count, help }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_unique_and_say_by_their_ending_that_they_count() {
        for pair in ALL.windows(2) {
            assert!(pair[0].name < pair[1].name, "{}", pair[1].name);
        }
        for metric in ALL {
            assert!(metric.name.starts_with("respguard_") || metric.name.starts_with("process_"));
            assert_eq!(metric.name.ends_with("_total"), metric.shape == Shape::Counter);
        }
    }
}
